"""YOLOv6, raw: no anchors, a column of ones where others have the objectness (meituan/YOLOv6)."""

from __future__ import annotations

import msgspec
import numpy as np

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, no_candidates, read_params, require_classes, require_outputs
from camagent.heads.cells import BoxOrder, BoxUnit, ScoreKind, as_float32, corners, grid_cells, unit_scale
from camagent.heads.levels import columns_of, score_classes

_NAME = "yolov6"
_ONES = 4  # the column that is always 1
_BOX = 5  # columns before the classes
_ONE = 0.99  # and half precision


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xywh"
    scores: ScoreKind = "probabilities"


class YoloV6:
    """Decodes 1 x N x (5 + classes), N = the cells of a pyramid: x y w h in pixels or 0..1, a one, classes 0..1.

    score = best class (meituan/YOLOv6: yolov6/models/effidehead.py). The ones tell this family from YOLOX, whose outputs have
    the same shape: where the column holds anything else, the output is not YOLOv6's, and there are no candidates.
    """

    __slots__ = ("_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        _, rows, columns = shape if len(shape) == 3 else (None, None, None)
        known = {None, *grid_cells(context.width, context.height)}
        fits = columns is not None and columns > _BOX and rows in known
        grid = f"N cells of a pyramid over {context.width} x {context.height}"
        require_outputs(context, _NAME, f"one output 1 x N x (5 + classes), {grid}", fits=fits)
        assert columns is not None
        require_classes(context, _NAME, columns - _BOX, f"{describe(context.outputs)}: 5 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[0])[0]
        ones = rows[:, _ONES]
        if np.fmin.reduce(ones, initial=1.0) < _ONE or np.fmax.reduce(ones, initial=1.0) > 2 - _ONE:
            return no_candidates()
        found = score_classes([columns_of(rows)[_BOX:]], self._params.scores, min_score)
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        return found.candidates(corners(rows[found.cells, :4], scale, self._params.order))
