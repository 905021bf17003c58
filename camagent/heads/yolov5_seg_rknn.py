"""YOLOv5 with instance masks as Rockchip's exporter leaves it: YOLOv5's maps, coefficients and prototypes (rknn_model_zoo)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates, MaskParts
from camagent.heads.anchors import COUNT, YOLOV5, Activation, Anchors, anchor_views, find_maps, require_maps
from camagent.heads.base import Arrays, HeadContext, read_params, require_outputs
from camagent.heads.cells import as_float32
from camagent.heads.instances import find_prototypes, split_off
from camagent.heads.levels import Cells, gather

_NAME = "yolov5-seg-rknn"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    anchors: Anchors | None = None
    activation: Activation = "auto"


class YoloV5SegRknn:
    """Decodes per level what yolov5-rknn does and 1 x 3 k x H x W, mask coefficients, and prototypes 1 x k x H x W; k = 32.

    Levels and prototypes are told by their grids, so their order is free; where a level's two maps have as many channels, the
    boxes come first (rknn_model_zoo: examples/yolov5_seg). Coefficients are signed, and read for kept cells only.
    """

    __slots__ = ("_maps", "_params", "_prototypes", "_split")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        prototypes = find_prototypes(context)
        split = split_off(context, prototypes, COUNT * prototypes.count) if prototypes else None
        grid = f"on 2 to 4 grids of a pyramid over {context.width} x {context.height}"
        wanted = f"1 x 3 (5 + classes) x H x W and 1 x 3 k x H x W {grid}, and finer prototypes 1 x k x H x W"
        fits = split is not None and find_maps(split.context, "channels") is not None
        require_outputs(context, _NAME, wanted, fits=fits)
        assert prototypes is not None
        assert split is not None
        self._prototypes, self._split = prototypes, split
        self._maps = require_maps(split.context, _NAME, wanted, "channels", self._params.anchors, usual=YOLOV5)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        rest = [outputs[index] for index in self._split.rest]
        maps = [as_float32(outputs[index])[0] for index in self._split.coefficients]
        views = [view for level in maps for view in anchor_views(level, "channels")]

        def masks(cells: Cells) -> MaskParts:
            return self._prototypes.parts(outputs, gather(views, cells))

        return self._maps.decode(rest, self._params.activation, min_score, masks)
