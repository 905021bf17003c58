"""YOLOv5, raw: three anchors per cell, decoded in the graph."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.renderers.cells import best_score, logits, pyramid
from tests.lab.renderers.rows import boxes_as_exported
from tests.lab.spec import ModelSpec

_ANCHORS = 3


def yolov5(found: Found, spec: ModelSpec, rng: Generator) -> list[tuple[str, NDArray[np.float32]]]:
    """1 x 3N x (5 + classes): x y w h, objectness, classes; per level, the anchors one after the other."""
    cells = pyramid(found, spec, rng)
    boxes = boxes_as_exported(cells, spec)
    blocks = []
    for stride in np.unique(cells.strides):
        level = np.flatnonzero(cells.strides == stride)
        for anchor in range(_ANCHORS):
            weaker = np.float32((1.0, 0.55, 0.3)[anchor])
            blocks.append(np.concatenate([boxes[level], _scores(cells.scores[level] * weaker, spec, rng)], axis=1))
    assert len(best_score(cells)) * _ANCHORS == sum(len(block) for block in blocks)
    return [("output0", np.concatenate(blocks)[None])]


def _scores(scores: NDArray[np.float32], spec: ModelSpec, rng: Generator) -> NDArray[np.float32]:
    """Objectness and classes whose products are the scores; a cell with nothing in it has an opinion on its class too."""
    best = scores.max(axis=1, keepdims=True)
    classes = rng.uniform(0.02, 0.45, scores.shape).astype(np.float32) if scores.shape[1] > 1 else scores * 0
    sure = np.where(best > 0.05, np.sqrt(best), np.float32(0.5)).astype(np.float32)
    classes = np.minimum(classes, sure * np.float32(0.4))
    np.put_along_axis(classes, scores.argmax(axis=1)[:, None], sure, axis=1)
    if spec.options.get("class_column") == "half":
        classes[:] = 0.5
        both = np.concatenate([np.minimum(best, 1), classes], axis=1)
    else:
        both = np.concatenate([best / sure, classes], axis=1)
    return logits(both) if spec.options.get("scores") == "logits" else both
