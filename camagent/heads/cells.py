"""What the detection heads share: counting cells, building corners, and knowing how many cells a grid has.

A cell is one place where a model may see an object: a grid point, an anchor, a row. Scores are float32 in 0..1; a cell with a
NaN among its scores is background as a whole, because a comparison with NaN is false.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import SEEN_SCORE, best_score, no_candidates

BoxUnit = Literal["auto", "pixels", "normalized"]
BoxOrder = Literal["xywh", "xyxy"]  # centre and size, or two corners
ScoreKind = Literal["probabilities", "logits", "twice"]  # "twice": one sigmoid too many in the graph, undone here

STRIDES = (4, 8, 16, 32, 64)  # P2 .. P6
_WHOLE = 0.05  # this far from a whole number an id is still one: half precision, and int8 maps of few classes
_NORMALIZED_LIMIT = 1.5  # a centre of the whole grid beyond it means pixels; normalised centres end at 1


def as_float32(output: NDArray[Any]) -> FloatArray:
    """A model's output as float32; float32 itself is not copied."""
    return np.asarray(output, dtype=np.float32)


def count_seen(scores: FloatArray) -> int:
    """How many cells are more than background."""
    return int(np.count_nonzero(scores >= SEEN_SCORE))


def sigmoid(values: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), by way of tanh, which overflows nowhere."""
    result: FloatArray = 0.5 * np.tanh(0.5 * values) + 0.5
    return result


def activated(values: FloatArray, kind: ScoreKind) -> FloatArray:
    """Scores as exported -> probabilities. `twice`: sigmoid(p), which lies in 0.5..0.731, back to p."""
    if kind == "probabilities":
        return values
    if kind == "logits":
        return sigmoid(values)
    with np.errstate(invalid="ignore"):
        inner = np.clip(values, 0.5, 1 - 1e-6)
        undone: FloatArray = np.minimum(np.log(inner / (1 - inner)), 1.0).astype(np.float32)
    return undone


def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """The product, in which a broken model's infinities give infinity or NaN and no warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        result: FloatArray = left * right
    return result


def corners(boxes: FloatArray, scale: FloatArray, order: BoxOrder = "xywh") -> FloatArray:
    """Boxes in `order`, (n, 4), times `scale`, (4,), to x1 y1 x2 y2, (n, 4). Infinities raise no warning."""
    scaled = product(boxes, scale)
    if order == "xyxy":
        return scaled
    center, half = scaled[:, :2], 0.5 * scaled[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate([center - half, center + half], axis=1)


def unit_scale(unit: BoxUnit, centers_x: FloatArray, width: int, height: int) -> FloatArray:
    """What x y w h must be multiplied by to be pixels of the network input, (4,).

    `auto` looks at the x centres of the whole grid, (cells,), kept or not: those in pixels reach far beyond 1.5, normalised
    ones end at 1 (shared reference/empty_detection_faults.md section 4, order of decisions, step 4).
    """
    normalized = unit == "normalized"
    if unit == "auto" and centers_x.size:
        # all of them: where suppression in the graph has emptied most rows, a sample may hold nothing but zeros
        normalized = bool(np.fmax.reduce(centers_x) <= _NORMALIZED_LIMIT)
    return np.array([width, height, width, height] if normalized else [1, 1, 1, 1], dtype=np.float32)


def only_known_classes(ids: FloatArray, scores: FloatArray, classes: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Class ids as a graph gives them, (n,), and scores, (n,) -> scores and ids, (n,) each.

    A row whose id is not a whole number, or no label's, is background: its score is NaN and its id 0.
    """
    whole = np.rint(ids)
    known = (np.abs(ids - np.where(np.isfinite(whole), whole, 0)) <= _WHOLE) & (whole >= 0) & (whole < classes)
    return np.where(known, scores, np.float32(np.nan)), np.where(known, whole, 0).astype(np.int64)


def rows_above(
    min_score: float, scores: FloatArray, class_ids: NDArray[np.int64], boxes: FloatArray, scale: FloatArray, *, order: BoxOrder
) -> Candidates:
    """Rows that a graph has decoded: scores and ids, (n,), and boxes, (n, 4), of which only those kept are touched."""
    seen, score_max = count_seen(scores), best_score(scores)
    kept = np.flatnonzero(scores >= min_score)
    if not kept.size:
        return no_candidates(seen, score_max)
    return Candidates(corners(boxes[kept], scale, order), scores[kept], class_ids[kept], seen=seen, score_max=score_max)


def rows_or_columns(
    shape: Sequence[int | None], counts: Collection[int | None], least: int, usual: int
) -> tuple[int, bool] | None:
    """Reads 1 x values x cells or 1 x cells x values: (values per cell, whether a cell is a row); None where it is neither.

    `counts`: how many cells there may be; `least`: values that a cell has at least. Where both would do, the one with `usual`
    values is meant, and none where neither has them.
    """
    if len(shape) != 3:
        return None
    both = ((shape[1], shape[2], False), (shape[2], shape[1], True))
    readings = [(size, by_row) for size, count, by_row in both if size is not None and size >= least and count in counts]
    if len(readings) > 1:
        readings = [reading for reading in readings if reading[0] == usual]
    return readings[0] if len(readings) == 1 else None


def grid_cells(width: int, height: int) -> Iterator[int]:
    """The cell counts that a pyramid over a width x height input may have.

    One for each run of neighbouring strides: 640 x 640 with strides 8, 16, 32 has 80^2 + 40^2 + 20^2 = 8400.
    """
    sizes = [-(-width // stride) * -(-height // stride) for stride in STRIDES]
    for first, last in combinations(range(len(STRIDES) + 1), 2):
        yield sum(sizes[first:last])
