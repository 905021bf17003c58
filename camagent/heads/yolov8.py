"""YOLOv8 and YOLO11, raw: no anchors, no objectness, boxes decoded in the graph (ultralytics)."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from camagent.frame import Candidates
from camagent.heads.base import (
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
    rows_or_columns,
    unit_scale,
)

_NAME = "yolov8"
_BOX = 4  # channels before the classes


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xywh"
    scores: ScoreKind = "probabilities"


class YoloV8:
    """Decodes 1 x (4 + classes) x N, or 1 x N x (4 + classes): x y w h in pixels or 0..1, sigmoided class scores.

    Or both apart, 1 x 4 x N and then 1 x classes x N, so that each has a scale of its own in 8 bits (`model optimize`,
    split-heads).
    score = best class (ultralytics: nn/modules/head.py, Detect). Boxes are pixels of the network input, in TFLite and EdgeTPU
    exports 0..1 of it; which it is, is found at every frame unless `boxes` says so. Exports that end elsewhere are told by
    `order` and `scores`.

    One maximum per cell, then argmax at the kept cells only: an eighth of the time of argmax over everything. Rows of classes
    are turned into columns first: copy and maximum together take half the time of a maximum over the short axis.
    """

    __slots__ = ("_apart", "_by_row", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        self._apart = len(context.outputs) == 2
        grid = f"N cells of a pyramid over {context.width} x {context.height}"
        wanted = f"one output 1 x (4 + classes) x N or 1 x N x (4 + classes), or two, 1 x 4 x N and 1 x classes x N, {grid}"
        reading = _pair(context) if self._apart else _whole(context)
        require_outputs(context, _NAME, wanted, fits=reading is not None)
        assert reading is not None
        channels, self._by_row = reading
        require_classes(context, _NAME, channels - _BOX, f"{describe(context.outputs)}: 4 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        cells = as_float32(outputs[0])[0]
        if self._by_row:
            cells = as_float32(cv2.transpose(cells))
        classes = as_float32(outputs[1])[0] if self._apart else cells[_BOX:]
        scores = activated(classes.max(axis=0), self._params.scores)
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        scale = unit_scale(self._params.boxes, cells[0], self._width, self._height)
        boxes = corners(cells[:_BOX, kept].T, scale, self._params.order)
        class_ids = classes[:, kept].argmax(axis=0)
        return Candidates(boxes, scores[kept], class_ids, seen=seen, score_max=score_max)


def _pair(context: HeadContext) -> tuple[int, bool] | None:
    """As `_whole`, of boxes and classes in outputs of their own."""
    boxes, classes = (spec.shape for spec in context.outputs)
    if len(boxes) != 3 or len(classes) != 3 or boxes[1] != _BOX or classes[1] is None:
        return None
    cells = {None, *grid_cells(context.width, context.height)}
    same = boxes[2] == classes[2] or None in {boxes[2], classes[2]}
    return (_BOX + classes[1], False) if same and {boxes[2], classes[2]} <= cells else None


def _whole(context: HeadContext) -> tuple[int, bool] | None:
    """(channels, whether a cell is a row) of the single output; None where it is none of this family."""
    shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
    counts = {None, *grid_cells(context.width, context.height)}
    return rows_or_columns(shape, counts, _BOX + 1, _BOX + context.classes)
