"""Overlaps of many boxes with many, by NumPy: what the tracker does with one pair at a time."""

from __future__ import annotations

import numpy as np

from tests.tracking.world import Array


def overlap(boxes: Array, others: Array, margin: float = 0.0) -> Array:
    """Intersection over union of boxes (n, 4) and (m, 4) x1 y1 x2 y2, all grown by `margin` pixels: (n, m), 0..1."""
    grown = margin * np.array([-1, -1, 1, 1])
    own, theirs = (boxes + grown)[:, None], (others + grown)[None]
    sides = np.minimum(own[..., 2:], theirs[..., 2:]) - np.maximum(own[..., :2], theirs[..., :2])
    shared = np.maximum(sides, 0.0).prod(axis=2)
    both = (own[..., 2:] - own[..., :2]).prod(axis=2) + (theirs[..., 2:] - theirs[..., :2]).prod(axis=2)
    result: Array = shared / np.maximum(both - shared, np.finfo(float).tiny)
    return result
