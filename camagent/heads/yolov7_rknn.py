"""YOLOv7 as Rockchip's exporter leaves it: the maps of YOLOv5's, with anchors of its own (rknn_model_zoo)."""

from __future__ import annotations

from typing import ClassVar

from camagent.heads.anchors import YOLOV7
from camagent.heads.yolov5_rknn import YoloV5Rknn


class YoloV7Rknn(YoloV5Rknn):
    """Reads and decodes as YoloV5Rknn does (rknn_model_zoo: examples/yolov7); anchors are YOLOv7's unless `anchors` says."""

    __slots__ = ()
    _name: ClassVar = "yolov7-rknn"
    _usual: ClassVar = YOLOV7
