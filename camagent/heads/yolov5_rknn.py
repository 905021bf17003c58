"""YOLOv5 as Rockchip's exporter leaves it: three maps of activated values, boxes not decoded (rknn_model_zoo)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from camagent.frame import Candidates
from camagent.heads.anchors import YOLOV5, Activation, Anchors, require_maps
from camagent.heads.base import Arrays, HeadContext, read_params


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    anchors: Anchors | None = None
    activation: Activation = "auto"


class YoloV5Rknn:
    """Decodes one 1 x 3 (5 + classes) x H x W per level, in any order: x y w h, objectness, classes, all 0..1.

    score = objectness * best class; centre (2 v - 0.5 + cell) * stride, size (2 v)^2 * anchor (rknn_model_zoo:
    examples/yolov5). Anchors are the family's, for 3 levels or 4, unless `anchors` gives others. Exports without the sigmoid
    are told by an objectness outside 0..1, at every frame, unless `activation` says what is missing.
    """

    __slots__ = ("_maps", "_params")
    _name: ClassVar = "yolov5-rknn"
    _usual: ClassVar = YOLOV5

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, self._name)
        wanted = f"1 x 3 (5 + classes) x H x W on 2 to 4 grids of a pyramid over {context.width} x {context.height}"
        self._maps = require_maps(context, self._name, wanted, "channels", self._params.anchors, usual=self._usual)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        return self._maps.decode(outputs, self._params.activation, min_score)
