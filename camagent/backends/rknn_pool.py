"""Contexts of one Rockchip model, shared by the cameras that run it: no more than the NPU has cores, one call at a time each.

A context belongs to one core, and a core works on one job at a time, so more contexts than cores cost memory and gain nothing.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from camagent.errors import NpuHung

BUSY_S = 10.0  # how long a free context is waited for: a hundred usual inferences

Arrays: TypeAlias = Sequence[NDArray[Any]]


class Context(Protocol):
    """An open model on one core."""

    @property
    def core(self) -> int:
        """Which, from 0."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What was found when it was opened."""
        ...

    def infer(self, inputs: Arrays) -> Arrays:
        """Runs the model; the arrays are the caller's. Raises BackendError."""
        ...

    def close(self) -> None:
        """Frees it."""
        ...


class Cores:
    """How many contexts lie on each core, of all models."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    def take(self, cores: int) -> int:
        """The core with the fewest contexts."""
        with self._lock:
            core = min(range(max(1, cores)), key=lambda number: (self._taken[number], number))
            self._taken[core] += 1
            return core

    def give_back(self, core: int) -> None:
        """A context on this core is gone."""
        with self._lock:
            self._taken[core] -= 1


class Pool:
    """The contexts of one model. Members join and leave; any of them may call from any thread."""

    def __init__(self, open_on: Callable[[int], Context], cores: int, taken: Cores) -> None:
        """`open_on`: opens the model on a core, raising BackendError. Opens nothing yet."""
        self._open_on, self._cores, self._taken = open_on, max(1, cores), taken
        self._members = self._contexts = 0
        self._idle: deque[Context] = deque()
        self._change = threading.Condition()
        self.warnings: tuple[str, ...] = ()

    def join(self) -> None:
        """One member more; returns at once."""
        with self._change:
            self._members += 1

    def grow(self) -> None:
        """Opens another context where there are members and cores for it. Raises BackendError."""
        with self._change:
            if self._contexts >= min(self._members, self._cores):
                return
            self._contexts += 1
        try:
            context = self._open()
        except BaseException:
            with self._change:
                self._contexts -= 1
            raise
        with self._change:
            self.warnings = tuple(context.warnings)
            self._idle.append(context)
            self._change.notify()

    def leave(self) -> bool:
        """One member less; returns at once, True when it was the last one. `free` is due then."""
        with self._change:
            self._members -= 1
            return self._members == 0

    def free(self) -> None:
        """Closes what is idle and more than the members need; what is at work is closed when it comes back."""
        surplus = []
        with self._change:
            while self._contexts > self._members and self._idle:
                surplus.append(self._idle.popleft())
                self._contexts -= 1
        for context in surplus:
            context.close()
            self._taken.give_back(context.core)

    def infer(self, inputs: Arrays) -> Arrays:
        """On the context that has been idle longest. Raises BackendError; NpuHung where none comes free."""
        with self._change:
            if not self._change.wait_for(lambda: self._idle, BUSY_S):
                raise NpuHung(
                    "every NPU context of this model is busy",
                    evidence={"contexts": self._contexts, "waited": f"{BUSY_S:g} s", "expected": "an answer within a second"},
                    fix="restart the device; if it comes back, update kernel driver and librknnrt.so",
                )
            context = self._idle.popleft()
        try:
            return context.infer(inputs)
        finally:
            with self._change:
                self._idle.append(context)
                self._change.notify()
            self.free()

    def _open(self) -> Context:
        core = self._taken.take(self._cores)
        try:
            return self._open_on(core)
        except BaseException:
            self._taken.give_back(core)
            raise
