"""What a conversation with hawkBit gets from its agent, and what it keeps: memory, troubles, facts for `health`."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from msgspec.structs import replace

from camagent.clock import Clock
from camagent.errors import CodedError
from camagent.integrations import hawkbit_memory as memories
from camagent.integrations.hawkbit_memory import Doing, Memory, Report, Verdict
from camagent.integrations.hawkbit_plan import SlotsOf
from camagent.service import Origin, Tell
from firmware_pkg.errors import NoSpace, StateError
from firmware_pkg.order import Limits

log = logging.getLogger("camagent")

FEW_RANGES = Limits(resumes=5)  # older servers make a status of each
REQUEST = Limits(connect_s=10.0, read_s=20.0, total_s=30.0, rate=1, window_s=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often what is done. Seconds."""

    start_s: float = 5.0  # a random part of it passes before the first request: power comes back for a whole building
    first_s: float = 10.0  # after a failure; doubles up to
    most_s: float = 600.0
    denied_s: float = 60.0  # after a token was not accepted; doubles up to
    denied_most_s: float = 3600.0
    soon_s: float = 1.0  # after an answer of ours that changes what the server offers
    trial_s: float = 2.0  # between looks at the store while a bundle is on trial
    busy_s: float = 10.0  # while another installation is going on
    progress_s: float = 60.0  # between reports of a download, and between looks whether it was cancelled
    reports: int = 10  # of one download's progress
    again: int = 3  # times that the last word is said where the server has taken it and goes on asking
    least_poll_s: float = 1.0
    download: Limits = FEW_RANGES
    request: Limits = REQUEST  # of the API


USUAL = Patience()


class Installer(Protocol):
    """Who takes a bundle in; see service.Service."""

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """Verify, store, golden check, activate."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an agent gives to its conversation."""

    installer: Installer
    slots_of: SlotsOf
    attributes: Callable[[], Mapping[str, str]]  # of this device, for who sorts devices into groups
    defect: Callable[[BaseException], CodedError]  # of any failure a refusal; what is a defect of ours is logged
    circumstances: Callable[[], str]  # agent, device, trust root: under what a refusal was spoken
    state_dir: Path
    clock: Clock
    errors: Counter[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What `health` says; replaced as a whole."""

    state: str = "starting"
    action: str | None = None
    code: str | None = None  # of what is wrong, null while nothing is
    detail: str | None = None
    polled: float | None = None  # seconds since 1970: the last time that the server has answered as it should
    poll_s: float | None = None


class Book:
    """Belongs to one thread; `facts` may be read by any, `closed` be set by any: nothing is written from then on."""

    def __init__(self, around: Surroundings, server: str) -> None:
        """Reads what was remembered of that server."""
        self.around = around
        self.facts = Facts()
        self.closed = threading.Event()
        self.memory: Memory = memories.load(around.state_dir, server)

    @property
    def doing(self) -> Doing | None:
        """The action that is being worked on, or was last."""
        return self.memory.doing

    def set(self, doing: Doing | None) -> None:
        """A step further; on disk once this returns."""
        if doing != self.memory.doing:
            self.save(replace(self.memory, doing=doing))

    def save(self, memory: Memory) -> None:
        """All of it anew."""
        self.memory = memory
        self.say()
        if self.closed.is_set():
            return  # another thread, or another life, may have the file by now
        try:
            memories.save(self.around.state_dir, memory)
        except (StateError, NoSpace) as exc:  # it is remembered as long as this process lives
            self.count(exc)

    def forget(self, why: str) -> None:
        """The action is none of ours any more. What it has brought stays, and the store decides about it as ever."""
        if self.doing is not None:
            log.info("hawkBit: action %s: %s", self.doing.action, why)
            self.set(None)

    def verdict(self, sha256: str | None, report: Report) -> Mapping[str, Verdict]:
        """The refused files, with one more."""
        verdict = Verdict(report=report, circumstances=self.around.circumstances())
        return memories.remembered(self.memory.refused, sha256, verdict)

    def count(self, exc: CodedError) -> None:
        """Counted in the agent's errors, and logged when it is news."""
        if self.facts.code != exc.code:
            log.warning("hawkBit: %s", exc.render())
        self.around.errors[exc.code] += 1

    def note(self, code: str | None, detail: str | None) -> None:
        """What is wrong, for `health`."""
        known = self.facts
        self.facts = Facts(known.state, known.action, code, detail, known.polled, known.poll_s)

    def heard(self, poll_s: float) -> None:
        """The server has answered as it should."""
        known = self.facts
        self.facts = Facts(known.state, known.action, known.code, known.detail, self.around.clock.wall(), poll_s)

    def say(self) -> None:
        """Puts into the facts what is being done."""
        doing, known = self.doing, self.facts
        state: str = "idle" if known.polled else "starting"
        if doing is not None and doing.phase != "over":
            state = doing.phase
        elif doing is not None and doing.owed is not None:
            state = "reporting"
        action = doing.action if doing is not None else None
        self.facts = Facts(state, action, known.code, known.detail, known.polled, known.poll_s)
