"""Heads whose cells lie on several grids, once more in plain loops; and outputs for them with objects planted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates
from camagent.heads.base import Decoded, Head, Sighting
from tests.heads.reference import Box, Cell, first_best, from_center

Array = NDArray[np.float32]
SIZE = (64, 32)  # width, height
STRIDES = (8, 16, 32)
GRIDS = ((4, 8), (2, 4), (1, 2))  # rows, columns
CELLS = 4 * 8 + 2 * 4 + 1 * 2
STRANGE = (math.nan, math.inf, -math.inf, -1.0, 3e38)


def class_maps(rng: np.random.Generator, classes: int, objects: int) -> list[Array]:
    """1 x classes x H x W per level: scores near 0, and some cells that see something."""
    maps = [(rng.random((1, classes, *grid)) ** 12 * 0.1).astype(np.float32) for grid in GRIDS]
    for _ in range(objects):
        level = int(rng.integers(len(GRIDS)))
        rows, columns = GRIDS[level]
        maps[level][0, rng.integers(classes), rng.integers(rows), rng.integers(columns)] = rng.uniform(0.2, 1)
    return maps


def box_maps(rng: np.random.Generator, channels: int) -> list[Array]:
    """1 x channels x H x W per level: logits, or, of 4 channels, distances."""
    if channels == 4:
        return [rng.uniform(0, 8, (1, 4, *grid)).astype(np.float32) for grid in GRIDS]
    return [rng.normal(0, 3, (1, channels, *grid)).astype(np.float32) for grid in GRIDS]


def split(boxes: Sequence[Array], scores: Sequence[Array]) -> list[Cell]:
    """Box and class maps per level -> every cell."""
    return [
        Cell(*first_best(float(v) for v in score[0, :, row, column]), split_box(box[0, :, row, column], row, column, stride))
        for box, score, stride in zip(boxes, scores, STRIDES, strict=True)
        for row, column in places(score.shape[2:])
    ]


def places(grid: Sequence[int]) -> Iterator[tuple[int, int]]:
    for row in range(grid[0]):
        for column in range(grid[1]):
            yield row, column


def split_box(values: Sequence[Any] | NDArray[Any], row: int, column: int, stride: int, offset: float = 0.5) -> Box:
    """4 distances, or 4 x bins logits, of one cell, to corners in pixels."""
    numbers = [float(value) for value in values]
    bins = len(numbers) // 4
    left, top, right, bottom = numbers if bins == 1 else (expected(numbers[i * bins : (i + 1) * bins]) for i in range(4))
    x, y = column + offset, row + offset
    return (x - left) * stride, (y - top) * stride, (x + right) * stride, (y + bottom) * stride


def expected(logits: Sequence[float]) -> float:
    """What a softmax over the bins expects."""
    raised = [math.exp(value - max(logits)) for value in logits]
    return sum(index * value for index, value in enumerate(raised)) / sum(raised)


def shuffled(rng: np.random.Generator, outputs: Sequence[Array]) -> list[Array]:
    return [outputs[int(index)] for index in rng.permutation(len(outputs))]


def survives(build: Callable[[Sequence[tuple[int, ...]]], Head], outputs: Sequence[Array]) -> None:
    """No value in any output makes the head warn or raise, and nothing but NaN is nothing."""
    head = build([output.shape for output in outputs])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in STRANGE:
            for index in range(len(outputs)):
                for part in (slice(None), slice(0, None, 3)):
                    changed = [output.copy() for output in outputs]
                    changed[index].reshape(-1)[part] = value
                    for min_score in (0.0, 0.1):
                        assert isinstance(_boxes(head.decode(changed, min_score)), Candidates)
        nothing = _boxes(head.decode([np.full_like(output, math.nan) for output in outputs], 0.0))
    assert isinstance(nothing, Candidates)
    assert (len(nothing.scores), nothing.seen, nothing.score_max) == (0, 0, 0.0)


def _boxes(decoded: Decoded) -> Decoded:
    return decoded.candidates if isinstance(decoded, Sighting) else decoded


def prototypes(rng: np.random.Generator, count: int) -> Array:
    """1 x count x H x W on the grid of stride 4."""
    made: Array = rng.normal(0, 2, (1, count, SIZE[1] // 4, SIZE[0] // 4)).astype(np.float32)
    return made


def anchor_maps(rng: np.random.Generator, classes: int, objects: int, quiet: float = 0.3) -> list[Array]:
    """1 x 3 x H x W x (5 + classes) per level, all 0..1: objectness up to `quiet`, and some anchors that see something."""
    maps = [rng.random((1, 3, *grid, 5 + classes)).astype(np.float32) for grid in GRIDS]
    for level in maps:
        level[..., 4] = rng.random(level.shape[:-1]) ** 8 * quiet
    for _ in range(objects):
        level = maps[int(rng.integers(len(GRIDS)))]
        anchor, row, column = (int(rng.integers(side)) for side in level.shape[1:4])
        level[0, anchor, row, column, 4] = rng.uniform(0.4, 1)
        level[0, anchor, row, column, 5 + rng.integers(classes)] = rng.uniform(0.8, 1)
    return [level.clip(1e-6, 1 - 1e-6) for level in maps]  # so that all of them have a logit


def anchored(maps: Sequence[Array], anchors: Sequence[Sequence[float]]) -> list[Cell]:
    """Maps as of anchor_maps -> every cell."""
    cells = []
    for level, sizes, stride in zip(maps, anchors, STRIDES, strict=True):
        for anchor in range(3):
            for row, column in places(level.shape[2:4]):
                x, y, width, height, objectness, *classes = (float(value) for value in level[0, anchor, row, column])
                center_x, center_y = (2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride
                size_x, size_y = (2 * width) ** 2 * sizes[2 * anchor], (2 * height) ** 2 * sizes[2 * anchor + 1]
                best, class_id = first_best(classes)
                cells.append(Cell(objectness * best, class_id, from_center(center_x, center_y, size_x, size_y)))
    return cells


def as_channels(maps: Sequence[Array]) -> list[Array]:
    """1 x 3 x H x W x values -> 1 x 3 values x H x W, as convolutions leave them."""
    return [
        np.ascontiguousarray(level.transpose(0, 1, 4, 2, 3)).reshape(1, -1, level.shape[2], level.shape[3]) for level in maps
    ]


def logits(values: Array) -> Array:
    """What a sigmoid turns into `values`."""
    inner = values.clip(1e-6, 1 - 1e-6).astype(np.float64)
    made: Array = np.log(inner / (1 - inner)).astype(np.float32)
    return made
