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

    score = best class (ultralytics: nn/modules/head.py, Detect). Boxes are pixels of the network input, in TFLite and EdgeTPU
    exports 0..1 of it; which it is, is found at every frame unless `boxes` says so. Exports that end elsewhere are told by
    `order` and `scores`.

    One maximum per cell, then argmax at the kept cells only: an eighth of the time of argmax over everything. Rows of classes
    are turned into columns first: copy and maximum together take half the time of a maximum over the short axis.
    """

    __slots__ = ("_by_row", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        counts = {None, *grid_cells(context.width, context.height)}
        reading = rows_or_columns(shape, counts, _BOX + 1, _BOX + context.classes)
        grid = f"N cells of a pyramid over {context.width} x {context.height}"
        wanted = f"one output 1 x (4 + classes) x N or 1 x N x (4 + classes), {grid}"
        require_outputs(context, _NAME, wanted, fits=reading is not None)
        assert reading is not None
        channels, self._by_row = reading
        require_classes(context, _NAME, channels - _BOX, f"{describe(context.outputs)}: 4 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        cells = as_float32(outputs[0])[0]
        if self._by_row:
            cells = as_float32(cv2.transpose(cells))
        scores = activated(cells[_BOX:].max(axis=0), self._params.scores)
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        scale = unit_scale(self._params.boxes, cells[0], self._width, self._height)
        boxes = corners(cells[:_BOX, kept].T, scale, self._params.order)
        class_ids = cells[_BOX:, kept].argmax(axis=0)
        return Candidates(boxes, scores[kept], class_ids, seen=seen, score_max=score_max)
