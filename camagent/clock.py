"""Time, passed in where it is needed, so that a test can turn it. Intervals are monotonic; only messages carry wall time."""

from __future__ import annotations

import time
from typing import Protocol

STEP_S = 2.0  # a wall clock that moves this far against the monotonic one was set by somebody


class Clock(Protocol):
    """Two times that must never be mixed up."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never steps. For every interval, time-out and age."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, UTC; may step at any moment. For messages only."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds of CLOCK_REALTIME."""
        return time.time()


class StepWatch:
    """Notices that the wall clock was set: it then moved against the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall() - clock.monotonic()
        self.steps = 0
        self.last_step_s = 0.0

    def facts(self) -> dict[str, float]:
        """For `health`: how often the clock was set, and by how many seconds the last time."""
        return {"steps": self.steps, "last_step_s": round(self.last_step_s, 3)}

    def look(self) -> bool:
        """Compares the clocks; True when the wall clock has stepped by more than `STEP_S` since the last look."""
        offset = self._clock.wall() - self._clock.monotonic()
        moved = offset - self._offset
        self._offset = offset
        if abs(moved) <= STEP_S:
            return False
        self.steps += 1
        self.last_step_s = moved
        return True
