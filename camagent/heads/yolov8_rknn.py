"""YOLOv8 and YOLO11 as Rockchip's exporters split them: box distributions and class scores per level (rknn_model_zoo)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import ScoreKind
from camagent.heads.levels import cell_grid, expected_bins, gather, planes, score_classes, split_maps

_NAME = "yolov8-rknn"
_BOX = 64  # 4 sides x 16 bins


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scores: ScoreKind = "probabilities"


class YoloV8Rknn:
    """Decodes per level 1 x 64 x H x W (4 sides x 16 bins, logits) and 1 x classes x H x W (0..1), in any order.

    A third map per level, 1 x 1 x H x W, the clipped sum of the class scores, is left alone. score = best class; the distances
    from the cell's centre, in cells, are the expected bins (rknn_model_zoo: examples/yolov8, examples/yolo11).
    The softmax over the bins is done for kept cells only.
    """

    __slots__ = ("_grid", "_maps", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        maps = split_maps(context, (_BOX,))
        grid = f"on 2 to 4 grids of a pyramid over {context.width} x {context.height}"
        wanted = f"1 x 64 x H x W and 1 x classes x H x W (and 1 x 1 x H x W) {grid}"
        require_outputs(context, _NAME, wanted, fits=maps is not None)
        assert maps is not None
        self._maps = maps
        require_classes(context, _NAME, maps.classes, describe([context.outputs[maps.scores[0]]]))
        self._grid = cell_grid(context.width, context.height, maps.strides)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        found = score_classes(planes(outputs, self._maps.scores), self._params.scores, min_score)
        logits = gather([plane.T for plane in planes(outputs, self._maps.boxes)], found.cells)
        return found.candidates(self._grid.boxes(found.cells, expected_bins(logits)))
