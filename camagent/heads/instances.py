"""Instance masks: a small set of prototypes per picture, and per object how much of each (Bolya et al., YOLACT, 2019).

Nothing is multiplied before it is known which objects are kept, and then only under their boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from camagent.frame import FloatArray, InstanceMask, Letterbox, MaskParts
from camagent.heads.base import Arrays, HeadContext
from camagent.heads.cells import as_float32, sigmoid
from camagent.heads.levels import by_stride, grid_of, map_grids

_STRIDES = (2, 4, 8)  # of the prototypes' grid; 4 in every model of these families


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Which output holds them, and how many there are."""

    output: int
    count: int

    def parts(self, outputs: Arrays, coefficients: FloatArray) -> MaskParts:
        """What masks are made of, given the kept candidates' coefficients, (n, count)."""
        return MaskParts(as_float32(outputs[self.output])[0], coefficients)


@dataclass(frozen=True, slots=True)
class SplitOff:
    """Outputs that a detection head reads, without those that belong to masks."""

    coefficients: tuple[int, ...]  # per level, the finest first
    rest: tuple[int, ...]
    context: HeadContext  # of the rest


def find_prototypes(context: HeadContext) -> Prototypes | None:
    """The one output 1 x k x H x W on a grid over the whole input that is finer than every other; None where there is none."""
    maps = [(index, spec.shape) for index, spec in enumerate(context.outputs) if len(spec.shape) == 4]
    finest = max((shape[2] for _, shape in maps if shape[2] is not None), default=None)
    found = [
        (index, shape) for index, shape in maps if shape[2] == finest and shape[0] in (None, 1) and _covers(shape, context)
    ]
    count = found[0][1][1] if len(found) == 1 else None
    return Prototypes(found[0][0], count) if count else None


def split_off(context: HeadContext, prototypes: Prototypes, channels: int) -> SplitOff | None:
    """Takes the prototypes and, per level, one map of `channels` channels away, the last of a level where several have them.

    None where a level has none, or where the outputs are no maps on 2 to 4 grids of a pyramid.
    """
    others = [index for index in range(len(context.outputs)) if index != prototypes.output]
    specs = [context.outputs[index] for index in others]
    levels = by_stride(context, map_grids(replace(context, outputs=specs)))
    if levels is None:
        return None
    fitting = [[index for index in group if specs[index].shape[1] == channels] for group in levels.values()]
    if not all(fitting):
        return None
    taken = [own[-1] for own in fitting]
    rest = [index for index in range(len(specs)) if index not in taken]
    left = replace(context, outputs=[specs[index] for index in rest])
    return SplitOff(tuple(others[index] for index in taken), tuple(others[index] for index in rest), left)


def cut(parts: MaskParts, rows: NDArray[np.intp], boxes: FloatArray, letterbox: Letterbox) -> tuple[InstanceMask, ...]:
    """Masks of the candidates `rows`, (n,), whose boxes, (n, 4) x1 y1 x2 y2, lie within the source picture.

    sigmoid(coefficients . prototypes), bilinear to source pixels, cut at the box, above one half (ultralytics: utils/ops.py,
    process_mask).
    """
    _, height, width = parts.prototypes.shape
    scale = letterbox.scale_x * width / letterbox.network_width, letterbox.scale_y * height / letterbox.network_height
    shift = letterbox.offset_x * width / letterbox.network_width, letterbox.offset_y * height / letterbox.network_height
    return tuple(
        _cut_one(parts.prototypes, parts.coefficients[row], _pixels(box, letterbox), scale, shift)
        for row, box in zip(rows, boxes.astype(np.float64), strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Window:
    left: int
    top: int
    width: int
    height: int


def _pixels(box: NDArray[np.float64], letterbox: Letterbox) -> _Window:
    """The source pixels whose centres a box holds."""
    edge = np.array([letterbox.source_width, letterbox.source_height] * 2)
    left, top, right, bottom = (int(value) for value in np.clip(np.ceil(np.nan_to_num(box) - 0.5), 0, edge))
    return _Window(left, top, max(0, right - left), max(0, bottom - top))


def _cut_one(
    prototypes: FloatArray, coefficients: FloatArray, window: _Window, scale: tuple[float, float], shift: tuple[float, float]
) -> InstanceMask:
    rows, y = _cells(window.top, window.height, scale[1], shift[1], prototypes.shape[1])
    columns, x = _cells(window.left, window.width, scale[0], shift[0], prototypes.shape[2])
    with np.errstate(invalid="ignore", over="ignore"):
        grid = sigmoid(np.tensordot(coefficients, prototypes[:, rows, columns], axes=1))
    return InstanceMask(grid, window.left, window.top, window.width, window.height, scale, (x, y))


def _cells(first: int, count: int, scale: float, shift: float, size: int) -> tuple[slice, float]:
    """The cells of one axis that lie around source pixels, and where the first of these pixels lies among them."""
    start = (first + 0.5) * scale + shift - 0.5  # counted between the cells' centres
    end = start + max(count - 1, 0) * scale
    low, high = (int(np.clip(np.floor(value), 0, size - 1)) for value in (start, end))
    return slice(low, min(high + 2, size)), start - low


def _covers(shape: Sequence[int | None], context: HeadContext) -> bool:
    rows, columns = shape[2:]
    if rows is None or columns is None:
        return rows is columns
    return any((rows, columns) == grid_of(context.width, context.height, stride) for stride in _STRIDES)
