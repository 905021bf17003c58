"""YOLOX: no anchors, an objectness, boxes decoded in the graph or not (Megvii-BaseDetection/YOLOX)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import ScoreKind, as_float32, corners, grid_cells
from camagent.heads.levels import (
    CellGrid,
    Cells,
    by_stride,
    cell_grid,
    gather,
    map_grids,
    planes,
    pyramid,
    score_objectness,
)

_NAME = "yolox"
_BOX = 5  # values before the classes: x y w h, objectness
_FINEST = 8  # stride; an offset in cells cannot reach beyond the grid


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: Literal["auto", "decoded", "undecoded"] = "auto"
    scores: ScoreKind = "probabilities"


class YoloX:
    """Decodes 1 x N x (5 + classes), N = the cells of a pyramid, or one 1 x (5 + classes) x H x W per level, in any order.

    Objectness and classes are 0..1, score = objectness * best class. Boxes are x y w h in pixels, or not decoded: centre
    (v + cell) * stride, size exp(v) * stride (Megvii-BaseDetection/YOLOX: yolox/models/yolo_head.py, decode_outputs). Maps are
    never decoded; rows are, unless a width is below 0 or all centres lie within the finest grid's column count, which is
    looked at in every frame unless `boxes` says what they are.
    """

    __slots__ = ("_height", "_levels", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        self._levels = _maps(context)
        grid = f"a pyramid over {context.width} x {context.height}"
        wanted = f"one output 1 x N x (5 + classes), N cells of {grid}, or 1 x (5 + classes) x H x W on 2 to 4 grids"
        require_outputs(context, _NAME, wanted, fits=bool(self._levels) or _are_rows(context))
        values = context.outputs[0].shape[1 if self._levels else 2]
        assert values is not None
        require_classes(context, _NAME, values - _BOX, f"{describe(context.outputs[:1])}: 5 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        order = list(self._levels.values())
        views = [plane.T for plane in planes(outputs, order)] if order else [as_float32(outputs[0])[0]]
        found = score_objectness(views, self._params.scores, min_score)
        values = gather([view[:, :4] for view in views], found.cells)
        grid = _grid(self._width, self._height, sum(len(view) for view in views), tuple(self._levels))
        if grid is not None and found.cells.size and self._undecoded(views):
            values = _decoded(values, grid, found.cells)
        return found.candidates(corners(values, np.ones(4, np.float32)))

    def _undecoded(self, views: list[FloatArray]) -> bool:
        if self._params.boxes != "auto":
            return self._params.boxes == "undecoded"
        if self._levels:
            return True
        reach, thinnest = np.fmax.reduce(views[0][:, 0]), np.fmin.reduce(views[0][:, 2])
        return bool(thinnest < 0 or reach <= self._width / _FINEST)


@lru_cache(maxsize=8)
def _grid(width: int, height: int, cells: int, strides: tuple[int, ...]) -> CellGrid | None:
    """Where the cells lie; None where the count is no pyramid's, as an output of unknown length may turn out."""
    found = strides or pyramid(width, height, cells)
    return cell_grid(width, height, found) if found else None


def _decoded(values: FloatArray, grid: CellGrid, cells: Cells) -> FloatArray:
    """(n, 4) offsets in cells and logarithms of sizes in strides -> x y w h in pixels."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        parts = [values[:, :2] + grid.centers(cells, 0.0), np.exp(values[:, 2:])]
        return np.concatenate(parts, axis=1) * grid.stride[cells, None]


def _maps(context: HeadContext) -> dict[int, int]:
    """Stride -> output, where the outputs are one map per level; empty where they are something else."""
    levels = by_stride(context, map_grids(context))
    channels = {spec.shape[1] for spec in context.outputs if len(spec.shape) == 4}
    if levels is None or len(channels) != 1 or any(len(own) > 1 for own in levels.values()):
        return {}
    size = channels.pop()
    return {stride: own[0] for stride, own in levels.items()} if size is not None and size > _BOX else {}


def _are_rows(context: HeadContext) -> bool:
    shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
    known = {None, *grid_cells(context.width, context.height)}
    return len(shape) == 3 and shape[1] in known and shape[2] is not None and shape[2] > _BOX
