"""Heads that give maps over grids."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.renderers.cells import STRIDES, Cells, logits, pyramid
from tests.lab.spec import ModelSpec

Named = tuple[str, NDArray[np.float32]]
_BINS = 16  # of a distance
_REACH = 0.95  # cells


def fastestdet(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x (5 + classes) x H/16 x W/16: objectness, 4 raw box values, softmaxed classes; score = objectness^0.6 class^0.4."""
    cells = pyramid(found, spec, rng, (16,))
    across, down = int(cells.columns.max()) + 1, int(cells.rows.max()) + 1
    sizes = np.array([spec.wanted.width, spec.wanted.height], np.float32)
    centre = cells.xywh()[:, :2] / sizes * np.array([across, down], np.float32)
    offset = centre - np.stack([cells.columns, cells.rows], axis=1)
    cells.scores[np.abs(offset).max(axis=1) > _REACH] *= np.float32(0.02)  # what this cell cannot point at, it does not see
    place = np.arctanh(np.clip(offset, -0.9993, 0.9993))
    extent = logits(cells.xywh()[:, 2:] / sizes)
    if spec.options.get("boxes") == "decoded":  # an export that did the decoder's work
        place, extent = centre / np.array([across, down], np.float32), cells.xywh()[:, 2:] / sizes
    best = cells.scores.max(axis=1, keepdims=True)
    classes = _opinions(cells, rng)
    objectness = np.minimum((best / classes.max(axis=1, keepdims=True) ** 0.4) ** (1 / 0.6), 1).astype(np.float32)
    if spec.options.get("scores") == "logits":
        objectness, classes = logits(objectness), np.log(np.maximum(classes, np.float32(1e-6)))
    channels = np.concatenate([objectness, place, extent, classes], axis=1).T
    return [("758", channels.reshape(1, -1, down, across))]


def yolov8_rknn(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """Nine maps, three per stride: 64 distance logits, classes, and their clipped sum."""
    cells = pyramid(found, spec, rng)
    made: list[Named] = []
    for stride in STRIDES:
        level = np.flatnonzero(cells.strides == stride)
        down, across = -(-spec.wanted.height // stride), -(-spec.wanted.width // stride)
        centre = np.stack([cells.columns[level], cells.rows[level]], axis=1) + np.float32(0.5)
        edges = cells.boxes[level] / stride
        away = np.concatenate([centre - edges[:, :2], edges[:, 2:] - centre], axis=1)
        shape = (1, -1, down, across)
        made += [
            (f"box{stride}", _distances(away).T.reshape(shape)),
            (f"class{stride}", cells.scores[level].T.reshape(shape)),
            (f"sum{stride}", np.clip(cells.scores[level].sum(axis=1), 0, 1).reshape(shape)),
        ]
    return made


def _opinions(cells: Cells, rng: Generator) -> NDArray[np.float32]:
    """(n, classes) that sum to 1: sure where there is something, otherwise not."""
    lean = rng.standard_normal(cells.scores.shape, np.float32)
    best = cells.scores.argmax(axis=1)
    lean[np.arange(len(best)), best] += np.where(cells.scores.max(axis=1) > 0.05, 6, 0)
    raised = np.exp(lean)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _distances(away: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) distances in strides -> (n, 64) logits whose softmax has them as its mean."""
    value = np.clip(away, 0, _BINS - 1 - 1e-3)
    low = np.floor(value).astype(np.int64)
    share = np.full((*value.shape, _BINS), 1e-5, np.float32)
    np.put_along_axis(share, low[..., None], (1 - (value - low))[..., None], axis=2)
    np.put_along_axis(share, low[..., None] + 1, (value - low)[..., None], axis=2)
    return np.log(np.maximum(share, np.float32(1e-5))).reshape(len(away), 4 * _BINS)
