"""Zero loss on a real broker: cuts, restarts, kill -9, limits, refusals. A producer that is killed is a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.messages import Message
from camagent.mqtt import Patience
from tests.support.broker import Broker, Subscriber, persistent, running, subscribed, wait_for
from tests.support.fake_broker import Connection, connack, faking
from tests.support.proxy import Proxy
from tests.support.sending import DETECTIONS, EVENTS, TOPICS, Child, Sending, first_occurrences, sending, seqs


@pytest.fixture
def run_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The run folder on tmpfs, as systemd gives it."""
    folder = Path("/dev/shm") / f"camagent-{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**6}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def test_messages_arrive_in_order_and_are_counted_per_camera(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        for number in range(500):
            agent.detection(number)
            if number % 10 == 0:
                agent.event(number)
        agent.wait_empty()
        wait_for(lambda: len(listener.on(DETECTIONS)) == 500 and len(listener.on(EVENTS)) == 50)
        assert seqs(listener.on(DETECTIONS)) == list(range(500))
        assert seqs(listener.on(EVENTS)) == list(range(0, 500, 10))
        assert agent.outcomes == {("front", "acknowledged"): 550}


# -- cuts, restarts, kills ------------------------------------------------------------------------------------------------


def _numbers(listener: Subscriber, topic: str) -> list[tuple[int, int]]:
    bodies = [json.loads(payload) for payload in listener.on(topic)]
    return [(body["run"], body["seq"]) for body in bodies]


def _check_all_arrived(listener: Subscriber, runs: dict[int, int]) -> int:
    """Every (run, seq) is there, first occurrences in order per topic; returns the number of duplicates."""
    duplicates = 0
    for topic, every in ((EVENTS, True), (DETECTIONS, False)):
        expected = [(run, seq) for run, last in sorted(runs.items()) for seq in range(1, last + 1) if (seq % 5 == 0) is every]
        got = _numbers(listener, topic)
        firsts = list(dict.fromkeys(got))
        assert set(firsts) == set(expected), f"lost: {sorted(set(expected) - set(firsts))[:10]}"
        assert firsts == expected, "order of first occurrences"
        duplicates += len(got) - len(firsts)
    return duplicates


def _link_cut(tmp_path: Path, run_dir: Path, *, cut_s: float, count: int, broker_too: bool) -> None:
    rate = count / cut_s
    broker = Broker(tmp_path, persistent(tmp_path / "mosquitto"))
    broker.start()
    try:
        with subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
            first = Child(tmp_path, proxy.port, 1, count=count // 2, rate=rate, run_dir=run_dir)
            wait_for(lambda: first.produced > 10, 20, "the first producer")
            proxy.cut()
            if broker_too:
                broker.stop(signal.SIGTERM)
            wait_for(lambda: first.produced >= count // 4 and first.last["spilled"], cut_s + 20, "a backlog on flash")
            first.kill()
            done = {1: first.produced}
            second = Child(tmp_path, proxy.port, 2, count=count - first.produced, rate=rate, run_dir=run_dir)
            wait_for(lambda: second.produced >= (count - done[1]) * 3 // 4, cut_s + 30, "the second producer")
            if broker_too:
                broker.start()
            proxy.restore()
            wait_for(lambda: second.produced == count - done[1] and second.last["open"] == 0, cut_s + 30, "an empty outbox")
            assert second.last["previous"][0] == 1
            known = second.last["previous"][1]["front"]
            second.end()
            wait_for(lambda: len(set(_numbers(listener, DETECTIONS))) + len(set(_numbers(listener, EVENTS))) >= count, 20)
            # killed between the message and the line that tells of it: the number that the run folder knows is the true one
            assert known - done[1] in {0, 1}
            got = set(_numbers(listener, DETECTIONS)) | set(_numbers(listener, EVENTS))
            duplicates = _check_all_arrived(listener, {1: max(seq for run, seq in got if run == 1), 2: second.produced})
            assert max(seq for run, seq in got if run == 1) >= done[1]
            assert duplicates <= 60  # windows of 20 that were unanswered at a cut or a kill
            assert not list((tmp_path / "state" / "outbox").glob("*.seg"))
    finally:
        broker.stop()


@pytest.mark.parametrize("broker_too", [False, True], ids=["link", "broker"])
def test_a_cut_with_a_kill_in_between_loses_nothing(tmp_path: Path, run_dir: Path, *, broker_too: bool) -> None:
    _link_cut(tmp_path, run_dir, cut_s=5 if broker_too else 8, count=600, broker_too=broker_too)


@pytest.mark.full(seconds=90)
@pytest.mark.parametrize("broker_too", [False, True], ids=["link", "broker"])
def test_a_cut_of_a_minute_with_a_kill_in_between_loses_nothing(tmp_path: Path, run_dir: Path, *, broker_too: bool) -> None:
    _link_cut(tmp_path, run_dir, cut_s=60, count=600, broker_too=broker_too)


def test_kill_with_twenty_open_and_a_healthy_broker(tmp_path: Path, run_dir: Path) -> None:
    """The link falls silent, so twenty are sent and none is answered; the next process delivers them all."""
    with running(tmp_path) as broker, subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
        first = Child(tmp_path, proxy.port, 1, count=60, rate=500, run_dir=run_dir)
        wait_for(lambda: first.produced >= 30 and first.last["open"] < 20, 20)
        proxy.silence()
        wait_for(lambda: first.last["open"] >= 20, 20, "twenty open messages")
        first.kill()
        produced = first.produced
        proxy.restore()
        second = Child(tmp_path, proxy.port, 2, count=1, rate=500, run_dir=run_dir)
        wait_for(lambda: second.produced == 1 and second.last["open"] == 0, 20)
        second.end()
        wait_for(lambda: (2, 1) in _numbers(listener, DETECTIONS))
        told = max(seq for run, seq in _numbers(listener, DETECTIONS) + _numbers(listener, EVENTS) if run == 1)
        assert told - produced in {0, 1}  # killed between the message and the line that tells of it
        assert _check_all_arrived(listener, {1: told, 2: 1}) <= 20


@pytest.mark.parametrize(
    ("count", "rate"),
    [(300, 100), pytest.param(6000, 10, marks=[pytest.mark.full(seconds=620), pytest.mark.timeout(700)])],
    ids=["3s", "10min"],
)
def test_in_good_times_not_a_byte_goes_to_flash(tmp_path: Path, run_dir: Path, count: int, rate: float) -> None:
    with running(tmp_path) as broker:
        child = Child(tmp_path, broker.port, 1, count=count, rate=rate, run_dir=run_dir)
        wait_for(lambda: child.produced == count and child.last["open"] == 0, count / rate + 20)
        child.end()
        assert child.last["write_bytes"] == 0
        assert child.last["outcomes"] == {"acknowledged": count}
        assert not (tmp_path / "state" / "outbox").exists()


def test_what_cannot_be_sent_before_the_end_is_sent_by_the_next_run(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
        proxy.cut()
        with sending(tmp_path, proxy.port) as agent:
            for number in range(30):
                agent.detection(number)
        proxy.restore()
        with sending(tmp_path, proxy.port) as agent:
            agent.wait_empty()
        assert seqs(listener.on(DETECTIONS)) == list(range(30))


def test_stop_drains_what_it_can(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener:
        with sending(tmp_path, broker.port) as agent:
            agent.wait_connected()
            for number in range(200):
                agent.detection(number)
        wait_for(lambda: len(listener.on(DETECTIONS)) == 200)
        assert agent.outcomes["front", "acknowledged"] == 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_many_restarts_of_the_broker_cost_no_message(tmp_path: Path, how: signal.Signals) -> None:
    with (
        running(tmp_path, persistent(tmp_path / "mosquitto")) as broker,
        sending(tmp_path, broker.port) as agent,
        subscribed(broker.port) as listener,
    ):
        number = 0
        for _ in range(5):
            agent.wait_connected()
            for _ in range(40):
                agent.detection(number)
                number += 1
            broker.stop(how)
            broker.start()
        agent.wait_empty()
        assert agent.client.snapshot().set_aside == 0
        assert agent.outcomes["front", "acknowledged"] == number
        if how == signal.SIGTERM:  # a broker that is killed forgets what it has acknowledged
            wait_for(lambda: first_occurrences(seqs(listener.on(DETECTIONS))) == list(range(number)))


def test_a_broker_that_dies_again_and_again_without_an_answer_costs_no_message(tmp_path: Path) -> None:
    calls = 0

    def dying(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        connection.send(connack(connection.version))
        connection.serve(stop_acks_after=10**6 if calls > 8 else 0) if calls > 8 else connection.read()

    with faking(dying) as broker, sending(tmp_path, broker.port) as agent:
        for number in range(5):
            agent.detection(number)
        wait_for(lambda: agent.client.snapshot().connects > 8, 20)
        agent.wait_empty()
        assert agent.client.snapshot().set_aside == 0
        assert agent.outcomes == {("front", "acknowledged"): 5}


# -- the broker's limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [5, 4])
def test_one_message_above_the_packet_limit_among_a_hundred(tmp_path: Path, version: int) -> None:
    """mosquitto says its limit on MQTT 5; on 3.1.1 it just hangs up."""
    with (
        running(tmp_path, ["allow_anonymous true", "max_packet_size 2000"]) as broker,
        subscribed(broker.port) as listener,
        sending(tmp_path, broker.port, version=version) as agent,
    ):
        agent.wait_connected()
        for number in range(100):
            agent.detection(number, size=5000 if number == 40 else 0)
        agent.wait_empty()
        state = agent.client.snapshot()
        wait_for(lambda: len(set(seqs(listener.on(DETECTIONS)))) == 99)
        assert first_occurrences(seqs(listener.on(DETECTIONS))) == [n for n in range(100) if n != 40]
        assert (state.too_large, state.set_aside) == ((1, 0) if version == 5 else (0, 1))
        assert state.rejection is not None
        assert (state.rejection.code, state.rejection.topic) == ("mqtt-packet-too-big", DETECTIONS)
        assert agent.outcomes["front", "acknowledged"] == 99


def test_on_3_1_1_the_limit_is_learnt_after_two_and_retained_state_above_it_blocks_nothing(tmp_path: Path) -> None:
    with (
        running(tmp_path, ["allow_anonymous true", "max_packet_size 2000"]) as broker,
        subscribed(broker.port) as listener,
        sending(tmp_path, broker.port, version=4) as agent,
    ):
        agent.client.send(Message("p/cam-01/health", b"x" * 3000, 0, retain=True))
        agent.client.send(Message("p/cam-01/front/health", b"small", 0, retain=True))
        agent.wait_connected()
        for number in range(60):
            agent.detection(number, size=5000 if number % 6 == 3 else 0)
        agent.wait_empty()
        state = agent.client.snapshot()
        assert state.set_aside == 2
        assert state.set_aside + state.too_large == 11
        wait_for(lambda: set(seqs(listener.on(DETECTIONS))) == {n for n in range(60) if n % 6 != 3})
        assert listener.on("p/cam-01/front/health")
        assert listener.on("p/cam-01/health") == []
        assert agent.outcomes["front", "acknowledged"] == 50


def test_no_more_than_receive_maximum_are_unanswered(tmp_path: Path) -> None:
    most: list[int] = []

    def narrow(connection: Connection) -> None:
        connection.send(connack(5, 0, b"\x21\x00\x03"))
        waiting: list[bytes] = []
        connection.sock.settimeout(0.05)
        while True:
            try:
                packet = connection.read()
            except TimeoutError:
                packet = (0, 0, b"")
            if packet is None and not waiting:
                return
            if packet is not None and packet[0] == 3 and packet[1] & 6:
                size = int.from_bytes(packet[2][:2], "big")
                waiting.append(packet[2][2 + size : 4 + size])
                most.append(len(waiting))
                if len(waiting) < 3:
                    continue
            elif packet is not None and packet[0] == 14:
                return
            for mid in waiting:
                connection.send(b"\x40\x02" + mid)
            waiting.clear()

    with faking(narrow) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        for number in range(50):
            agent.detection(number)
        agent.wait_empty()
        assert max(most) == 3


@pytest.mark.parametrize("version", [5, 4])
def test_a_denied_topic_is_refused_on_mqtt_5_and_looks_delivered_on_3_1_1(tmp_path: Path, version: int) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite p/cam-01/available\ntopic readwrite p/cam-01/front/events\n")
    lines = ["allow_anonymous true", f"acl_file {acl}"]
    with (
        running(tmp_path, lines) as broker,
        subscribed(broker.port) as listener,
        sending(tmp_path, broker.port, version=version) as agent,
    ):
        agent.wait_connected()
        agent.detection(1)
        agent.event(2)
        agent.wait_empty()
        wait_for(lambda: seqs(listener.on(EVENTS)) == [2])
        state = agent.client.snapshot()
        if version == 4:
            assert agent.outcomes == {("front", "acknowledged"): 2}  # the broker must not tell: only an echo can show it
            return
        assert agent.outcomes == {("front", "acknowledged"): 1, ("front", "refused"): 1}
        assert state.refused == 1
        assert state.rejection is not None
        assert (state.rejection.code, state.rejection.topic) == ("mqtt-acl-denied", DETECTIONS)
        assert "Not authorized" in state.rejection.detail


def test_the_reason_that_comes_with_a_refusal_is_told_and_printable(tmp_path: Path) -> None:
    def refuse(connection: Connection) -> None:
        connection.send(connack(5))
        while (packet := connection.read()) is not None:
            if packet[0] == 3:
                size = int.from_bytes(packet[2][:2], "big")
                words = b"\x1f\x00\x05" + b"no\x1b!\x07"
                mid = packet[2][2 + size : 4 + size]
                connection.send(bytes([0x40, 4 + len(words)]) + mid + b"\x97" + bytes([len(words)]) + words)

    with faking(refuse) as broker, sending(tmp_path, broker.port) as agent:
        agent.detection(1)
        agent.wait_empty()
        wait_for(lambda: agent.client.snapshot().refused >= 2)
        rejection = agent.client.snapshot().rejection
        assert rejection is not None
        assert rejection.detail == "Quota exceeded: no\\x1b!\\x07"


def test_a_topic_that_mqtt_does_not_know_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent:
        agent.detection(1, topic="p/+/detections")
        agent.detection(2)
        agent.wait_empty()
        assert agent.outcomes == {("front", "refused"): 1, ("front", "acknowledged"): 1}
        assert agent.client.connected


# -- live -----------------------------------------------------------------------------------------------------------------


def _live(agent: Sending, number: int, size: int = 0) -> None:
    payload = json.dumps({"seq": number}).encode().ljust(size)
    agent.client.send(Message(DETECTIONS, payload, 0, lane="detections", camera="front"))


def test_detections_at_qos_0_are_live_only(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
        proxy.cut()
        with sending(tmp_path, proxy.port) as agent:
            for number in range(5):
                _live(agent, number)
            assert agent.outcomes == {("front", "dropped"): 5}
            proxy.restore()
            agent.wait_connected()
            for number in range(5, 15):
                _live(agent, number)
                wait_for(lambda: len(listener.on(DETECTIONS)) == number - 4)  # noqa: B023
            assert seqs(listener.on(DETECTIONS)) == list(range(5, 15))
            assert agent.client.snapshot().live_dropped == 5
            assert agent.outbox.snapshot().messages == 0


def test_a_slow_link_drops_the_older_live_messages_and_counts_them(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
        with sending(tmp_path, proxy.port) as agent:
            agent.wait_connected()
            wait_for(lambda: listener.got)
            proxy.silence()
            for number in range(40):
                _live(agent, number, size=1_000_000)
                time.sleep(0.005)
            wait_for(lambda: agent.client.snapshot().live_dropped > 20)
            proxy.restore()
            agent.wait_connected()
        dropped = agent.outcomes["front", "dropped"]
        assert dropped + len(set(seqs(listener.on(DETECTIONS)))) <= 40
        assert dropped >= 30


# -- time -----------------------------------------------------------------------------------------------------------------


def test_the_wait_between_attempts_starts_at_a_second(tmp_path: Path) -> None:
    with faking(lambda connection: None) as broker, sending(tmp_path, broker.port, patience=Patience()) as agent:
        wait_for(lambda: agent.client.snapshot().attempts >= 1)
        time.sleep(0.5)
        assert agent.client.snapshot().attempts == 1
        wait_for(lambda: agent.client.snapshot().attempts >= 2, 2)


def test_a_retained_message_that_expires_is_forgotten_by_a_broker_that_can(tmp_path: Path) -> None:
    """A picture that is kept for an hour at most: here for 3 s."""
    topic = TOPICS.of_camera("front", "snapshot")
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        expires_at = agent.clock.monotonic() + 3.0
        agent.client.send(Message(topic, b"\xff\xd8picture", 0, retain=True, expires_at=expires_at))

        def kept(name: str) -> list[tuple[str, bytes]]:
            with subscribed(broker.port, topic, client_id=name) as late:
                time.sleep(0.5)
                return late.got

        wait_for(lambda: kept("early") == [(topic, b"\xff\xd8picture")], what="the picture to be kept")
        assert agent.clock.monotonic() < expires_at, "this machine is too slow for the test"
        time.sleep(max(0.0, expires_at - agent.clock.monotonic()) + 1.5)
        assert kept("late") == []


def test_on_3_1_1_what_expires_goes_out_all_the_same(tmp_path: Path) -> None:
    topic = TOPICS.of_camera("front", "snapshot")
    with (
        running(tmp_path) as broker,
        subscribed(broker.port, topic) as listener,
        sending(tmp_path, broker.port, version=4) as agent,
    ):
        agent.wait_connected()
        agent.client.send(Message(topic, b"picture", 0, retain=True, expires_at=agent.clock.monotonic() + 3600))
        wait_for(lambda: listener.got == [(topic, b"picture")])
