"""One connection to the broker, from CONNECT to its end. A new paho client each time: what paho still holds dies with it.

Everything here is called from one thread. paho is driven from outside (`loop_read`, `loop_write`, `loop_misc`), so it has
no thread of its own and no lock of it is ever contended.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import printable
from camagent.mqtt.answers import End, Terms, Version, end_by_packet, end_of_wire, silent, terms, unanswered, words
from camagent.mqtt.wake import Wake
from camagent.mqtt.wire import MQTT_UNREACHABLE, Endpoint, LinkError, Wire, explain, open_wire, password

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

log = logging.getLogger("camagent.mqtt")

CONNACK_TIMEOUT_S = 10.0
ACK_TIMEOUT_S = 300.0  # an acknowledgement this late never comes; the window must not stay narrow for ever
_OWN_REASONS = {"Keep alive timeout": "nothing heard from", "Protocol error": "something that is no MQTT came from"}


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we vanish."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """As whom we connect, and where."""

    endpoint: Endpoint
    config: Mqtt
    client_id: str
    will: Will | None
    max_incoming: int  # bytes; a longer packet is not read


class Listener(Protocol):
    """What a connection reports, in the network thread."""

    def acked(self, mid: int, code: int, text: str) -> None:
        """The broker's answer to a message at QoS 1; from 0x80 on it is a refusal."""

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Something came in."""

    def subscribed(self, mid: int, codes: Sequence[int]) -> None:
        """The broker's answer to `subscribe`, one code per topic."""


class _Paho(Client):
    """paho, with a socket that we have opened: its own leaks when TLS fails and loses packets over WebSocket."""

    dial: Callable[[], Wire]

    def _create_socket(self) -> SocketLike:
        return self.dial()


class _Watched:
    """What a connection waits for: the broker, the socket's readiness, another thread."""

    def __init__(self, wake: Wake, wire: Wire) -> None:
        self._wake, self._wire, self._writes = wake.fileno(), wire.fileno(), False
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._wire, select.POLLIN)

    def wait(self, milliseconds: float, *, writes: bool) -> tuple[bool, int]:
        """Whether somebody woke us, and poll()'s flags of the socket. `writes`: room to write is waited for, too."""
        if writes != self._writes:
            self._poll.modify(self._wire, select.POLLIN | (select.POLLOUT if writes else 0))
            self._writes = writes
        ready = dict(self._poll.poll(milliseconds))
        return self._wake in ready, ready.get(self._wire, 0)


class Link:
    """One connection. `open` first; then `step` again and again until `end` is set."""

    def __init__(self, account: Account, version: Version, listener: Listener, clock: Clock) -> None:
        self.version = version
        self.endpoint = account.endpoint
        self.terms = Terms()
        self.end: End | None = None
        self._account = account
        self._listener = listener
        self._clock = clock
        self._connack: tuple[ReasonCode, Properties | None] | None = None
        self._outstanding: dict[int, float] = {}  # packet id -> when it was sent
        self._wire: Wire | None = None
        self._watched: _Watched | None = None
        self._client = self._make_client(account)

    def _make_client(self, account: Account) -> _Paho:
        five = self.version == "5"
        client = _Paho(
            CallbackAPIVersion.VERSION2,
            account.client_id,
            None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the sender keeps the window; paho must never queue
        client.dial = self._dial
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if account.will is not None:
            client.will_set(account.will.topic, account.will.payload, qos=1, retain=True)
        return client

    def _dial(self) -> Wire:
        self._wire = open_wire(self.endpoint, self._account.config, self._clock, self._account.max_incoming)
        return self._wire

    # -- opening ------------------------------------------------------------------------------------------------------

    def open(self, wake: Wake, stopping: Callable[[], bool]) -> bool:
        """Connects and waits for the broker's answer; False where we were asked to stop meanwhile.

        Raises:
            LinkError: no connection; the socket is closed.
        """
        try:
            self._connect()
            deadline = self._clock.monotonic() + CONNACK_TIMEOUT_S
            while self._connack is None and self.end is None:
                left = deadline - self._clock.monotonic()
                if stopping():
                    self.abandon()
                    return False
                if left <= 0:
                    raise silent(self.endpoint)
                self.step(left, wake)
            if self._connack is None:
                raise unanswered(self.endpoint, self.version, self._wire)
            self.terms = terms(self.endpoint, self.version, *self._connack)
        except LinkError:
            self.abandon()
            raise
        return True

    def _connect(self) -> None:
        config = self._account.config
        secret = password(config)
        if config.username or secret is not None:
            self._client.username_pw_set(config.username, secret)
        try:
            if self.version == "5":
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.MaximumPacketSize = self._account.max_incoming
                self._client.connect(
                    self.endpoint.host, self.endpoint.port, config.keepalive_s, clean_start=True, properties=properties
                )
            else:
                self._client.connect(self.endpoint.host, self.endpoint.port, config.keepalive_s)
        except OSError as exc:
            raise explain(self.endpoint, exc) from exc

    # -- living -------------------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """True while something we sent has not left for the kernel yet: sending more would only fill memory."""
        return self._client.want_write()

    def step(self, timeout_s: float, wake: Wake) -> None:
        """Waits for the broker, the socket's readiness or another thread, and handles what came."""
        wire = self._wire
        if self.end is not None or wire is None:
            return
        if self._watched is None:
            self._watched = _Watched(wake, wire)
        woken, ready = self._watched.wait(0 if wire.pending() else max(0.0, timeout_s) * 1000, writes=self.congested)
        if woken:
            wake.clear()
        try:
            self._read_and_write(wire, ready)
        except Exception as exc:  # whatever a broker sends, it must not end the network thread
            log.exception("the MQTT library failed on what %s sent", self.endpoint)
            detail = f"what {self.endpoint} sent is no MQTT: {printable(repr(exc))}"
            self._finish(End(by_broker=False, code=MQTT_UNREACHABLE, detail=detail))

    def _read_and_write(self, wire: Wire, ready: int) -> None:
        client = self._client
        if ready & ~select.POLLOUT or wire.pending():
            client.loop_read()
            for _ in range(100):
                if client.socket() is None or not wire.pending():
                    break
                client.loop_read()
        if client.socket() is not None and ready & select.POLLOUT:
            client.loop_write()
        if client.socket() is not None:
            client.loop_misc()
            self._mind_silence(wire)
        else:
            self._finish(end_of_wire(self.endpoint, wire))

    def _mind_silence(self, wire: Wire) -> None:
        """A dead link: paho needs two keepalives to notice it; with an acknowledgement due, one is enough."""
        oldest = min(self._outstanding.values(), default=None)
        if oldest is None:
            return
        now = self._clock.monotonic()
        if now - max(oldest, wire.heard) > self._account.config.keepalive_s or now - oldest > ACK_TIMEOUT_S:
            detail = f"{self.endpoint} has not acknowledged a message for {now - oldest:.0f} s"
            self._finish(End(by_broker=False, code=MQTT_UNREACHABLE, detail=detail))

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, expires_s: int | None = None) -> int | None:
        """Sends a message: its packet id; None where the connection has just ended.

        `expires_s`: so long the broker keeps it at most; MQTT 3.1.1 cannot say so.
        """
        properties = None
        if expires_s is not None and self.version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expires_s
        info = self._client.publish(topic, payload, qos, retain and self.terms.retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        if qos:
            self._outstanding[info.mid] = self._clock.monotonic()
        return info.mid

    def subscribe(self, topics: Sequence[str], *, retained: bool = False) -> int | None:
        """Asks for these topics at QoS 1; on MQTT 5 without what is retained there, unless that is wanted.

        Then the retain flag also stays on what is published while we listen: without it such a command looks like any other.
        """
        if self.version == "5":
            handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained else SubscribeOptions.RETAIN_DO_NOT_SEND
            options = SubscribeOptions(qos=1, retainAsPublished=not retained, retainHandling=handling)
            return self._client.subscribe([(topic, options) for topic in topics])[1]
        return self._client.subscribe([(topic, 1) for topic in topics])[1]

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Gives these topics up."""
        self._client.unsubscribe(list(topics))

    # -- ending -------------------------------------------------------------------------------------------------------

    def goodbye(self, wake: Wake, patience_s: float) -> None:
        """Ends the connection in order: the broker forgets the will."""
        deadline = self._clock.monotonic() + patience_s
        self._client.disconnect()
        while self.end is None and (left := deadline - self._clock.monotonic()) > 0:
            self.step(left, wake)
        self.abandon()

    def abandon(self) -> None:
        """Closes the socket, whatever state it is in."""
        if self._wire is not None:
            self._wire.close()

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end

    # -- paho's callbacks ---------------------------------------------------------------------------------------------

    def _on_connect(self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        self._connack = reason, properties

    def _on_disconnect(
        self, _c: Client, _u: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._finish(end_by_packet(self.endpoint, reason, properties))
        elif str(reason) in _OWN_REASONS:
            detail = f"{_OWN_REASONS[str(reason)]} {self.endpoint}"
            self._finish(End(by_broker=False, code=MQTT_UNREACHABLE, detail=detail))
        else:
            self._finish(end_of_wire(self.endpoint, self._wire))

    def _on_publish(self, _c: Client, _u: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        if self._outstanding.pop(mid, None) is not None:
            self._listener.acked(mid, reason.value, words(reason, properties))

    def _on_subscribe(self, _c: Client, _u: Any, mid: int, reasons: list[ReasonCode], _p: Properties | None) -> None:
        self._listener.subscribed(mid, [reason.value for reason in reasons])

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        topic = message._topic.decode(errors="replace")  # noqa: SLF001  .topic raises on what a broker should not have passed
        self._listener.message(topic, bytes(message.payload), retained=message.retain)


def random_id(prefix: str) -> str:
    """A client id that nobody else has."""
    return f"{prefix}-{os.urandom(6).hex()}"
