"""RT-DETR and RF-DETR: a transformer's queries, no grid, no suppression (lyuwenyu/RT-DETR, ultralytics, roboflow/rf-detr)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import (
    BoxOrder,
    BoxUnit,
    ScoreKind,
    activated,
    as_float32,
    grid_cells,
    only_known_classes,
    rows_above,
    sigmoid,
    unit_scale,
)
from camagent.heads.maps import highest, within_unit

_NAME = "rtdetr"
_BOX = 4
_MOST_ROWS = 1000  # queries: 300 as a rule
_MOSTLY = 0.5


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    order: BoxOrder | None = None  # as the form has it: xywh for queries, xyxy for labels, boxes, scores
    scores: ScoreKind = "probabilities"
    activation: Literal["auto", "none", "sigmoid", "softmax"] = "auto"  # still to be applied to boxes and classes apart
    no_object: Literal["first", "last"] = "first"  # where these have one class more than there are labels


class RtDetr:
    """Decodes queries, 1 x N x (4 + classes), or labels 1 x N, boxes 1 x N x 4 and scores 1 x N, or boxes and classes apart.

    N = 300 as a rule. Queries: x y w h, 0..1 of the picture, class scores 0..1; score = best class (ultralytics:
    nn/modules/head.py, RTDETRDecoder).
    The authors' export (lyuwenyu/RT-DETR: rtdetr_pytorch/tools/export_onnx.py) has chosen classes and scaled the corners
    x1 y1 x2 y2 to the size that it was given as a second input: the backend gives the network's. Labels are the integers; where
    both outputs are floats, they come first. A label that is not in the list is background.
    Apart: x y w h 1 x N x 4 and logits 1 x N x classes, as RF-DETR leaves them; one column more is no label's. They are those
    of sigmoids (roboflow/rf-detr: models/lwdetr.py, PostProcess), or of a softmax where that column is ahead in most queries.
    """

    __slots__ = (
        "_boxes", "_classes", "_height", "_is_apart", "_labels", "_order", "_params", "_scores", "_spare", "_width",
    )  # fmt: skip

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        chosen, apart = _chosen(context), _apart(context)
        many = f"N <= {_MOST_ROWS} and no pyramid's"
        wanted = f"1 x N x (4 + classes), or 1 x N, 1 x N x 4 and 1 x N, or 1 x N x 4 and 1 x N x classes, {many}"
        require_outputs(context, _NAME, wanted, fits=chosen is not None or apart is not None or _are_queries(context))
        self._labels: int | None = chosen[0] if chosen else None
        self._boxes, self._scores = chosen[1:] if chosen else apart or (0, 0)
        order: BoxOrder = "xywh" if chosen is None else "xyxy"
        self._order = self._params.order or order
        columns, self._spare = context.outputs[self._scores].shape[-1], False
        if chosen is None and columns is not None:
            self._spare = apart is not None and columns == 1 + context.classes
            classes = columns - (self._spare if apart else _BOX)
            require_classes(context, _NAME, classes, f"{describe(context.outputs)}{'' if apart else ': 4 + classes'}")
        self._is_apart = apart is not None

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[self._boxes])[0]
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        if self._is_apart:
            planes = self._planes(as_float32(outputs[self._scores])[0])
            return rows_above(min_score, planes.max(axis=1), planes.argmax(axis=1), rows, scale, order=self._order)
        if self._labels is None:
            scores = activated(rows[:, _BOX:].max(axis=1), self._params.scores)
            return rows_above(min_score, scores, rows[:, _BOX:].argmax(axis=1), rows[:, :_BOX], scale, order=self._order)
        given = activated(as_float32(outputs[self._scores])[0], self._params.scores)
        scores, class_ids = only_known_classes(as_float32(outputs[self._labels])[0], given, self._classes)
        return rows_above(min_score, scores, class_ids, rows, scale, order=self._order)

    def _planes(self, values: FloatArray) -> FloatArray:
        """Classes of every query as exported -> (N, classes) 0..1."""
        first = self._spare and self._params.no_object == "first"
        kept = values[:, 1:] if first else values[:, : self._classes]
        activation = self._params.activation
        if activation == "auto":
            activation = "none" if within_unit(values, highest(values)) else "sigmoid"
            spare = values[:, 0 if first else -1]
            if activation == "sigmoid" and self._spare and float((spare > kept.max(axis=1)).mean()) > _MOSTLY:
                activation = "softmax"
        if activation == "softmax":
            with np.errstate(invalid="ignore", over="ignore"):
                odds = np.exp(values - values.max(axis=1, keepdims=True))
                shares: FloatArray = odds / odds.sum(axis=1, keepdims=True)
            return shares[:, 1:] if first else shares[:, : self._classes]
        return sigmoid(kept) if activation == "sigmoid" else kept


def _are_queries(context: HeadContext) -> bool:
    shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
    if len(shape) != 3 or shape[2] is None or shape[2] <= _BOX:
        return False
    is_grid = shape[2] in set(grid_cells(context.width, context.height)) and shape[2] != _BOX + context.classes
    return _few(shape[1], context) and not is_grid


def _few(rows: int | None, context: HeadContext) -> bool:
    return rows is None or (rows <= _MOST_ROWS and rows not in set(grid_cells(context.width, context.height)))


def _chosen(context: HeadContext) -> tuple[int, int, int] | None:
    """The outputs that are labels, boxes and scores."""
    flat = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 2]
    boxes = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 3 and spec.shape[2] == _BOX]
    if len(context.outputs) != 3 or len(flat) != 2 or len(boxes) != 1:
        return None
    rows = {context.outputs[index].shape[1] for index in (*flat, *boxes)} - {None}
    if len(rows) > 1 or not all(_few(count, context) for count in rows):
        return None
    labels, scores = sorted(flat, key=lambda index: context.outputs[index].dtype.startswith("float"))
    return labels, boxes[0], scores


def _apart(context: HeadContext) -> tuple[int, int] | None:
    """The outputs that are boxes and classes; where both may be boxes, these come first."""
    shapes = [spec.shape for spec in context.outputs]
    if len(shapes) != 2 or any(len(shape) != 3 or not _few(shape[1], context) for shape in shapes):
        return None
    pairs = [(boxes, 1 - boxes) for boxes in (0, 1) if shapes[boxes][2] == _BOX and shapes[1 - boxes][2] is not None]
    rows = {shape[1] for shape in shapes} - {None}
    return pairs[0] if pairs and len(rows) <= 1 else None
