"""What is YOLOv7's own; all that it shares with YOLOv5's maps is tested for both in test_yolov5_rknn.py."""

from __future__ import annotations

import numpy as np
import pytest

from camagent.errors import HeadMismatch
from camagent.heads.yolov7_rknn import YoloV7Rknn
from tests.heads import grids, reference
from tests.heads.grids import SIZE
from tests.heads.reference import context
from tests.heads.test_yolov5_rknn import YOLOV7


def test_boxes_are_of_its_own_anchors() -> None:
    maps = grids.anchor_maps(np.random.default_rng(7), 3, 5)
    outputs = grids.as_channels(maps)
    head = YoloV7Rknn(context(*(o.shape for o in outputs), classes=3, size=SIZE))
    reference.check(head, outputs, grids.anchored(maps, YOLOV7), 0.25)


def test_it_refuses_under_its_own_name() -> None:
    with pytest.raises(HeadMismatch, match="yolov7-rknn"):
        YoloV7Rknn(context((1, 25200, 85), classes=80, size=(640, 640)))
