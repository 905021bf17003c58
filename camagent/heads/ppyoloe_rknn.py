"""PP-YOLOE as Rockchip's patch splits it: box distributions and class scores per level (rknn_model_zoo: examples/ppyoloe)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, read_params
from camagent.heads.cells import ScoreKind
from camagent.heads.levels import cell_grid, decode_split, require_split

_NAME = "ppyoloe-rknn"
_BOX = 68  # 4 sides x 17 bins


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scores: ScoreKind = "probabilities"


class PpYoloeRknn:
    """Decodes per level 1 x 68 x H x W (4 sides x 17 bins, logits) and 1 x classes x H x W (0..1), in any order.

    A third map per level, 1 x 1 x H x W, the clipped sum of the class scores, is left alone. score = best class; the distances
    from the cell's centre, in cells, are the expected bins (rknn_model_zoo: examples/ppyoloe; PaddleDetection:
    ppdet/modeling/heads/ppyoloe_head.py, reg_max 16). The softmax over the bins is done for kept cells only.
    """

    __slots__ = ("_grid", "_maps", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._maps = require_split(context, _NAME, (_BOX,))
        self._grid = cell_grid(context.width, context.height, self._maps.strides)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        return decode_split(outputs, self._maps, self._grid, self._params.scores, min_score)
