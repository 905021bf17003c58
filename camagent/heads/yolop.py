"""YOLOP: vehicles in boxes, and two maps of the road, where one may drive and the lane lines (hustvl/YOLOP)."""

from __future__ import annotations

from typing import Literal

import cv2
import msgspec
import numpy as np

from camagent.frame import NO_LABEL, Candidates, FloatArray
from camagent.heads.anchors import BOX, COUNT
from camagent.heads.base import (
    Arrays,
    HeadContext,
    SemanticMap,
    Sighting,
    describe,
    read_params,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import BoxUnit, as_float32, corners, grid_cells, unit_scale
from camagent.heads.levels import score_objectness
from camagent.heads.maps import highest, proportionate, share

_NAME = "yolop"
_MAPS = 2  # labels behind those of the boxes: drivable area, lane


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "auto"
    maps: Literal["drive-lane", "lane-drive"] = "drive-lane"  # in which order the outputs come


class YoloP:
    """Decodes 1 x N x (5 + classes), N = 3 anchors per cell, and two maps 1 x 2 x H x W: background and road, 0..1 each.

    Boxes are yolov5's: x y w h, objectness, classes; there is one class in the published model. Of the maps the drivable area
    comes first and the lane lines second, as exported (hustvl/YOLOP: export_onnx.py, lib/models/YOLOP.py). A pixel belongs to
    one of them where its second channel is above its first, and to the lane where it belongs to both, since lines lie on the
    road. The labels are those of the boxes, then the drivable area's, then the lane's; background has none. With labels for the
    boxes alone the maps are left alone.
    """

    __slots__ = ("_classes", "_drive", "_height", "_lane", "_only_boxes", "_params", "_rows", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of labels."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        shapes = [spec.shape for spec in context.outputs]
        flat = [index for index, shape in enumerate(shapes) if len(shape) == 3]
        maps = [index for index, shape in enumerate(shapes) if len(shape) == 4 and shape[1] == 2]
        _, rows, columns = shapes[flat[0]] if flat else (None, None, None)
        known = {None, *(COUNT * cells for cells in grid_cells(context.width, context.height))}
        fits = len(shapes) == 3 and len(flat) == 1 and len(maps) == 2 and len({shapes[index] for index in maps}) == 1
        fits = fits and rows in known and columns is not None and columns > BOX
        fits = fits and proportionate((shapes[maps[0]][2], shapes[maps[0]][3]), context)
        grid = f"N = 3 anchors per cell of a pyramid over {context.width} x {context.height}"
        require_outputs(context, _NAME, f"1 x N x (5 + classes), {grid}, and two maps 1 x 2 x H x W", fits=fits)
        assert columns is not None
        self._rows, self._classes = flat[0], columns - BOX
        self._drive, self._lane = maps if self._params.maps == "drive-lane" else maps[::-1]
        where = f"{describe([context.outputs[flat[0]]])}: 5 + classes; drivable area and lane"
        self._only_boxes = context.classes == self._classes
        if not self._only_boxes:
            require_classes(context, _NAME, self._classes + _MAPS, where)

    def decode(self, outputs: Arrays, min_score: float) -> Sighting | Candidates:
        """Three outputs, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        rows = as_float32(outputs[self._rows])[0]
        found = score_objectness([rows], "probabilities", min_score)
        scale = unit_scale(self._params.boxes, rows[:, 0], self._width, self._height)
        boxes = found.candidates(corners(rows[found.cells, :4], scale))
        if self._only_boxes:
            return boxes
        drive, lane = (as_float32(outputs[index])[0] for index in (self._drive, self._lane))
        return Sighting(boxes, _road(drive, lane, self._classes))


def _road(drive: FloatArray, lane: FloatArray, first: int) -> SemanticMap:
    """Two maps (2, height, width) as one; `first`: the drivable area's label."""
    labels = np.full(256, NO_LABEL, np.uint8)
    labels[1:4] = first, first + 1, first + 1  # drive, lane, both; a table takes a tenth of the time of masked assignments
    which = (drive[1] > drive[0]).view(np.uint8) + 2 * (lane[1] > lane[0]).view(np.uint8)
    ids = np.asarray(cv2.LUT(which, labels), np.uint8)
    return SemanticMap(ids, share(max(highest(drive[1]), highest(lane[1]))), NO_LABEL)
