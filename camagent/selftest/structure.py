"""Does a head's output have its family's structure? Scores that may be probabilities, and boxes near the cells that made them.

No known answer is needed for that, so it also tells crowds of nonsense from a crowd: a model that sees three hundred things,
none of them near the cell that says so, sees nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest.anatomy import is_known, parts_of
from firmware_pkg.manifest import Manifest

_STRIDES = (8, 16, 32, 64)
_NEAR = 4.0  # strides: ultralytics' anchors-free boxes reach 16 strides, their centres rarely a quarter of that
_ABOVE_ONE = 1.05
_LIKELY, _MOST_CELLS = 0.5, 0.5
_TWICE = (0.49, 0.74)
_CELLS = 60
_SUM = 0.06  # what rounding may add to a sum of probabilities
_QUIET = 0.05
_CORNERS = 0.8  # correlation
STRANGE, JUMP = 0.6, 0.3  # of a family's look, 0..1: below it, and what another order must add to it


def scores_possible(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> bool:
    """Whether the deployed reading takes numbers for probabilities that may be some."""
    name, params = manifest.head.name, manifest.head.params
    if not is_known(name):  # scores and boxes lie in one heap, or these are no scores
        return True
    kind = params.get("objectness" if name == "fastestdet" else "scores", "probabilities")
    if kind != "probabilities":
        return True
    values = parts_of(name, outputs).scores[0].reshape(-1)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return True
    low, high = float(finite.min()), float(finite.max())
    if name == "ultraface" and float((best_per_cell(manifest, outputs) > _LIKELY).mean()) > _MOST_CELLS:
        return False  # nearly everything is a thing: that is the background's column
    return high <= _ABOVE_ONE and not (low >= _TWICE[0] and high <= _TWICE[1])


def boxes_possible(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> bool:
    """Whether the deployed reading may be the one that these boxes were written for, as far as they tell by themselves."""
    name, params = manifest.head.name, manifest.head.params
    boxes = parts_of(name, outputs).flat_boxes()
    if name == "fastestdet" and params.get("boxes", "raw") == "raw":  # raw values lie on both sides of 0
        return not boxes.size or bool(boxes.min() < -_SUM or boxes.max() > 1 + _SUM)
    tie = size_follows_place(manifest, outputs)
    return tie is None or (tie >= _CORNERS) == (params.get("order", "xywh") == "xyxy")


def size_follows_place(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> float | None:
    """Correlation of the third box value with the cell's place: near 1 where it is a corner, near 0 where it is a width."""
    if manifest.head.name not in ("yolov5", "yolov8"):
        return None
    parts = parts_of(manifest.head.name, outputs)
    if not parts.boxes or parts.boxes[0].ndim != 3:
        return None
    third = np.asarray(parts.boxes[0][0, :, 2], np.float64)
    places, _ = _grid(manifest.input.width, manifest.input.height, 3 if manifest.head.name == "yolov5" else 1)
    if len(places) != len(third) or not np.isfinite(third).all() or not np.ptp(third):
        return None
    return float(np.corrcoef(third, places[:, 0])[0, 1])


def signature(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> float:
    """How much these numbers look like the head's family, 0..1: probabilities that sum to 1, boxes near cells, whole areas."""
    name = manifest.head.name
    parts = parts_of(name, outputs)
    with np.errstate(invalid="ignore"):
        if name == "fastestdet" and len(parts.scores) == 2 and parts.scores[1].size:
            objectness, classes = parts.scores[0][:, 0], parts.scores[1].sum(axis=1)
            return float(((np.abs(classes - 1) < _SUM) & (objectness > -_SUM) & (objectness < 1 + _SUM)).mean())
        if name == "ultraface" and parts.scores[0].ndim == 3 and parts.scores[0].size:
            axis = 2 if parts.scores[0].shape[2] == 2 else 1
            return float((np.abs(parts.scores[0].sum(axis=axis) - 1) < _SUM).mean())
        if name in ("yolov5", "yolov8"):
            scores = parts.flat_scores()
            if not scores.size:
                return 0.0
            near = near_cells(manifest, outputs, _QUIET)
            return float(((scores > -_SUM) & (scores < 1 + _SUM)).mean()) * (1.0 if near is None else near)
        if name == "semantic" and outputs[0].ndim == 4 and outputs[0].shape[1] > 1:
            ids = outputs[0][0].argmax(axis=0)
            torn = float((ids[:, 1:] != ids[:, :-1]).mean() + (ids[1:] != ids[:-1]).mean()) / 2
            return max(0.0, 1 - 8 * torn)
    return 1.0


def best_per_cell(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The score of every cell as exported, flat; empty for maps and classifications."""
    name = manifest.head.name
    parts = parts_of(name, outputs)
    first = np.asarray(parts.scores[0], np.float64) if parts.scores else np.zeros(0)
    if name == "fastestdet" and len(parts.scores) == 2 and parts.scores[1].size:
        return np.asarray(first[:, 0] * parts.scores[1].max(axis=1)).reshape(-1)
    if name == "ultraface" and first.ndim == 3:
        face = 1 - int(manifest.head.params.get("background", 0))
        return np.asarray(first[0, :, face] if first.shape[2] == 2 else first[0, face]).reshape(-1)
    if name == "yolov5" and first.ndim == 3 and first.shape[2] > 1:
        return np.asarray(first[0, :, 0] * first[0, :, 1:].max(axis=1))
    return np.asarray(first[0].max(axis=1)) if name == "yolov8" and first.ndim == 3 and first.shape[2] else np.zeros(0)


def near_cells(manifest: Manifest, outputs: Sequence[NDArray[Any]], floor: float) -> float | None:
    """Share of the best cells whose box lies near them, 0..1; None where the family's cells are not known."""
    found = cells(manifest, outputs, floor)
    if found is None or not len(found["cell"]):
        return None
    away = np.abs(found["center"] - found["cell"]).max(axis=1) / found["stride"]
    return float((away <= _NEAR).mean())


def cells(manifest: Manifest, outputs: Sequence[NDArray[Any]], floor: float) -> Mapping[str, NDArray[np.float64]] | None:
    """The best cells: their own place, their box's centre (network pixels), stride and score; ultralytics' cell order."""
    spec, head = manifest.input, manifest.head
    if head.name not in ("yolov5", "yolov8"):
        return None
    parts = parts_of(head.name, outputs)
    if not parts.boxes or parts.boxes[0].ndim != 3:
        return None
    boxes, scores = np.asarray(parts.boxes[0][0], np.float64), np.asarray(parts.scores[0][0], np.float64)
    places, strides = _grid(spec.width, spec.height, 3 if head.name == "yolov5" else 1)
    if len(places) != len(boxes):
        return None
    best = scores[:, 0] * scores[:, 1:].max(axis=1) if head.name == "yolov5" else scores.max(axis=1)
    best = np.nan_to_num(best)
    order = np.argsort(-best, kind="stable")[: _CELLS if floor else None]
    order = order[best[order] >= floor]
    centers = (boxes[:, :2] + boxes[:, 2:4]) / 2 if head.params.get("order") == "xyxy" else boxes[:, :2]
    unit = head.params.get("boxes", "auto")
    if unit == "normalized" or (unit == "auto" and np.nanmax(np.abs(centers), initial=0) <= 1.5):
        centers = centers * [spec.width, spec.height]
    return {"cell": places[order], "center": np.nan_to_num(centers[order]), "stride": strides[order], "score": best[order]}


@dataclass(frozen=True, slots=True)
class Drift:
    """How boxes lie to the cells that made them, over all cells: centre = slope x cell + offset, per axis."""

    slope: tuple[float, float]
    offset: tuple[float, float]  # network pixels
    straight: float  # the lower of the two correlations


def drift(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> Drift | None:
    """None where the family's cells are not known. A sound export has slopes of 1 and offsets of 0, whatever it sees."""
    found = cells(manifest, outputs, 0.0)
    if found is None or len(found["cell"]) < _CELLS:
        return None
    if not (np.ptp(found["center"], axis=0) > 0).all():
        return None
    lines = [np.polyfit(found["cell"][:, axis], found["center"][:, axis], 1) for axis in (0, 1)]
    fits = [np.corrcoef(found["cell"][:, axis], found["center"][:, axis])[0, 1] for axis in (0, 1)]
    (slope_x, offset_x), (slope_y, offset_y) = ((float(slope), float(offset)) for slope, offset in lines)
    return Drift((slope_x, slope_y), (offset_x, offset_y), float(np.nan_to_num(min(fits))))


def _grid(width: int, height: int, anchors: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell centres and strides of P3..P5, level by level, anchor by anchor, row by row (ultralytics: Detect)."""
    places, strides = [], []
    for stride in _STRIDES[:3]:
        rows, columns = np.mgrid[0 : -(-height // stride), 0 : -(-width // stride)]
        level = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride
        places.append(np.tile(level, (anchors, 1)))
        strides.append(np.full(len(level) * anchors, float(stride)))
    return np.concatenate(places), np.concatenate(strides)
