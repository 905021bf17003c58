"""YOLOv8 and YOLO11 with instance masks as Rockchip's exporters split them (rknn_model_zoo)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import ScoreKind
from camagent.heads.instances import find_prototypes, split_off
from camagent.heads.levels import cell_grid, gather, planes, score_classes, split_boxes, split_maps

_NAME = "yolov8-seg-rknn"
_BOX = 64  # 4 sides x 16 bins


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scores: ScoreKind = "probabilities"


class YoloV8SegRknn:
    """Decodes per level what yolov8-rknn does and 1 x k x H x W, mask coefficients, and prototypes 1 x k x H x W; k = 32.

    13 outputs, or 10 without the clipped sums; levels and prototypes are told by their grids, so their order is free. Within a
    level classes and coefficients are told by their number; where both are k, the classes come first (rknn_model_zoo:
    examples/yolov8_seg). Coefficients are signed, and read for kept cells only.
    """

    __slots__ = ("_grid", "_maps", "_params", "_prototypes", "_split")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        prototypes = find_prototypes(context)
        split = split_off(context, prototypes, prototypes.count) if prototypes else None
        maps = split_maps(split.context, (_BOX,)) if split else None
        grid = f"on 2 to 4 grids of a pyramid over {context.width} x {context.height}"
        levels = f"1 x {_BOX} x H x W, 1 x classes x H x W (and 1 x 1 x H x W) and 1 x k x H x W {grid}"
        require_outputs(context, _NAME, f"{levels}, and finer prototypes 1 x k x H x W", fits=maps is not None)
        assert prototypes is not None
        assert split is not None
        assert maps is not None
        self._prototypes, self._split, self._maps = prototypes, split, maps
        require_classes(context, _NAME, maps.classes, describe([split.context.outputs[maps.scores[0]]]))
        self._grid = cell_grid(context.width, context.height, maps.strides)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        rest = [outputs[index] for index in self._split.rest]
        found = score_classes(planes(rest, self._maps.scores), self._params.scores, min_score)
        coefficients = gather([plane.T for plane in planes(outputs, self._split.coefficients)], found.cells)
        boxes = split_boxes(rest, self._maps, self._grid, found.cells)
        return found.candidates(boxes, self._prototypes.parts(outputs, coefficients))
