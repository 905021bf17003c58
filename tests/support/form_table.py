"""The 36 forms by name: which head reads each, and how its outputs are drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tests.support.forms import (
    LIKELY,
    V5,
    V7,
    Array,
    Form,
    Outputs,
    Stage,
    anchored,
    binned,
    cells,
    classified,
    distances,
    grid,
    ground,
    logit,
    maps,
    named,
    prototypes,
    rows,
    scores,
    split,
)

SEG, BINS = 32, 16
ROAD = ("vehicle", "drivable area", "lane")
CITY = ("background", *(f"area {index}" for index in range(1, 19)))


def v5_raw(stage: Stage) -> Outputs:
    return named([rows(stage, 3, objectness=True)[None]])


def v5_seg(stage: Stage) -> Outputs:
    made = rows(stage, 3, objectness=True)
    signed = stage.rng.normal(0, 1, (len(made), SEG)).astype(np.float32)
    return named([np.concatenate([made, signed], axis=1)[None], prototypes(stage)])


def as_channels(levels: list[Array]) -> list[Array]:
    """(3, H, W, values) -> 1 x 3 values x H x W."""
    return [level.transpose(0, 3, 1, 2).reshape(1, -1, *level.shape[1:3]) for level in levels]


def v5_rknn(stage: Stage) -> Outputs:
    return named(as_channels(anchored(stage, V5)))


def v7_rknn(stage: Stage) -> Outputs:
    return named(as_channels(anchored(stage, V7)))


def v5_seg_rknn(stage: Stage) -> Outputs:
    made = []
    for level in as_channels(anchored(stage, V5)):
        made += [level, stage.rng.normal(0, 1, (1, 3 * SEG, *level.shape[2:])).astype(np.float32)]
    return named([*made, prototypes(stage)])


def v6_raw(stage: Stage) -> Outputs:
    made = rows(stage, 1, objectness=True)
    made[:, 4] = 1
    return named([made[None]])


def v7_maps(stage: Stage) -> Outputs:
    return named([logit(level)[None] for level in anchored(stage, V7)])


def v7_end2end(stage: Stage) -> Outputs:
    made = np.zeros((12, 7), np.float32)
    made[:, 5], made[:, 6] = stage.rng.integers(10, stage.classes, 12), stage.rng.uniform(0.25, 0.3, 12)
    made[:, 1:5] = stage.rng.uniform(10, 40, (12, 4)) + np.array([0, 0, 50, 50])
    for index, thing in enumerate(stage.things):
        made[index, 1:] = *thing.corners, thing.label, LIKELY
    return named([made])


def v8_raw(stage: Stage) -> Outputs:
    return named([rows(stage, 1, objectness=False).T[None]])


def v8_normalised(stage: Stage) -> Outputs:
    made = rows(stage, 1, objectness=False)
    made[:, :4] /= [*stage.size, *stage.size]
    return named([made.T[None]])


def v8_seg(stage: Stage) -> Outputs:
    made = rows(stage, 1, objectness=False)
    signed = stage.rng.normal(0, 1, (len(made), SEG)).astype(np.float32)
    return named([np.concatenate([made, signed], axis=1).T[None], prototypes(stage)])


def v8_seg_rknn(stage: Stage) -> Outputs:
    made, levels = [], split(stage, BINS, with_sum=True)
    for start in range(0, len(levels), 3):
        made += [*levels[start : start + 3], stage.rng.normal(0, 1, (1, SEG, *levels[start].shape[2:])).astype(np.float32)]
    return named([*made, prototypes(stage)])


def in_levels(bins: int, *, with_sum: bool) -> Callable[[Stage], Outputs]:
    return lambda stage: named(split(stage, bins, with_sum=with_sum))


def x_decoded(stage: Stage) -> Outputs:
    return named([rows(stage, 1, objectness=True)[None]])


def x_undecoded(stage: Stage) -> Outputs:
    made, places = rows(stage, 1, objectness=True), cells(stage.size, offset=0)
    made[:, :2] = (made[:, :2] - places[:, :2]) / places[:, 2:]
    made[:, 2:4] = np.log(made[:, 2:4] / places[:, 2:])
    return named([made[None]])


def end_to_end(stage: Stage) -> Outputs:
    """YOLOv10: 300 rows, best first."""
    made = np.zeros((300, 6), np.float32)
    corner = stage.rng.uniform(0, 200, (300, 2))
    made[:, :2], made[:, 2:4] = corner, corner + stage.rng.uniform(10, 100, (300, 2))
    made[:, 4] = np.sort(stage.rng.uniform(0, 0.02, 300))[::-1]
    made[:, 5] = stage.rng.integers(0, stage.classes, 300)
    for index, thing in enumerate(stage.things):
        made[index] = *thing.corners, LIKELY - 0.1 * index, thing.label
    return named([made[None]])


def paddle(stage: Stage) -> Outputs:
    """PP-YOLOE with suppression in the graph: class, score, corners, and how many."""
    made = np.zeros((20, 6), np.float32)
    made[:, 0], made[:, 1] = stage.rng.integers(10, stage.classes, 20), stage.rng.uniform(0.01, 0.05, 20)
    made[:, 2:] = stage.rng.uniform(10, 40, (20, 4)) + np.array([0, 0, 50, 50])
    for index, thing in enumerate(stage.things):
        made[index] = thing.label, LIKELY, *thing.corners
    return {"rows": made, "count": np.array([20], np.int32)}


def ssd_seven(stage: Stage) -> Outputs:
    made = np.zeros((100, 7), np.float32)
    made[:, 1], made[:, 2] = stage.rng.integers(10, stage.classes, 100), stage.rng.uniform(0, 0.05, 100)
    made[:, 3:] = stage.rng.uniform(0.1, 0.2, (100, 4)) + np.array([0, 0, 0.3, 0.3])
    for index, thing in enumerate(stage.things):
        made[index] = 0, thing.label, LIKELY, *(np.array(thing.corners) / [*stage.size, *stage.size])
    return named([made[None, None]])


def ssd_four(stage: Stage) -> Outputs:
    boxes = (stage.rng.uniform(0.1, 0.2, (10, 4)) + np.array([0, 0, 0.3, 0.3])).astype(np.float32)
    ids = stage.rng.integers(10, stage.classes, 10).astype(np.float32)
    given = stage.rng.uniform(0, 0.05, 10).astype(np.float32)
    for index, thing in enumerate(stage.things):
        x1, y1, x2, y2 = np.array(thing.corners) / [*stage.size, *stage.size]
        boxes[index], ids[index], given[index] = (y1, x1, y2, x2), thing.label, LIKELY
    return {"boxes": boxes[None], "classes": ids[None], "scores": given[None], "count": np.array([10], np.float32)}


def ssd_raw(stage: Stage) -> Outputs:
    """SSD on MobileNet at 300 x 300: 1917 priors; things start from the prior whose shape and place are nearest."""
    levels, sizes = (19, 10, 5, 3, 2, 1), np.linspace(0.2, 0.95, 6)
    priors = []
    for index, side in enumerate(levels):
        scale, following = sizes[index], sizes[index + 1] if index < 5 else 1.0
        shapes = [(0.1, 0.1), (scale * 2**0.5, scale / 2**0.5), (scale / 2**0.5, scale * 2**0.5)]
        if index:
            root = 3**0.5
            shapes = [(scale, scale), *shapes[1:], (scale * root, scale / root), (scale / root, scale * root),
                      ((scale * following) ** 0.5,) * 2]  # fmt: skip
        for row in range(side):
            for column in range(side):
                priors += [((column + 0.5) / side, (row + 0.5) / side, w, h) for w, h in shapes]
    table = np.array(priors)
    locations = stage.rng.normal(0, 1, (len(table), 4)).astype(np.float32)
    confidences = stage.rng.normal(0, 0.5, (len(table), 1 + stage.classes)).astype(np.float32)
    confidences[:, 0] += 8
    for thing in stage.things:
        wanted = np.array([thing.x, thing.y, thing.width, thing.height]) / [*stage.size, *stage.size]
        apart = np.abs(table[:, :2] - wanted[:2]).sum(axis=1) + np.abs(np.log(table[:, 2:] / wanted[2:])).sum(axis=1)
        x, y, w, h = table[(own := int(apart.argmin()))]
        locations[own] = (
            10 * (wanted[1] - y) / h,
            10 * (wanted[0] - x) / w,
            5 * np.log(wanted[3] / h),
            5 * np.log(wanted[2] / w),
        )
        confidences[own, 1 + thing.label] = 14
    return {"locations": locations[None, :, None], "confidences": confidences[None]}


def nanodet_plus(stage: Stage) -> Outputs:
    places = cells(stage.size, (8, 16, 32, 64), offset=0)
    coarse = places.copy()
    coarse[places[:, 2] < 64, :2] += 1e6  # eight bins of the coarsest grid reach far enough
    joined = np.concatenate([classified(stage, coarse), binned(distances(stage, coarse), 8)], axis=1)
    return named([joined[None]])


def nanodet(stage: Stage) -> Outputs:
    places = cells(stage.size)
    coarse = places.copy()
    coarse[places[:, 2] < 32, :2] += 1e6
    scored, sides = classified(stage, coarse), binned(distances(stage, coarse), 8)
    made: Outputs = {}
    for kind, values in (("cls", scored), ("dis", sides)):
        for stride, level in zip((8, 16, 32), maps(values, stage.size), strict=True):
            made[f"{kind} {stride}"] = np.ascontiguousarray(level.reshape(1, level.shape[1], -1).transpose(0, 2, 1))
    return made


def fastestdet(stage: Stage) -> Outputs:
    width, height = stage.size
    sides = grid(stage.size, 16)
    made = stage.rng.normal(0, 0.3, (5 + stage.classes, *sides)).astype(np.float32)
    made[0] = stage.rng.uniform(0, 0.02, sides)
    made[5:] = stage.rng.uniform(0.9, 1.1, (stage.classes, *sides)) / stage.classes
    for thing in stage.things:
        row, column = int(thing.y / 16), int(thing.x / 16)
        across, down = thing.x / 16 - column, thing.y / 16 - row
        shares = np.array([thing.width / width, thing.height / height])
        made[:5, row, column] = (
            LIKELY,
            np.arctanh(min(across, 0.99)),
            np.arctanh(min(down, 0.99)),
            *np.log(shares / (1 - shares)),
        )
        made[5:, row, column] = 0.05 / stage.classes
        made[5 + thing.label, row, column] = 0.95
    made[5:] /= made[5:].sum(axis=0)
    return named([made[None]])


def detr_authors(stage: Stage) -> Outputs:
    """Labels, corners in the supplied size, scores."""
    made = end_to_end(stage)["out0"][0]
    return {"labels": made[None, :, 5].astype(np.int64), "boxes": made[None, :, :4].copy(), "scores": made[None, :, 4].copy()}


def queries(stage: Stage) -> Array:
    """(300, 4 + classes): x y w h in 0..1 and classes 0..1."""
    made = np.concatenate([stage.rng.uniform(0.2, 0.8, (300, 4)), scores(stage, 300, stage.classes)], axis=1).astype(np.float32)
    made[:, 2:4] *= 0.4
    width, height = stage.size
    for index, thing in enumerate(stage.things):
        made[17 * index, :4] = thing.x / width, thing.y / height, thing.width / width, thing.height / height
        made[17 * index, 4 + thing.label] = LIKELY
    return made


def detr_ultralytics(stage: Stage) -> Outputs:
    return named([queries(stage)[None]])


def rf_detr(stage: Stage) -> Outputs:
    """Boxes and logits, of which the first column is no label's."""
    made = queries(stage)
    unused = stage.rng.uniform(0, 0.01, (300, 1)).astype(np.float32)
    return {"dets": made[None, :, :4].copy(), "labels": logit(np.concatenate([unused, made[:, 4:]], axis=1))[None]}


def yolop(stage: Stage) -> Outputs:
    one = Stage(stage.size, 1, stage.things, stage.rng)
    width, height = stage.size
    made = [rows(one, 3, objectness=True)[None]]
    for across in (0.5, 0.1):  # what one may drive on, and a narrow line
        plane = stage.rng.uniform(0, 0.05, (2, height, width)).astype(np.float32)
        plane[0] += 0.9
        if stage.things:
            columns = slice(0, round(width * across))
            plane[1, height * 3 // 4 :, columns], plane[0, height * 3 // 4 :, columns] = 0.95, 0.05
        made.append(plane[None])
    return {"det_out": made[0], "drive_area_seg": made[1], "lane_line_seg": made[2]}


def deeplab(stage: Stage) -> Outputs:
    return named([ground(stage, (65, 65), stage.classes, area=15).transpose(1, 2, 0)[None]])


def lite_seg(stage: Stage) -> Outputs:
    return named([ground(stage, stage.size, stage.classes, area=1)[None]])


def segformer(stage: Stage) -> Outputs:
    return named([ground(stage, (stage.size[0] // 4, stage.size[1] // 4), stage.classes, area=7)[None]])


def classification(stage: Stage) -> Outputs:
    made = stage.rng.normal(0, 1, (1, stage.classes)).astype(np.float32)
    if stage.things:
        made[0, 5] = 15
    return named([made])


def ultraface(stage: Stage) -> Outputs:
    """1 x 4420 x 2 and 1 x 4420 x 4 at 320 x 240: strides 8, 16, 32, 64 with 3, 2, 2, 3 priors."""
    count = sum(side[0] * side[1] * own for side, own in zip([(30, 40), (15, 20), (8, 10), (4, 5)], (3, 2, 2, 3), strict=True))
    face = stage.rng.uniform(0, 0.02, count).astype(np.float32)
    corner = stage.rng.uniform(0, 0.8, (count, 2))
    boxes = np.concatenate([corner, corner + stage.rng.uniform(0.02, 0.2, (count, 2))], axis=1).astype(np.float32)
    for index, thing in enumerate(stage.things):
        face[900 * index] = LIKELY
        boxes[900 * index] = np.array(thing.corners) / [*stage.size, *stage.size]
    return {"scores": np.stack([1 - face, face], axis=1)[None], "boxes": boxes[None]}


FORMS = (
    Form("YOLOv5 raw", "yolov5", v5_raw),
    Form("YOLOv5 rknn", "yolov5-rknn", v5_rknn, decided=False),  # YOLOv7's anchors would do: boxes of 1.2 times the size
    Form("YOLOv5-seg", "yolov5-seg", v5_seg),
    Form("YOLOv5-seg rknn", "yolov5-seg-rknn", v5_seg_rknn),
    Form("YOLOv6 raw", "yolov6", v6_raw),
    Form("YOLOv6 rknn", "yolov6-rknn", in_levels(1, with_sum=True)),
    Form("YOLOv7 raw", "yolov7", v7_maps),
    Form("YOLOv7 end2end", "yolov7-end2end", v7_end2end),
    Form("YOLOv7 rknn", "yolov7-rknn", v7_rknn, decided=False),
    Form("YOLOv8/11 raw", "yolov8", v8_raw),
    Form("v8 TFLite", "yolov8", v8_normalised),
    Form("v8/11 rknn, 9 outputs", "yolov8-rknn", in_levels(BINS, with_sum=True)),
    Form("v8 rknn, 6 outputs", "yolov8-rknn", in_levels(BINS, with_sum=False)),
    Form("v8-seg raw", "yolov8-seg", v8_seg),
    Form("v8-seg rknn", "yolov8-seg-rknn", v8_seg_rknn),
    Form("YOLOX decoded", "yolox", x_decoded),
    Form("YOLOX undecoded", "yolox", x_undecoded),
    Form("YOLOv10/26 end-to-end", "yolov10", end_to_end),
    Form("YOLOv10 rknn", "yolov10-rknn", in_levels(BINS, with_sum=False)),
    Form("PP-YOLOE, Paddle", "ppyoloe", paddle, inputs={"scale_factor": TensorProto.FLOAT}),
    Form("PP-YOLOE rknn", "ppyoloe-rknn", in_levels(17, with_sum=True)),
    Form("SSD, OpenVINO", "ssd", ssd_seven),
    Form("SSD, TFLite", "ssd", ssd_four),
    Form("SSD raw", "ssd-raw", ssd_raw, size=(300, 300), labels=[f"thing {i}" if i not in (0, 5) else n for i, n in
         enumerate(["person", "", "", "", "", "bus", *[""] * 84])]),
    Form("NanoDet-Plus", "nanodet-plus", nanodet_plus, size=(416, 416)),
    Form("FastestDet", "fastestdet", fastestdet, size=(352, 352)),
    Form("RT-DETR, authors", "rtdetr", detr_authors, inputs={"orig_target_sizes": TensorProto.INT64}),
    Form("RT-DETR, Ultralytics", "rtdetr", detr_ultralytics),
    Form("RF-DETR", "rtdetr", rf_detr),
    Form("YOLOP", "yolop", yolop, labels=ROAD, declared="vehicle:2,drivable area,lane"),
    Form("DeepLabv3 rknn", "semantic", deeplab, size=(513, 513), labels=(*CITY, "area 19", "area 20"), declared="area 15"),
    Form("PP-LiteSeg", "semantic", lite_seg, labels=CITY[:2], declared="area 1"),
    Form("SegFormer", "semantic", segformer, labels=CITY, declared="area 7"),
    Form("classification", "classify", classification, declared="bus"),
    Form("NanoDet per stride", "nanodet", nanodet),
    Form("UltraFace", "ultraface", ultraface, size=(320, 240), labels=("face",), declared="face:2"),
)  # fmt: skip
