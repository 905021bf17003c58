"""When an agent tests itself unasked: after a new bundle, and at most once a day when a silence is unexplained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from camagent.camera import CameraRunner
from camagent.errors import StateError
from camagent.reasons import UNEXPLAINED

AFTER_BUNDLE_S = 30.0  # the new model has settled, and whoever watches the change has seen it
SILENCE_S = 3600.0
DAY_S = 86_400.0
LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """One camera at one moment."""

    name: str
    digest: str  # of the bundle that runs, "" for none
    on_trial: bool
    reason: str | None

    @classmethod
    def at(cls, runner: CameraRunner) -> Self:
        """As it stands now."""
        bundle, found = runner.bundle, runner.finding()
        on_trial = bundle is not None and bundle.trial is not None
        return cls(runner.camera.name, bundle.digest if bundle else "", on_trial, found.code if found else None)


class Memory(Protocol):
    """What outlives a restart."""

    @property
    def tested_at(self) -> float:
        """Seconds since 1970."""
        ...

    def remember_test(self, at: float) -> None:
        """Raises StateError."""
        ...


class Due:
    """Belongs to the agent's thread."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float], memory: Memory) -> None:
        self.why = ""  # of the camera that was named last
        self._monotonic, self._wall, self._memory = monotonic, wall, memory
        self._looked = float("-inf")
        self._digests: dict[str, str] = {}
        self._settling: dict[str, float] = {}  # camera -> when its new model has settled
        self._silent: dict[str, float] = {}  # camera -> since when
        self._last: float | None = None  # monotonic: the last test for a silence

    @property
    def is_time(self) -> bool:
        """True when `camera` would look: looking at a camera costs, and it is asked far more often."""
        return self._monotonic() - self._looked >= LOOK_S

    def camera(self, looks: Sequence[Look], *, on_trial: bool) -> str | None:
        """The camera that is to be tested now, named once; None for none."""
        if not self.is_time:
            return None
        now = self._looked = self._monotonic()
        for look in looks:
            self._note(look, now)
        ready = next((look.name for look in looks if self._settling.get(look.name, float("inf")) <= now), None)
        if ready is not None:
            del self._settling[ready]
            self.why = "a new bundle runs"
            return ready
        return None if on_trial else self._silence(looks, now)

    def _note(self, look: Look, now: float) -> None:
        known = self._digests.get(look.name)
        if look.digest and look.digest != known:
            self._digests[look.name] = look.digest
            if known is not None or look.on_trial:  # what an agent finds at its start is not new
                self._settling[look.name] = now + AFTER_BUNDLE_S
        if look.reason in UNEXPLAINED:
            self._silent.setdefault(look.name, now)
        else:
            self._silent.pop(look.name, None)

    def _silence(self, looks: Sequence[Look], now: float) -> str | None:
        silent = next((look for look in looks if now - self._silent.get(look.name, now) >= SILENCE_S), None)
        if silent is None or (self._last is not None and now - self._last < DAY_S):
            return None
        if 0 <= self._wall() - self._memory.tested_at < DAY_S:
            return None
        self._last = now
        self.why = f"silent for {(now - self._silent[silent.name]) / 60:.0f} minutes, {silent.reason}"
        try:
            self._memory.remember_test(self._wall())
        except StateError:  # the disk: `_last` keeps it to once a day in this run
            return silent.name
        return silent.name
