"""Which boxes can overlap one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from camagent.boxes import Box


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
