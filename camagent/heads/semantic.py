"""Semantic maps: one class per pixel (SegFormer, LinkNet, DeepLab, PP-LiteSeg, SINet and the like)."""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.frame import FloatArray
from camagent.heads.base import Arrays, HeadContext, SemanticMap, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import as_float32

_NAME = "semantic"
_MAX_CLASSES = 256  # ids are bytes
_ROUNDING = 1e-3  # how far outside 0..1 a probability may lie
_CLOSE = 1e-3  # how near to the truth `score_max` is found

Shape = tuple[int | None, ...]


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    activation: Literal["auto", "none", "softmax", "sigmoid", "argmax"] = "auto"  # still to be applied, or the ids it gave
    layout: Literal["auto", "nchw", "nhwc"] = "auto"


class Semantic:
    """Decodes 1 x C x H x W, 1 x H x W x C or 1 x H x W: logits, probabilities or class ids, on a grid over the whole input.

    Several channels, one per label: a pixel belongs to its highest channel, the first of equals; `min_score` plays no part,
    and neither does the activation, which changes no order. One channel and two labels, background and thing: a pixel is the
    thing where its probability is at least `min_score`. Integers in one channel are the ids of an argmax in the graph, floats
    only with `activation = "argmax"`; an id without a label is background.

    `activation`: "none" for probabilities, "softmax" or "sigmoid" for logits. "auto" takes values that all lie in 0..1 as
    probabilities, and others as logits of a softmax or, in a single channel, of a sigmoid. A NaN never wins a pixel; a pixel
    that nothing wins is background, id 0.
    """

    __slots__ = ("_activation", "_by_pixel", "_classes", "_ids", "_single")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        params = read_params(context, _Params, _NAME)
        self._activation, self._classes = params.activation, context.classes
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        channels, self._by_pixel = _channels(shape, context, params.layout)
        self._single = channels == 1
        impossible = "softmax" if self._single else "argmax"
        fits = channels is not None and context.classes <= _MAX_CLASSES and params.activation != impossible
        shapes = f"1 x C x H x W, 1 x H x W x C or 1 x H x W, H : W as {context.height} : {context.width}, C <= {_MAX_CLASSES}"
        require_outputs(context, _NAME, f"one output {shapes}, and no {impossible} to apply", fits=fits)
        assert channels is not None
        whole = np.dtype(context.outputs[0].dtype).kind in "iub"
        self._ids = self._single and (params.activation == "argmax" or (params.activation == "auto" and whole))
        if not self._ids:
            where = describe(context.outputs) + (", background and one channel" if self._single else "")
            require_classes(context, _NAME, 2 if self._single else channels, where)

    def decode(self, outputs: Arrays, min_score: float) -> SemanticMap:
        """One output, as checked, to the map on its own grid."""
        output = outputs[0][0]
        if self._single and output.ndim == 3:
            output = output[..., 0] if self._by_pixel else output[0]
        if self._ids:
            return _from_ids(output, self._classes)
        values = as_float32(output)
        if self._single:
            return self._from_one(values, min_score)
        if self._by_pixel:  # one way for both layouts; for up to some 20 classes it also beats an argmax per pixel
            height, width, channels = values.shape
            values = as_float32(cv2.transpose(values.reshape(-1, channels))).reshape(channels, height, width)
        return self._from_planes(values)

    def _from_one(self, plane: FloatArray, min_score: float) -> SemanticMap:
        top = _highest(plane)
        logits = self._activation == "sigmoid" or (self._activation == "auto" and not _within_unit(plane, top))
        ids = (plane >= (_logit(min_score) if logits else min_score)).astype(np.uint8)
        return SemanticMap(ids, _share(_sigmoid(top) if logits else top))

    def _from_planes(self, planes: FloatArray) -> SemanticMap:
        background = _without_nan(planes[0])
        ids, best, second = _strongest(planes[1:], background)
        ids *= best > background
        top = _highest(best)
        activation = self._activation
        if activation == "auto":
            activation = "none" if _within_unit(planes, max(top, _highest(background))) else "softmax"
        if activation == "softmax":
            return SemanticMap(ids, _softmax_top(planes, best, second))
        return SemanticMap(ids, _sigmoid(top) if activation == "sigmoid" else _share(top))


def _channels(shape: Shape, context: HeadContext, layout: str) -> tuple[int | None, bool]:
    """(channels, whether they are the last axis), the channels None where the output is no map of the input's proportions.

    Where both layouts would do, the one that has a channel per label is meant.
    """
    if len(shape) == 3 and _proportionate((shape[1], shape[2]), context):
        return 1, False
    if len(shape) != 4:
        return None, False
    _, first, second, last = shape
    readings = [
        (channels, by_pixel)
        for name, channels, grid, by_pixel in (("nchw", first, (second, last), False), ("nhwc", last, (first, second), True))
        if channels is not None and layout in ("auto", name) and _proportionate(grid, context)
    ]
    return min(readings, key=lambda reading: (reading[0] != context.classes, reading[0]), default=(None, False))


def _proportionate(grid: tuple[int | None, int | None], context: HeadContext) -> bool:
    """Whether a grid (rows, columns) has the proportions of the network input, give or take a cell, or is free to have them."""
    rows, columns = grid
    if rows is None or columns is None:
        return rows is columns
    return abs(rows * context.width - columns * context.height) <= max(context.width, context.height)


def _from_ids(output: NDArray[Any], classes: int) -> SemanticMap:
    known = (output >= 0) & (output < classes)
    ids = np.where(known, output, 0).astype(np.uint8)
    return SemanticMap(ids, 1.0 if ids.any() else 0.0)


def _strongest(planes: FloatArray, background: FloatArray) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Planes (n, h, w) of the classes 1..n to the best class per pixel, the first of equals, its value and the runner-up's.

    The background may be runner-up, not winner. NaN counts as -inf. Plane by plane, with nothing but whole-plane operations:
    several times as fast as argmax over the first axis.
    """
    best, second = _without_nan(planes[0]), background.copy()
    ids = np.ones(best.shape, np.uint8)
    higher, mark, lower = np.empty_like(best, np.bool_), np.empty_like(ids), np.empty_like(best)
    for number, plane in enumerate(planes[1:], start=2):
        np.greater(plane, best, out=higher)
        np.multiply(higher.view(np.uint8), np.uint8(number), out=mark)
        np.maximum(ids, mark, out=ids)  # numbers rise, so the latest mark is the highest
        np.fmax(second, np.minimum(best, plane, out=lower), out=second)
        np.fmax(best, plane, out=best)
    return ids, best, second


def _softmax_top(planes: FloatArray, best: FloatArray, second: FloatArray) -> float:
    """The highest probability of a class other than 0, to within 0.001, without a softmax of the whole map.

    Against the runner-up alone a class would have sigmoid(best - second); with the others in play it has less. So only pixels
    whose margin promises more than the pixel with the widest margin reaches are worth a softmax.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        margin = _without_nan(best - second).ravel()
    widest = np.array([margin.argmax()])
    if margin[widest] == -np.inf:
        return 0.0
    found = _best_probability(planes, best, widest)
    rivals = np.flatnonzero(margin > _logit(min(1.0, found + _CLOSE)))
    return max(found, _best_probability(planes, best, rivals))


def _best_probability(planes: FloatArray, best: FloatArray, pixels: NDArray[np.intp]) -> float:
    """The highest softmax probability that `best` has at these pixels (flat indices); 0 for none."""
    if not pixels.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        odds = np.exp(planes.reshape(len(planes), -1)[:, pixels] - best.ravel()[pixels])
    total = np.nansum(odds, axis=0)  # `best` itself adds 1
    return 1.0 / max(1.0, float(total.min()))


def _without_nan(plane: FloatArray) -> FloatArray:
    """A copy with -inf for NaN. NumPy takes a second array four times as fast as a scalar here."""
    result: FloatArray = np.fmax(plane, np.full_like(plane, -np.inf))
    return result


def _within_unit(values: FloatArray, top: float) -> bool:
    return top <= 1 + _ROUNDING and bool(np.fmin.reduce(values, axis=None) >= -_ROUNDING)


def _highest(values: FloatArray) -> float:
    """The maximum, NaN ignored; -inf where there is nothing else."""
    top = float(np.fmax.reduce(values, axis=None))
    return -math.inf if math.isnan(top) else top


def _sigmoid(value: float) -> float:
    return 0.5 * math.tanh(0.5 * value) + 0.5


def _logit(probability: float) -> float:
    """The value whose sigmoid is `probability`."""
    if 0 < probability < 1:
        return math.log(probability / (1 - probability))
    return math.inf if probability >= 1 else -math.inf


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
