"""YOLOv6 as Rockchip's exporter splits it: distances and class scores per level (rknn_model_zoo: examples/yolov6)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, read_params
from camagent.heads.cells import ScoreKind
from camagent.heads.levels import cell_grid, decode_split, require_split

_NAME = "yolov6-rknn"
_BOXES = (4, 68)  # distances; or 4 sides x 17 bins in the medium and large models


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scores: ScoreKind = "probabilities"


class YoloV6Rknn:
    """Decodes per level 1 x 4 x H x W (distances, in cells) and 1 x classes x H x W (0..1), in any order.

    1 x 68 x H x W are 4 sides x 17 bins, logits, instead of the distances (rknn_model_zoo: examples/yolov6). A third map per
    level, 1 x 1 x H x W, the clipped sum of the class scores, is left alone. score = best class; distances run from the cell's
    centre to left, top, right and bottom.
    """

    __slots__ = ("_grid", "_maps", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._maps = require_split(context, _NAME, _BOXES)
        self._grid = cell_grid(context.width, context.height, self._maps.strides)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        return decode_split(outputs, self._maps, self._grid, self._params.scores, min_score)
