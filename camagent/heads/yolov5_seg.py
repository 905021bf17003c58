"""YOLOv5 with instance masks, raw: YOLOv5's rows with mask coefficients, and prototypes (ultralytics/yolov5)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.anchors import BOX, COUNT
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import BoxOrder, BoxUnit, ScoreKind, as_float32, corners, grid_cells, unit_scale
from camagent.heads.instances import find_prototypes
from camagent.heads.levels import score_objectness

_NAME = "yolov5-seg"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xywh"
    scores: ScoreKind = "probabilities"


class YoloV5Seg:
    """Decodes 1 x N x (5 + classes + k), N = 3 anchors per cell, and prototypes 1 x k x H x W, in any order; k = 32.

    Boxes and scores as yolov5 has them; the last k values of a row are its mask's coefficients, signed (ultralytics/yolov5:
    models/yolo.py, Segment). They are read for kept rows only. Undecoded maps beside them, 1 x 3 x H x W x values, are left
    alone.
    """

    __slots__ = ("_classes", "_height", "_params", "_prototypes", "_rows", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        prototypes = find_prototypes(context)
        count = prototypes.count if prototypes else 0
        flat = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 3]
        others = [spec for spec in context.outputs if len(spec.shape) not in (3, 5)]
        _, rows, columns = context.outputs[flat[0]].shape if flat else (None, None, None)
        known = {None, *(COUNT * cells for cells in grid_cells(context.width, context.height))}
        fits = prototypes is not None and len(flat) == len(others) == 1
        fits = fits and rows in known and columns is not None and columns > BOX + count
        grid = f"N = 3 anchors per cell of a pyramid over {context.width} x {context.height}"
        require_outputs(context, _NAME, f"1 x N x (5 + classes + k), {grid}, and prototypes 1 x k x H x W", fits=fits)
        assert columns is not None
        assert prototypes is not None
        self._rows, self._prototypes = flat[0], prototypes
        require_classes(context, _NAME, columns - BOX - count, f"{describe([context.outputs[flat[0]]])}: 5 + classes + {count}")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[self._rows])[0]
        behind = BOX + self._classes
        found = score_objectness([rows[:, :behind]], self._params.scores, min_score)
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        boxes = corners(rows[found.cells, :4], scale, self._params.order)
        return found.candidates(boxes, self._prototypes.parts(outputs, rows[found.cells, behind:]))
