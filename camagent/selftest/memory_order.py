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
EXCHANGED = "rows and columns exchanged"


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
    if output.shape[last - 1] != 1:
        yield EXCHANGED, "output-transposed", output.swapaxes(last - 1, last)
    moved = (0, *range(2, output.ndim), 1)  # channels last in memory
    yield "channels last in memory", "output-transposed", _reread(output, moved)
    yield "channels first in memory", "output-transposed", _reread(output, (0, last, *range(1, last)))
    width = output.shape[last]
    rows = output.size // width
    flat = np.concatenate([output.reshape(-1), np.zeros(rows * _MOST_PADDING, output.dtype)])
    for padding in range(1, _MOST_PADDING):  # the end is lost: it was never read
        wide = flat[: rows * (width + padding)].reshape(rows, width + padding)
        yield f"rows padded by {padding}", "output-stride-or-layout", wide[:, :width].reshape(output.shape)


def _reread(output: Array, axes: tuple[int, ...]) -> Array:
    """The memory is in the order of `axes`; the axes as the shape says."""
    return output.reshape(tuple(output.shape[axis] for axis in axes)).transpose(np.argsort(axes))
