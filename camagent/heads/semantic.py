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
from camagent.heads.maps import highest, logit, proportionate, share, strongest, within_unit, without_nan

_NAME = "semantic"
_MAX_CLASSES = 256  # ids are bytes
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
        top = highest(plane)
        logits = self._activation == "sigmoid" or (self._activation == "auto" and not within_unit(plane, top))
        ids = (plane >= (logit(min_score) if logits else min_score)).astype(np.uint8)
        return SemanticMap(ids, share(_sigmoid(top) if logits else top))

    def _from_planes(self, planes: FloatArray) -> SemanticMap:
        background = without_nan(planes[0])
        ids, best, second = strongest(planes[1:], background)
        ids *= best > background
        top = highest(best)
        activation = self._activation
        if activation == "auto":
            activation = "none" if within_unit(planes, max(top, highest(background))) else "softmax"
        if activation == "softmax":
            return SemanticMap(ids, _softmax_top(planes, best, second))
        return SemanticMap(ids, _sigmoid(top) if activation == "sigmoid" else share(top))


def _channels(shape: Shape, context: HeadContext, layout: str) -> tuple[int | None, bool]:
    """(channels, whether they are the last axis), the channels None where the output is no map of the input's proportions.

    Where both layouts would do, the one that has a channel per label is meant.
    """
    if len(shape) == 3 and proportionate((shape[1], shape[2]), context):
        return 1, False
    if len(shape) != 4:
        return None, False
    _, first, second, last = shape
    readings = [
        (channels, by_pixel)
        for name, channels, grid, by_pixel in (("nchw", first, (second, last), False), ("nhwc", last, (first, second), True))
        if channels is not None and layout in ("auto", name) and proportionate(grid, context)
    ]
    return min(readings, key=lambda reading: (reading[0] != context.classes, reading[0]), default=(None, False))


def _from_ids(output: NDArray[Any], classes: int) -> SemanticMap:
    known = (output >= 0) & (output < classes)
    ids = np.where(known, output, 0).astype(np.uint8)
    return SemanticMap(ids, 1.0 if ids.any() else 0.0)


def _softmax_top(planes: FloatArray, best: FloatArray, second: FloatArray) -> float:
    """The highest probability of a class other than 0, to within 0.001, without a softmax of the whole map.

    Against the runner-up alone a class would have sigmoid(best - second); with the others in play it has less. So only pixels
    whose margin promises more than the pixel with the widest margin reaches are worth a softmax.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        margin = without_nan(best - second).ravel()
    widest = np.array([margin.argmax()])
    if margin[widest] == -np.inf:
        return 0.0
    found = _best_probability(planes, best, widest)
    rivals = np.flatnonzero(margin > logit(min(1.0, found + _CLOSE)))
    return max(found, _best_probability(planes, best, rivals))


def _best_probability(planes: FloatArray, best: FloatArray, pixels: NDArray[np.intp]) -> float:
    """The highest softmax probability that `best` has at these pixels (flat indices); 0 for none."""
    if not pixels.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        odds = np.exp(planes.reshape(len(planes), -1)[:, pixels] - best.ravel()[pixels])
    total = np.nansum(odds, axis=0)  # `best` itself adds 1
    return 1.0 / max(1.0, float(total.min()))


def _sigmoid(value: float) -> float:
    return 0.5 * math.tanh(0.5 * value) + 0.5
