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
    wide, high = (_shared(boxes, others, margins, axis) for axis in (0, 1))
    shared = np.maximum(wide, 0.0) * np.maximum(high, 0.0)
    grown = margins[:, None, :] * 2
    own = (boxes[:, 2:] - boxes[:, :2] + margins * 2).prod(axis=1)[:, None]
    sides = others[:, 2:] - others[:, :2]
    theirs = (sides[:, 0] + grown[:, :, 0]) * (sides[:, 1] + grown[:, :, 1])
    result: Array = shared / np.maximum(own + theirs - shared, np.finfo(float).tiny)
    return result


def _shared(boxes: Array, others: Array, margins: Array, axis: int) -> Array:
    """How long the stretch is that both have along an axis, (n, m); below 0 for a gap."""
    low = np.maximum(boxes[:, axis, None], others[None, :, axis])
    high = np.minimum(boxes[:, axis + 2, None], others[None, :, axis + 2])
    stretch: Array = high - low + 2 * margins[:, axis, None]
    return stretch
