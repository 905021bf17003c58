"""What heads share whose cells lie on several grids: the pyramid's strides, outputs grouped by grid, and scores before boxes.

Cells are counted level by level, the finest grid first, and row by row within one. A view is an array (cells, values) of a
level; nothing is copied until it is known which cells are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, FloatArray, MaskParts
from camagent.heads.base import (
    SEEN_SCORE,
    Arrays,
    HeadContext,
    best_score,
    describe,
    no_candidates,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import STRIDES, ScoreKind, activated, as_float32, count_seen, product

USUAL_STRIDES = (8, 16, 32)
_FEWEST, _MOST = 2, 4  # levels of a pyramid that is exported as one map or group of maps per level

Cells = NDArray[np.intp]
Grid = tuple[int, int]  # rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """Where every cell of a pyramid lies: float32, (cells,) each."""

    column: FloatArray
    row: FloatArray
    stride: FloatArray  # pixels of the network input

    def centers(self, cells: Cells, offset: float) -> FloatArray:
        """Column and row of `cells`, both plus `offset`, (n, 2) in cells."""
        return np.stack([self.column[cells], self.row[cells]], axis=1) + np.float32(offset)

    def boxes(self, cells: Cells, distances: FloatArray, offset: float = 0.5) -> FloatArray:
        """Distances from the cell's point to left, top, right, bottom, (n, 4) in cells -> x1 y1 x2 y2 in pixels."""
        center, stride = self.centers(cells, offset), self.stride[cells, None]
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.concatenate([center - distances[:, :2], center + distances[:, 2:]], axis=1)
        return product(found, stride)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Cells that reach the threshold, before anybody has looked at their boxes."""

    cells: Cells  # (n,) ascending
    scores: FloatArray  # (n,)
    class_ids: NDArray[np.int64]  # (n,)
    seen: int
    score_max: float

    def candidates(self, boxes: FloatArray, masks: MaskParts | None = None) -> Candidates:
        """With boxes (n, 4), x1 y1 x2 y2 in pixels of the network input, and what their masks are made of."""
        if not self.cells.size:
            return no_candidates(self.seen, self.score_max)
        return Candidates(boxes, self.scores, self.class_ids, seen=self.seen, score_max=self.score_max, masks=masks)


@dataclass(frozen=True, slots=True)
class SplitMaps:
    """Which outputs hold boxes and which classes, per level."""

    boxes: tuple[int, ...]
    scores: tuple[int, ...]
    box_size: int  # channels of a box map
    classes: int
    strides: tuple[int, ...]


def grid_of(width: int, height: int, stride: int) -> Grid:
    """Rows and columns that a stride leaves of the network input; a rest makes one more."""
    return -(-height // stride), -(-width // stride)


def cell_grid(width: int, height: int, strides: Sequence[int], anchors: int = 1) -> CellGrid:
    """Every cell of these levels; with `anchors`, each level that many times over."""
    parts = []
    for stride in strides:
        rows, columns = grid_of(width, height, stride)
        row, column = np.divmod(np.tile(np.arange(rows * columns), anchors), columns)
        parts.append((column, row, np.full(len(row), stride)))
    column, row, step = (np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True))
    return CellGrid(column, row, step)


def pyramid(width: int, height: int, count: int) -> tuple[int, ...] | None:
    """The neighbouring strides that have `count` cells together, the usual ones first; None where none have."""
    runs = [USUAL_STRIDES, *(STRIDES[first:last] for first, last in combinations(range(len(STRIDES) + 1), 2))]
    return next((run for run in runs if cells_in(width, height, run) == count), None)


def cells_in(width: int, height: int, strides: Sequence[int]) -> int:
    """How many cells these levels have together."""
    return sum(rows * columns for rows, columns in (grid_of(width, height, stride) for stride in strides))


def by_stride(context: HeadContext, grids: Sequence[Grid | None]) -> Mapping[int, tuple[int, ...]] | None:
    """Stride -> outputs on its grid, the finest first, given each output's grid.

    None where a grid is none of the pyramid's, or where the levels are fewer than 2 or more than 4.
    """
    known = {grid_of(context.width, context.height, stride): stride for stride in reversed(STRIDES)}
    strides = [known.get(grid) if grid is not None else None for grid in grids]
    found = sorted({stride for stride in strides if stride is not None})
    if None in strides or not _FEWEST <= len(found) <= _MOST:
        return None
    return {stride: tuple(index for index, own in enumerate(strides) if own == stride) for stride in found}


def map_grids(context: HeadContext) -> list[Grid | None]:
    """The grid of every output 1 x C x H x W; None for other shapes."""
    found: list[Grid | None] = []
    for spec in context.outputs:
        rows, columns = spec.shape[2:] if len(spec.shape) == 4 else (None, None)
        found.append(None if rows is None or columns is None or spec.shape[0] not in (None, 1) else (rows, columns))
    return found


def split_maps(context: HeadContext, box_sizes: Sequence[int], *, with_sum: bool = True) -> SplitMaps | None:
    """Reads outputs as box and class maps per level, in any order; None where they are something else.

    Box maps have one of `box_sizes` channels. With `with_sum`, each level may have a third map of one channel, the clipped sum
    of its class scores, which is left alone: the classes themselves are read in 0.1 ms. Where box and class maps could change
    places, the label count decides, and then the order of the outputs.
    """
    channels = [spec.shape[1] if len(spec.shape) == 4 else None for spec in context.outputs]
    return split_channels(context, by_stride(context, map_grids(context)), channels, box_sizes, with_sum=with_sum)


def require_split(context: HeadContext, head: str, box_sizes: Sequence[int]) -> SplitMaps:
    """As split_maps. Raises HeadMismatch for other outputs, LabelCountMismatch for another number of classes."""
    maps = split_maps(context, box_sizes)
    grid = f"on 2 to 4 grids of a pyramid over {context.width} x {context.height}"
    boxes = " or ".join(f"1 x {size} x H x W" for size in box_sizes)
    require_outputs(context, head, f"{boxes} and 1 x classes x H x W (and 1 x 1 x H x W) {grid}", fits=maps is not None)
    assert maps is not None
    require_classes(context, head, maps.classes, describe([context.outputs[maps.scores[0]]]))
    return maps


def split_channels(
    context: HeadContext, levels: Mapping[int, tuple[int, ...]] | None, channels: Sequence[int | None],
    box_sizes: Sequence[int], *, with_sum: bool,
) -> SplitMaps | None:  # fmt: skip
    """As split_maps, for outputs of any layout: `levels` as of by_stride, `channels` per output."""
    if levels is None:
        return None
    groups = list(levels.values())
    readings = [(box, classes) for box, classes in _readings(groups[0], channels, with_sum=with_sum) if box in box_sizes]
    readings.sort(key=lambda reading: reading[1] != context.classes)  # stable: the outputs' order otherwise
    for box_size, classes in readings:
        pairs = [_pair(group, channels, box_size, classes, with_sum=with_sum) for group in groups]
        if all(pairs):
            boxes, scores = zip(*(pair for pair in pairs if pair), strict=True)
            return SplitMaps(boxes, scores, box_size, classes, tuple(levels))
    return None


def _readings(group: Sequence[int], channels: Sequence[int | None], *, with_sum: bool) -> Iterator[tuple[int, int]]:
    """(box channels, classes) as a group's outputs allow."""
    if not 2 <= len(group) <= (3 if with_sum else 2):
        return
    for box, classes in permutations(group, 2):
        first, second = channels[box], channels[classes]
        if first is not None and second is not None:
            yield first, second


def _pair(
    group: Sequence[int], channels: Sequence[int | None], box_size: int, classes: int, *, with_sum: bool
) -> tuple[int, int] | None:
    """The outputs of a level that are boxes and classes; what is left over may only be the sum."""
    if len(group) > (3 if with_sum else 2):
        return None
    for box, scores in permutations(group, 2):
        rest = [channels[index] for index in group if index not in (box, scores)]
        if channels[box] == box_size and channels[scores] == classes and rest in ([], [1]):
            return box, scores
    return None


def planes(outputs: Arrays, indices: Sequence[int]) -> list[FloatArray]:
    """Outputs 1 x C x H x W as (C, cells)."""
    return [as_float32(outputs[index]).reshape(outputs[index].shape[1], -1) for index in indices]


def columns_of(rows: FloatArray) -> FloatArray:
    """(cells, values) -> (values, cells), copied: a maximum over the short axis would cost more than both."""
    return as_float32(cv2.transpose(np.ascontiguousarray(rows)))


def score_classes(maps: Sequence[FloatArray], kind: ScoreKind, min_score: float) -> Scored:
    """The best class of every cell, from class maps (classes, cells) per level, as exported."""
    scores = activated(np.concatenate([plane.max(axis=0) for plane in maps]), kind)
    seen, score_max = count_seen(scores), best_score(scores)
    kept = np.flatnonzero(scores >= min_score)
    class_ids = gather([plane.T for plane in maps], kept).argmax(axis=1) if kept.size else kept.astype(np.int64)
    return Scored(kept, scores[kept], class_ids, seen, score_max)


def decode_split(outputs: Arrays, maps: SplitMaps, grid: CellGrid, kind: ScoreKind, min_score: float) -> Candidates:
    """Best class per cell; boxes of the kept cells from distances in cells, or from the bins that stand for them."""
    found = score_classes(planes(outputs, maps.scores), kind, min_score)
    return found.candidates(split_boxes(outputs, maps, grid, found.cells))


def split_boxes(outputs: Arrays, maps: SplitMaps, grid: CellGrid, cells: Cells) -> FloatArray:
    """The boxes of `cells`, (n, 4) x1 y1 x2 y2 in pixels of the network input."""
    sides = gather([plane.T for plane in planes(outputs, maps.boxes)], cells)
    return grid.boxes(cells, sides if maps.box_size == 4 else expected_bins(sides))


def score_objectness(views: Sequence[FloatArray], kind: ScoreKind, min_score: float) -> Scored:
    """Objectness * best class of views (cells, 5 + classes), column 4 being the objectness, as exported.

    A score cannot exceed its objectness: class columns are read where the objectness reaches the threshold, and in a quiet
    frame where it is above the best score so far.
    """
    objectness = activated(np.concatenate([view[:, 4] for view in views]), kind)
    floor = min(min_score, SEEN_SCORE)
    likely = np.flatnonzero(objectness >= floor)
    rows = gather(views, likely)
    scores = _products(objectness[likely], rows, kind)
    kept = np.flatnonzero(scores >= min_score)
    class_ids = rows[kept, 5:].argmax(axis=1)
    score_max = best_score(scores)
    if score_max < floor:
        score_max = _quiet_best(views, np.fmax(objectness, np.float32(0)), kind, score_max)
    return Scored(likely[kept], scores[kept], class_ids, count_seen(scores), score_max)


def _quiet_best(views: Sequence[FloatArray], objectness: FloatArray, kind: ScoreKind, best: float) -> float:
    top = np.array([objectness.argmax()])
    mark = max(best, best_score(_products(objectness[top], gather(views, top), kind)))
    rivals = np.flatnonzero(objectness > mark)
    return max(mark, best_score(_products(objectness[rivals], gather(views, rivals), kind)))


def _products(objectness: FloatArray, rows: FloatArray, kind: ScoreKind) -> FloatArray:
    return product(objectness, activated(rows[:, 5:].max(axis=1), kind))


def gather(views: Sequence[FloatArray], cells: Cells) -> FloatArray:
    """Rows `cells` (ascending, counted over all views) of views (cells, values) -> (n, values)."""
    if len(views) == 1:
        return views[0][cells]
    ends = np.cumsum([len(view) for view in views])
    cuts = [0, *np.searchsorted(cells, ends).tolist()]
    starts = [0, *ends[:-1].tolist()]
    parts = [view[cells[cuts[i] : cuts[i + 1]] - starts[i]] for i, view in enumerate(views) if cuts[i] < cuts[i + 1]]
    return np.concatenate(parts) if parts else np.zeros((0, views[0].shape[1]), np.float32)


def expected_bins(logits: FloatArray) -> FloatArray:
    """Distribution focal loss: 4 x bins logits per cell, (n, 4 * bins) -> the expected bin of each side, (n, 4).

    Softmax over the bins, times 0, 1, 2 .. (Li et al., Generalized Focal Loss, 2020, equation 6).
    """
    sides = logits.reshape(len(logits), 4, logits.shape[1] // 4)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        raised = np.exp(sides - sides.max(axis=2, keepdims=True))
        weights = np.arange(sides.shape[2], dtype=np.float32)
        expected: FloatArray = (raised @ weights) / raised.sum(axis=2)
    return expected
