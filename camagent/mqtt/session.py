"""The network thread: connects, serves the connection until it ends, waits, connects again, until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from camagent.clock import Clock
from camagent.mqtt.answers import CLIENT_ID_CLASH, ClosedEarly, End, Version, VersionRefused
from camagent.mqtt.link import Account, Link, Listener
from camagent.mqtt.suspects import Patience
from camagent.mqtt.wake import Wake
from camagent.mqtt.wire import LinkError, State
from camagent.pulse import Pulse
from camagent.stage import Stage

log = logging.getLogger("camagent.mqtt")

GOOD_MINUTE_S = 60.0
EARLY_CLOSES = 2  # so often a broker may close or stay silent before it answers, until the other version of MQTT is tried
STEP_S = 1.0
STOP_STEP_S = 0.05
TURN_S = 30.0  # one turn of the loop: a second of waiting, then the outbox, which may wait for a slow disk
WAIT_TURN_S = 5.0
CONNECTING_S = 120.0  # name servers that do not answer, a few addresses, TLS, the broker's answer
FAREWELL_S = 1.0
MANY_SHORT_LIVES = 3
_FIXES = {CLIENT_ID_CLASH: "another client uses this agent's id: give every agent its own agent.id"}


class Versions:
    """MQTT 5 first; 3.1.1 where the broker says so, or hangs up on 5, or stays silent, twice. What has worked once is kept."""

    def __init__(self) -> None:
        self.current: Version = "5"
        self._proven = False
        self._closes = 0

    def worked(self) -> None:
        """The broker has answered in this version."""
        self._proven, self._closes = True, 0

    def refused(self) -> bool:
        """The broker says that it does not speak this version; True: another is left to try at once."""
        self._proven, self._closes = False, 0
        if self.current == "3.1.1":
            self.current = "5"
            return False
        self.current = "3.1.1"
        return True

    def closed_early(self) -> bool:
        """The broker closed before it answered, or never did; True: it is the other version's turn."""
        self._closes += 1
        if self._proven or self._closes < EARLY_CLOSES:
            return False
        self._closes = 0
        self.current = "3.1.1" if self.current == "5" else "5"
        return True


@dataclass(frozen=True, slots=True)
class Status:
    """What can be said about the connection now. `code` and `detail` are of the last trouble, None while there is none."""

    state: State = "connecting"
    code: str | None = None
    detail: str | None = None
    fix: str | None = None
    protocol: Version | None = None
    connects: int = 0
    attempts: int = 0
    connected_at: float | None = None  # monotonic
    last_end: End | None = None  # of the connection before this one
    clashes: int = 0  # ends of which the broker said that somebody else connected under our id
    short_lives: int = 0  # connections in a row that the broker accepted and closed again within a minute


class Peer(Listener, Protocol):
    """What a session does with its connections; every call comes from the network thread."""

    def opened(self, link: Link) -> None:
        """The broker has accepted us."""

    def pump(self, link: Link) -> float:
        """Send what can be sent; in so many seconds at the latest it wants to be called again."""

    def idle(self) -> bool:
        """Nothing is left to do: a stop need not wait."""

    def farewell(self) -> None:
        """The end is near: say the last words in the next `pump`."""

    def said_farewell(self) -> bool:
        """The broker has the last words, and may forget the will."""

    def ended(self, end: End) -> bool:
        """The connection is over. True when the broker ended it for a reason that is known and dealt with."""
        ...


class Session:
    """One thread, one connection at a time."""

    def __init__(
        self, account: Account, peer: Peer, clock: Clock, *,
        name: str, died: Callable[[str, BaseException], None], patience: Patience,
    ) -> None:  # fmt: skip
        self.status = Status()  # replaced as a whole, so any thread may read it
        self.wake = Wake()
        self._account = account
        self._peer = peer
        self._clock = clock
        self._patience = patience
        self._versions = Versions()
        self._failures = 0
        self._drain_until = 0.0
        self._stage = Stage(name, self._run, died)

    @property
    def pulse(self) -> Pulse:
        """The network thread's."""
        return self._stage.pulse

    def start(self) -> None:
        """Starts the network thread."""
        self._stage.start()

    def stop(self, drain_s: float) -> bool:
        """Lets the peer finish for at most `drain_s`, says goodbye, ends the thread; False when it hangs in a system call."""
        self._drain_until = self._clock.monotonic() + drain_s
        self._stage.stop.set()
        self.wake.set()
        ended = self._stage.join(drain_s + 2 * FAREWELL_S + STEP_S)
        self.status = replace(self.status, state="stopped", connected_at=None)
        if ended:
            self.wake.close()
        return ended

    # -- the network thread -------------------------------------------------------------------------------------------

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                link = self._connect(stop)
            except LinkError as exc:
                if self._failed(exc):
                    continue
            else:
                if link is not None:
                    self._serve(link, stop)
            self._wait(stop, self._patience.wait_s(self._failures))
            self._failures += 1

    def _wait(self, stop: threading.Event, wait_s: float) -> None:
        until = self._clock.monotonic() + wait_s
        while (left_s := until - self._clock.monotonic()) > 0:
            self.pulse.beat(TURN_S, "waiting for the next try")
            if stop.wait(min(left_s, WAIT_TURN_S)):
                return

    def _connect(self, stop: threading.Event) -> Link | None:
        self.status = replace(self.status, attempts=self.status.attempts + 1)
        self.pulse.beat(CONNECTING_S, "connecting to the broker")
        link = Link(self._account, self._versions.current, self._peer, self._clock)
        if not link.open(self.wake, stop.is_set):
            return None
        self._versions.worked()
        now = self._clock.monotonic()
        self.status = replace(
            self.status, state="connected", code=None, detail=None, fix=None, protocol=link.version,
            connects=self.status.connects + 1, connected_at=now,
        )  # fmt: skip
        log.info("connected to %s with MQTT %s", link.endpoint, link.version)
        return link

    def _failed(self, exc: LinkError) -> bool:
        """Notes a failed attempt; True when the next one need not wait."""
        if exc.state != self.status.state or exc.reason != self.status.code:
            log.warning("%s: %s (%s)", exc.reason, exc.what, exc.fix)
        self.status = replace(self.status, state=exc.state, code=exc.reason, detail=exc.what, fix=exc.fix, connected_at=None)
        if isinstance(exc, VersionRefused):
            return self._versions.refused()
        return isinstance(exc, ClosedEarly) and self._versions.closed_early()

    def _serve(self, link: Link, stop: threading.Event) -> None:
        since = self._clock.monotonic()
        self._peer.opened(link)
        while link.end is None:
            self.pulse.beat(TURN_S, "a turn with the broker")
            again_s = self._peer.pump(link)
            if stop.is_set() and (self._peer.idle() or self._clock.monotonic() >= self._drain_until):
                self._leave(link)
                break
            link.step(min(again_s, STOP_STEP_S if stop.is_set() else STEP_S), self.wake)
        self.pulse.beat(TURN_S, "ending the connection")
        end = link.end or End(by_broker=False, code="", detail="we have left")
        link.abandon()
        lived = self._clock.monotonic() - since
        if lived >= GOOD_MINUTE_S:
            self._failures = 0
        explained = self._peer.ended(end)
        if explained:
            self._failures = 0  # one such end per denied topic: backing off would take minutes to get through them
        if not stop.is_set():
            self._note(end, lived, explained=explained)

    def _note(self, end: End, lived: float, *, explained: bool) -> None:
        """What `health` says of the connection that has just ended."""
        log.warning("%s: %s", end.code, end.detail)
        short = self.status.short_lives + 1 if end.by_broker and lived < GOOD_MINUTE_S and not explained else 0
        detail = end.detail
        if short >= MANY_SHORT_LIVES:  # mosquitto 2.0 says no word when it hands a session over (tried)
            detail += f", {short} times in a row soon after accepting it; so it looks, too, when two agents have the same id"
        self.status = replace(
            self.status,
            state="unreachable",
            code=end.code,
            detail=detail,
            fix=_FIXES.get(end.code),
            connected_at=None,
            last_end=replace(end, detail=detail),
            clashes=self.status.clashes + (end.code == CLIENT_ID_CLASH),
            short_lives=short,
        )

    def _leave(self, link: Link) -> None:
        deadline = self._clock.monotonic() + FAREWELL_S
        self._peer.farewell()
        while link.end is None and not self._peer.said_farewell() and self._clock.monotonic() < deadline:
            self._peer.pump(link)
            link.step(STOP_STEP_S, self.wake)
        if self._peer.said_farewell():
            link.goodbye(self.wake, FAREWELL_S)  # otherwise the will speaks: better "offline" than "online" for ever
