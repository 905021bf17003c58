"""Tensors whose memory another reader takes for another order: planes for pixels, rows for columns, padding for data.

Shapes stay, bytes move. Undone here on the way into a model and out of it; no manifest can say such a thing, so these name a
cause and prove it, and the mending is the runtime's, or the export's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_MOST_PADDING = 16  # elements between two rows
_AXES = 4


def _as_pixels(tensor: Array) -> Array:
    """For a reader that takes the memory for (height, width, channel)."""
    if tensor.shape[1] == 3:
        return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)).reshape(tensor.shape)
    return np.ascontiguousarray(tensor.reshape(1, 3, *tensor.shape[1:3]).transpose(0, 2, 3, 1))


def _as_planes(tensor: Array) -> Array:
    """For a reader that takes the memory for (channel, height, width)."""
    if tensor.shape[1] == 3:
        return np.ascontiguousarray(tensor.reshape(1, *tensor.shape[2:], 3).transpose(0, 3, 1, 2))
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)).reshape(tensor.shape)


def _exchanged(tensor: Array) -> Array:
    """For a reader that takes height for width."""
    if tensor.shape[1] == 3:
        return np.ascontiguousarray(tensor.transpose(0, 1, 3, 2)).reshape(tensor.shape)
    return np.ascontiguousarray(tensor.transpose(0, 2, 1, 3)).reshape(tensor.shape)


# name -> (cause, what else the same proof would fit, how)
INTAKES: Mapping[str, tuple[str, tuple[str, ...], Callable[[Array], Array]]] = MappingProxyType({
    "as pixels": ("layout-nchw-nhwc", ("noncontiguous-input",), _as_pixels),
    "as planes": ("layout-nchw-nhwc", ("noncontiguous-input",), _as_planes),
    "sides exchanged": ("hw-swapped", ("noncontiguous-input",), _exchanged),
})  # fmt: skip


def exhausts(output: Array) -> Iterator[tuple[str, str, Array]]:
    """(words, cause, the output as it was meant): another axis order, or rows without their padding."""
    if output.ndim < 3:
        return
    last = output.ndim - 1
    moved = (0, *range(2, output.ndim), 1)  # channels last in memory
    shape = tuple(output.shape[axis] for axis in moved)
    back = np.argsort(moved)
    yield "channels last in memory", "output-transposed", output.reshape(shape).transpose(back)
    front = (0, last, *range(1, last))
    shape = tuple(output.shape[axis] for axis in front)
    yield "channels first in memory", "output-transposed", output.reshape(shape).transpose(np.argsort(front))
    width = output.shape[last]
    flat = output.reshape(-1)
    for padding in range(1, _MOST_PADDING):
        whole = output.size // (width + padding)
        if whole:
            rows = np.zeros((output.size // width, width), output.dtype)
            rows[:whole] = flat[: whole * (width + padding)].reshape(whole, width + padding)[:, :width]
            yield f"rows padded by {padding}", "output-stride-or-layout", rows.reshape(output.shape)
