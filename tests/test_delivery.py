"""Nothing is lost between a frame and a subscriber: the link cut, the broker stopped, the agent killed, all at once."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.agent import Agent, Listener, camera, make_bundle
from tests.support.broker import persistent, running, subscribed, wait_for
from tests.support.data import shared
from tests.support.proxy import Proxy

CLIP = "video/one-by-one-person-detection.mp4"
TOPIC = "camagent/cam-01/front/detections"
IN_FLIGHT = 20


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def check_delivery(payloads: list[bytes], at_least: dict[int, int]) -> None:
    """Every (run, seq) from 1 on, first occurrences in order, duplicates only of what may have been in flight."""
    pairs = [(body["run"], body["seq"]) for body in map(json.loads, payloads)]
    firsts = list(dict.fromkeys(pairs))
    assert firsts == sorted(firsts), "out of order"
    for run, least in at_least.items():
        seqs = [seq for number, seq in firsts if number == run]
        assert seqs == list(range(1, len(seqs) + 1)), f"run {run} has gaps"
        assert len(seqs) >= least, f"run {run}: {len(seqs)} of at least {least}"
    assert len(pairs) - len(firsts) <= 4 * IN_FLIGHT, "more duplicates than were ever in flight"


def seqs(payloads: list[bytes], run: int) -> set[int]:
    return {body["seq"] for body in map(json.loads, payloads) if body["run"] == run}


def cut_and_kill(tmp_path: Path, bundle: Path, cut_s: float) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (
        running(tmp_path, persistent(data)) as broker,
        Proxy(broker.port) as proxy,
        subscribed(broker.port, "camagent/#") as subscriber,
    ):
        agent = Agent(tmp_path, proxy.port, camera(shared(CLIP), bundle, publish="every-frame"))
        with agent:
            wait_for(lambda: len(subscriber.on(TOPIC)) >= 20, 30)
            proxy.cut()
            time.sleep(cut_s / 2)
            agent.kill()
            agent.start()
            time.sleep(cut_s / 2)
            broker.stop(signal.SIGTERM)
            time.sleep(1.0)
            broker.start()
            proxy.restore()
            made = int(cut_s / 2 * 10)
            wait_for(lambda: len(seqs(subscriber.on(TOPIC), 2)) >= made / 2 + 30, 60, "the backlog of the second run")
            healths = [json.loads(payload) for payload in subscriber.on("camagent/cam-01/health")]
            previous = next(body["previous"] for body in healths if body["run"] == 2)
            assert agent.stop() == 0
        time.sleep(0.5)
        assert previous["run"] == 1
        # the number is noted a moment before the message stands in the journal: the kill may fall in between
        check_delivery(subscriber.on(TOPIC), {1: previous["seq"]["front"] - 1, 2: made // 2 + 30})


def test_link_cut_broker_stopped_and_agent_killed_lose_nothing(tmp_path: Path, bundle: Path) -> None:
    cut_and_kill(tmp_path, bundle, 10.0)


@pytest.mark.full(seconds=110)
def test_600_messages_over_a_minute_without_a_broker(tmp_path: Path, bundle: Path) -> None:
    cut_and_kill(tmp_path, bundle, 60.0)


def test_the_next_run_names_the_killed_one_and_its_last_seq(tmp_path: Path, bundle: Path) -> None:
    with running(tmp_path) as broker, Listener(broker.port) as listener:
        agent = Agent(tmp_path, broker.port, camera(shared(CLIP), bundle, publish="every-frame"))
        with agent:
            listener.wait("front/detections", lambda body: body["seq"] >= 15, 30)
            agent.kill()
            time.sleep(0.5)
            last = listener.bodies("front/detections")[-1]["seq"]
            agent.start()
            previous = listener.wait("cam-01/health", lambda body: body["run"] == 2, 30)["previous"]
            assert previous["run"] == 1
            assert last <= previous["seq"]["front"] <= last + IN_FLIGHT


def test_a_denied_topic_is_counted_and_named(tmp_path: Path, bundle: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read camagent/#\ntopic write camagent/+/available\ntopic write camagent/+/health\n"
                   "topic write camagent/+/+/health\n")  # fmt: skip
    acl.chmod(0o600)
    lines = ("allow_anonymous true", f"acl_file {acl}")
    section = camera(shared(CLIP), bundle, publish="every-frame")
    with (
        running(tmp_path, lines) as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, broker.port, section),
    ):
        health = listener.wait("front/health", lambda body: body["counters"]["refused"] > 0, 30)
        assert health["counters"]["acknowledged"] == 0
        assert health["reason"] == "mqtt-acl-denied"
        agent = listener.wait("cam-01/health", lambda body: body["mqtt"]["refused"] > 0, 30)
        assert "Not authorized" in json.dumps(agent["mqtt"]["rejection"])


@pytest.mark.parametrize("right", [True, False])
def test_a_password_is_taken_from_a_file_and_a_wrong_one_is_told(tmp_path: Path, bundle: Path, right: bool) -> None:
    from tests.support.broker import password_file

    users = password_file(tmp_path, {"cam": "geheim"})
    secret = tmp_path / "secret"
    secret.write_text("geheim\n" if right else "falsch\n")
    login = f'username = "cam"\npassword_file = "{secret}"'
    with running(tmp_path, ("allow_anonymous false", f"password_file {users}")) as broker:
        agent = Agent(tmp_path, broker.port, camera(shared(CLIP), bundle), mqtt=login)
        with agent:
            word = "connected" if right else "Not authorized"
            wait_for(lambda: word in agent.log.read_text(), 30, word)
            assert "falsch" not in agent.log.read_text()
            assert "geheim" not in agent.log.read_text()
