"""NanoDet-Plus: class scores and box distributions in one output, four levels (RangiLyu/nanodet)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import ScoreKind, as_float32
from camagent.heads.levels import cell_grid, cells_in, columns_of, expected_bins, score_classes

_NAME = "nanodet-plus"
_STRIDES = (8, 16, 32, 64)
_OFFSET = 0.0  # distances start at the cell's corner


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bins: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8  # per side: the training's reg_max + 1
    scores: ScoreKind = "probabilities"


class NanoDetPlus:
    """Decodes 1 x N x (classes + 4 x bins), N = the cells of strides 8 to 64: classes 0..1, then logits of 8 bins a side.

    score = best class; the distances from the cell's upper left corner to left, top, right and bottom are the expected bins,
    in cells (RangiLyu/nanodet: nanodet/model/head/nanodet_plus_head.py, get_single_level_center_priors and get_bboxes). The
    softmax over the bins is done for kept cells only.
    """

    __slots__ = ("_classes", "_grid", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
        sides, cells = 4 * self._params.bins, cells_in(context.width, context.height, _STRIDES)
        values = shape[2] if len(shape) == 3 else None
        fits = values is not None and values > sides and shape[1] in (None, cells)
        require_outputs(context, _NAME, f"one output 1 x {cells} x (classes + {sides})", fits=fits)
        assert values is not None
        self._classes = values - sides
        require_classes(context, _NAME, self._classes, f"{describe(context.outputs)}: classes + {sides}")
        self._grid = cell_grid(context.width, context.height, _STRIDES)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """One output, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        rows = as_float32(outputs[0])[0]
        found = score_classes([columns_of(rows[:, : self._classes])], self._params.scores, min_score)
        distances = expected_bins(rows[found.cells, self._classes :])
        return found.candidates(self._grid.boxes(found.cells, distances, _OFFSET))
