"""One camera's reader: source and thread. One that hangs in a library's call is left behind, and another takes its place."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from camagent.clock import Clock
from camagent.config import Camera
from camagent.frame import Frame
from camagent.pulse import Pulse
from camagent.slot import Slot
from camagent.sources import Source, SourceStatus, Tap, open_source
from camagent.stage import Stage
from camagent.watchdog import Overdue, Watchdog

log = logging.getLogger("camagent")

REPLACEMENTS = 3  # that hang at the same time: each keeps a thread, a decoder and its buffers
READER_STUCK = "READER_STUCK"
REOPENING_S = 30.0


def may_replace(hanging: int) -> bool:
    """Whether one more may be left behind, given how many hang already; otherwise the process starts anew."""
    return hanging < REPLACEMENTS


class Reader:
    """Keeps a slot supplied with frames. Any thread may call."""

    def __init__(
        self, camera: Camera, clock: Clock, slot: Slot[Frame], watchdog: Watchdog, *,
        died: Callable[[str, BaseException], None], errors: Counter[str],
    ) -> None:  # fmt: skip
        """Opens nothing yet. Raises ConfigError or InputError for a source that cannot be."""
        self._camera, self._clock, self._slot = camera, clock, slot
        self._watchdog, self._died, self._errors = watchdog, died, errors
        # the source, and what those before it have counted: replaced together
        self._now: tuple[Source, SourceStatus] = (open_source(camera, clock=clock), SourceStatus())
        self._left_behind: list[Stage] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._stage = self._made()

    def start(self) -> None:
        """Starts the thread."""
        self._watchdog.watch(self._stage.pulse, self._replace)
        self._stage.start()

    def stop(self) -> None:
        """Asks the thread to end; returns at once."""
        with self._lock:
            self._stopped = True
            self._stage.stop.set()

    def join(self, timeout_s: float) -> bool:
        """Waits for that; False when it is still in a blocking call."""
        self.stop()
        ended = self._stage.join(timeout_s)
        self._watchdog.forget(self._stage.pulse)
        return ended

    def status(self) -> SourceStatus:
        """The source's own words and counters."""
        source, earlier = self._now
        return source.status().after(earlier)

    def watch(self, tap: Tap | None) -> None:
        """Lets somebody look over the reader's shoulder, until this is called with None."""
        self._now[0].tap = tap

    def _made(self) -> Stage:
        def died(name: str, exc: BaseException) -> None:
            if stage is self._stage:
                self._died(name, exc)
            else:
                log.warning("%s, which was left behind, has ended by %r", name, exc)

        stage = Stage(f"{self._camera.name}-reader", lambda stop: self._read(stop, stage.pulse), died)
        return stage

    def _read(self, stop: threading.Event, pulse: Pulse) -> None:
        source, earlier = self._now
        if self._left_behind:  # what has hung before may hang in opening it, too: not in the thread that watches
            pulse.beat(REOPENING_S, "opening the source anew")
            before, source = source, open_source(self._camera, clock=self._clock)
            if stop.is_set():
                return
            source.tap, self._now = before.tap, (source, before.status().after(earlier))
        source.run(stop, self._slot, pulse)

    def _replace(self, late: Overdue) -> bool:
        """The watchdog's thread: True where another reader has taken over, or nobody waits for this one any more."""
        with self._lock:
            if self._stopped:
                return True
            self._left_behind = [stage for stage in self._left_behind if stage.alive]
            if not may_replace(len(self._left_behind)):
                return False
            self._errors[READER_STUCK] += 1
            log.error("%s; it is left behind and another takes its place", late.sentence)
            self._stage.stop.set()  # its guard cuts the connection: there is never a second RTSP session for long
            self._left_behind.append(self._stage)
            self._watchdog.forget(self._stage.pulse)
            self._stage = self._made()
            self.start()
        return True
