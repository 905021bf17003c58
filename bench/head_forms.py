"""Outputs of every family as a model gives them for a scene with 30 objects: 640x640, 80 classes.

Every object is seen by 3 cells that reach the threshold, and faintly (0.01 to 0.3) by 9 more. Everything else is background:
log-normal scores around 3e-4, a third of a per cent of the cells above 0.01. (Ultralytics initialise the objectness so that
8 of a picture's cells are expected to see something, which is 3e-4 of 25200.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench import head_plain as plain
from bench.head_plain import PLUS_STRIDES, STRIDES, Array, Found
from camagent.frame import TensorSpec
from camagent.heads import Head, HeadContext, build_head
from camagent.heads.anchors import YOLOV5, YOLOV7

SIDE, CLASSES, OBJECTS, PER_OBJECT, FAINT = 640, 80, 30, 3, 9
MIN_SCORE = 0.4
Make = Callable[[np.random.Generator], list[Array]]
Plain = Callable[[Sequence[Array], float], Found]


@dataclass(frozen=True, slots=True)
class Form:
    """One family's outputs, and how a sample decodes them."""

    name: str
    head: str
    make: Make
    plain: Plain
    size: tuple[int, int] = (SIDE, SIDE)  # width, height
    classes: int = CLASSES
    params: Mapping[str, Any] = field(default_factory=dict)

    def build(self, outputs: Sequence[Array]) -> Head:
        """The head for these outputs."""
        specs = [TensorSpec(f"out{index}", output.shape, "float32") for index, output in enumerate(outputs)]
        return build_head(self.head, HeadContext(*self.size, self.classes, specs, self.params))


def cells_of(strides: Sequence[int], anchors: int = 1) -> int:
    """How many cells a pyramid over 640x640 has."""
    return anchors * sum((SIDE // stride) ** 2 for stride in strides)


def seen_by(rng: np.random.Generator, cells: int, objects: int = OBJECTS) -> tuple[Any, Any]:
    """Cells that see an object, and each one's class: three cells that lie side by side see the same."""
    first = rng.choice(cells // PER_OBJECT, objects, replace=False) * PER_OBJECT
    where = (first[:, None] + np.arange(PER_OBJECT)).ravel()
    return where, np.repeat(rng.integers(0, CLASSES, objects), PER_OBJECT)


def background(rng: np.random.Generator, *shape: int, median: float = 3e-4) -> Array:
    """Scores of cells that see nothing."""
    return np.minimum(rng.lognormal(np.log(median), 1.3, shape), 0.3).astype(np.float32)


def class_scores(rng: np.random.Generator, cells: int, where: Any, classes: Any, low: float = 0.5) -> Array:
    """(cells, classes): next to nothing, but for the cells that see something."""
    scores = background(rng, cells, CLASSES, median=3e-5)
    scores[where, classes] = rng.uniform(low, 0.95, len(where))
    return scores


def boxes_xywh(rng: np.random.Generator, cells: int) -> Array:
    """(cells, 4), pixels."""
    center, size = rng.uniform(60, 580, (cells, 2)), rng.uniform(16, 120, (cells, 2))
    return np.concatenate([center, size], axis=1).astype(np.float32)


def boxes_xyxy(rng: np.random.Generator, cells: int) -> Array:
    """(cells, 4), pixels."""
    return plain.corners(boxes_xywh(rng, cells)).astype(np.float32)


def with_objectness(rng: np.random.Generator, cells: int, boxes: Array, objects: int = OBJECTS) -> Array:
    """(cells, 5 + classes)."""
    where, classes = seen_by(rng, cells, objects)
    objectness = background(rng, cells, 1)
    objectness[rng.choice(cells, objects * FAINT, replace=False)] = rng.uniform(0.01, 0.3, (objects * FAINT, 1))
    objectness[where] = rng.uniform(0.85, 0.99, (len(where), 1))
    return np.concatenate([boxes, objectness, class_scores(rng, cells, where, classes, 0.6)], axis=1)


def rows_of_anchors(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES, 3)
    return [with_objectness(rng, cells, boxes_xywh(rng, cells))[None]]


def rows_of_ones(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES)
    rows = np.ones((cells, 5 + CLASSES), np.float32)
    rows[:, :4] = boxes_xywh(rng, cells)
    rows[:, 5:] = class_scores(rng, cells, *seen_by(rng, cells))
    return [rows[None]]


def columns(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES)
    rows = np.concatenate([boxes_xywh(rng, cells), class_scores(rng, cells, *seen_by(rng, cells))], axis=1)
    return [np.ascontiguousarray(rows.T)[None]]


def undecoded_rows(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES)
    boxes = np.concatenate([rng.uniform(-0.5, 1.5, (cells, 2)), rng.normal(0, 0.8, (cells, 2))], axis=1)
    return [with_objectness(rng, cells, boxes.astype(np.float32))[None]]


def undecoded_maps(rng: np.random.Generator) -> list[Array]:
    return _maps(undecoded_rows(rng)[0][0])


def anchor_maps(rng: np.random.Generator) -> list[Array]:
    cells, share = cells_of(STRIDES), OBJECTS // 3
    values = (rng.uniform(0.2, 0.8, (cells, 4)).astype(np.float32) for _ in range(3))
    per_anchor = [_maps(with_objectness(rng, cells, boxes, share)) for boxes in values]
    return [np.concatenate(level, axis=1) for level in zip(*per_anchor, strict=True)]


def split(rng: np.random.Generator, channels: int, *, with_sum: bool = False) -> list[Array]:
    """Per level boxes (4 distances, or bins), classes and, with it, the clipped sum of the classes."""
    cells = cells_of(STRIDES)
    sides = rng.uniform(0.5, 4, (cells, 4)) if channels == 4 else rng.normal(0, 2, (cells, channels))
    scores = class_scores(rng, cells, *seen_by(rng, cells))
    listed = []
    for box, score in zip(_maps(sides.astype(np.float32)), _maps(scores), strict=True):
        listed += [box, score, *([score.sum(axis=1, keepdims=True).clip(0, 1)] if with_sum else [])]
    return listed


def nanodet(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES)
    scores, sides = class_scores(rng, cells, *seen_by(rng, cells)), rng.normal(0, 2, (cells, 32)).astype(np.float32)
    ends = np.cumsum([(SIDE // stride) ** 2 for stride in STRIDES])[:-1]
    pairs = zip(np.split(scores, ends), np.split(sides, ends), strict=True)
    return [np.ascontiguousarray(part)[None] for pair in pairs for part in pair]


def nanodet_plus(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(PLUS_STRIDES)
    scores, sides = class_scores(rng, cells, *seen_by(rng, cells)), rng.normal(0, 2, (cells, 32)).astype(np.float32)
    return [np.concatenate([scores, sides], axis=1)[None]]


def fastestdet(rng: np.random.Generator) -> list[Array]:
    side = SIDE // 16
    rows = with_objectness(rng, side * side, rng.normal(0, 0.5, (side * side, 4)).astype(np.float32))
    rows = np.concatenate([rows[:, 4:5], rows[:, :4], rows[:, 5:]], axis=1)
    return [np.ascontiguousarray(rows.T).reshape(1, 5 + CLASSES, side, side)]


def ultraface(rng: np.random.Generator) -> list[Array]:
    cells = 4420
    faces = background(rng, cells)
    faces[seen_by(rng, cells)[0]] = rng.uniform(0.7, 0.99, OBJECTS * PER_OBJECT)
    corners = np.sort(rng.random((cells, 2, 2), np.float32), axis=1).reshape(cells, 4)
    return [np.stack([1 - faces, faces], axis=1)[None], corners[None]]


def queries(rng: np.random.Generator) -> list[Array]:
    boxes = boxes_xywh(rng, 300) / np.float32(SIDE)
    return [np.concatenate([boxes, class_scores(rng, 300, *seen_by(rng, 300))], axis=1)[None]]


def final_rows(rng: np.random.Generator) -> list[Array]:
    scores = np.sort(np.concatenate([rng.uniform(0.5, 0.95, OBJECTS), rng.uniform(0, 0.02, 270)]))[::-1]
    rows = np.column_stack([boxes_xyxy(rng, 300), scores, rng.integers(0, CLASSES, 300)])
    return [rows.astype(np.float32)[None]]


def rows_of_seven(rng: np.random.Generator) -> list[Array]:
    ids, scores = rng.integers(0, CLASSES, OBJECTS), rng.uniform(0.5, 0.95, OBJECTS)
    return [np.column_stack([np.zeros(OBJECTS), boxes_xyxy(rng, OBJECTS), ids, scores]).astype(np.float32)]


def ssd(rng: np.random.Generator) -> list[Array]:
    count = 100
    scores = np.concatenate([rng.uniform(0.5, 0.95, OBJECTS), rng.uniform(0, 0.3, count - OBJECTS)])
    boxes = boxes_xyxy(rng, count) / SIDE
    rows = np.column_stack([np.zeros(count), rng.integers(0, CLASSES, count), scores, boxes])
    return [rows.astype(np.float32)[None, None]]


def ssd_raw(rng: np.random.Generator) -> list[Array]:
    """TensorFlow's 1917 priors at 300x300: offsets, and scores behind a background, all 0..1."""
    cells = 1917
    scores = class_scores(rng, cells, *seen_by(rng, cells))
    scores = np.concatenate([1 - scores.max(axis=1, keepdims=True), scores], axis=1)
    return [rng.normal(0, 1, (1, cells, 4)).astype(np.float32), scores[None]]


def with_masks(rng: np.random.Generator, make: Make, axis: int) -> list[Array]:
    """The one output with 32 coefficients more along this axis, and the prototypes."""
    (output,) = make(rng)
    shape = [32 if index == axis else side for index, side in enumerate(output.shape)]
    coefficients = rng.normal(0, 1, shape).astype(np.float32)
    return [np.concatenate([output, coefficients], axis=axis), _prototypes(rng)]


def with_mask_maps(rng: np.random.Generator, make: Make, channels: int) -> list[Array]:
    """Every level's outputs and a map of coefficients, and the prototypes."""
    outputs = make(rng)
    each, listed = len(outputs) // len(STRIDES), list[Array]()
    for index in range(len(STRIDES)):
        own = outputs[each * index : each * (index + 1)]
        listed += [*own, rng.normal(0, 1, (1, channels, *own[0].shape[2:])).astype(np.float32)]
    return [*listed, _prototypes(rng)]


def _prototypes(rng: np.random.Generator) -> Array:
    return rng.normal(0, 1, (1, 32, SIDE // 4, SIDE // 4)).astype(np.float32)


def ppyoloe(rng: np.random.Generator) -> list[Array]:
    cells = cells_of(STRIDES)
    scores = class_scores(rng, cells, *seen_by(rng, cells))
    return [boxes_xyxy(rng, cells)[None], np.ascontiguousarray(scores.T)[None]]


def _maps(rows: Array) -> list[Array]:
    """(cells, values) -> 1 x values x H x W per level."""
    found, start = [], 0
    for stride in STRIDES:
        side = SIDE // stride
        level = rows[start : start + side * side]
        found.append(np.ascontiguousarray(level.T).reshape(1, -1, side, side))
        start += side * side
    return found


def _with_anchors(anchors: Mapping[int, Sequence[Sequence[float]]]) -> Plain:
    return partial(plain.anchor_maps, anchors=anchors[len(STRIDES)])


def _seg_with_anchors(outputs: Sequence[Array], min_score: float) -> Found:
    return plain.anchor_maps(outputs[:6:2], min_score, YOLOV5[len(STRIDES)])


NINE, SIX = partial(split, channels=64, with_sum=True), partial(split, channels=64)
FORMS: tuple[Form, ...] = (
    Form("yolov5 raw", "yolov5", rows_of_anchors, plain.rows_with_objectness),
    Form("yolov8, yolo11 raw", "yolov8", columns, plain.columns_in_a_loop),
    Form("yolox raw, undecoded", "yolox", undecoded_rows, plain.yolox_rows),
    Form("yolov8-rknn, 9 outputs", "yolov8-rknn", NINE, plain.split_maps),
    Form("yolov8-rknn, 6 outputs", "yolov8-rknn", SIX, plain.split_maps),
    Form("yolov5-rknn", "yolov5-rknn", anchor_maps, _with_anchors(YOLOV5)),
    Form("yolov6-rknn, 9 outputs", "yolov6-rknn", partial(split, channels=4, with_sum=True), plain.split_maps),
    Form("yolov7-rknn", "yolov7-rknn", anchor_maps, _with_anchors(YOLOV7)),
    Form("yolov10-rknn, 6 outputs", "yolov10-rknn", SIX, plain.split_maps),
    Form("yolox, 3 maps", "yolox", undecoded_maps, plain.yolox_maps),
    Form("ppyoloe-rknn, 9 outputs", "ppyoloe-rknn", partial(split, channels=68, with_sum=True), plain.split_maps),
    Form("yolov6 raw", "yolov6", rows_of_ones, plain.rows_with_objectness),
    Form("yolov7 raw", "yolov7", rows_of_anchors, plain.rows_with_objectness),
    Form("yolov7 end to end", "yolov7-end2end", rows_of_seven, plain.final_rows_of_seven),
    Form("yolov10, yolo26 raw", "yolov10", final_rows, plain.final_rows),
    Form("ppyoloe raw", "ppyoloe", ppyoloe, plain.ppyoloe),
    Form("rtdetr", "rtdetr", queries, plain.queries),
    Form("ssd", "ssd", ssd, plain.ssd),
    Form("ssd-raw, 300x300", "ssd-raw", ssd_raw, plain.ssd_raw, size=(300, 300)),
    Form("nanodet", "nanodet", nanodet, plain.nanodet),
    Form("nanodet-plus", "nanodet-plus", nanodet_plus, plain.nanodet_plus),
    Form("fastestdet", "fastestdet", fastestdet, plain.fastestdet),
    Form("ultraface, 320x240", "ultraface", ultraface, plain.ultraface, size=(320, 240), classes=1),
    Form("yolov5-seg raw", "yolov5-seg", partial(with_masks, make=rows_of_anchors, axis=2), plain.rows_with_coefficients),
    Form("yolov8-seg raw", "yolov8-seg", partial(with_masks, make=columns, axis=1), plain.columns_with_coefficients),
    Form("yolov5-seg-rknn", "yolov5-seg-rknn", partial(with_mask_maps, make=anchor_maps, channels=96), _seg_with_anchors),
    Form("yolov8-seg-rknn", "yolov8-seg-rknn", partial(with_mask_maps, make=NINE, channels=32), plain.split_maps),
)
