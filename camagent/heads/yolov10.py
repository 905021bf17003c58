"""YOLOv10 and YOLO26, end to end: the graph itself keeps the best rows, and needs no suppression (THU-MIG/yolov10)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, read_params, require_outputs
from camagent.heads.cells import BoxOrder, BoxUnit, as_float32, only_known_classes, rows_above, unit_scale

_NAME = "yolov10"
_COLUMNS = 6  # x1 y1 x2 y2 score class
_MOST_ROWS = 1000  # 300 as a rule; grids have thousands


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder = "xyxy"


class YoloV10:
    """Decodes 1 x N x 6, N = 300 as a rule: x1 y1 x2 y2 in pixels or 0..1, score 0..1, class id; sorted by score.

    (THU-MIG/yolov10: ultralytics/nn/modules/head.py; ultralytics: nn/modules/head.py, postprocess.) The number of classes
    cannot be read off these outputs: a row whose id is no label's is background.
    """

    __slots__ = ("_classes", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        fits = len(shape) == 3 and shape[2] == _COLUMNS and (shape[1] is None or shape[1] <= _MOST_ROWS)
        require_outputs(context, _NAME, f"one output 1 x N x 6, N <= {_MOST_ROWS}", fits=fits)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[0])[0]
        scores, class_ids = only_known_classes(rows[:, 5], rows[:, 4], self._classes)
        scale = unit_scale(self._params.boxes, rows[:, 2], self._width, self._height)
        return rows_above(min_score, scores, class_ids, rows[:, :4], scale, order=self._params.order)
