"""How much boxes overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TINY = float(np.finfo(float).tiny)


def overlap(boxes: Array, others: Array) -> Array:
    """Intersection over union of boxes (n, 4) and (m, 4) x1 y1 x2 y2: (n, m), 0..1."""
    return grown_overlap(boxes, others, np.zeros((len(boxes), 2)))


def grown_overlap(boxes: Array, others: Array, margins: Array) -> Array:
    """The same after each of `boxes` and, beside it, the other have grown by its margin (n, 2), x and y, on every side.

    What has moved out of its box since is still near it (C-BIoU, Yang et al., WACV 2023, arXiv 2211.14317, where margins are
    fixed shares of the box; here they are what a prediction does not know).
    """
    stretch = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    stretch += 2 * margins[:, None]
    shared = _area(np.maximum(stretch, 0.0, out=stretch))
    own = _area(boxes[:, 2:] - boxes[:, :2] + margins * 2)[:, None]
    theirs = _area((others[:, 2:] - others[:, :2])[None] + margins[:, None] * 2)
    result: Array = shared / np.maximum(own + theirs - shared, _TINY)
    return result


def _area(sides: Array) -> Array:
    """Of (.., 2) sides: a product of two costs a small array less than a reduction."""
    area: Array = sides[..., 0] * sides[..., 1]
    return area
