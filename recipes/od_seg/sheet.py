"""Pictures side by side with what is there and what was seen, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.sinks import annotate, outline
from recipes.od_seg.classes import Classes
from recipes.od_seg.measure import Model
from recipes.od_seg.scene import Sample

_COLUMNS = 3


def sheet(model: Model, classes: Classes, samples: Sequence[Sample], width: int) -> NDArray[np.uint8]:
    """Samples in rows of three, each `width` pixels wide, red first.

    What the model sees is drawn as the agent draws it; white corners are around what is there.
    """
    tiles = [_tile(model, classes, sample, width) for sample in samples]
    height = max(tile.shape[0] for tile in tiles)
    whole: NDArray[np.uint8] = np.full(
        (height * -(-len(tiles) // _COLUMNS), width * min(_COLUMNS, len(tiles)), 3), 255, np.uint8
    )
    for index, tile in enumerate(tiles):
        top, left = index // _COLUMNS * height, index % _COLUMNS * width
        whole[top : top + tile.shape[0], left : left + width] = tile
    return whole


def _tile(model: Model, classes: Classes, sample: Sample, width: int) -> NDArray[np.uint8]:
    found = model.result(sample.picture)
    drawn = annotate(found.frame, found.outcome, classes.labels, longest=width)
    size = np.array(sample.size * 2, np.float32)
    corners = []
    for box in sample.boxes / size:
        x1, y1, x2, y2 = (float(value) for value in box)
        corners.append((x1, y1, x2, y2))
    outline(drawn, corners)
    return cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
