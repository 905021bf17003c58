"""FastestDet: one grid, one object per cell, no anchors (github dog-qiuqiu/FastestDet)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, FloatArray
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
from camagent.heads.cells import ScoreKind, activated, as_float32, corners, count_seen, product, sigmoid

_NAME = "fastestdet"
_STRIDE = 16  # the three pyramid levels are pooled onto this one
_BOX = 5  # channels before the classes: objectness, 4 box values


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: Literal["raw", "decoded"] = "raw"  # decoded: x y w h, 0..1, already computed in the graph
    objectness: ScoreKind = "probabilities"
    classes: Literal["probabilities", "logits"] = "probabilities"  # logits: the softmax is missing
    layout: Literal["nchw", "nhwc"] = "nchw"


class FastestDet:
    """Decodes 1 x (5 + classes) x H/16 x W/16: objectness 0..1, 4 raw box values, softmaxed class scores.

    score = objectness^0.6 * class^0.4; with v the box values and the picture 1 x 1, the centre is (tanh v0 + column) / columns,
    (tanh v1 + row) / rows and the size sigmoid v2, sigmoid v3 (dog-qiuqiu/FastestDet: example/onnx-runtime/runtime.py;
    its first versions multiply the two scores).

    The class maximum is taken over every cell. Objectness alone rules out none: a score of 0.01 can come of an objectness of
    0.0005, which all 484 cells of a real picture have, and picking columns takes several times as long as that maximum.
    Exports that end elsewhere are told by the params.
    """

    __slots__ = ("_params", "_scale")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._scale = np.array([context.width, context.height] * 2, dtype=np.float32)
        rows, columns = -(-context.height // _STRIDE), -(-context.width // _STRIDE)
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        if len(shape) == 4 and self._params.layout == "nhwc":
            shape = (shape[0], shape[3], shape[1], shape[2])
        channels = shape[1] if len(shape) == 4 else None
        fits = channels is not None and channels > _BOX and shape[2] in (None, rows) and shape[3] in (None, columns)
        require_outputs(context, _NAME, f"one output 1 x (5 + classes) x {rows} x {columns}", fits=fits)
        assert channels is not None
        require_classes(context, _NAME, channels - _BOX, f"{describe(context.outputs)}: 5 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        grid = as_float32(outputs[0])[0]
        if self._params.layout == "nhwc":
            grid = grid.transpose(2, 0, 1)
        rows, columns = grid.shape[1:]
        cells = grid.reshape(len(grid), rows * columns)
        scores = _scores(cells, self._params)
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        values = cells[1:_BOX, kept]
        found = values.T if self._params.boxes == "decoded" else _boxes(values, kept, rows, columns)
        boxes = corners(found, self._scale)
        class_ids = cells[_BOX:, kept].argmax(axis=0)
        return Candidates(boxes, scores[kept], class_ids, seen=seen, score_max=score_max)


def _scores(cells: FloatArray, params: _Params) -> FloatArray:
    """(5 + classes, cells) -> (cells,) in 0..1. A negative score, as rounding may leave one, is 0: it has no root."""
    objectness = np.maximum(activated(cells[0], params.objectness), 0.0)
    best_class: FloatArray = cells[_BOX:].max(axis=0)
    if params.classes == "logits":
        with np.errstate(invalid="ignore", over="ignore"):
            best_class = np.reciprocal(np.exp(cells[_BOX:] - best_class).sum(axis=0))
    best_class = np.maximum(best_class, np.float32(0))
    return product(np.power(objectness, np.float32(0.6)), np.power(best_class, np.float32(0.4)))


def _boxes(values: FloatArray, kept: NDArray[np.intp], rows: int, columns: int) -> FloatArray:
    """Raw box values (4, n) of the cells `kept`, (n,), to x y w h, (n, 4), of a picture that is 1 x 1."""
    found = np.empty((len(kept), 4), np.float32)
    row, column = np.divmod(kept, columns)
    center = np.tanh(values[:2])
    found[:, 0] = (center[0] + column.astype(np.float32)) / columns
    found[:, 1] = (center[1] + row.astype(np.float32)) / rows
    found[:, 2:] = sigmoid(values[2:]).T
    return found
