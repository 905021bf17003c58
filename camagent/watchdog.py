"""Does every thread keep the deadline that it has set itself? While each does, systemd's watchdog is fed.

A thread of its own looks once a second. Where a thread is late, whoever registered it may mend that (a reader is replaced);
otherwise the process is aborted, and starts anew. The interpreter itself may hang in a vendor's call: then nobody feeds, and
systemd aborts it. Each abort prints where every thread was.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from camagent.clock import Clock
from camagent.notify import microseconds, notify, watchdog_s
from camagent.pulse import Promise, Pulse
from camagent.stage import Stage

log = logging.getLogger("camagent")

LOOK_S = 1.0
FEED_SHARE = 0.25  # of systemd's interval: so often it is fed
GAP_S = 5.0  # a look this much later than meant: the whole process was stopped or starved, and nobody is to blame
MARGIN_S = 10.0  # systemd waits so much longer than what was announced
LEAST_S = 10.0
MEDIANS = 10.0
SAMPLES = 31

Phase: TypeAlias = Literal["starting", "running", "stopping"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which this process did not run."""

    end: float  # monotonic seconds
    length_s: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """A promise that was not kept."""

    name: str
    promise: Promise
    after_s: float

    @property
    def sentence(self) -> str:
        """For log, health and STATUS."""
        return f"{self.name}: {self.promise.doing} has not come back for {self.after_s:.0f} s"


def patience(durations: Iterable[float]) -> float:
    """How long a worker waits for an inference, given how long the newest took: max(10 s, 10 x median)."""
    known = sorted(durations)
    return max(LEAST_S, MEDIANS * known[len(known) // 2]) if known else LEAST_S


def overdue(promises: Sequence[tuple[str, Promise]], now: float, gaps: Iterable[Gap] = ()) -> list[Overdue]:
    """The promises that were not kept; what the process has not run since they were given does not count."""
    found = []
    for name, promise in promises:
        pardoned = sum(gap.length_s for gap in gaps if gap.end > promise.since)
        after_s = now - promise.since - pardoned
        if after_s > promise.within_s:
            found.append(Overdue(name, promise, after_s))
    return found


def gap(last_look: float, now: float, every_s: float) -> Gap | None:
    """Whether the process stood still between two looks."""
    length_s = now - last_look - every_s
    return Gap(now, length_s) if length_s > GAP_S else None


def longest_s(promises: Iterable[Promise], now: float) -> float:
    """How long it may take at most until every thread has been heard of."""
    return max((promise.since + promise.within_s - now for promise in promises), default=0.0)


class Durations:
    """How long the newest inferences took, and the patience that follows."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=SAMPLES)
        self.patience_s = LEAST_S

    def note(self, seconds: float) -> None:
        """One more."""
        self._newest.append(seconds)
        self.patience_s = patience(self._newest)


@dataclass(frozen=True, slots=True)
class _Watched:
    pulse: Pulse
    mend: Callable[[Overdue], bool]


class Watchdog:
    """Any thread may register and forget. `last_words` hears why the process is about to be aborted; it must be quick."""

    def __init__(
        self, clock: Clock, last_words: Callable[[Overdue], None], abort: Callable[[], None] = os.abort, look_s: float = LOOK_S
    ) -> None:
        """Looks at nobody yet."""
        self.phase: Phase = "starting"
        self._clock, self._last_words, self._abort = clock, last_words, abort
        self._interval_s = watchdog_s()
        self._look_s = look_s if self._interval_s is None else min(look_s, self._interval_s * FEED_SHARE)
        self._watched: dict[Pulse, _Watched] = {}
        self._lock = threading.Lock()
        self._gaps: deque[Gap] = deque(maxlen=8)
        self._announced: list[Promise] = []  # long steps that systemd was told of
        self._fed_at = float("-inf")
        self._stage = Stage("watchdog", self._run, self._died)

    def start(self) -> None:
        """Looks from now on."""
        self._stage.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stage.join(2 * self._look_s)

    def watch(self, pulse: Pulse, mend: Callable[[Overdue], bool] = lambda _: False) -> None:
        """From now on this thread is expected to keep its promises. `mend`: True where what is late need not be waited for."""
        pulse.announced = self._hear
        with self._lock:
            self._watched[pulse] = _Watched(pulse, mend)

    def forget(self, pulse: Pulse) -> None:
        """Nobody waits for that thread any more."""
        with self._lock:
            self._watched.pop(pulse, None)

    @contextmanager
    def step(self, name: str, within_s: float, doing: str, *, on_device: bool = False) -> Iterator[None]:
        """A long step in a thread that is not watched otherwise."""
        pulse = Pulse(name, self._clock.monotonic)
        self.watch(pulse)
        pulse.announce(within_s, doing, on_device=on_device)
        try:
            yield
        finally:
            self.forget(pulse)

    def look(self) -> bool:
        """Looks once; feeds systemd where all is well. False where the process had to be aborted."""
        now = self._clock.monotonic()
        with self._lock:
            watched = list(self._watched.values())
        promised = [(item.pulse.name, promise, item) for item in watched if (promise := item.pulse.promise)]
        late = overdue([(name, promise) for name, promise, _ in promised], now, self._gaps)
        # a step within a step: the call into the device says more
        for one in sorted(late, key=lambda one: not one.promise.on_device):
            item = next(item for _, promise, item in promised if promise is one.promise)
            if item.pulse.promise is one.promise and not item.mend(one):
                self._give_up(one)
                return False
        self._feed([promise for _, promise, _ in promised], now)
        return True

    def _feed(self, promises: Sequence[Promise], now: float) -> None:
        if self._interval_s is not None:
            over = self._over(promises)
            if over:
                notify(WATCHDOG_USEC=microseconds(self._interval_s))
            if over or now - self._fed_at >= self._interval_s * FEED_SHARE:
                self._fed_at = now
                notify(WATCHDOG="1")
        if self.phase != "running":
            notify(EXTEND_TIMEOUT_USEC=microseconds(max(longest_s(promises, now), 0.0) + MARGIN_S))

    def _over(self, promises: Sequence[Promise]) -> bool:
        """Whether the last of the announced steps has just ended."""
        with self._lock:
            before, self._announced = self._announced, [one for one in self._announced if any(one is it for it in promises)]
            return bool(before) and not self._announced

    def _hear(self, promise: Promise) -> None:
        """Any thread: a long step begins, in which the interpreter may not come to feed."""
        if self._interval_s is None or promise.within_s <= self._interval_s / 2:
            return
        with self._lock:
            now = self._clock.monotonic()
            longest = longest_s(self._announced, now)
            self._announced.append(promise)
        notify(WATCHDOG_USEC=microseconds(max(promise.within_s, longest) + MARGIN_S), WATCHDOG="1")

    def _give_up(self, late: Overdue) -> None:
        log.critical("watchdog: %s; the process is aborted and starts anew", late.sentence)
        self._last_words(late)
        notify(STATUS=f"aborted: {late.sentence}")
        self._abort()

    def _run(self, stop: threading.Event) -> None:
        last = self._clock.monotonic()
        while not stop.wait(self._look_s):
            now = self._clock.monotonic()
            stood_still = gap(last, now, self._look_s)
            if stood_still is not None:
                log.warning("watchdog: this process did not run for %.0f s", stood_still.length_s)
                self._gaps.append(stood_still)
            last = now
            if not self.look():
                return

    def _died(self, name: str, exc: BaseException) -> None:
        log.critical("%s ended by %r: nobody watches any more", name, exc, exc_info=exc)
        self._abort()
