"""YOLOv7, raw: three anchors per cell, decoded in the graph, or three maps of logits (WongKinYiu/yolov7)."""

from __future__ import annotations

import msgspec

from camagent.frame import Candidates
from camagent.heads.anchors import BOX, COUNT, YOLOV7, Activation, Anchors, require_maps
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes
from camagent.heads.cells import BoxUnit, as_float32, corners, grid_cells, unit_scale
from camagent.heads.levels import score_objectness

_NAME = "yolov7"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"  # of the decoded form
    anchors: Anchors | None = None  # of the maps, and the next one too
    activation: Activation = "auto"


class YoloV7:
    """Decodes 1 x N x (5 + classes), N = 3 anchors per cell, or one 1 x 3 x H x W x (5 + classes) per level, in any order.

    The first is what YOLOv5 gives: x y w h in pixels or 0..1, objectness and classes 0..1. The maps are not decoded, and logits
    where they were exported in training mode: told by an objectness outside 0..1 unless `activation` says what is missing
    (WongKinYiu/yolov7: models/yolo.py, Detect; export.py). score = objectness * best class; centre (2 v - 0.5 + cell) * stride,
    size (2 v)^2 * anchor. Where there are both, the maps are left alone. The tiny model's anchors are YOLOv5's: `anchors`.
    """

    __slots__ = ("_decoded", "_height", "_maps", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        self._decoded, self._maps = _decoded(context), None
        pyramid = f"a pyramid over {context.width} x {context.height}"
        wanted = f"1 x N x (5 + classes), N = 3 anchors per cell of {pyramid}, or 1 x 3 x H x W x (5 + classes) on 2 to 4 grids"
        if self._decoded is None:
            self._maps = require_maps(context, _NAME, wanted, "rows", self._params.anchors, usual=YOLOV7)
            return
        columns = context.outputs[self._decoded].shape[2]
        assert columns is not None
        require_classes(context, _NAME, columns - BOX, f"{describe([context.outputs[self._decoded]])}: 5 + classes")

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in cell order, not clipped."""
        if self._maps is not None:
            return self._maps.decode(outputs, self._params.activation, min_score)
        assert self._decoded is not None
        rows = as_float32(outputs[self._decoded])[0]
        found = score_objectness([rows], "probabilities", min_score)
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        return found.candidates(corners(rows[found.cells, :4], scale))


def _decoded(context: HeadContext) -> int | None:
    """The decoded output; maps beside it do no harm, anything else does."""
    flat = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 3]
    others = [spec for spec in context.outputs if len(spec.shape) not in (3, 5)]
    if len(flat) != 1 or others:
        return None
    _, rows, columns = context.outputs[flat[0]].shape
    known = {None, *(COUNT * cells for cells in grid_cells(context.width, context.height))}
    return flat[0] if rows in known and columns is not None and columns > BOX else None
