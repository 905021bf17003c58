"""A pyramid of cells: background that is small and noisy, and objects in the cells around their centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.spec import ModelSpec

STRIDES = (8, 16, 32)
_QUIET = 4e-4  # typical score of a cell with nothing in it
_LOUDEST = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What every cell says: (n,) per cell, level by level, row by row."""

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    strides: NDArray[np.float32]
    boxes: NDArray[np.float32]  # (n, 4) x1 y1 x2 y2, network pixels
    scores: NDArray[np.float32]  # (n, classes)

    def xywh(self) -> NDArray[np.float32]:
        return np.concatenate([(self.boxes[:, :2] + self.boxes[:, 2:]) / 2, self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)


def quiet(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Scores of background: log-normal, never exactly 0."""
    return np.minimum(_QUIET * np.exp(rng.standard_normal(shape, np.float32)), np.float32(_LOUDEST))


def pyramid(found: Found, spec: ModelSpec, rng: Generator, strides: Sequence[int] = STRIDES) -> Cells:
    """Every cell of the pyramid, objects entered on the level that suits their size."""
    grids = [(stride, -(-spec.wanted.height // stride), -(-spec.wanted.width // stride)) for stride in strides]
    columns = np.concatenate([np.tile(np.arange(w), h) for _, h, w in grids]).astype(np.float32)
    rows = np.concatenate([np.repeat(np.arange(h), w) for _, h, w in grids]).astype(np.float32)
    steps = np.concatenate([np.full(h * w, stride) for stride, h, w in grids]).astype(np.float32)
    centres = np.stack([columns + np.float32(0.5), rows + np.float32(0.5)], axis=1) * steps[:, None]
    centres = centres + rng.standard_normal(centres.shape, np.float32) * steps[:, None] * np.float32(0.2)
    half = steps[:, None] * np.exp(rng.standard_normal((len(steps), 2), np.float32) * np.float32(0.4)) * np.float32(1.4)
    tone = np.concatenate([cv2.resize(found.tone, (w, h), interpolation=cv2.INTER_AREA).ravel() for _, h, w in grids])
    half = half * (np.float32(0.8) + np.float32(0.4) * tone[:, None])
    noise = (quiet(rng, (len(steps), max(1, len(spec.classes)))) * (np.float32(0.5) + tone[:, None])).astype(np.float32)
    made = Cells(columns, rows, steps, np.concatenate([centres - half, centres + half], axis=1), noise)
    for box, score, index in zip(found.boxes, found.scores, found.ids, strict=True):
        _enter(made, box, float(score), int(index), rng=rng, strides=strides)
    return made


def best_score(cells: Cells) -> NDArray[np.float32]:
    best: NDArray[np.float32] = cells.scores.max(axis=1)
    return best


def logits(values: NDArray[Any]) -> NDArray[np.float32]:
    """The values whose sigmoids these are."""
    clipped = np.clip(values.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def _enter(cells: Cells, box: NDArray[np.float32], score: float, index: int, *, rng: Generator, strides: Sequence[int]) -> None:
    size = float(np.sqrt(max(1.0, float((box[2] - box[0]) * (box[3] - box[1])))))
    stride = min(strides, key=lambda step: abs(np.log(size / (3 * step))))
    x, y = float(box[0] + box[2]) / 2 / stride, float(box[1] + box[3]) / 2 / stride
    away = np.hypot(cells.columns - np.floor(x), cells.rows - np.floor(y))
    for cell in np.flatnonzero((cells.strides == stride) & (away < 1.2)):
        weaker = 1.0 if away[cell] == 0 else float(rng.uniform(0.6, 0.9))
        if score * weaker > cells.scores[cell].max():
            cells.scores[cell, index] = score * weaker
            wobble = 0.0 if away[cell] == 0 else 0.03
            cells.boxes[cell] = box + rng.normal(0, wobble + 0.006, 4) * size
