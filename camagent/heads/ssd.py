"""SSD with suppression in the graph: OpenVINO's single output, and the four of TFLite's postprocessing."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import Arrays, HeadContext, read_params, require_outputs
from camagent.heads.cells import BoxUnit, as_float32, only_known_classes, rows_above, unit_scale

_NAME = "ssd"
_COLUMNS = 7  # picture class score x1 y1 x2 y2


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "normalized"
    first_class: Annotated[int, msgspec.Meta(ge=0)] = 0  # the id of the first label; 1 where 0 is a background without a label


class Ssd:
    """Decodes 1 x 1 x N x 7, or boxes 1 x N x 4, class ids 1 x N, scores 1 x N and their count; boxes 0..1 of the picture.

    A row of seven is picture, class id, score 0..1, x1 y1 x2 y2; a picture other than 0 is no row (OpenVINO:
    DetectionOutput). The boxes of the four are y1 x1 y2 x2 (TensorFlow: TFLite_Detection_PostProcess), and their order is
    boxes, ids, scores, count; where the scores hold nothing but whole numbers and the ids do not, these two have changed
    places. The number of classes cannot be read off these outputs: a row whose id is no label's is background.
    """

    __slots__ = ("_classes", "_four", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        self._four = _four(context)
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        single = len(shape) == 4 and shape[3] == _COLUMNS and shape[:2] == (1, 1)
        wanted = "one output 1 x 1 x N x 7, or four: 1 x N x 4, 1 x N, 1 x N and 1"
        require_outputs(context, _NAME, wanted, fits=single or self._four is not None)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs as checked. Boxes in pixels of the network input, in row order, not clipped."""
        ids, given, boxes = _rows_of_seven(outputs[0]) if self._four is None else _of_four(outputs, self._four)
        scores, class_ids = only_known_classes(ids - self._params.first_class, given, self._classes)
        scale = unit_scale(self._params.boxes, boxes[:, 2], self._width, self._height)
        return rows_above(min_score, scores, class_ids, boxes, scale, order="xyxy")


def _four(context: HeadContext) -> tuple[int, int, int, int] | None:
    """The outputs that are boxes, two of one value per row, and the count."""
    shapes = [spec.shape for spec in context.outputs]
    boxes = [index for index, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4]
    if len(shapes) != 4 or len(boxes) != 1:
        return None
    count = [index for index, shape in enumerate(shapes) if len(shape) == 1 or shape == (1, 1)][-1:]
    flat = [index for index, shape in enumerate(shapes) if len(shape) == 2 and index not in count]
    rows = {shapes[index][1] for index in (*boxes, *flat)} - {None}
    if len(count) != 1 or len(flat) != 2 or len(rows) > 1:
        return None
    return boxes[0], flat[0], flat[1], count[0]


def _rows_of_seven(output: NDArray[Any]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ids, scores and boxes, the scores of rows behind the end being NaN."""
    rows = as_float32(output)[0, 0]
    return rows[:, 1], np.where(rows[:, 0] == 0, rows[:, 2], np.float32(np.nan)), rows[:, 3:]


def _of_four(outputs: Arrays, four: tuple[int, int, int, int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ids, scores and boxes, the scores of rows beyond the count being NaN."""
    boxes, ids, scores = (as_float32(outputs[index])[0] for index in four[:3])
    if _whole(scores) and not _whole(ids):
        ids, scores = scores, ids
    count = float(np.asarray(outputs[four[3]], dtype=np.float64).reshape(-1)[0])
    return ids, np.where(np.arange(len(scores)) < count, scores, np.float32(np.nan)), boxes[:, [1, 0, 3, 2]]


def _whole(values: FloatArray) -> bool:
    return bool((values == np.rint(values)).all())
