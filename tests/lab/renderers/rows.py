"""Heads that give one row or column per cell, without anchors."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.renderers.cells import Cells, best_score, logits, pyramid, quiet
from tests.lab.spec import ModelSpec

Named = tuple[str, NDArray[np.float32]]
_ROWS = 300  # of an end-to-end head


def boxes_as_exported(cells: Cells, spec: ModelSpec) -> NDArray[np.float32]:
    """(n, 4): x y w h in pixels, unless the export's options say otherwise."""
    boxes: NDArray[np.float32] = cells.boxes if spec.options.get("order") == "xyxy" else cells.xywh()
    if spec.options.get("unit") == "normalized":
        boxes = np.divide(boxes, np.array([spec.wanted.width, spec.wanted.height] * 2, np.float32))
    return boxes.astype(np.float32)


def scores_as_exported(scores: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    return logits(scores) if spec.options.get("scores") == "logits" else scores


def yolov8(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x (4 + classes) x N."""
    cells = pyramid(found, spec, rng)
    both = np.concatenate([boxes_as_exported(cells, spec), scores_as_exported(cells.scores, spec)], axis=1)
    return [("output0", both.T[None])]


def yolov6(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x N x (5 + classes), column 4 exactly 1."""
    cells = pyramid(found, spec, rng)
    ones = np.ones((len(cells.strides), 1), np.float32)
    scores = scores_as_exported(cells.scores, spec)
    return [("outputs", np.concatenate([boxes_as_exported(cells, spec), ones, scores], axis=1)[None])]


def yolox(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x N x (5 + classes), boxes in pixels."""
    cells = pyramid(found, spec, rng)
    return [("output", np.concatenate([boxes_as_exported(cells, spec), _with_objectness(cells, spec, rng)], axis=1)[None])]


def yolox_undecoded(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x N x (5 + classes), boxes as offsets from the cell and logarithms of the size, both in strides."""
    cells = pyramid(found, spec, rng)
    xywh, steps = cells.xywh(), cells.strides[:, None]
    offset = xywh[:, :2] / steps - np.stack([cells.columns, cells.rows], axis=1)
    size = np.log(np.maximum(xywh[:, 2:], np.float32(0.5)) / steps)
    return [("output", np.concatenate([offset, size, _with_objectness(cells, spec, rng)], axis=1)[None])]


def end_to_end(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x 300 x 6: x1 y1 x2 y2, score, class id; best first; one row per object, the rest weak leftovers."""
    cells = pyramid(found, spec, rng)
    rows = np.concatenate([cells.boxes, best_score(cells)[:, None], cells.scores.argmax(axis=1)[:, None]], axis=1)
    keep = rows[rows[:, 4] < 0.04][: _ROWS - len(found.scores)]
    own = np.concatenate([found.boxes, found.scores[:, None], found.ids[:, None].astype(np.float32)], axis=1)
    listed = np.concatenate([own, keep])
    listed = listed[np.argsort(-listed[:, 4], kind="stable")]
    made = np.zeros((_ROWS, 6), np.float32)
    made[: len(listed)] = listed[:_ROWS]
    return [("output0", made[None])]


def ultraface(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """scores 1 x N x 2 (background, thing), softmaxed, and boxes 1 x N x 4, x1 y1 x2 y2 in 0..1."""
    cells = pyramid(found, spec, rng, (8, 16, 32, 64))
    thing = best_score(cells)[:, None]
    scores = np.concatenate([1 - thing, thing], axis=1)
    if spec.options.get("scores") == "logits":
        scores = np.concatenate([-logits(thing) / 2, logits(thing) / 2], axis=1)
    unit = 1 if spec.options.get("unit") == "pixels" else np.array([spec.wanted.width, spec.wanted.height] * 2, np.float32)
    boxes = cells.xywh() if spec.options.get("order") == "xywh" else cells.boxes
    return [("scores", scores[None].astype(np.float32)), ("boxes", (boxes / unit)[None].astype(np.float32))]


def _with_objectness(cells: Cells, spec: ModelSpec, rng: Generator) -> NDArray[np.float32]:
    """(n, 1 + classes): products of the two give the cells' scores."""
    root = np.sqrt(best_score(cells))[:, None]
    classes = quiet(rng, cells.scores.shape) * 20
    best = cells.scores.argmax(axis=1)[:, None]
    np.put_along_axis(classes, best, root, axis=1)
    return scores_as_exported(np.concatenate([root, classes], axis=1).astype(np.float32), spec)
