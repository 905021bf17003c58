"""A thread's word on when it will be heard of again. The thread beats, the watchdog looks (watchdog.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Promise(NamedTuple):
    """What a thread does now, and how long that may take."""

    since: float  # monotonic seconds
    within_s: float
    doing: str
    on_device: bool = False  # a call into an NPU or the like: one that hangs says something of the device


class Pulse:
    """One thread's newest promise, replaced as a whole: any thread may read it. A beat costs one or two microseconds."""

    def __init__(self, name: str = "", monotonic: Callable[[], float] = time.monotonic) -> None:
        """Nothing is promised yet."""
        self.name = name
        self.promise: Promise | None = None
        self.announced: Callable[[Promise], None] = lambda _: None  # the watchdog's ear
        self._monotonic = monotonic

    def beat(self, within_s: float, doing: str, *, on_device: bool = False) -> None:
        """I live, and beat again within so many seconds."""
        self.promise = Promise(self._monotonic(), within_s, doing, on_device)

    def announce(self, within_s: float, doing: str, *, on_device: bool = False) -> None:
        """The same before a long step: systemd hears of it at once, for a vendor's call may hold the interpreter."""
        self.beat(within_s, doing, on_device=on_device)
        assert self.promise is not None
        self.announced(self.promise)

    def rest(self) -> None:
        """Nothing is promised any more: the thread has ended."""
        self.promise = None
