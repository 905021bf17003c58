"""YOLOv7 with suppression in the graph, the form for ONNX Runtime (WongKinYiu/yolov7, export.py --end2end)."""

from __future__ import annotations

import msgspec
import numpy as np

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, read_params, require_outputs
from camagent.heads.cells import BoxUnit, as_float32, only_known_classes, rows_above, unit_scale

_NAME = "yolov7-end2end"
_COLUMNS = 7  # picture x1 y1 x2 y2 class score


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "pixels"  # few rows, or one, are not enough to find the unit by


class YoloV7End2End:
    """Decodes M x 7, one row per object, M from 0: picture of the batch, x1 y1 x2 y2 in pixels, class id, score 0..1.

    (WongKinYiu/yolov7: models/experimental.py, ONNX_ORT.) The graph has a threshold of its own, 0.25 unless it was exported
    with another: nothing below it is ever seen. The number of classes cannot be read off these outputs: a row whose id is no
    label's, or that belongs to another picture than the first, is background.
    """

    __slots__ = ("_classes", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        fits = len(context.outputs) == 1 and len(context.outputs[0].shape) == 2 and context.outputs[0].shape[1] == _COLUMNS
        require_outputs(context, _NAME, "one output M x 7", fits=fits)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[0])
        scores, class_ids = only_known_classes(rows[:, 5], rows[:, 6], self._classes)
        scores = np.where(rows[:, 0] == 0, scores, np.float32(np.nan))
        scale = unit_scale(self._params.boxes, rows[:, 3], self._width, self._height)
        return rows_above(min_score, scores, class_ids, rows[:, 1:5], scale, order="xyxy")
