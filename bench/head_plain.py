"""What people write first: every head once more as the vendors' samples compute it, each cell decoded before any is dropped.

Plain numpy, and plain loops where the sample has them. Not tuned, not made slow either: these are the lines that get copied.
Suppression (NMS) is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.heads.priors import boxes_of, tensorflow

Array = NDArray[np.float32]
STRIDES = (8, 16, 32)
PLUS_STRIDES = (8, 16, 32, 64)
SSD_PRIORS = boxes_of(tensorflow(300, 300).levels)  # samples read them from a file


@dataclass(frozen=True, slots=True)
class Found:
    """Objects above the threshold: boxes (n, 4) x1 y1 x2 y2 in pixels of the network input, scores (n,), class ids (n,)."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    class_ids: NDArray[Any]


def corners(boxes: NDArray[Any]) -> NDArray[Any]:
    """x y w h -> x1 y1 x2 y2, (n, 4)."""
    out = np.copy(boxes)
    out[:, 0] = boxes[:, 0] - boxes[:, 2] / 2
    out[:, 1] = boxes[:, 1] - boxes[:, 3] / 2
    out[:, 2] = boxes[:, 0] + boxes[:, 2] / 2
    out[:, 3] = boxes[:, 1] + boxes[:, 3] / 2
    return out


def keep(boxes: NDArray[Any], class_scores: NDArray[Any], min_score: float) -> Found:
    """Boxes (n, 4) and class scores (n, classes): best class of every cell, then the threshold."""
    best, class_ids = class_scores.max(axis=1), class_scores.argmax(axis=1)
    above = best >= min_score
    return Found(boxes[above], best[above], class_ids[above])


def rows_with_objectness(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv5, v6 and v7 (utils/general.py, non_max_suppression): the objectness first, as the vendor's own code does."""
    rows = outputs[0][0]
    rows = rows[rows[:, 4] > min_score]
    return keep(corners(rows[:, :4]), rows[:, 5:] * rows[:, 4:5], min_score)


def rows_with_coefficients(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv5-seg: the same, the coefficients of the masks left alone."""
    return rows_with_objectness([outputs[0][:, :, :85]], min_score)


def columns_in_a_loop(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv8, YOLO11 (examples/YOLOv8-ONNXRuntime/main.py): transposed, then one row after the other."""
    boxes, scores, class_ids = [], [], []
    for row in np.transpose(np.squeeze(outputs[0])):
        classes = row[4:]
        best = np.amax(classes)
        if best >= min_score:
            class_ids.append(np.argmax(classes))
            scores.append(best)
            x, y, w, h = row[0], row[1], row[2], row[3]
            boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return Found(np.array(boxes).reshape(-1, 4), np.array(scores), np.array(class_ids, int))


def columns_with_coefficients(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv8-seg: the same, the coefficients of the masks left alone."""
    return columns_in_a_loop([outputs[0][:, :84]], min_score)


def yolox_rows(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOX (yolox/utils/demo_utils.py, demo_postprocess): grids for all cells, every box decoded, every score multiplied."""
    rows = outputs[0][0]
    grids, strides = [], []
    for stride in STRIDES:
        side = 640 // stride
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        grids.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    grid, step = np.concatenate(grids), np.concatenate(strides)
    decoded = np.concatenate([(rows[:, :2] + grid) * step, np.exp(rows[:, 2:4]) * step], axis=1)
    return keep(corners(decoded), rows[:, 4:5] * rows[:, 5:], min_score)


def yolox_maps(outputs: Sequence[Array], min_score: float) -> Found:
    """The same from one map per level (rknn_model_zoo: examples/yolox)."""
    rows = np.concatenate([level[0].reshape(85, -1).T for level in outputs])
    return yolox_rows([rows[None]], min_score)


def anchor_maps(outputs: Sequence[Array], min_score: float, anchors: Sequence[Sequence[float]]) -> Found:
    """YOLOv5 and v7 (rknn_model_zoo: examples/yolov5, box_process, filter_boxes): three anchors on three grids."""
    boxes, objects, classes = [], [], []
    for level, sizes, stride in zip(outputs, anchors, STRIDES, strict=True):
        values = level.reshape(3, 85, *level.shape[2:])
        rows, columns = level.shape[2:]
        column, row = np.meshgrid(np.arange(columns), np.arange(rows))
        grid = np.stack((column, row))[None]
        center = (values[:, :2] * 2 - 0.5 + grid) * stride
        size = (values[:, 2:4] * 2) ** 2 * np.array(sizes).reshape(3, 2, 1, 1)
        boxes.append(_flat(np.concatenate([center - size / 2, center + size / 2], axis=1)))
        objects.append(_flat(values[:, 4:5]))
        classes.append(_flat(values[:, 5:]))
    return keep(np.concatenate(boxes), np.concatenate(classes) * np.concatenate(objects), min_score)


def split_maps(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv6, v8, v10 and PP-YOLOE, split (rknn_model_zoo: dfl, box_process, filter_boxes): all bins of all cells."""
    per_level = len(outputs) // 3
    boxes, classes = [], []
    for level, stride in enumerate(STRIDES):
        sides, scores = outputs[per_level * level], outputs[per_level * level + 1]
        distances = sides if sides.shape[1] == 4 else expected_bins(sides)
        rows, columns = sides.shape[2:]
        column, row = np.meshgrid(np.arange(columns), np.arange(rows))
        grid = np.stack((column, row))[None]
        first, second = grid + 0.5 - distances[:, :2], grid + 0.5 + distances[:, 2:]
        boxes.append(_flat(np.concatenate((first * stride, second * stride), axis=1)))
        classes.append(_flat(scores))
    return keep(np.concatenate(boxes), np.concatenate(classes), min_score)


def expected_bins(sides: NDArray[Any]) -> NDArray[Any]:
    """1 x (4 x bins) x H x W logits -> 1 x 4 x H x W: softmax over the bins, then their weighted sum."""
    n, channels, rows, columns = sides.shape
    bins = sides.reshape(n, 4, channels // 4, rows, columns)
    raised = np.exp(bins - bins.max(axis=2, keepdims=True))
    shares = raised / raised.sum(axis=2, keepdims=True)
    weighed: NDArray[Any] = (shares * np.arange(channels // 4).reshape(1, 1, -1, 1, 1)).sum(axis=2)
    return weighed


def nanodet(outputs: Sequence[Array], min_score: float) -> Found:
    """NanoDet (gfl_head.py, get_bboxes): per level classes and bins."""
    rows = np.concatenate([np.concatenate([outputs[2 * i][0], outputs[2 * i + 1][0]], axis=1) for i in range(3)])
    return _gfl(rows, min_score, STRIDES, 0.5)


def nanodet_plus(outputs: Sequence[Array], min_score: float) -> Found:
    """NanoDet-Plus (nanodet_plus_head.py, get_bboxes): everything in one output, distances from the corner."""
    return _gfl(outputs[0][0], min_score, PLUS_STRIDES, 0.0)


def _gfl(rows: NDArray[Any], min_score: float, strides: Sequence[int], offset: float) -> Found:
    centers, steps = [], []
    for stride in strides:
        side = 640 // stride
        x, y = np.meshgrid((np.arange(side) + offset) * stride, (np.arange(side) + offset) * stride)
        centers.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((side * side, 1), stride))
    center, step = np.concatenate(centers), np.concatenate(steps)
    bins = rows[:, 80:].reshape(len(rows), 4, -1)
    raised = np.exp(bins - bins.max(axis=2, keepdims=True))
    distances = (raised / raised.sum(axis=2, keepdims=True) * np.arange(bins.shape[2])).sum(axis=2) * step
    return keep(np.concatenate([center - distances[:, :2], center + distances[:, 2:]], axis=1), rows[:, :80], min_score)


def fastestdet(outputs: Sequence[Array], min_score: float) -> Found:
    """FastestDet (example/onnx-runtime/runtime.py): two loops over the grid."""
    grid = outputs[0][0].transpose(1, 2, 0)
    boxes, scores, class_ids = [], [], []
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            data = grid[row][column]
            best = np.argmax(data[5:])
            score = data[0] ** 0.6 * data[5:][best] ** 0.4
            if score >= min_score:
                width, height = 640 / (1 + np.exp(-data[3])), 640 / (1 + np.exp(-data[4]))
                x = (column + np.tanh(data[1])) / grid.shape[1] * 640
                y = (row + np.tanh(data[2])) / grid.shape[0] * 640
                boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                scores.append(score)
                class_ids.append(best)
    return Found(np.array(boxes).reshape(-1, 4), np.array(scores), np.array(class_ids, int))


def ultraface(outputs: Sequence[Array], min_score: float) -> Found:
    """UltraFace (run_video_face_detection_onnx.py, predict)."""
    scores, boxes = outputs[0][0], outputs[1][0]
    mask = scores[:, 1] > min_score
    return Found(boxes[mask] * [320, 240, 320, 240], scores[mask, 1], np.zeros(int(mask.sum()), int))


def queries(outputs: Sequence[Array], min_score: float) -> Found:
    """RT-DETR as ultralytics exports it: every query's best class, every box."""
    rows = outputs[0][0]
    return keep(corners(rows[:, :4]) * 640, rows[:, 4:], min_score)


def final_rows(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv10 and YOLO26: x1 y1 x2 y2 score class, sorted in the graph."""
    rows = outputs[0][0]
    rows = rows[rows[:, 4] >= min_score]
    return Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


def final_rows_of_seven(outputs: Sequence[Array], min_score: float) -> Found:
    """YOLOv7 end to end: picture x1 y1 x2 y2 class score, in a loop as its notebook has it."""
    kept = [row for row in outputs[0] if row[6] >= min_score]
    rows = np.array(kept).reshape(-1, 7)
    return Found(rows[:, 1:5], rows[:, 6], rows[:, 5].astype(int))


def ssd(outputs: Sequence[Array], min_score: float) -> Found:
    """SSD with suppression in the graph (OpenVINO's samples): picture class score x1 y1 x2 y2, in a loop."""
    kept = [row for row in outputs[0][0][0] if row[2] >= min_score]
    rows = np.array(kept).reshape(-1, 7)
    return Found(rows[:, 3:] * 640, rows[:, 2], rows[:, 1].astype(int))


def ssd_raw(outputs: Sequence[Array], min_score: float) -> Found:
    """SSD with its priors outside the graph (TensorFlow's order and variances): every box decoded, the background dropped."""
    priors = SSD_PRIORS
    y, x, h, w = (outputs[0][0] / np.array([10.0, 10.0, 5.0, 5.0], np.float32)).T
    size = priors[:, 2:] * np.exp(np.stack([w, h], axis=1))
    center = priors[:, :2] + np.stack([x, y], axis=1) * priors[:, 2:]
    return keep(corners(np.concatenate([center, size], axis=1)) * 300, outputs[1][0][:, 1:], min_score)


def ppyoloe(outputs: Sequence[Array], min_score: float) -> Found:
    """PP-YOLOE without suppression: boxes 1 x N x 4 and scores 1 x C x N."""
    return keep(outputs[0][0], outputs[1][0].T, min_score)


def suppress(found: Found, iou: float) -> list[int]:
    """Greedy suppression per class, in numpy, as the samples have it (rknn_model_zoo: nms_boxes): indices that stay."""
    kept: list[int] = []
    for class_id in sorted(set(found.class_ids.tolist())):
        own = np.flatnonzero(found.class_ids == class_id)
        x1, y1, x2, y2 = found.boxes[own].T
        areas = (x2 - x1) * (y2 - y1)
        order = found.scores[own].argsort()[::-1]
        while order.size:
            best, rest = order[0], order[1:]
            kept.append(int(own[best]))
            width = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]))
            height = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]))
            shared = width * height
            order = rest[shared / (areas[best] + areas[rest] - shared) <= iou]
    return kept


def _flat(maps: NDArray[Any]) -> NDArray[Any]:
    """(n, values, H, W) -> (n H W, values)."""
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])
