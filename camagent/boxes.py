"""One box and another, in plain floats: beside a few boxes NumPy's calls cost more than the sums."""

from __future__ import annotations

from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]  # x1 y1 x2 y2


def overlap(box: Box, other: Box, margin: float = 0.0) -> float:
    """Intersection over union, 0..1, after both have grown by `margin` on every side. A box without area overlaps nothing."""
    x1, y1, x2, y2 = box
    u1, v1, u2, v2 = other
    grown = 2 * margin
    wide = (x2 if x2 < u2 else u2) - (x1 if x1 > u1 else u1) + grown  # noqa: FURB136  calls cost more than all the rest
    high = (y2 if y2 < v2 else v2) - (y1 if y1 > v1 else v1) + grown  # noqa: FURB136
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / ((x2 - x1 + grown) * (y2 - y1 + grown) + (u2 - u1 + grown) * (v2 - v1 + grown) - shared)
