"""A real agent before a real broker, as Home Assistant sees it: announced, asked again, switched, taken back."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.cli import run
from tests.support import things
from tests.support.agent import Agent, Body, Listener, camagent, camera
from tests.support.broker import Broker, Subscriber, running, subscribed, wait_for
from tests.support.home_assistant import Json, checked, removed_by, singles
from tests.test_home_assistant import rendered

TOPIC = "homeassistant/device/cam-01/config"
ON = "[home_assistant]\nenabled = true\n"
ZONE = '\n[[camera.zone]]\nname = "gate"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle that sees balls and boxes, and pictures of them."""
    folder = tmp_path_factory.mktemp("things")
    return things.bundle(folder), things.folder_of(folder / "pictures")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def home(broker: Broker) -> Iterator[Subscriber]:
    """What Home Assistant gets."""
    with subscribed(broker.port, "#", client_id="home") as listening:
        yield listening


def last(home: Subscriber, topic: str = TOPIC) -> Json:
    """The newest announcement; empty after it was taken back, and before the first."""
    payloads = home.on(topic)
    return checked(payloads[-1]) if payloads and payloads[-1] else {}


def entities(home: Subscriber, topic: str = TOPIC) -> set[str]:
    return {key for key, component in last(home, topic).get("cmps", {}).items() if len(component) > 1}


def removed(home: Subscriber) -> set[str]:
    payload = home.on(TOPIC)[-1]
    return removed_by(payload) if payload else set()


def retained(broker: Broker, topic: str) -> list[bytes]:
    """What the broker gives to somebody who has never been there."""
    with subscribed(broker.port, f"{topic}/#", client_id=f"late-{secrets.token_hex(4)}") as late:
        late.client.publish(f"{topic}/knock", b"here", 1)
        wait_for(lambda: late.on(f"{topic}/knock"))
        return late.on(topic)


def seen(*kinds: str, place: str = "front.count") -> set[str]:
    return {f"{place}.{label}.{kind}" for label in ("ball", "box") for kind in kinds or ("seen", "number")}


def test_announced_with_what_the_model_sees_and_again_when_home_assistant_starts(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    section = camera(made[1], made[0], snapshots=True) + ZONE
    with Agent(tmp_path, broker.port, section, more=ON):
        wait_for(lambda: seen() <= entities(home), 30)
        assert seen(place="front.zone.gate") <= entities(home)
        assert retained(broker, TOPIC) == [home.on(TOPIC)[-1]]
        before = len(home.on(TOPIC))
        home.client.publish("homeassistant/status", b"offline", 1)
        home.client.publish("homeassistant/status", b"online", 1, retain=True)
        wait_for(lambda: len(home.on(TOPIC)) > before, 20)
        assert home.on(TOPIC)[-1] == home.on(TOPIC)[before - 1]
        health = json.loads(home.on("camagent/cam-01/health")[-1])
        assert health["errors"].get("COMMAND_RETAINED", 0) == 0, "a birth message is no command"
        # ten thousand births make one announcement in ten seconds
        before = len(home.on(TOPIC))
        for _ in range(50):
            home.client.publish("homeassistant/status", b"online", 1)
        wait_for(lambda: len(home.on(TOPIC)) > before, 20)
        assert len(home.on(TOPIC)) == before + 1


def test_switch_and_button_work_through_what_was_announced(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    def state(key: str) -> str | None:
        component = singles(last(home))[key]
        payloads = home.on(component["state_topic"])
        return rendered(component.get("value_template", "{{ value }}"), payloads[-1]) if payloads else None

    def available(key: str) -> bool:
        words = []
        for entry in singles(last(home))[key]["availability"]:
            payloads = home.on(entry["topic"]) or [b""]
            words.append(rendered(entry.get("value_template", "{{ value }}"), payloads[-1]))
        return words == ["online"] * len(words)

    with Agent(tmp_path, broker.port, camera(made[1], made[0]), more=ON) as agent:
        wait_for(lambda: seen() <= entities(home), 30)
        wait_for(lambda: available("front.count.ball.seen") and available("front.detect"), 20)
        made_switch = singles(last(home))["front.detect"]
        for word in ("OFF", "ON"):
            home.client.publish(made_switch["command_topic"], word, 1)
            wait_for(lambda: state("front.detect") == word, 10)  # noqa: B023
        wait_for(lambda: state("front.reason") == "ok", 30)
        assert state("front.model") == "float 1.0.0"
        assert state("front.online") == "online"
        button = singles(last(home))["selftest"]
        home.client.publish(button["command_topic"], button["payload_press"], 1)
        wait_for(lambda: state("verdict") in singles(last(home))["verdict"]["options"], 60)
        assert agent.stop() == 0
        wait_for(lambda: not available("front.detect"))
        assert not available("front.count.ball.seen")
    assert entities(home), "a stopped agent stays announced"


def test_every_count_that_is_published_is_announced_and_no_other(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    with Agent(tmp_path, broker.port, camera(made[1], made[0], fps=5.0) + ZONE, more=ON):
        wait_for(lambda: seen() <= entities(home), 30)

        def published() -> set[str]:
            return {topic for topic, payload in list(home.got) if payload.startswith(b'{"schema":"camagent.count/1"')}

        announced = {one["state_topic"] for key, one in singles(last(home)).items() if key.endswith((".seen", ".number"))}
        wait_for(lambda: published() == announced, 20, "topics")

        def words(key: str) -> set[str]:
            one = singles(last(home))[key]
            return {rendered(one["value_template"], payload) for payload in home.on(one["state_topic"])}

        wait_for(lambda: "ON" in words("front.count.ball.seen") and "ON" in words("front.zone.gate.box.seen"), 20)
        assert words("front.count.ball.number") <= {"0", "1"}


def test_what_changes_is_told_and_what_is_gone_is_removed(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    section = camera(made[1], made[0]) + ZONE
    with Agent(tmp_path, broker.port, section + camera(made[1], made[0], "back"), more=ON) as agent:
        wait_for(lambda: seen(place="back.count") | seen(place="front.zone.gate") <= entities(home), 30)
        back = {key for key in entities(home) if key.startswith("back.")}
        agent.write(camera(made[1], made[0]) + '[camera.filter]\nlabels = ["ball"]\n')
        gone = back | seen(place="front.zone.gate") | {"front.count.box.seen", "front.count.box.number"}
        told = len(home.on(TOPIC))

        def removed_since() -> set[str]:
            return set().union(*(removed_by(payload) for payload in home.on(TOPIC)[told:] if payload))

        agent.signal(signal.SIGHUP)
        wait_for(lambda: removed_since() == gone, 30, "removals")
        assert "front.count.ball.seen" in entities(home)
        wait_for(lambda: removed(home) == set(), 30, "the removals are not told for ever")
        agent.path.write_text(agent.path.read_text().replace("enabled = true", "enabled = false"))
        agent.signal(signal.SIGHUP)
        wait_for(lambda: home.on(TOPIC)[-1] == b"", 10)
        wait_for(lambda: not (tmp_path / "state" / "home_assistant.json").exists(), 10)
        assert retained(broker, TOPIC) == []
        agent.path.write_text(agent.path.read_text().replace("enabled = false", "enabled = true"))
        agent.signal(signal.SIGHUP)
        wait_for(lambda: "front.count.ball.seen" in entities(home), 10)


def test_what_was_announced_is_taken_back_after_a_change_while_the_agent_was_down(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    agent = Agent(tmp_path, broker.port, camera(made[1], made[0]), more=ON)
    with agent:
        wait_for(lambda: seen() <= entities(home), 30)
        assert agent.stop() == 0
        agent.path.write_text(agent.path.read_text().replace(ON, ON + 'prefix = "ha/eu"\n'))
        agent.start()
        moved = "ha/eu/device/cam-01/config"
        wait_for(lambda: seen() <= entities(home, moved), 30)
        assert home.on(TOPIC)[-1] == b""
        topics = [topic for topic, payload in home.got if topic in (TOPIC, moved)]
        assert topics.index(moved) > len(topics) - 1 - topics[::-1].index(TOPIC), "never on two topics at once"
        agent.kill()
        agent.path.write_text(agent.path.read_text().replace("enabled = true", "enabled = false"))
        agent.start()
        wait_for(lambda: home.on(moved)[-1] == b"", 20)
        wait_for(lambda: not (tmp_path / "state" / "home_assistant.json").exists(), 10)


def test_a_model_that_is_not_there_makes_no_entity_vanish(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    bundle = tmp_path / "moving.cambundle"
    bundle.write_bytes(made[0].read_bytes())
    with Agent(tmp_path, broker.port, camera(made[1], bundle), more=ON) as agent:
        wait_for(lambda: seen() <= entities(home), 30)
        assert agent.stop() == 0
        bundle.unlink()
        before = len(home.on(TOPIC))
        agent.start()
        wait_for(lambda: len(home.on(TOPIC)) > before, 20)
        with Listener(broker.port) as listener:
            listener.wait("front/health", lambda body: body["reason"] == "no-bundle", 20)
        assert seen() <= entities(home)
        assert removed(home) == set()


def test_what_has_not_changed_is_not_said_again(
    tmp_path: Path, made: tuple[Path, Path], broker: Broker, home: Subscriber
) -> None:
    with Agent(tmp_path, broker.port, camera(made[1], made[0], fps=5.0), more=ON) as agent, Listener(broker.port) as listener:
        wait_for(lambda: seen() <= entities(home), 30)
        said = len(home.on(TOPIC))
        agent.write(camera(made[1], made[0], fps=4.0))  # the camera starts anew, and its model is opened again
        agent.signal(signal.SIGHUP)
        wait_for(lambda: agent.log.read_text().count("runs float") == 2, 20)
        listener.clear()
        listener.wait("front/health", lambda body: body["state"] == "running", 20)
        assert len(home.on(TOPIC)) == said


@pytest.mark.full(seconds=120)
def test_a_model_on_trial_takes_no_entity_away(tmp_path: Path, broker: Broker, home: Subscriber) -> None:
    old = things.bundle(tmp_path)
    (tmp_path / "new").mkdir()
    labels = tmp_path / "new" / "labels.txt"
    labels.write_text("ball\ncube\n")
    new = tmp_path / "new" / "float.cambundle"
    command = ["bundle", "create", str(tmp_path / "float.onnx"), "--name", "float", "--version", "2.0.0", "--head", "yolov8",
               "--labels", str(labels), *things.INPUT, "-o", str(new)]  # fmt: skip
    assert run(command) == 0
    section = camera(things.folder_of(tmp_path / "pictures"), Path("float"), fps=30.0)
    with Agent(tmp_path, broker.port, section, more=ON) as agent, Listener(broker.port) as listener:
        listener.wait("health")
        assert camagent("bundle", "install", str(old), "-c", str(agent.path)).returncode == 0
        wait_for(lambda: seen() <= entities(home), 30)
        listener.wait("bundle/state", confirmed, 120)
        assert camagent("bundle", "install", str(new), "-c", str(agent.path)).returncode == 0
        wait_for(lambda: "front.count.cube.seen" in entities(home), 30)
        assert seen() <= entities(home), "it may be taken back"
        assert camagent("bundle", "rollback", "float", "-c", str(agent.path)).returncode == 0
        wait_for(lambda: "front.count.cube.seen" in removed(home), 30)
        assert seen() <= entities(home)
        assert not any(seen() & removed_by(payload) for payload in home.on(TOPIC) if payload)


def confirmed(body: Body) -> bool:
    facts = body["bundles"].get("float", {})
    return facts.get("current") == "1.0.0" and facts["trial"] is None


def test_a_broker_that_forgets_is_told_again(tmp_path: Path, made: tuple[Path, Path], broker: Broker) -> None:
    with Agent(tmp_path, broker.port, camera(made[1], made[0]), more=ON):
        wait_for(lambda: retained(broker, TOPIC), 30)
        broker.stop(signal.SIGKILL)
        broker.start()
        wait_for(lambda: retained(broker, TOPIC), 30)
