"""What goes out next, how much at once, and what the broker's answers mean for it. Network thread, except where it says other.

Retained state first, then live messages, then the outbox. At most min(20, Receive Maximum) unanswered; the next packet is
handed over only when the one before has left for the kernel. A message under suspicion goes alone (`mqtt.suspects`).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from camagent.clock import Clock
from camagent.errors import printable
from camagent.messages import Message
from camagent.mqtt.answers import FAILURE, End, Version
from camagent.mqtt.link import Link
from camagent.mqtt.outgoing import Live, Retained
from camagent.mqtt.suspects import Kind, Patience, Sent, Suspects, Token
from camagent.outbox import Entry, OpenMessage, Outbox, Outcome, OutcomeCallback

log = logging.getLogger("camagent.mqtt")

WINDOW = 20
AT_ONCE_S = 1.0  # so soon after its last byte a hang-up is blamed on a message; longer where answers take long
AT_ONCE_MOST_S = 10.0
CALL_AGAIN_S = 1.0
DENIED_S = 60.0  # a topic whose refusal ends the connection is not tried again for so long
MUTE_S = 600.0  # a topic on which the broker hangs up is left alone for so long
FORGET_LIMIT_S = 3600.0
LOG_AGAIN_S = 60.0
ACL_DENIED = "mqtt-acl-denied"
PACKET_TOO_BIG = "mqtt-packet-too-big"
SET_ASIDE = "mqtt-set-aside"
TOPIC_INVALID = "mqtt-topic-invalid"
_EXPIRY_BYTES = 5  # of the property Message Expiry Interval
_UNPROVEN = 32  # messages at QoS 0 that are remembered until a later answer proves that they passed


@dataclass(frozen=True, slots=True)
class Rejection:
    """The last message that the broker did not take."""

    code: str
    topic: str
    size: int  # bytes of the packet
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the newest message on a topic: acknowledged, refused, too_large or set_aside."""

    outcome: Outcome
    detail: str
    at: float  # monotonic


@dataclass(frozen=True, slots=True)
class _Denied:
    """A topic that the broker refused."""

    topic: str
    text: str
    until: float  # monotonic seconds until which it rests


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    kind: Kind
    message: Message | OpenMessage
    entry: Entry | None
    sent: Sent


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    candidate: _Candidate
    at: float


def packet_size(message: Message | OpenMessage, version: Version, qos: int) -> int:
    """Bytes of the PUBLISH packet that this message becomes."""
    properties = 0 if version != "5" else 1 if _expires_at(message) is None else 1 + _EXPIRY_BYTES
    rest = 2 + len(message.topic.encode()) + (2 if qos else 0) + properties + len(message.payload)
    return 1 + max(1, (rest.bit_length() + 6) // 7) + rest


def _expires_at(message: Message | OpenMessage) -> float | None:
    return message.expires_at if isinstance(message, Message) else None


class Sender:
    """Owns the window, the suspicion and the counters of what is sent."""

    def __init__(
        self, outbox: Outbox, online: Message, clock: Clock, on_outcome: OutcomeCallback, patience: Patience,
        *, family: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        """`family` of a topic: what is refused for one of them is refused for all."""
        self.retained = Retained(online)
        self.live = Live()
        self.counts: Counter[str] = Counter()  # refused, too_large, set_aside, live_dropped, subscriptions_refused
        self.rejection: Rejection | None = None
        self.answers: dict[str, Answer] = {}  # by topic; as many as the agent has topics
        self._lock = Lock()
        self._logged: dict[tuple[str, str], float] = {}
        self._outbox = outbox
        self._clock = clock
        self._on_outcome = on_outcome
        self._family = family
        self._settle_s = patience.settle_s
        self._suspects = Suspects()
        self._limit_learnt_at = 0.0
        self._index = 0
        self._flights: dict[int, _Flight] = {}  # by the order of sending
        self._by_mid: dict[int, int] = {}  # packet id -> index; answers due
        self._held: _Candidate | None = None  # next, as soon as nothing else is unanswered
        self._solo: int | None = None
        self._solo_at = 0.0
        self._opened_at = 0.0
        self._proven = False  # the broker has answered something on this connection
        self._slowest_s = 0.0  # answer on it
        self._answered: Message | None = None  # the last retained state for which the broker has answered
        self._farewell: Message | None = None
        self._refusal: _Denied | None = None  # the newest answer, where it was a refusal
        self._denied: dict[str, _Denied] = {}  # by family of topics
        self._subscriptions: dict[int, Sequence[str]] = {}

    # -- other threads ------------------------------------------------------------------------------------------------

    def offer_live(self, message: Message) -> None:
        """Any thread: a message that is worth sending only now."""
        lost = self.live.put(message, self._clock.monotonic())
        if lost is not None:
            self.live_lost([lost])

    def live_lost(self, messages: Sequence[Message]) -> None:
        """Any thread: live messages that nobody gets."""
        self._count("live_dropped", len(messages))
        for message in messages:
            self._on_outcome(message.camera, "dropped", 1)

    # -- the life of a connection -------------------------------------------------------------------------------------

    def opened(self) -> None:
        """A new connection: everything the broker may not know goes out again."""
        self._opened_at = self._clock.monotonic()
        self.retained.all_dirty()
        if self._suspects.packet_limit is not None and self._clock.monotonic() - self._limit_learnt_at > FORGET_LIMIT_S:
            self._suspects.forget_limit()

    def subscribe(self, link: Link, topics: Sequence[str]) -> None:
        """Asks for topics and remembers which, for the answer."""
        if topics and link.end is None:
            mid = link.subscribe(topics)
            if mid is not None:
                self._subscriptions[mid] = topics

    def farewell(self, stopped: Message) -> None:
        """From now on only retained state goes out, and this is the last of it."""
        self._farewell = stopped
        self._held = None  # the outbox keeps it
        self.retained.put(stopped)

    def said_farewell(self) -> bool:
        """True when the broker has answered for the last message."""
        return self._answered is self._farewell

    def idle(self) -> bool:
        """True when nothing is left to send and every answer has come."""
        now = self._clock.monotonic()
        return not (self._by_mid or self._held or self.live.pending() or self.retained.pending(now)) and self._outbox.empty

    def pump(self, link: Link) -> float:
        """Sends as much as window, socket and suspicion allow; seconds until it wants to be called again at the latest."""
        now = self._clock.monotonic()
        if self._solo is not None:
            self._solo_at = now if link.congested else self._solo_at
            return CALL_AGAIN_S
        while link.end is None and not link.congested:
            candidate = self._held or self._pick(link, now)
            self._held = None
            if candidate is None:
                if not self._by_mid and self._suspects.any:
                    self._suspects.forget("lane")  # the outbox has dropped them
                break
            denied = self._denied.get(self._family(candidate.message.topic))
            if denied is not None and denied.until > now:
                self._reject(
                    candidate, "refused", ACL_DENIED, f"{denied.text}, and the broker hung up; again in {DENIED_S:.0f} s"
                )
                continue
            if self._is_too_large(link, candidate):
                self._reject(candidate, "too_large", PACKET_TOO_BIG, f"the broker takes {self._limit(link)} bytes at most")
                continue
            wait_s = self._wait_s(candidate, now)
            if wait_s > 0:
                self._held = candidate
                return wait_s
            if self._send(link, candidate, now):
                break
        return CALL_AGAIN_S

    def _wait_s(self, candidate: _Candidate, now: float) -> float:
        """A suspect waits until nothing is unanswered; one that was blamed, until the connection has stood for a while."""
        token = candidate.sent.token
        if token not in self._suspects:
            return 0.0
        if self._by_mid:
            return CALL_AGAIN_S
        return self._opened_at + self._settle_s - now if self._suspects.strikes(token) else 0.0

    def _pick(self, link: Link, now: float) -> _Candidate | None:
        window_open = len(self._by_mid) < min(WINDOW, link.terms.receive_maximum)
        max_qos = 2 if window_open else -1 if self._suspects.any else 0
        state = self.retained.next(now, max_qos)
        if state is not None:
            return self._candidate(link, ("state", state.topic), state)
        if self._farewell is not None:
            return None
        live = self.live.next(max_qos)
        if live is not None:
            return self._candidate(link, ("live", live.topic), live)
        entry = self._outbox.take() if window_open else None
        return None if entry is None else self._candidate(link, ("lane", entry.key), entry.message, entry)

    def _candidate(self, link: Link, token: Token, message: Message | OpenMessage, entry: Entry | None = None) -> _Candidate:
        return _Candidate(token[0], message, entry, Sent(token, packet_size(message, link.version, self._qos(message))))

    def _qos(self, message: Message | OpenMessage) -> int:
        """While anything is suspected, everything needs an answer."""
        return max(1, message.qos) if self._suspects.any else message.qos

    def _send(self, link: Link, candidate: _Candidate, now: float) -> bool:
        """Hands a message over; True when it must stay alone."""
        message, qos = candidate.message, self._qos(candidate.message)
        alone = candidate.sent.token in self._suspects
        try:
            expires_at = _expires_at(message)
            left = None if expires_at is None else max(1, math.ceil(expires_at - now))
            mid = link.publish(message.topic, message.payload, qos, retain=message.retain, expires_s=left)
        except ValueError as exc:  # a wildcard in the topic: no broker would take it
            self._reject(candidate, "refused", TOPIC_INVALID, printable(exc))
            return False
        self._index += 1
        self._flights[self._index] = _Flight(candidate, now)
        if qos and mid is not None:
            self._by_mid[mid] = self._index
        if alone:
            self._solo, self._solo_at = self._index, now
        if isinstance(message, Message) and candidate.kind == "state":
            self.retained.sent(message)
        if not qos:
            unproven = [index for index in self._flights if index not in self._by_mid.values()]
            for index in unproven[:-_UNPROVEN]:
                del self._flights[index]
        return alone

    # -- the broker's answers -----------------------------------------------------------------------------------------

    def acked(self, mid: int, code: int, text: str) -> None:
        """An answer to a message."""
        self._proven = True
        index = self._by_mid.pop(mid, None)
        flight = None if index is None else self._flights.pop(index, None)
        if index is None or flight is None:
            return
        candidate = flight.candidate
        self._slowest_s = max(self._slowest_s, self._clock.monotonic() - flight.at)
        if index == self._solo:
            self._solo = None
        self._suspects.passed(candidate.sent)
        due = set(self._by_mid.values())
        for earlier in [number for number in self._flights if number < index and number not in due]:
            self._suspects.passed(self._flights.pop(earlier).candidate.sent)  # QoS 0: what came later has passed
        self._refusal = None
        if code >= FAILURE:
            self._refusal = _Denied(candidate.message.topic, text, self._clock.monotonic() + DENIED_S)
            self._reject(candidate, "refused", ACL_DENIED, text)
        else:
            self.answers[candidate.message.topic] = Answer("acknowledged", text, self._clock.monotonic())
            if candidate.entry is not None:
                self._outbox.settle(candidate.entry.key, "acknowledged")
        if candidate.kind == "state" and isinstance(candidate.message, Message):
            self.retained.acknowledged(candidate.message)
            self._answered = candidate.message

    def subscribed(self, mid: int, codes: Sequence[int]) -> None:
        """An answer to `subscribe`."""
        self._proven = True
        for topic, code in zip(self._subscriptions.pop(mid, ()), codes, strict=False):
            if code >= FAILURE:
                self._count("subscriptions_refused")
                self._note(Rejection(ACL_DENIED, printable(topic), 0, f"subscription refused (0x{code:02x})"))

    def ended(self, end: End) -> bool:
        """The connection is over: what was unanswered goes out again, but for a message that the broker hangs up on.

        True where the broker hung up after refusing a topic, which now rests.
        """
        explained = end.by_broker and self._refusal_ended_it()
        if end.by_broker and not explained:
            blamed = self._blamed()
            flights = [flight.candidate.sent for flight in self._flights.values()]
            if self._suspects.hung_up(flights, None if blamed is None else blamed.sent) and blamed is not None:
                self._set_aside(blamed)
            if self._held is not None:
                self._suspects.acquit(self._held.sent.token)
        self._outbox.give_back()
        self._flights.clear()
        self._by_mid.clear()
        self._subscriptions.clear()
        self._held = self._solo = None
        self._proven, self._slowest_s = False, 0.0
        return explained

    def _refusal_ended_it(self) -> bool:
        """Mosquitto up to 2.0.11 hangs up after every refusal on MQTT 5 (tried): topics of its kind rest, the others go on."""
        refusal, self._refusal = self._refusal, None
        now = self._clock.monotonic()
        if refusal is None or refusal.until - DENIED_S < now - AT_ONCE_S:
            return False
        self._denied = {topic: denied for topic, denied in self._denied.items() if denied.until > now}
        self._denied[self._family(refusal.topic)] = refusal
        return True

    def _blamed(self) -> _Candidate | None:
        """The message that was sent alone, over a connection that worked, just before the broker hung up."""
        if self._solo is None or not self._proven or list(self._flights) != [self._solo]:
            return None
        at_once_s = min(max(AT_ONCE_S, 4 * self._slowest_s), AT_ONCE_MOST_S)
        at_once = self._clock.monotonic() - self._solo_at <= at_once_s
        return self._flights[self._solo].candidate if at_once else None

    def _set_aside(self, candidate: _Candidate) -> None:
        now = self._clock.monotonic()
        code = PACKET_TOO_BIG if self._suspects.too_big(candidate.sent.size) else SET_ASIDE
        if self._suspects.packet_limit is not None:
            self._limit_learnt_at = now
        if candidate.kind == "state":
            self.retained.mute(candidate.message.topic, now + MUTE_S)
        elif candidate.kind == "live":
            self.live.mute(candidate.message.topic, now + MUTE_S)
        self._reject(candidate, "set_aside", code, "the broker hung up on it twice")

    def _limit(self, link: Link) -> int:
        learnt = self._suspects.packet_limit
        return link.terms.maximum_packet if learnt is None else min(link.terms.maximum_packet, learnt - 1)

    def _is_too_large(self, link: Link, candidate: _Candidate) -> bool:
        return candidate.sent.size > self._limit(link)

    def _reject(self, candidate: _Candidate, outcome: Outcome, code: str, detail: str) -> None:
        message = candidate.message
        self._count(outcome)
        self.answers[message.topic] = Answer(outcome, detail, self._clock.monotonic())
        self._note(Rejection(code, printable(message.topic), candidate.sent.size, detail))
        if candidate.entry is not None:
            self._outbox.settle(candidate.entry.key, outcome)
        elif candidate.kind == "live":
            self._on_outcome(message.camera, outcome, 1)
        elif isinstance(message, Message):
            self.retained.sent(message)

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def _note(self, rejection: Rejection) -> None:
        """Remembers the last rejection, and logs each kind at most once a minute: there may be ten a second."""
        self.rejection = rejection
        now = self._clock.monotonic()
        if now - self._logged.get((rejection.code, rejection.topic), -LOG_AGAIN_S) >= LOG_AGAIN_S:
            if len(self._logged) > _UNPROVEN:
                self._logged.clear()
            self._logged[rejection.code, rejection.topic] = now
            log.warning("%s: %s (%d bytes): %s", rejection.code, rejection.topic, rejection.size, rejection.detail)
