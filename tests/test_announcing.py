"""When a removal has stood for long enough: at a broker that answers before `send` returns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from camagent import announced, announcing
from camagent.announced import Announced
from camagent.announcing import Announcer
from camagent.config import Agent, Config, HomeAssistant
from camagent.integrations import home_assistant as ha
from camagent.messages import Message, Topics
from camagent.mqtt.sender import Answer
from tests.support.home_assistant import removed_by
from tests.support.outboxes import FakeClock

TOPIC = ha.topic("homeassistant", "cam-01")


class Client:
    """A broker a microsecond away, and an agent's thread that is stopped for half a second in `send`."""

    def __init__(self, clock: FakeClock, outcome: str) -> None:
        self.sent: list[Message] = []
        self._clock, self._outcome = clock, outcome
        self._answers: dict[str, Answer] = {}

    def snapshot(self) -> Any:
        return SimpleNamespace(maximum_packet=None)

    def send(self, message: Message) -> None:
        self.sent.append(message)
        self._answers[message.topic] = Answer(cast("Any", self._outcome), "", self._clock.now)
        self._clock.now += 0.5

    def answer_on(self, topic: str) -> Answer | None:
        return self._answers.get(topic)


def announcer(folder: Path, clock: FakeClock, client: Client) -> Announcer:
    """Of an agent that had a camera more before it was last started."""
    platforms = {"back.online": "binary_sensor"}
    announced.write(folder / announcing.FILE_NAME, Announced(topic=TOPIC, platforms=platforms))
    config = Config(agent=Agent(id="cam-01", state_dir=folder), home_assistant=HomeAssistant(enabled=True))
    nobody = cast("Any", SimpleNamespace(runner=lambda name: None))
    return Announcer(config, Topics("camagent", "cam-01"), clock, nobody, client=lambda: cast("Any", client), errors=Counter())


@pytest.mark.parametrize(("outcome", "messages"), [("acknowledged", 2), ("refused", 1)])
def test_a_removal_ends_once_the_broker_has_had_it_for_a_while(tmp_path: Path, outcome: str, messages: int) -> None:
    clock = FakeClock()
    client = Client(clock, outcome)
    home = announcer(tmp_path, clock, client)
    for _ in range(5):
        home.tick()
        clock.now += 1
    assert [removed_by(message.payload) for message in client.sent] == [{"back.online"}], "not before it has settled"
    clock.now += announcing.SETTLE_S
    for _ in range(3):
        home.tick()
    assert len(client.sent) == messages
    assert (removed_by(client.sent[-1].payload) == set()) == (outcome == "acknowledged")
    kept = announced.read(tmp_path / announcing.FILE_NAME).platforms
    assert ("back.online" in kept) == (outcome == "refused")
