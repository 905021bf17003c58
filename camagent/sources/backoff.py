"""How long to leave a camera alone after a session failed. Pure: no clock, no socket, the chance is passed in."""

from __future__ import annotations

import enum
from random import Random

FIRST_S = 1.0
LONGEST_S = 30.0
JITTER = 0.25  # up to this share is taken off, so that a hundred agents do not return in step
GOOD_SESSION_S = 60.0
PROBE_EVERY_S = 1.0


class After(enum.Enum):
    """How the session ended; it decides whether a bare TCP connect may end the wait early."""

    DOWN = "nobody answered on that port"
    LOST = "an open session broke or went silent"
    REFUSED = "the server answered and would not serve"


class Backoff:
    """1 s, doubling to 30 s, less some jitter; a session that ran well for a minute starts it over."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0

    def next_wait(self, good_s: float) -> float:
        """Seconds to wait after a session that gave pictures for `good_s` seconds (0: none)."""
        if good_s >= GOOD_SESSION_S:
            self._failures = 0
        wait = min(FIRST_S * 2.0**self._failures, LONGEST_S)
        self._failures = min(self._failures + 1, 10)
        return wait * (1.0 - JITTER * self._rng.random())


class Wait:
    """One wait, and whether the server's coming back is allowed to end it.

    A server that was away and accepts connections again has been restarted: waiting on would only lose pictures. A
    server that answers all the time and refuses gets the whole back-off, and is not bothered by probes either.
    """

    def __init__(self, after: After) -> None:
        self._after = after
        self._was_down = after is After.DOWN

    @property
    def probes(self) -> bool:
        """Whether to try a connect once every `PROBE_EVERY_S`."""
        return self._after is not After.REFUSED

    def probed(self, *, accepted: bool) -> bool:
        """Takes in a probe's answer; True ends the wait."""
        if not accepted:
            self._was_down = True
            return False
        return self._was_down
