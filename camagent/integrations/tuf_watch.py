"""The daemon's look into its TUF repository from time to time: one thread, which nobody waits for."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from camagent.clock import Clock
from camagent.errors import CodedError, printable
from camagent.integrations.tuf_repo import Repository, Taken
from camagent.integrations.turned_away import PASSING
from camagent.stage import Stage
from firmware_pkg.tuf_client import View

log = logging.getLogger("camagent")

STOP_S = 1.0
DIED = "STAGE_DIED"
JITTER = 0.1  # of the interval, so that cameras that started together drift apart
AGAIN_S = 300.0  # after a look that failed, at most: an interval of a day must not mean a day without news


class Chance(Protocol):
    """Where chance comes from."""

    def uniform(self, low: float, high: float, /) -> float:
        """A number between the two."""
        ...


def fact_of(exc: CodedError) -> dict[str, str]:
    """A refusal as `health` has it."""
    return {"code": exc.code, "what": printable(exc.what, 1000), "fix": printable(exc.fix, 1000)}


class TufWatch:
    """Looks every `interval_s` seconds, the first time within `spread_s`. `facts` may be read by any thread."""

    def __init__(
        self, repository: Callable[[threading.Event], Repository], names: Callable[[], Sequence[str]], clock: Clock, *,
        interval_s: float, spread_s: float, chance: Chance = random.SystemRandom(),  # noqa: B008  it has no state
    ) -> None:  # fmt: skip
        """`names`: of the bundles that the cameras use. Starts nothing yet."""
        self._names, self._clock, self._interval_s, self._chance = names, clock, interval_s, chance
        self._stage = Stage("tuf-repository", self._run, self._died)
        self._repository = repository(self._stage.stop)
        self._first_s = chance.uniform(0.0, spread_s)
        self._next = clock.monotonic() + self._first_s
        self._errors: Counter[str] = Counter()
        self._checks = 0
        self._problem: dict[str, str] | None = None
        self._last: float | None = None
        self._seen: dict[str, Any] = {}
        self._taken: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Starts the thread."""
        self._stage.start()

    def stop(self) -> bool:
        """Gives up what is being fetched, within a second; False where the thread hangs in an install."""
        return self._stage.join(STOP_S)

    def facts(self) -> dict[str, Any]:
        """For `health`: where, when, what was seen, and what went wrong."""
        return {
            "url": self._repository.shown, "checks": self._checks, "last_check": self._last,
            "next_check_s": round(max(0.0, self._next - self._clock.monotonic()), 1), **self._seen,
            "problem": self._problem, "errors": dict(self._errors), "taken": dict(self._taken),
        }  # fmt: skip

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(max(0.0, self._next - self._clock.monotonic())):
            fine = self._look()
            self._checks += 1
            self._last = self._clock.wall()
            wait = self._interval_s if fine else min(self._interval_s, AGAIN_S)
            self._next = self._clock.monotonic() + wait * self._chance.uniform(1 - JITTER, 1 + JITTER)

    def _look(self) -> bool:
        """Whether all is well, or will not be better for asking again soon."""
        fine = True
        try:
            for taken in self._repository.check(self._names(), self._saw):
                self._note(taken)
                fine = fine and not (taken.refusal and taken.refusal.code in PASSING)
        except CodedError as exc:
            if not self._stage.stop.is_set():  # the end of the agent is no failure of the repository
                said = self._tell(exc, "nothing comes from the repository", known=self._problem)
                self._problem = said
            return False
        self._problem = None
        return fine

    def _saw(self, view: View) -> None:
        self._seen = {"versions": view.versions, "expires": view.expires.timestamp(), "listed": len(view.listed)}

    def _note(self, taken: Taken) -> None:
        if taken.version is None or (taken.refusal and self._stage.stop.is_set()):
            return
        version = printable(taken.version, 64)
        fact: dict[str, Any] = {"version": version, "outcome": str((taken.result or {}).get("outcome"))}
        if taken.refusal:
            before = self._taken.get(taken.name, {})
            said = self._tell(taken.refusal, f"{taken.name} {version} was not taken", known=before.get("refusal"))
            fact |= {"outcome": taken.refusal.code, "refusal": said}
        else:
            log.info("repository: %s %s: %s", taken.name, version, fact["outcome"])
        self._taken[taken.name] = fact | {"time": self._clock.wall()}

    def _tell(self, exc: CodedError, what: str, known: object) -> dict[str, str]:
        """Counts it, and writes it into the log once, not every hour."""
        self._errors[exc.code] += 1
        said = fact_of(exc)
        if said != known:
            log.warning("%s: %s", what, exc.render())
        return said

    def _died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)
        self._errors[DIED] += 1
        self._problem = {"code": DIED, "what": printable(repr(exc), 1000), "fix": "restart the agent and report this"}
