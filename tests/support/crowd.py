"""Cameras that share a backend, simulated: the policy of camagent/turns.py under invented frames, calls and gaps."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from camagent.turns import Turns


@dataclass(frozen=True)
class Cam:
    """A camera: frames per second, seconds of a call, of preparing before and of what follows."""

    fps: float
    call_s: float
    prepare_s: float = 0.0
    after_s: float = 0.001
    phase: float = 0.0  # of its first frame, 0..1 of an interval
    since: float = 0.0  # seconds
    until: float = float("inf")


@dataclass
class Crowd:
    """`calls_at_once` calls at a time; `ahead`: turns that may prepare meanwhile. The newest frame is taken, as from a slot."""

    cams: Sequence[Cam]
    calls_at_once: int = 1
    ahead: int = 0
    between: int = 0  # cores are shared by all calls then, as a system does
    now: float = 0.0
    served: Counter[int] = field(default_factory=Counter)
    used_s: dict[int, float] = field(default_factory=dict)
    waits: dict[int, list[float]] = field(default_factory=dict)
    most_inside: int = 0

    def __post_init__(self) -> None:
        self._turns = Turns(self.calls_at_once, self.ahead, self.between)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._box = dict.fromkeys(range(len(self.cams)), 0)
        self._free = dict.fromkeys(range(len(self.cams)), True)  # its worker waits for a frame
        self._asked: dict[int, float] = {}
        self._left: dict[int, float] = {}  # of the calls that go on, seconds of a core
        self._since: dict[int, float] = {}  # when they began
        self._seen = 0.0  # until when these are right
        self._news = 0
        self._ready: deque[int] = deque()
        for index, cam in enumerate(self.cams):
            self._turns.join(str(index), cam.fps)
            self.waits[index], self.used_s[index] = [], 0.0
            self._at(cam.since + cam.phase / cam.fps, partial(self._frame, index))

    def run(self, seconds: float) -> None:
        """To this moment; counts from here on if it has run before."""
        while self._events and self._events[0][0] <= seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = seconds

    def forget(self) -> None:
        """What was counted so far was the start."""
        self.served.clear()
        self.used_s = dict.fromkeys(self.used_s, 0.0)
        for waits in self.waits.values():
            waits.clear()

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _frame(self, index: int) -> None:
        cam = self.cams[index]
        if self.now < cam.until:
            self._box[index] = 1
            self._at(self.now + 1 / cam.fps, partial(self._frame, index))
        self._ask(index)

    def _ask(self, index: int) -> None:
        if self._free[index] and self._box[index]:
            self._free[index] = False
            self._asked[index] = self.now
            self._turns.ask(str(index), self.now)
            self._grant()

    def _grant(self) -> None:
        for name in self._turns.begin(self.now):
            index = int(name)
            self.waits[index].append(self.now - self._asked[index])
            self._box[index] = 0
            self._at(self.now + self.cams[index].prepare_s, partial(self._prepared, index))
        inside = sum(member.place.name == "INSIDE" for member in self._turns.members.values())
        self.most_inside = max(self.most_inside, inside)
        again = self._turns.look_again_at()
        if again is not None:
            self._at(max(again, self.now), self._grant)

    def _prepared(self, index: int) -> None:
        self._ready.append(index)
        self._call()

    def _call(self) -> None:
        self._work()
        while self._ready and len(self._left) < self.calls_at_once + self.between:
            index = self._ready.popleft()
            self._left[index], self._since[index] = self.cams[index].call_s, self.now
        self._news += 1
        if self._left:
            self._at(self.now + min(self._left.values()) / self._speed, partial(self._called, self._news))

    @property
    def _speed(self) -> float:
        """Of each call."""
        return min(1.0, self.calls_at_once / len(self._left))

    def _work(self) -> None:
        if self._left:
            done = (self.now - self._seen) * self._speed
            self._left = {index: left - done for index, left in self._left.items()}
        self._seen = self.now

    def _called(self, news: int) -> None:
        """The call that was to end first ends, unless another has begun or ended since that was said."""
        if news != self._news:
            return
        self._work()
        index = min(self._left, key=lambda one: self._left[one])
        del self._left[index]
        cam = self.cams[index]
        self.served[index] += 1
        self.used_s[index] += cam.prepare_s + cam.call_s
        spent = cam.prepare_s + self.now - self._since.pop(index)
        self._turns.done(str(index), self.now, spent, more=bool(self._box[index]))
        self._at(self.now + cam.after_s, partial(self._back, index))
        self._call()
        self._grant()

    def _back(self, index: int) -> None:
        self._free[index] = True
        self._ask(index)
