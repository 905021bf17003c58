"""NanoDet before Plus: class scores and box distributions, per level or in one output, three levels (RangiLyu/nanodet)."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import STRIDES, ScoreKind, as_float32
from camagent.heads.levels import (
    USUAL_STRIDES,
    Grid,
    SplitMaps,
    by_stride,
    cell_grid,
    cells_in,
    columns_of,
    expected_bins,
    gather,
    grid_of,
    score_classes,
    split_channels,
)

_NAME = "nanodet"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bins: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8  # per side: the training's reg_max + 1
    scores: ScoreKind = "probabilities"


class NanoDet:
    """Decodes per level 1 x HW x classes (0..1) and 1 x HW x 32 (8 bins a side, logits), or both of all levels side by side.

    The outputs of the levels come in any order; the joined one is 1 x N x (classes + 32), N = the cells of strides 8, 16, 32.
    score = best class; the distances from the cell's centre to left, top, right and bottom are the expected bins, in cells
    (RangiLyu/nanodet: nanodet/model/head/gfl_head.py). The softmax over the bins is done for kept cells only.
    """

    __slots__ = ("_classes", "_grid", "_maps", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        sides, cells = 4 * self._params.bins, cells_in(context.width, context.height, USUAL_STRIDES)
        self._maps = _per_level(context, sides)
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        values = shape[2] if len(shape) == 3 and shape[1] in (None, cells) else None
        joined = values - sides if values is not None and values > sides else None
        wanted = f"per level 1 x HW x classes and 1 x HW x {sides}, or one output 1 x {cells} x (classes + {sides})"
        classes = self._maps.classes if self._maps else joined
        require_outputs(context, _NAME, wanted, fits=classes is not None)
        assert classes is not None
        self._classes = classes
        require_classes(context, _NAME, classes, describe([context.outputs[self._maps.scores[0] if self._maps else 0]]))
        self._grid = cell_grid(context.width, context.height, self._maps.strides if self._maps else USUAL_STRIDES)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        scores, sides = self._parts([as_float32(output)[0] for output in outputs])
        found = score_classes([columns_of(rows) for rows in scores], self._params.scores, min_score)
        return found.candidates(self._grid.boxes(found.cells, expected_bins(gather(sides, found.cells))))

    def _parts(self, rows: list[FloatArray]) -> tuple[list[FloatArray], list[FloatArray]]:
        """Views (cells, classes) and (cells, 4 x bins) per level, or of all levels."""
        if self._maps is None:
            return [rows[0][:, : self._classes]], [rows[0][:, self._classes :]]
        return [rows[index] for index in self._maps.scores], [rows[index] for index in self._maps.boxes]


def _per_level(context: HeadContext, sides: int) -> SplitMaps | None:
    """Outputs by level, found by their cell counts. Where classes look like sides, the classes come first."""
    shapes = [spec.shape if len(spec.shape) == 3 else (None, None, None) for spec in context.outputs]
    sizes: dict[int | None, Grid] = {}
    for stride in STRIDES:
        grid = grid_of(context.width, context.height, stride)
        sizes.setdefault(int(np.prod(grid)), grid)
    levels = by_stride(context, [sizes.get(shape[1]) for shape in shapes])
    backwards = {stride: own[::-1] for stride, own in levels.items()} if levels else None
    return split_channels(context, backwards, [shape[2] for shape in shapes], (sides,), with_sum=False)
