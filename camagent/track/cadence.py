"""How much time lies between two frames, and how fast frames come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_AGREES_S = 1.0  # a network that stalls and catches up is off by less; a stream's time line that jumps by less does little harm
_GAPS = 5


class Cadence:
    """Follows the frames of one camera."""

    def __init__(self) -> None:
        """No frame yet."""
        self.now = float("-inf")  # seconds of the caller's clock, never going back
        self._pts: float | None = None
        self.interval = 0.0  # seconds between frames, as usual of late; 0 before the second
        self._gaps: deque[float] = deque(maxlen=_GAPS)

    def step(self, at: float, pts: float | None) -> float:
        """A frame came at `at`; the seconds since the one before, by its own time line where that can be believed."""
        gap = max(0.0, at - self.now) if self.now > float("-inf") else 0.0
        by_pts = None if pts is None or self._pts is None else pts - self._pts
        if self.now > float("-inf"):
            self._gaps.append(gap)
            self.interval = _median(self._gaps)
        self.now, self._pts = max(at, self.now), pts
        return by_pts if by_pts is not None and by_pts >= 0 and abs(by_pts - gap) <= _AGREES_S else gap


def _median(values: Iterable[float]) -> float:
    """`statistics.median`, which takes several times as long over five numbers."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
