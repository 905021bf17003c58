"""How much of the picture a camera's privacy masks leave."""

from __future__ import annotations

import cv2
import numpy as np

from camagent.config import Camera

MASKED = 0.9  # share from which on nothing can be seen any more
_GRID = 128


def masked_share(camera: Camera) -> float:
    """Share of the picture that lies under privacy masks, 0..1, on a coarse grid."""
    grid = np.zeros((_GRID, _GRID), np.uint8)
    for mask in camera.mask:
        cv2.fillPoly(grid, [np.round(np.array(mask.polygon) * (_GRID - 1)).astype(np.int32)], 1)
    return float(grid.mean())
