"""The agent's MQTT client: what must arrive goes through the outbox, the rest is live; state is retained and kept fresh.

    client = MqttClient(config.mqtt, agent_id, topics, outbox, clock, on_command=.., on_outcome=.., died=..)
    client.start()
    client.subscribe(["p/cam-01/front/cmd/detect"])    the whole set; remade after every connect
    client.subscribe(commands, notices)                notices say what is, not what to do: the retain flag does no harm
    client.send(message)                               any thread, never blocks: `lane` -> outbox, `retain` -> state, else live
    client.snapshot()                                  state, code, detail, counters, for health and page
    client.stop(drain_s=5.0)                           drains, publishes `stopped`, disconnects without the will

`on_command(topic, payload)` comes from the network thread and must only hand over. `on_outcome(camera, outcome, number)`
counts what became of messages, `died(name, exception)` hears of the network thread's death. `Observer` is the client for
those who only watch.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import printable
from camagent.messages import Message, Topics
from camagent.mqtt.answers import End, Terms, Version
from camagent.mqtt.link import Account, Link, Will
from camagent.mqtt.sender import Answer, Rejection, Sender
from camagent.mqtt.session import Session
from camagent.mqtt.suspects import Patience
from camagent.mqtt.wire import Endpoint, State
from camagent.outbox import OpenMessage, Outbox, OutcomeCallback
from camagent.pulse import Pulse

log = logging.getLogger("camagent.mqtt")

COMMAND_BYTES = 4096
MAX_INCOMING = 64 << 10  # a packet; commands and a word from others are all that comes in


@dataclass(frozen=True, slots=True)
class MqttState:
    """`health` shows this. `code` and `detail` say what is wrong, None while nothing is."""

    state: State
    code: str | None
    detail: str | None
    fix: str | None
    protocol: Version | None  # None until the first connection
    maximum_packet: int | None  # bytes that the broker takes at most, where it says so
    connects: int
    attempts: int
    connected_s: float | None
    last_end: End | None  # why the connection before this one ended
    clashes: int  # ends of which the broker said that another client uses our id
    short_lives: int  # connections in a row that the broker accepted and closed again within a minute
    refused: int  # answers >= 0x80
    too_large: int
    set_aside: int
    live_dropped: int
    rejection: Rejection | None  # the last message or subscription that the broker did not take
    subscriptions_refused: int
    commands: int
    commands_retained: int  # ignored: a retained command would be obeyed at every connect
    commands_too_long: int
    commands_failed: int  # the receiver raised
    notices: int  # what others say of themselves, such as Home Assistant when it starts


class MqttClient:
    """The one client under the agent's id."""

    def __init__(
        self,
        config: Mqtt,
        client_id: str,
        topics: Topics,
        outbox: Outbox,
        clock: Clock,
        *,
        on_command: Callable[[str, bytes], None],
        on_outcome: OutcomeCallback,
        died: Callable[[str, BaseException], None],
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> None:
        """Reads the URL; connects to nothing yet.

        Raises:
            ConfigError: `mqtt.url` names no broker.
        """
        available = topics.of_agent("available")
        account = Account(Endpoint.parse(config.url), config, client_id, Will(available, b"offline"), MAX_INCOMING)
        self._available = available
        self._clock = clock
        self._outbox = outbox
        self._on_command = on_command
        self._on_outcome = on_outcome
        self._incoming: Counter[str] = Counter()
        self._maximum_packet: int | None = None
        self._wanted: tuple[str, ...] = ()  # subscriptions; replaced as a whole
        self._notices: frozenset[str] = frozenset()  # those of them that are no commands
        self._subscribed: tuple[str, ...] = ()
        online = Message(available, b"online", 1, retain=True)
        self._sender = Sender(outbox, online, clock, on_outcome, patience, family=topics.family)
        self._session = Session(account, self, clock, name="mqtt", died=died, patience=patience)

    # -- any thread ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the network thread; it connects by itself, and again whenever it must."""
        self._session.start()

    def stop(self, drain_s: float) -> bool:
        """Sends what it can within `drain_s`, says `stopped`, disconnects. What is left stays in the outbox."""
        return self._session.stop(drain_s)

    @property
    def pulse(self) -> Pulse:
        """The network thread's, for the watchdog."""
        return self._session.pulse

    @property
    def connected(self) -> bool:
        """True while the broker has accepted us."""
        return self._session.status.state == "connected"

    def send(self, message: Message) -> None:
        """Takes a message; never blocks on the network."""
        if message.lane is not None and message.qos:
            self._outbox.put(
                OpenMessage(message.lane, message.topic, message.payload, message.qos, message.retain, message.camera)
            )
        elif message.retain:
            self._sender.retained.put(message)
        elif self.connected:
            self._sender.offer_live(message)
        else:
            self._sender.live_lost([message])
            return
        self._session.wake.set()

    def subscribe(self, topics: Sequence[str], notices: Collection[str] = ()) -> None:
        """Names the whole set of topics that are listened to; others are given up. Notices count when retained, too."""
        self._notices = frozenset(notices).difference(topics)
        self._wanted = tuple(dict.fromkeys((*topics, *notices)))
        self._session.wake.set()

    def snapshot(self) -> MqttState:
        """Everything that can be said about the connection and what went over it."""
        status, counts, incoming = self._session.status, self._sender.counts, self._incoming
        connected_at = status.connected_at
        return MqttState(
            state=status.state,
            code=status.code,
            detail=status.detail,
            fix=status.fix,
            protocol=status.protocol,
            maximum_packet=self._maximum_packet,
            connects=status.connects,
            attempts=status.attempts,
            connected_s=None if connected_at is None else self._clock.monotonic() - connected_at,
            last_end=status.last_end,
            clashes=status.clashes,
            short_lives=status.short_lives,
            refused=counts["refused"],
            too_large=counts["too_large"],
            set_aside=counts["set_aside"],
            live_dropped=counts["live_dropped"],
            rejection=self._sender.rejection,
            subscriptions_refused=counts["subscriptions_refused"],
            commands=incoming["commands"],
            commands_retained=incoming["retained"],
            commands_too_long=incoming["too_long"],
            commands_failed=incoming["failed"],
            notices=incoming["notices"],
        )

    def answer_on(self, topic: str) -> Answer | None:
        """The broker's newest word on this topic; None before the first message that it had to answer."""
        return self._sender.answers.get(topic)

    # -- the network thread -------------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Listens first, then says who is here; state and backlog follow in `pump`."""
        self._subscribed = ()
        granted = link.terms.maximum_packet
        self._maximum_packet = None if granted == Terms().maximum_packet else granted
        self._sender.opened()
        self._resubscribe(link)

    def _resubscribe(self, link: Link) -> None:
        wanted = self._wanted
        if wanted == self._subscribed or link.end is not None:
            return
        gone = [topic for topic in self._subscribed if topic not in wanted]
        if gone:
            link.unsubscribe(gone)
        self._sender.subscribe(link, [topic for topic in wanted if topic not in self._subscribed])
        self._subscribed = wanted

    def pump(self, link: Link) -> float:
        """Sends what can be sent."""
        self._resubscribe(link)
        return self._sender.pump(link)

    def idle(self) -> bool:
        """Nothing waits, nothing is unanswered."""
        return self._sender.idle()

    def farewell(self) -> None:
        """`stopped` instead of the will's `offline`."""
        self._sender.farewell(Message(self._available, b"stopped", 1, retain=True))

    def said_farewell(self) -> bool:
        """The broker has `stopped`."""
        return self._sender.said_farewell()

    def ended(self, end: End) -> bool:
        """What was unanswered goes back; what was only live is lost. True where a refusal explains the end."""
        explained = self._sender.ended(end)
        self._sender.live_lost(self._sender.live.clear())
        return explained

    def acked(self, mid: int, code: int, text: str) -> None:
        """The broker's answer to a message."""
        self._sender.acked(mid, code, text)

    def subscribed(self, mid: int, codes: Sequence[int]) -> None:
        """The broker's answer to a subscription."""
        self._sender.subscribed(mid, codes)

    def message(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A command, suspected until it is proved, or a notice, which may be old."""
        if retained and topic not in self._notices:
            self._incoming["retained"] += 1
        elif len(payload) > COMMAND_BYTES:
            self._incoming["too_long"] += 1
        else:
            self._incoming["notices" if topic in self._notices else "commands"] += 1
            try:
                self._on_command(topic, payload)
            except Exception:  # a command must not end the network thread
                self._incoming["failed"] += 1
                log.exception("the command on %s failed", printable(topic))
