"""Does what is published arrive? Real messages under the agent's own id, waited for through a second client."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import ConfigError
from camagent.probing import Answer, Endpoint, Message, MqttState
from camagent.selftest.delivery import SHORT_LIVES, DeliveryFacts, TopicFacts, judge, unreached
from camagent.selftest.echo import Echo
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Tell

LOOK_S = 0.05
_FINAL = frozenset({"mqtt-auth-refused", "tls-untrusted", "tls-clock-wrong"})  # waiting does not change these
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A broker that restarts, or a short glitch of the network, is over within `glitch`."""

    glitch: float = 11.0
    connect: float = 20.0
    subscribe: float = 5.0
    echo: float = 2.5  # after the acknowledgement
    answer: float = 25.0  # a broker that hangs up after every refusal needs a connection per topic
    stand: float = 3.0  # that a connection of ours must last, so that a rival under our id shows
    rival: float = 12.0  # where it did not last


class Speaker(Protocol):
    """The agent's own client."""

    def snapshot(self) -> MqttState:
        """What can be said about the connection."""
        ...

    def send(self, message: Message) -> None:
        """Takes a message."""
        ...

    def answer_on(self, topic: str) -> Answer | None:
        """The broker's newest word on a topic."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """What is published to see it arrive, made at the moment it is needed. `typical_bytes`: of a message with ten objects.

    `real`: topics on which a probe would be taken for something that has happened: there the broker's word on the newest real
    message counts. By the name that an ACL gives them.
    """

    make: Callable[[], Sequence[Message]]
    typical_bytes: int
    real: Mapping[str, Sequence[str]] = field(default_factory=dict)


class DeliveryRung:
    """`is_new`: the connection was made for this test, so that a rival under the same id has yet to show itself."""

    id = "delivery"

    def __init__(
        self, config: Mqtt, speaker: Speaker, probes: Probes, clock: Clock, *, is_new: bool,
        patience: Patience = Patience(),
    ) -> None:  # fmt: skip
        self._config, self._speaker, self._probes, self._clock = config, speaker, probes, clock
        self._is_new, self._patience = is_new, patience

    def run(self, tell: Tell) -> Outcome:
        """Bounded by the sum of its patience. A broker that refuses, hangs or is not there is a finding."""
        tell(f"connecting to the broker {_shown(self._config)}")
        state = self._connected()
        if state.state != "connected":
            return unreached(state, _shown(self._config), _addresses(self._config), in_container=_in_container())
        messages = tuple(self._probes.make())
        with Echo(self._config, [message.topic for message in messages], self._clock) as echo:
            echo.ready(self._patience.subscribe)
            echo.want(messages)
            tell("publishing, and waiting for it through a second client")
            sent_at = self._clock.monotonic()
            for message in messages:
                self._speaker.send(message)
            self._settle(messages, echo, sent_at)
            if self._is_new:
                self._stand()
            topics = (*(self._facts(message, echo, sent_at) for message in messages), *self._refused())
            state = self._speaker.snapshot()
            stood, reading = echo.stood, echo.reading
        return judge(
            DeliveryFacts(
                _shown(self._config),
                self._config.username,
                state,
                topics,
                reading,
                stood,
                self._probes.typical_bytes,
                self._is_new,
            )
        )

    def _connected(self) -> MqttState:
        """The state once it is decided: connected, refused for good, or not reached for longer than a glitch lasts."""
        began = self._clock.monotonic()
        while True:
            state, waited = self._speaker.snapshot(), self._clock.monotonic() - began
            is_over = state.code in _FINAL or (state.code is not None and waited >= self._patience.glitch)
            if state.state == "connected" or is_over or waited >= self._patience.connect:
                return state
            time.sleep(LOOK_S)

    def _settle(self, messages: Sequence[Message], echo: Echo, sent_at: float) -> None:
        """Until every message has come back, was refused, or was acknowledged without coming back."""
        while self._clock.monotonic() - sent_at < self._patience.answer:
            if all(self._is_settled(message.topic, echo, sent_at) for message in messages):
                return
            if self._is_new and self._speaker.snapshot().clashes:
                return
            time.sleep(LOOK_S)

    def _is_settled(self, topic: str, echo: Echo, sent_at: float) -> bool:
        if echo.heard(topic):
            return True
        answer = self._answer(topic, sent_at)
        if answer is None:
            return False
        wait_s = 0.0 if echo.reading else self._patience.echo
        return answer.outcome != "acknowledged" or self._clock.monotonic() - answer.at >= wait_s

    def _answer(self, topic: str, sent_at: float) -> Answer | None:
        answer = self._speaker.answer_on(topic)
        return answer if answer is not None and answer.at >= sent_at else None

    def _rivalled(self) -> bool:
        state = self._speaker.snapshot()
        return state.clashes > 0 or state.short_lives >= SHORT_LIVES

    def _stand(self) -> None:
        """Another client under our id takes the session back as soon as it has connected again."""
        began = self._clock.monotonic()
        while not self._rivalled():
            state = self._speaker.snapshot()
            limit = self._patience.rival if state.short_lives else self._patience.stand
            if self._clock.monotonic() - began >= limit:
                return
            time.sleep(LOOK_S)

    def _refused(self) -> list[TopicFacts]:
        """Real messages of late that the broker did not take."""
        found = []
        for name, topics in self._probes.real.items():
            answers = (self._speaker.answer_on(topic) for topic in topics)
            no = next((answer for answer in answers if answer is not None and answer.outcome == "refused"), None)
            if no is not None:
                found.append(TopicFacts(name, 0, no.outcome, no.detail, echoed=False))
        return found

    def _facts(self, message: Message, echo: Echo, sent_at: float) -> TopicFacts:
        answer = self._answer(message.topic, sent_at)
        size = len(message.payload) + len(message.topic)
        word, detail = (answer.outcome, answer.detail) if answer else (None, "")
        return TopicFacts(message.topic, size, word, detail, echo.heard(message.topic))


def _shown(config: Mqtt) -> str:
    return str(Endpoint.parse(config.url))


def _addresses(config: Mqtt) -> list[str]:
    """What the broker's name stands for; empty where nobody knows."""
    try:
        endpoint = Endpoint.parse(config.url)
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, ConfigError):  # the client's own state has the reason
        return []
    return sorted({str(entry[4][0]) for entry in found})


def _in_container() -> bool:
    return any(Path(path).exists() for path in _CONTAINERS)
