"""Heads whose cells lie on several grids, once more in plain loops; and outputs for them with objects planted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates
from camagent.heads.base import Head
from tests.heads.reference import Box, Cell, first_best

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
                        assert isinstance(head.decode(changed, min_score), Candidates)
        nothing = head.decode([np.full_like(output, math.nan) for output in outputs], 0.0)
    assert isinstance(nothing, Candidates)
    assert (len(nothing.scores), nothing.seen, nothing.score_max) == (0, 0, 0.0)
