"""Does a head's output have its family's structure? Scores that may be probabilities, and boxes near the cells that made them.

No known answer is needed for that, so it also tells crowds of nonsense from a crowd: a model that sees three hundred things,
none of them near the cell that says so, sees nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest.anatomy import parts_of
from firmware_pkg.manifest import Manifest

_STRIDES = (8, 16, 32, 64)
_NEAR = 4.0  # strides: ultralytics' anchors-free boxes reach 16 strides, their centres rarely a quarter of that
_ABOVE_ONE = 1.05
_TWICE = (0.49, 0.74)
_CELLS = 60


def scores_possible(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> bool:
    """Whether the deployed reading takes numbers for probabilities that may be some."""
    name, params = manifest.head.name, manifest.head.params
    if name in ("semantic", "classify"):
        return True
    kind = params.get("objectness" if name == "fastestdet" else "scores", "probabilities")
    if kind != "probabilities":
        return True
    values = parts_of(name, outputs).scores[0].reshape(-1)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return True
    low, high = float(finite.min()), float(finite.max())
    return high <= _ABOVE_ONE and not (low >= _TWICE[0] and high <= _TWICE[1])


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
    order = np.argsort(-best, kind="stable")[:_CELLS]
    order = order[best[order] >= floor]
    centers = (boxes[:, :2] + boxes[:, 2:4]) / 2 if head.params.get("order") == "xyxy" else boxes[:, :2]
    unit = head.params.get("boxes", "auto")
    if unit == "normalized" or (unit == "auto" and np.nanmax(np.abs(centers), initial=0) <= 1.5):
        centers = centers * [spec.width, spec.height]
    return {"cell": places[order], "center": np.nan_to_num(centers[order]), "stride": strides[order], "score": best[order]}


def _grid(width: int, height: int, anchors: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell centres and strides of P3..P5, level by level, anchor by anchor, row by row (ultralytics: Detect)."""
    places, strides = [], []
    for stride in _STRIDES[:3]:
        rows, columns = np.mgrid[0 : -(-height // stride), 0 : -(-width // stride)]
        level = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride
        places.append(np.tile(level, (anchors, 1)))
        strides.append(np.full(len(level) * anchors, float(stride)))
    return np.concatenate(places), np.concatenate(strides)
