"""Who looks at a camera from outside: viewers, who get its newest picture, and errands, which want its model for a moment.

Between a camera's worker and the web server. While nobody is there, a frame costs one comparison.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from camagent.errors import Busy, Refusal
from camagent.frame import Frame, Outcome
from camagent.slot import Slot

M = TypeVar("M")
T = TypeVar("T")
EVERY_S = 0.2  # five pictures a second are what people need

Polygon = Sequence[tuple[float, float]]


class NoAnswer(Refusal):
    """The camera's model did not come to it."""

    code = "NO_ANSWER"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A frame for people to look at, and what the model made of it."""

    frame: Frame
    outcome: Outcome | None  # None: no model has looked
    labels: Sequence[str] = ()
    private: Sequence[Polygon] = ()  # the frame's privacy masks, already filled, 0..1 of the picture


class View:
    """One camera's newest picture, handed over while somebody looks. It outlives the camera's threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Nobody looks yet."""
        self._monotonic = monotonic
        self._slot: Slot[Shown] | None = None
        self._next = float("-inf")

    @property
    def is_open(self) -> bool:
        """True while somebody looks."""
        return self._slot is not None

    def wants(self) -> bool:
        """The worker, with every frame: whether this one is to be shown."""
        return self._slot is not None and self._monotonic() >= self._next

    def show(self, shown: Shown) -> None:
        """The worker: the picture that was wanted."""
        slot = self._slot
        if slot is not None:
            self._next = max(self._next, self._monotonic() - EVERY_S) + EVERY_S
            slot.put(shown)

    def open(self) -> Slot[Shown]:
        """Somebody looks from now on, and takes the pictures from here."""
        self._slot = made = Slot[Shown]()
        return made

    def close(self, slot: Slot[Shown]) -> None:
        """Who opened this one looks no more; somebody else may by now."""
        if self._slot is slot:
            self._slot = None
        slot.close()


class Views:
    """The views of all cameras, by name. Any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._views: dict[str, View] = {}

    def of(self, camera: str) -> View:
        """The camera's, made at the first question."""
        with self._lock:
            return self._views.setdefault(camera, View(self._monotonic))


@dataclass(slots=True, eq=False)
class _Errand(Generic[M]):
    work: Callable[[M], Any]
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    failed: BaseException | None = None


class Errands(Generic[M]):
    """Work for a camera's worker with the model it has, between two frames: one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: _Errand[M] | None = None

    def ask(self, work: Callable[[M], T], timeout_s: float) -> T:
        """Any thread but the worker: has `work` done. Raises Busy, NoAnswer, and whatever `work` raises."""
        errand = _Errand(work)
        with self._lock:
            if self._waiting is not None:
                raise Busy(
                    "the model is being shown another picture", fix="wait a moment, then ask again"
                )  # fmt: skip
            self._waiting = errand
        try:
            answered = errand.done.wait(timeout_s)
        finally:
            with self._lock:
                if self._waiting is errand:
                    self._waiting = None
        if not answered:
            raise NoAnswer(
                "the camera's model did not come to it", evidence={"waited": f"{timeout_s:g} s"},
                fix="see the camera's reason in health; run its self-test",
            )  # fmt: skip
        if errand.failed is not None:
            raise errand.failed
        value: T = errand.value
        return value

    @property
    def waiting(self) -> bool:
        """True while somebody waits."""
        return self._waiting is not None

    def serve(self, model: M) -> None:
        """The worker: does what is waiting. Never raises: what goes wrong is the asker's."""
        errand = self._waiting
        if errand is None or errand.done.is_set():
            return
        try:
            errand.value = errand.work(model)
        except BaseException as exc:  # noqa: BLE001  raised where it was asked for
            errand.failed = exc
        errand.done.set()
