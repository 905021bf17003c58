from __future__ import annotations

from pathlib import Path

import numpy as np

from recipes.od_seg.classes import BACKGROUND
from recipes.od_seg.scene import Sample

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "recipes" / "od_seg"
SMALL = (320, 180)


def plain(size: tuple[int, int] = SMALL) -> Sample:
    """A grey picture with two boxes, a car's and a person's, and a road below."""
    width, height = size
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[20:60, 40:120] = (200, 30, 30)
    areas = np.full((height, width), BACKGROUND, np.uint8)
    areas[height // 2 :] = 6
    boxes = np.array([(40, 20, 120, 60), (200, 50, 215, 100)], np.float32)
    return Sample(picture, boxes, np.array([0, 3]), areas)
