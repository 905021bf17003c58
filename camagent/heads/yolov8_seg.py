"""YOLOv8 and YOLO11 with instance masks, raw: YOLOv8's cells with mask coefficients, and prototypes (ultralytics)."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import BoxOrder, BoxUnit, ScoreKind, as_float32, corners, grid_cells, rows_or_columns, unit_scale
from camagent.heads.instances import find_prototypes
from camagent.heads.levels import score_classes

_NAME = "yolov8-seg"
_BOX = 4  # channels before the classes


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xywh"
    scores: ScoreKind = "probabilities"


class YoloV8Seg:
    """Decodes 1 x (4 + classes + k) x N, or 1 x N x (4 + classes + k), and prototypes 1 x k x H x W, in any order; k = 32.

    Boxes and scores as yolov8 has them; the last k values of a cell are its mask's coefficients, signed (ultralytics:
    nn/modules/head.py, Segment). They are read for kept cells only.
    """

    __slots__ = ("_by_row", "_cells", "_classes", "_height", "_params", "_prototypes", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        prototypes = find_prototypes(context) if len(context.outputs) == 2 else None
        count = prototypes.count if prototypes else 0
        self._cells = 1 - prototypes.output if prototypes else 0
        shape = context.outputs[self._cells].shape if prototypes else ()
        counts = {None, *grid_cells(context.width, context.height)}
        reading = rows_or_columns(shape, counts, _BOX + 1 + count, _BOX + context.classes + count)
        grid = f"N cells of a pyramid over {context.width} x {context.height}"
        wanted = f"1 x (4 + classes + k) x N or 1 x N x (4 + classes + k), {grid}, and prototypes 1 x k x H x W"
        require_outputs(context, _NAME, wanted, fits=reading is not None)
        assert reading is not None
        assert prototypes is not None
        channels, self._by_row = reading
        self._prototypes = prototypes
        where = f"{describe([context.outputs[self._cells]])}: 4 + classes + {count}"
        require_classes(context, _NAME, channels - _BOX - count, where)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Two outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        cells = as_float32(outputs[self._cells])[0]
        if self._by_row:
            cells = as_float32(cv2.transpose(np.ascontiguousarray(cells)))
        behind = _BOX + self._classes
        found = score_classes([cells[_BOX:behind]], self._params.scores, min_score)
        scale = unit_scale(self._params.boxes, cells[0], self._width, self._height)
        boxes = corners(cells[:_BOX, found.cells].T, scale, self._params.order)
        return found.candidates(boxes, self._prototypes.parts(outputs, cells[behind:, found.cells].T))
