"""Commands that come over MQTT, from whoever can publish: judged here, noted in the network thread, obeyed by the agent.

Pure: time is handed in (monotonic seconds), nothing is connected, published or written.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from camagent.errors import CodedError, printable
from firmware_pkg.addresses import Prefix
from firmware_pkg.limits import BUNDLE_BYTES
from firmware_pkg.order import Order, permitted

COMMAND_S = 0.2  # the detect switch is turned at most five times a second
WORDS = {b"ON": True, b"OFF": False}

COMMAND_BYTES = 4096
ONCE_IN_S = 60.0  # `bundle` and `selftest`, each
SPREAD_MAX_S = 86_400.0
IDS = 1000  # ids of accepted commands that are remembered
REFUSALS = 10  # answers within as many seconds, so that nobody can make the agent publish without end

Kind: TypeAlias = Literal["bundle", "selftest"]
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]


class DetectSwitches:
    """`<camera>/cmd/detect`: the bare word ON or OFF; of several, the last one counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wanted: dict[str, bool] = {}
        self._turned = float("-inf")

    def note(self, camera: str, payload: bytes) -> bool:
        """Any thread: remembers what is wanted; False for anything but the two words."""
        if payload not in WORDS:
            return False
        with self._lock:
            self._wanted[camera] = WORDS[payload]
        return True

    def due(self, now: float) -> Iterator[tuple[str, bool]]:
        """What is to be turned now (monotonic seconds): (camera, on). Nothing when the last turn was a moment ago."""
        if now - self._turned < COMMAND_S:
            return
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        if wanted:
            self._turned = now
        yield from wanted.items()


class _Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, Meta(ge=1, le=BUNDLE_BYTES)]
    id: Id | UnsetType = UNSET
    spread_s: Annotated[float, Meta(ge=0, le=SPREAD_MAX_S)] = 0.0


class _SelfTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Id | UnsetType = UNSET


class _AnyId(msgspec.Struct):
    id: Id


_BUNDLE = msgspec.json.Decoder(_Bundle)
_SELF_TEST = msgspec.json.Decoder(_SelfTest)
_ANY_ID = msgspec.json.Decoder(_AnyId)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Accepted:
    """To be done after `delay_s`; when it is over, however it ended, `CommandGate.done` must be told."""

    kind: Kind
    id: str | None
    order: Order | None  # of a bundle
    delay_s: float


@dataclass(frozen=True, slots=True)
class Ignored:
    """Not answered, for that would only be an echo; counted under `code` in the agent's errors."""

    code: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Answered with its code."""

    kind: Kind
    id: str | None
    code: str
    what: str
    fix: str


Decision: TypeAlias = Accepted | Ignored | Refused


class CommandAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the last command. Nothing in it was sent by the server that a bundle was ordered from."""

    id: str | None
    code: str | None  # null: accepted or done
    what: str
    fix: str | None
    time: float  # seconds since 1970

    @classmethod
    def of(cls, decision: Accepted | Refused, wall: float) -> CommandAnswer:
        """The first answer."""
        if isinstance(decision, Refused):
            return cls(id=decision.id, code=decision.code, what=decision.what, fix=decision.fix, time=wall)
        start = f"starts in {decision.delay_s:.0f} s" if decision.delay_s else "starts now"
        return cls(id=decision.id, code=None, what=f"accepted, {start}", fix=None, time=wall)

    @classmethod
    def of_failure(cls, command_id: str | None, exc: CodedError, wall: float) -> CommandAnswer:
        """The last answer, when it did not work."""
        return cls(id=command_id, code=exc.code, what=printable(exc.what, 1000), fix=printable(exc.fix, 1000), time=wall)

    @classmethod
    def of_success(cls, command_id: str | None, what: str, wall: float) -> CommandAnswer:
        """The last answer, when it worked; `what` says what is in force now."""
        return cls(id=command_id, code=None, what=printable(what, 1000), fix=None, time=wall)


def any_delay(spread_s: float) -> float:
    """A random delay of 0 to `spread_s` seconds, so that a group does not ask its server all at once."""
    return secrets.SystemRandom().uniform(0.0, spread_s)


class CommandGate:
    """Decides about `cmd/bundle` and `cmd/selftest`: strict, one at a time, at most once a minute each, an id never twice.

    Any thread. `allowed` follows the configuration: assign it anew.
    """

    def __init__(
        self, allowed: Sequence[Prefix] = (), *, delay: Callable[[float], float] = any_delay, seen: Iterable[str] = ()
    ) -> None:
        """`seen`: ids of commands that were accepted in earlier runs, oldest first."""
        self.allowed = tuple(allowed)
        self._delay = delay
        self._lock = Lock()
        self._seen = OrderedDict.fromkeys(deque(seen, maxlen=IDS))
        self._accepted_at: dict[Kind, float] = {}
        self._busy: set[Kind] = set()
        self._refusals: deque[float] = deque(maxlen=REFUSALS)

    @property
    def seen(self) -> tuple[str, ...]:
        """The remembered ids, oldest first: changed whenever a command with an id was accepted."""
        with self._lock:
            return tuple(self._seen)

    def judge(self, kind: Kind, payload: bytes, now: float, *, retained: bool = False) -> Decision:
        """What becomes of a message. `now` is monotonic."""
        if retained:
            return Ignored("COMMAND_RETAINED")
        if len(payload) > COMMAND_BYTES:
            return Ignored("COMMAND_TOO_LONG")
        with self._lock:
            decision = self._decide(kind, payload, now)
            if isinstance(decision, Refused):
                return decision if self._may_answer(now) else Ignored("COMMAND_FLOOD")
            if isinstance(decision, Accepted):
                self._remember(decision, now)
            return decision

    def done(self, kind: Kind) -> None:
        """The accepted command of this kind is over."""
        with self._lock:
            self._busy.discard(kind)

    def _decide(self, kind: Kind, payload: bytes, now: float) -> Decision:
        try:
            command = _BUNDLE.decode(payload) if kind == "bundle" else _SELF_TEST.decode(payload or b"{}")
        except _UNREADABLE as exc:
            return Refused(
                kind, _shown_id(payload), "COMMAND_INVALID", f"the command cannot be read: {printable(exc)}", _FORM[kind]
            )
        name = None if isinstance(command.id, UnsetType) else command.id
        if name is not None and not name.isprintable():
            return Refused(kind, None, "COMMAND_INVALID", "the command's id has characters that cannot be shown", _FORM[kind])
        if name in self._seen:
            return Ignored("COMMAND_REPEATED")  # answering would overwrite the answer to the first one
        order, spread_s = None, 0.0
        if isinstance(command, _Bundle):
            try:
                permitted(command.url, self.allowed)
            except CodedError as exc:
                return Refused(kind, name, exc.code, printable(exc.what, 1000), printable(exc.fix, 1000))
            order, spread_s = Order(command.url, command.sha256, command.size), command.spread_s
        return self._not_now(kind, name, now) or Accepted(kind, name, order, self._delay(spread_s) if spread_s else 0.0)

    def _not_now(self, kind: Kind, name: str | None, now: float) -> Refused | None:
        if kind in self._busy:
            return Refused(kind, name, "BUSY", f"the {kind} command before this one is not over", "wait for its answer")
        left = self._accepted_at.get(kind, float("-inf")) + ONCE_IN_S - now
        if left > 0:
            what = f"{kind} commands are obeyed once in {ONCE_IN_S:.0f} s, and one was accepted a moment ago"
            return Refused(kind, name, "COMMAND_TOO_OFTEN", what, f"send it again in {left:.0f} s")
        return None

    def _remember(self, accepted: Accepted, now: float) -> None:
        self._busy.add(accepted.kind)
        self._accepted_at[accepted.kind] = now
        if accepted.id is not None:
            self._seen[accepted.id] = None
            while len(self._seen) > IDS:
                self._seen.popitem(last=False)

    def _may_answer(self, now: float) -> bool:
        if len(self._refusals) == REFUSALS and now - self._refusals[0] < REFUSALS:
            return False
        self._refusals.append(now)
        return True


def _shown_id(payload: bytes) -> str | None:
    """The id of a command that is wrong otherwise, so that its sender knows the answer for theirs."""
    try:
        found = _ANY_ID.decode(payload).id
    except _UNREADABLE:
        return None
    return found if found.isprintable() else None


_FORM: Final[dict[Kind, str]] = {
    "bundle": 'send {"id"?, "url", "sha256", "size", "spread_s"?}: sha256 in 64 lower-case hex digits, size in bytes',
    "selftest": 'send an empty message or {"id"?}',
}
