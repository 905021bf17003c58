"""Classification: one score per class."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from camagent.frame import Classes, FloatArray
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import as_float32

_NAME = "classify"
_FAR = 1e4  # exp() is 0 or saturated long before
_SUM_TOLERANCE = 0.01  # half precision and quantisation round 1.00 this far


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`activation` is what is still to be applied; `auto` looks whether the values already are probabilities."""

    activation: Literal["auto", "none", "softmax"] = "auto"


class Classify:
    """Decodes 1 x C (or 1 x C x 1 x 1, 1 x 1 x 1 x C): logits, or probabilities that sum to 1.

    softmax(x)_i = exp(x_i - max x) / sum_j exp(x_j - max x); ResNet exports leave it out, Ultralytics' have it in the graph.
    """

    __slots__ = ("_activation",)

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or params, LabelCountMismatch for another number of classes."""
        self._activation = read_params(context, Params, _NAME).activation
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        sides = [side for side in shape[1:] if side != 1]
        fits = len(shape) >= 2 and shape[0] in (1, None) and len(sides) <= 1 and None not in sides
        require_outputs(context, _NAME, "one output 1 x C", fits=fits)
        require_classes(context, _NAME, math.prod(side or 1 for side in shape[1:]), describe(context.outputs))

    def decode(self, outputs: Arrays, min_score: float) -> Classes:
        """One output, as checked. Every class's probability, (C,) 0..1; a NaN counts as never. `min_score` plays no part."""
        del min_score
        values = as_float32(outputs[0]).reshape(-1)
        wanted = self._activation == "softmax" or (self._activation == "auto" and not _is_distribution(values))
        return Classes(np.nan_to_num(_softmax(values) if wanted else values, nan=0.0))


def _is_distribution(values: FloatArray) -> bool:
    return bool(values.min() >= 0) and abs(float(values.sum()) - 1.0) <= _SUM_TOLERANCE


def _softmax(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    logits = np.clip(np.where(known, values, -_FAR), -_FAR, _FAR)
    raised = np.exp(logits - logits.max()) * known
    probabilities: FloatArray = (raised / max(raised.sum(), np.float32(1e-30))).astype(np.float32)
    return probabilities
