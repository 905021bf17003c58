"""What heads share whose answer is a map: which of several planes is the strongest at a pixel, and what is a probability.

A plane is (height, width), float32, on a grid over the whole network input.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from camagent.frame import FloatArray
from camagent.heads.base import HeadContext

_ROUNDING = 1e-3  # how far outside 0..1 a probability may lie


def proportionate(grid: tuple[int | None, int | None], context: HeadContext) -> bool:
    """Whether a grid (rows, columns) has the proportions of the network input, give or take a cell, or is free to have them."""
    rows, columns = grid
    if rows is None or columns is None:
        return rows is columns
    return abs(rows * context.width - columns * context.height) <= max(context.width, context.height)


def strongest(planes: FloatArray, background: FloatArray) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Planes (n, h, w) of the classes 1..n to the best class per pixel, the first of equals, its value and the runner-up's.

    The background may be runner-up, not winner. NaN counts as -inf. Plane by plane, with nothing but whole-plane operations:
    several times as fast as argmax over the first axis.
    """
    best, second = without_nan(planes[0]), background.copy()
    ids = np.ones(best.shape, np.uint8)
    higher, mark, lower = np.empty_like(best, np.bool_), np.empty_like(ids), np.empty_like(best)
    for number, plane in enumerate(planes[1:], start=2):
        np.greater(plane, best, out=higher)
        np.multiply(higher.view(np.uint8), np.uint8(number), out=mark)
        np.maximum(ids, mark, out=ids)  # numbers rise, so the latest mark is the highest
        np.fmax(second, np.minimum(best, plane, out=lower), out=second)
        np.fmax(best, plane, out=best)
    return ids, best, second


def without_nan(plane: FloatArray) -> FloatArray:
    """A copy with -inf for NaN. NumPy takes a second array four times as fast as a scalar here."""
    result: FloatArray = np.fmax(plane, np.full_like(plane, -np.inf))
    return result


def within_unit(values: FloatArray, top: float) -> bool:
    """Whether values whose maximum is `top` may be probabilities, NaN ignored."""
    return top <= 1 + _ROUNDING and bool(np.fmin.reduce(values, axis=None) >= -_ROUNDING)


def highest(values: FloatArray) -> float:
    """The maximum, NaN ignored; -inf where there is nothing else."""
    top = float(np.fmax.reduce(values, axis=None))
    return -math.inf if math.isnan(top) else top


def logit(probability: float) -> float:
    """The value whose sigmoid is `probability`."""
    if 0 < probability < 1:
        return math.log(probability / (1 - probability))
    return math.inf if probability >= 1 else -math.inf


def share(value: float) -> float:
    """The value, brought into 0..1."""
    return min(1.0, max(0.0, value))
