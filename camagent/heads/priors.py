"""Priors of SSD: boxes on several grids that a network's offsets start from. Tables, told by a network's number of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
import numpy as np

from camagent.frame import FloatArray

Side = Annotated[float, msgspec.Meta(gt=0, le=4)]
Cells = Annotated[int, msgspec.Meta(ge=1, le=1024)]

_LEVELS = 6
_FIRST_STRIDE = 16
_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One grid; every cell has all sizes, in this order, around its centre."""

    grid: tuple[Cells, Cells]  # rows, columns
    sizes: Annotated[tuple[tuple[Side, Side], ...], msgspec.Meta(min_length=1, max_length=64)]  # width, height, 0..1


@dataclass(frozen=True, slots=True)
class Preset:
    """A network's priors, and the order in which its kind of network gives offsets."""

    levels: Sequence[Level]
    order: Literal["yxhw", "xywh"]


def boxes_of(levels: Sequence[Level]) -> FloatArray:
    """Every prior, (n, 4) centre x, centre y, width, height in 0..1: level by level, row by row, cell by cell."""
    parts = []
    for level in levels:
        rows, columns = level.grid
        row, column = np.divmod(np.arange(rows * columns), columns)
        centers = np.stack([(column + 0.5) / columns, (row + 0.5) / rows], axis=1)
        sizes = np.tile(np.array(level.sizes), (rows * columns, 1))
        parts.append(np.concatenate([np.repeat(centers, len(level.sizes), axis=0), sizes], axis=1))
    return np.concatenate(parts).astype(np.float32)


def tensorflow(width: int, height: int) -> Preset:
    """SSD on MobileNet, 1917 at 300 x 300 (TensorFlow: anchor_generators/multiple_grid_anchor_generator.py)."""
    scales = _scales(0.2, 0.95)
    first = ((0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5))  # the finest level is reduced
    levels = []
    for index, (scale, following) in enumerate(pairwise(scales)):
        shapes = first if index == 0 else (*((scale, ratio) for ratio in _RATIOS), (math.sqrt(scale * following), 1.0))
        levels.append([_shape(size, ratio) for size, ratio in shapes])
    short = min(width, height)  # squares stay squares on other inputs
    fitted = [[(w * short / width, h * short / height) for w, h in level] for level in levels]
    return Preset(_on_halved_grids(width, height, fitted), "yxhw")


def torchvision(width: int, height: int) -> Preset:
    """SSDlite on MobileNet, 3234 at 320 x 320 (torchvision: models/detection/anchor_utils.py, DefaultBoxGenerator)."""
    levels = [
        [(scale, scale), (math.sqrt(scale * following),) * 2, *(_shape(scale, ratio) for ratio in _RATIOS[1:])]
        for scale, following in pairwise(_scales(0.2, 0.95))
    ]
    return Preset(_on_halved_grids(width, height, [[(min(w, 1.0), min(h, 1.0)) for w, h in level] for level in levels]), "xywh")


def caffe(width: int, height: int) -> Preset:
    """SSD300 on VGG16, 8732 at 300 x 300 (Liu et al., SSD, 2016; the sizes are those for COCO's and VOC's 300 pixels)."""
    del width, height  # sizes and grids belong to this one input
    sizes = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
    sides = (38, 19, 10, 5, 3, 1)
    few = (1.0, 2.0, 0.5)
    levels = []
    for index, (side, (size, following)) in enumerate(zip(sides, pairwise(sizes), strict=True)):
        scale, ratios = size / 300, few if index in (0, 4, 5) else _RATIOS
        between = math.sqrt(size * following) / 300
        shapes = [(scale, scale), (between, between), *(_shape(scale, ratio) for ratio in ratios[1:])]
        levels.append(Level((side, side), tuple(shapes)))
    return Preset(levels, "xywh")


PRESETS: Mapping[str, Callable[[int, int], Preset]] = MappingProxyType({
    "tensorflow": tensorflow, "torchvision": torchvision, "caffe": caffe,
})  # fmt: skip


def _scales(low: float, high: float) -> list[float]:
    """One per level, evenly spaced, and 1 behind the last."""
    return [low + (high - low) * index / (_LEVELS - 1) for index in range(_LEVELS)] + [1.0]


def _shape(scale: float, ratio: float) -> tuple[float, float]:
    """Width and height of the same area as scale x scale, `ratio` times as wide as high."""
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)


def _on_halved_grids(width: int, height: int, levels: Sequence[Sequence[tuple[float, float]]]) -> list[Level]:
    """Grids of stride 16, then each half as fine as the one before, a rest making one more."""
    rows, columns = -(-height // _FIRST_STRIDE), -(-width // _FIRST_STRIDE)
    made = []
    for sizes in levels:
        made.append(Level((rows, columns), tuple(sizes)))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return made
