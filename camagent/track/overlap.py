"""How much boxes overlap, and which of them can. Plain floats: beside a few boxes NumPy's calls cost more than the sums."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels


def overlap(box: Box, other: Box, margin: float = 0.0) -> float:
    """Intersection over union, 0..1, after both have grown by `margin` pixels on every side.

    What has moved out of its box since is still near it (C-BIoU, Yang et al., WACV 2023, arXiv 2211.14317, where margins are
    fixed shares of the box; here they are what a prediction does not know).
    """
    x1, y1, x2, y2 = box
    u1, v1, u2, v2 = other
    grown = 2 * margin
    wide = (min(u2, x2)) - (max(u1, x1)) + grown
    high = (min(v2, y2)) - (max(v1, y1)) + grown
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / ((x2 - x1 + grown) * (y2 - y1 + grown) + (u2 - u1 + grown) * (v2 - v1 + grown) - shared)


class Neighbours:
    """Boxes in the order of their left edges: of a crowd only those are looked at that lie below or above."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        """`boxes`: they keep their numbers."""
        self._order = sorted(range(len(boxes)), key=lambda row: boxes[row][0])
        self._lefts = [boxes[row][0] for row in self._order]
        self._widest = max((box[2] - box[0] for box in boxes), default=0.0)

    def of(self, box: Box, margin: float = 0.0) -> Sequence[int]:
        """Numbers of all boxes that can overlap `box`, and of some that do not, where all grow by `margin` pixels."""
        first = bisect_left(self._lefts, box[0] - 2 * margin - self._widest)
        return self._order[first : bisect_right(self._lefts, box[2] + 2 * margin)]
