"""Cameras wait here for their turn at the backend that they share: one line for the CPU, one for every device.

Who is next is decided in turns.py; here are the lock, the waiting, and the clock. While a worker waits it keeps its pulse
going, so that nobody takes it for one that hangs; who does hang in a call is another one, and that one's pulse says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Protocol, Self

from camagent.pulse import Pulse
from camagent.turns import Turns

NAP_S = 0.5  # so often who waits is asked whether it still wants to
WAITING_S = 10.0
CALL_WAIT_S = 10.0  # for a call to end; then the backend may say itself what is wrong
_AHEAD = 1  # of a device: one prepares its picture while the others' are worked on
_BETWEEN = 2  # of the CPU: beside slow calls that it interrupts
_LATE_S = 1e-4  # so that a nap does not end just before its moment
_WAITING = "waiting for its turn"

_numbers = count(1)


class Pass(Protocol):
    """What a frame's way tells of itself to whoever has let it in."""

    def prepared(self) -> None:
        """The network's input is made; returns when the model may be called."""
        ...

    def over(self) -> None:
        """The model has answered: the next one may come."""
        ...


class _Alone:
    """Nobody else is there."""

    def prepared(self) -> None:
        """At once."""

    def over(self) -> None:
        """Nobody waits."""


ALONE: Pass = _Alone()


@dataclass(frozen=True, slots=True)
class Room:
    """What a line shows of itself."""

    cameras: int
    at_once: int


class Line:
    """The line at one backend. Any thread."""

    def __init__(self, at_once: int, ahead: int = 0, between: int = 0, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`at_once` calls at the same time, and turns beyond these: see `Turns`."""
        self._turns = Turns(at_once, ahead, between)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._calls = threading.Condition(self._lock)
        self._calling = 0
        self._gates: dict[str, threading.Condition] = {}
        self._alarm: float | None = None  # when the place that is kept now is kept no longer; somebody naps until then
        self.prepares_ahead = ahead > 0

    @property
    def room(self) -> Room:
        """As it is now."""
        return Room(len(self._gates), self._turns.at_once)

    def resize(self, at_once: int) -> None:
        """The configuration has changed."""
        with self._lock:
            self._turns.at_once = at_once
            self._begin()

    def join(self, key: str, weight: float) -> None:
        """One camera more, that asks for `weight` frames per second."""
        with self._lock:
            self._gates[key] = threading.Condition(self._lock)
            self._turns.join(key, weight)

    def leave(self, key: str) -> None:
        """It shares no longer; a turn that it still has is taken from it."""
        with self._lock:
            gate = self._gates.pop(key, None)
            self._turns.leave(key)
            if gate is not None:
                gate.notify_all()
            self._begin()

    def enter(self, key: str, still_wanted: Callable[[], bool]) -> bool:
        """Waits until it is `key`'s turn. False, and no turn, once `still_wanted` says so; it is asked twice a second."""
        with self._lock:
            gate = self._gates[key]
            self._turns.ask(key, self._monotonic())
            self._begin()
            while not self._turns.has_turn(key):
                if key not in self._gates or not still_wanted():
                    self._turns.give_up(key)
                    self._begin()
                    return False
                gate.wait(self._nap())
                self._begin()
            return True

    def begin_call(self, still_wanted: Callable[[], bool]) -> float:
        """Waits until fewer than `at_once` are in a call; returns for how long. An end of waiting lets it in all the same."""
        with self._lock:
            began = self._monotonic()
            end = began + CALL_WAIT_S
            while self._calling >= self._turns.at_once and self._monotonic() < end and still_wanted():
                self._calls.wait(NAP_S)
            self._calling += 1
            return self._monotonic() - began

    def exit(self, key: str, seconds: float, *, called: bool, more: bool) -> None:
        """The turn is over and has cost `seconds`; `called`: `begin_call` was part of it."""
        with self._lock:
            if called:
                self._calling -= 1
                self._calls.notify()
            self._turns.done(key, self._monotonic(), seconds, more=more)
            self._begin()

    def _begin(self) -> None:
        """Under the lock."""
        for key in self._turns.begin(self._monotonic()):
            self._gates[key].notify()
        before, self._alarm = self._alarm, self._turns.look_again_at()
        if self._alarm is not None and self._alarm != before:
            for gate in self._gates.values():
                gate.notify()

    def _nap(self) -> float:
        again = self._turns.look_again_at()
        return NAP_S if again is None else min(NAP_S, max(0.0, again - self._monotonic()) + _LATE_S)


class Lines:
    """All lines of an agent. Any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, cores: int | None = None) -> None:
        """`cores`: that this process may use, asked of the system where not given."""
        self._cores = cores or len(os.sched_getaffinity(0))
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}

    def on_cpu(self, threads: int) -> Line:
        """Of all models that run on the CPU; each of their calls uses `threads` cores."""
        return self._line("", max(1, self._cores // threads), between=_BETWEEN)

    def on_device(self, backend: str, calls: int) -> Line:
        """Of all models of a backend that speaks to a device, which works on so many `calls` at the same time."""
        return self._line(backend, max(1, calls), ahead=_AHEAD)

    def _line(self, key: str, at_once: int, *, ahead: int = 0, between: int = 0) -> Line:
        with self._lock:
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = Line(at_once, ahead, between, self._monotonic)
            elif line.room.at_once != at_once:
                line.resize(at_once)
            return line


class Turn:
    """One turn: `with guest.turn(line) as turn: if turn: ..`. False where the camera has stopped waiting for it."""

    def __init__(self, guest: Guest, line: Line) -> None:
        self._guest, self._line = guest, line
        self._has = self._called = False
        self._began = self._waited_s = 0.0

    def __enter__(self) -> Self:
        guest = self._guest
        asked = guest.monotonic()
        self._has = self._line.enter(guest.key, guest.still_waits)
        self._began = guest.monotonic()
        guest.waited_s += self._began - asked
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.over()

    def __bool__(self) -> bool:
        return self._has

    def prepared(self) -> None:
        """See `Pass`. At a device the next one waits here, prepared; at the CPU nobody does."""
        if not self._has or self._called or not self._line.prepares_ahead:
            return
        promise = self._guest.pulse.promise
        self._waited_s = self._line.begin_call(self._guest.still_waits)
        self._called = True
        if promise is not None and self._guest.pulse.promise is not promise:
            self._guest.pulse.beat(promise.within_s, promise.doing, on_device=promise.on_device)

    def over(self) -> None:
        """See `Pass`. May be called twice."""
        if self._has:
            self._has = False
            seconds = self._guest.monotonic() - self._began - self._waited_s
            self._line.exit(self._guest.key, seconds, called=self._called, more=self._guest.has_more())


class Guest:
    """One camera's place in whatever line its model belongs to. Belongs to its worker, but for `leave`."""

    def __init__(
        self, name: str, weight: float, pulse: Pulse, *, has_more: Callable[[], bool], ends: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`has_more`: its next frame lies ready. `ends`: it is to wait no longer."""
        self.key = f"{name} {next(_numbers)}"  # its successor is another guest, even while this one still hangs somewhere
        self.pulse, self.has_more, self.monotonic = pulse, has_more, monotonic
        self.waited_s = 0.0  # in all
        self._weight, self._ends = weight, ends
        self._line: Line | None = None

    def turn(self, line: Line) -> Turn:
        """To be entered: that is where it waits."""
        if line is not self._line:
            self.leave()
            line.join(self.key, self._weight)
            self._line = line
        return Turn(self, line)

    def leave(self) -> None:
        """Any thread: it will ask for no turn any more."""
        line, self._line = self._line, None
        if line is not None:
            line.leave(self.key)

    @property
    def room(self) -> Room | None:
        """Of its line; None before its first turn."""
        line = self._line
        return None if line is None else line.room

    def still_waits(self) -> bool:
        """Asked while it waits."""
        self.pulse.beat(WAITING_S, _WAITING)
        return not self._ends()
