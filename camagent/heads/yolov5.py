"""YOLOv5, raw: three anchors per cell, boxes decoded in the graph (ultralytics/yolov5)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import (
    SEEN_SCORE,
    Arrays,
    HeadContext,
    best_score,
    describe,
    no_candidates,
    read_params,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import (
    BoxOrder,
    BoxUnit,
    ScoreKind,
    activated,
    as_float32,
    corners,
    count_seen,
    grid_cells,
    product,
    unit_scale,
)

_NAME = "yolov5"
_ANCHORS = 3  # per cell
_OBJECT = 4  # the column of the objectness
_BOX = 5  # columns before the classes


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xywh"
    scores: ScoreKind = "probabilities"
    score: Literal["product", "objectness"] = "product"  # objectness alone where the class column is a constant


class YoloV5:
    """Decodes 1 x N x (5 + classes), N = 3 anchors per cell: x y w h in pixels or 0..1, objectness and classes 0..1.

    score = objectness * best class (ultralytics/yolov5: models/yolo.py, Detect; utils/general.py, non_max_suppression).
    Older exports also give the three undecoded maps, 1 x 3 x H x W x (5 + classes); they are left alone.

    A score cannot exceed its objectness, so rows whose objectness stays below the threshold are left alone: their class
    columns are never read. Exports that end elsewhere are told by `order`, `scores` and `score`.
    """

    __slots__ = ("_height", "_output", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        decoded = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 3]
        extra = [spec for spec in context.outputs if len(spec.shape) not in (3, 5)]
        _, rows, columns = context.outputs[decoded[0]].shape if decoded else (None, None, None)
        known = {None, *(_ANCHORS * cells for cells in grid_cells(context.width, context.height))}
        fits = len(decoded) == 1 and not extra and rows in known and columns is not None and columns > _BOX
        grid = f"N = 3 anchors per cell of a pyramid over {context.width} x {context.height}"
        require_outputs(context, _NAME, f"one output 1 x N x (5 + classes), {grid}", fits=fits)
        assert columns is not None
        self._output = decoded[0]
        require_classes(context, _NAME, columns - _BOX, f"{describe([context.outputs[self._output]])}: 5 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """The decoded output, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = _as_usual(as_float32(outputs[self._output])[0], self._params)
        floor = min(min_score, SEEN_SCORE)
        likely = rows[rows[:, _OBJECT] >= floor]
        scores = _scores(likely)
        seen, score_max = count_seen(scores), _score_max(rows, scores, floor)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        boxes = corners(likely[kept, :_OBJECT], scale, self._params.order)
        class_ids = likely[kept, _BOX:].argmax(axis=1)
        return Candidates(boxes, scores[kept], class_ids, seen=seen, score_max=score_max)


def _as_usual(rows: FloatArray, params: _Params) -> FloatArray:
    """An unusual export's rows as the usual one gives them; the usual ones are not copied."""
    if params.scores == "probabilities" and params.score == "product":
        return rows
    scores = activated(rows[:, _OBJECT:], params.scores)
    if params.score == "objectness":  # which class it is, the columns still say; how sure, they do not
        ones = (scores[:, 1:] == scores[:, 1:].max(axis=1, keepdims=True)).astype(np.float32)
        scores = np.concatenate([scores[:, :1], ones], axis=1)
    return np.concatenate([rows[:, :_OBJECT], scores], axis=1)


def _scores(rows: FloatArray) -> FloatArray:
    """(n, 5 + classes) -> (n,) in 0..1."""
    return product(rows[:, _OBJECT], rows[:, _BOX:].max(axis=1))


def _score_max(rows: FloatArray, likely: FloatArray, floor: float) -> float:
    """The best score of all rows, given those of the rows whose objectness reaches `floor`.

    In a quiet frame the best row may be below the floor. The row with the highest objectness sets a mark then, and only rows
    whose objectness is above that mark can still beat it.
    """
    best = best_score(likely)
    if best >= floor:
        return best
    objectness = np.fmax(rows[:, _OBJECT], 0.0)
    top = int(objectness.argmax())
    mark = max(best, best_score(_scores(rows[top : top + 1])))
    return max(mark, best_score(_scores(rows[objectness > mark])))
