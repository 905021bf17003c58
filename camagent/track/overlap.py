"""How much boxes overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def overlap(boxes: Array, others: Array) -> Array:
    """Intersection over union of boxes (n, 4) and (m, 4) x1 y1 x2 y2: (n, m), 0..1."""
    return grown_overlap(boxes, others, np.zeros((len(boxes), 2)))


def grown_overlap(boxes: Array, others: Array, margins: Array) -> Array:
    """The same after each of `boxes` and, beside it, the other have grown by its margin (n, 2), x and y, on every side.

    What has moved out of its box since is still near it (C-BIoU, Yang et al., WACV 2023, arXiv 2211.14317, where margins are
    fixed shares of the box; here they are what a prediction does not know).
    """
    margin = margins[:, None, :]
    low = np.maximum(boxes[:, None, :2], others[None, :, :2]) - margin
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) + margin
    shared = np.maximum(high - low, 0.0).prod(axis=2)
    own = (boxes[:, None, 2:] - boxes[:, None, :2] + 2 * margin).prod(axis=2)
    theirs = (others[None, :, 2:] - others[None, :, :2] + 2 * margin).prod(axis=2)
    result: Array = shared / np.maximum(own + theirs - shared, np.finfo(float).tiny)
    return result
