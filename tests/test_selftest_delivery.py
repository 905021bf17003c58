"""Whether what is published arrives: brokers of every kind, and the judgement alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from camagent.bodies import schemas
from camagent.clock import SystemClock
from camagent.config import Camera, Config, Mqtt
from camagent.mqtt import MqttState
from camagent.mqtt.answers import End
from camagent.mqtt.sender import Rejection
from camagent.probing import Message, Topics, own_client
from camagent.selftest.delivery import DeliveryFacts, TopicFacts, judge, unreached
from camagent.selftest.ladder import Outcome
from camagent.selftest.probes import Voice, result_probe, typical_bytes
from camagent.selftest.rung_delivery import DeliveryRung, Patience, Probes
from camagent.selftest.sample import LiveSample
from tests.support.broker import Authority, free_port, password_file, running, wait_for
from tests.support.fake_broker import Connection, connack, faking
from tests.test_mqtt_connect import tls_lines

CLOCK = SystemClock()
QUICK = Patience(glitch=3.0, connect=13.0, subscribe=3.0, echo=1.0, answer=15.0, stand=1.5, rival=10.0)
TOPICS = Topics("camagent", "cam-01")
HEALTH, DETECTIONS = "camagent/cam-01/health", "camagent/cam-01/front/detections"


def probes() -> list[Message]:
    voice = Voice(TOPICS, 1, CLOCK.wall, 1, lambda: 1, lambda _camera, _run, _seq: None)
    health = Message(HEALTH, b'{"probe":true,"time":%f,"fill":"%s"}' % (time.time(), b"x" * 700), 1, retain=True)
    return [health, result_probe(voice, Camera(name="front", url="x"), None, LiveSample())]


def delivery(config: Mqtt, patience: Patience = QUICK) -> Outcome:
    with own_client(Config(mqtt=config), TOPICS, CLOCK) as client:
        rung = DeliveryRung(config, client, Probes(probes, 1500), CLOCK, is_new=True, patience=patience)
        return rung.run(lambda _: None)


def ids(outcome: Outcome) -> list[str]:
    return [cause.id for cause in outcome.causes]


def no_echo_on_3_1_1(connection: Connection) -> None:
    """Acknowledges everything and passes nothing on, as mosquitto does with what its ACL denies."""
    if connection.version == 5:
        connection.send(connack(4, 1))
        return
    connection.send(connack(4))
    connection.serve()


def silent(connection: Connection) -> None:
    connection.read()


def hangs_up_on_detections(connection: Connection) -> None:
    """What MQTT 3.1.1 also allows where a topic is denied."""
    if connection.version == 5:
        connection.send(connack(4, 1))
        return
    connection.send(connack(4))
    while (packet := connection.read()) is not None:
        kind, flags, body = packet
        if kind == 3:
            size = int.from_bytes(body[:2], "big")
            if body[2 : 2 + size].endswith(b"detections"):
                return
            if flags & 6:
                connection.send(b"\x40\x02" + body[2 + size : 4 + size])
        elif kind == 8:
            connection.send(b"\x90\x03" + body[:2] + b"\x01")
        elif kind == 12:
            connection.send(b"\xd0\0")


@contextmanager
def rival(port: int) -> Iterator[None]:
    """Another client under the agent's id, that connects again as soon as it is thrown out."""
    client = Client(CallbackAPIVersion.VERSION2, "cam-01", protocol=MQTTProtocolVersion.MQTTv5)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """Every broker at once, since each takes its time."""
    folder = tmp_path_factory.mktemp("brokers")
    passwords = password_file(folder, {"cam": "right"})
    secret = folder / "secret"
    secret.write_text("right\n")
    (folder / "future").mkdir()
    ours, other, future = Authority(folder, "ours"), Authority(folder, "other"), Authority(folder / "future")
    with ExitStack() as stack:

        def port(name: str, *lines: str) -> int:
            (folder / name).mkdir()
            return stack.enter_context(running(folder / name, lines or ("allow_anonymous true",))).port

        def acl(name: str, text: str) -> int:
            path = folder / f"{name}.acl"
            path.write_text(text)
            path.chmod(0o700)
            return port(name, f"password_file {passwords}", f"acl_file {path}")

        def known(number: int, **keys: Any) -> Mqtt:
            return Mqtt(url=f"mqtt://127.0.0.1:{number}", username="cam", password_file=secret, **keys)

        tls, early = port("tls", *tls_lines(ours)), port("early", *tls_lines(future, starts_in_days=5))
        clash = port("clash")
        stack.enter_context(rival(clash))
        brokers: dict[str, Mqtt] = {
            "open": Mqtt(url=f"mqtt://127.0.0.1:{port('open')}"),
            "detections denied": known(acl("denied", f"user cam\ntopic write {HEALTH}\ntopic write camagent/cam-01/available\n"
                                                     "topic read camagent/#\n")),
            "all denied": known(acl("all", "user cam\ntopic read camagent/#\n")),
            "write only": known(acl("write", "user cam\ntopic write camagent/#\n")),
            "no password": Mqtt(url=f"mqtt://127.0.0.1:{acl('closed', 'user cam')}"),
            "nobody there": Mqtt(url=f"mqtt://127.0.0.1:{free_port()}"),
            "no such name": Mqtt(url="mqtt://no-such-host.invalid"),
            "no echo on 3.1.1": Mqtt(url=f"mqtt://127.0.0.1:{stack.enter_context(faking(no_echo_on_3_1_1)).port}"),
            "hangs up on 3.1.1": Mqtt(url=f"mqtt://127.0.0.1:{stack.enter_context(faking(hangs_up_on_detections)).port}"),
            "silent": Mqtt(url=f"mqtt://127.0.0.1:{stack.enter_context(faking(silent)).port}"),
            "clash": Mqtt(url=f"mqtt://127.0.0.1:{clash}"),
            "small packets": Mqtt(url=f"mqtt://127.0.0.1:{port('small', 'allow_anonymous true', 'max_packet_size 600')}"),
            "tls": Mqtt(url=f"mqtts://127.0.0.1:{tls}", ca_file=ours.file),
            "wrong authority": Mqtt(url=f"mqtts://127.0.0.1:{tls}", ca_file=other.file),
            "not valid yet": Mqtt(url=f"mqtts://127.0.0.1:{early}", ca_file=future.file),
        }  # fmt: skip
        with ThreadPoolExecutor(len(brokers)) as pool:
            jobs = {name: pool.submit(delivery, config) for name, config in brokers.items()}
            yield {name: job.result(90) for name, job in jobs.items()}


@pytest.mark.parametrize("name", ["open", "tls"])
def test_what_arrives_is_delivered(found: dict[str, Outcome], name: str) -> None:
    outcome = found[name]
    assert (outcome.status, ids(outcome)) == ("pass", [])
    assert all("second client has received" in words for words in outcome.measured["topics"].values())
    assert set(outcome.measured["topics"]) == {HEALTH, DETECTIONS}


def test_an_account_that_may_only_write_is_no_fault(found: dict[str, Outcome]) -> None:
    outcome = found["write only"]
    assert (outcome.status, ids(outcome), outcome.undecided) == ("pass", [], "")
    assert outcome.measured["topics"][DETECTIONS] == "delivered, reading back not permitted"
    assert outcome.measured["acl"] == f"user cam; topic read {HEALTH}; topic read {DETECTIONS}"


def test_a_topic_that_is_denied_is_named_with_the_brokers_words(found: dict[str, Outcome]) -> None:
    (cause,) = found["detections denied"].causes
    assert cause.id == "mqtt-acl-denied"
    assert cause.evidence["topic"] == DETECTIONS
    assert "Not authorized" in cause.evidence["broker says"]
    assert f"topic write {DETECTIONS}" in cause.fix
    assert not cause.send
    (cause,) = found["all denied"].causes
    assert cause.evidence["topics"] == [HEALTH, DETECTIONS]


def test_on_3_1_1_a_missing_echo_accuses_nobody(found: dict[str, Outcome]) -> None:
    outcome = found["no echo on 3.1.1"]
    assert outcome.undecided
    assert outcome.status == "warn"
    (cause,) = outcome.causes
    assert "log" in cause.send[0]
    assert cause.fix_verified is None


def test_on_3_1_1_a_broker_that_hangs_up_on_a_topic_is_named(found: dict[str, Outcome]) -> None:
    causes = [cause for cause in found["hangs up on 3.1.1"].causes if not cause.send]
    assert [(cause.id, cause.evidence["topic"]) for cause in causes] == [("mqtt-acl-denied", DETECTIONS)]


@pytest.mark.parametrize(
    ("name", "named", "also"),
    [
        ("no password", "mqtt-auth-refused", ()),
        ("nobody there", "mqtt-unreachable", ("mqtt-wrong-host",)),
        ("no such name", "mqtt-wrong-host", ("mqtt-unreachable",)),
        ("silent", "mqtt-unreachable", ("mqtt-wrong-host",)),
        ("clash", "mqtt-client-id-clash", ()),
        ("small packets", "mqtt-packet-too-big", ()),
        ("wrong authority", "tls-untrusted", ()),
        ("not valid yet", "tls-clock-wrong", ()),
    ],
)
def test_a_broker_that_is_not_reached_or_does_not_take_it(
    found: dict[str, Outcome], name: str, named: str, also: tuple[str, ...]
) -> None:
    (cause,) = found[name].causes
    assert (cause.id, cause.alternatives) == (named, also)
    assert cause.fix
    assert found[name].status == "fail"


def test_a_broker_that_restarts_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        broker.stop()
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(delivery, Mqtt(url=broker.url), replace(QUICK, glitch=11.0))
            time.sleep(1.5)
            broker.start()
            assert job.result(60).status == "pass"


@pytest.mark.parametrize(
    ("task", "head", "schema"),
    [
        ("detect", "fastestdet", "detections"),
        ("segment", "semantic", "segmentation"),
        ("classify", "classify", "classification"),
    ],
)
def test_probes_are_valid_messages_of_their_topics(task: str, head: str, schema: str) -> None:
    import json

    import jsonschema

    from camagent.pipeline import UsableBundle
    from tests.support.bundles import blob_document, parsed

    document = blob_document({"model.onnx": b""}, task=task, head={"name": head})
    manifest = parsed(document)
    bundle = UsableBundle(manifest, manifest.artifacts[0], b"", "unsigned")
    noted: list[tuple[str, int, int]] = []
    voice = Voice(TOPICS, 0, CLOCK.wall, 7, lambda: 3, lambda camera, run, seq: noted.append((camera, run, seq)))
    message = result_probe(voice, Camera(name="front", url="x"), bundle, LiveSample())
    assert (message.topic, message.qos) == (f"camagent/cam-01/front/{schema}", 1)
    body = json.loads(message.payload)
    jsonschema.validate(body, schemas()[f"camagent.{schema}/1"])
    assert body["probe"] is True
    assert noted == ([("front", 7, 3)] if schema == "detections" else [])
    if schema == "detections":
        assert typical_bytes(voice, Camera(name="front", url="x"), bundle, LiveSample()) > 1000


CONNECTED = MqttState(
    state="connected", code=None, detail=None, fix=None, protocol="5", maximum_packet=None, connects=1, attempts=1,
    connected_s=100.0, last_end=None, clashes=0, short_lives=0, refused=0, too_large=0, set_aside=0, live_dropped=0,
    rejection=None, subscriptions_refused=0, commands=0, commands_retained=0, commands_too_long=0, commands_failed=0,
    notices=0,
)  # fmt: skip
SEEN = TopicFacts(DETECTIONS, 400, "acknowledged", "Success", echoed=True)
FACTS = DeliveryFacts("mqtt://b:1883", "cam", CONNECTED, (SEEN,), "", observer_stood=True, typical_bytes=1800)


def facts(state: dict[str, Any] | None = None, topic: dict[str, Any] | None = None, **changes: Any) -> DeliveryFacts:
    return replace(FACTS, state=replace(CONNECTED, **(state or {})), topics=(replace(SEEN, **(topic or {})),), **changes)


TAKEN = End(by_broker=True, code="mqtt-client-id-clash", detail="taken over")


@pytest.mark.parametrize(
    ("given", "status", "named"),
    [
        (facts(), "pass", []),
        (facts(topic={"echoed": False}), "pass", []),
        (facts(state={"protocol": "3.1.1"}), "pass", []),
        (facts(state={"protocol": "3.1.1"}, topic={"echoed": False}), "warn", ["mqtt-acl-denied"]),
        (facts(topic={"echoed": False, "outcome": None}), "warn", []),
        (facts(topic={"echoed": False, "outcome": "refused"}), "fail", ["mqtt-acl-denied"]),
        (facts(topic={"echoed": False, "outcome": "too_large"}), "fail", ["mqtt-packet-too-big"]),
        (facts(topic={"echoed": False, "outcome": "set_aside"}), "fail", ["mqtt-acl-denied"]),
        (
            facts(state={"rejection": Rejection("mqtt-packet-too-big", DETECTIONS, 400, "")},
                  topic={"echoed": False, "outcome": "set_aside"}),
            "fail", ["mqtt-packet-too-big"],
        ),
        (facts(state={"maximum_packet": 1000}), "warn", []),  # it is tight, and what was sent has arrived
        (facts(state={"clashes": 1}), "fail", ["mqtt-client-id-clash"]),
        (facts(state={"short_lives": 2}), "fail", ["mqtt-client-id-clash"]),
        (facts(state={"short_lives": 2}, observer_stood=False), "warn", []),  # the broker itself went down
        (facts(state={"short_lives": 1}), "warn", []),
        (facts(state={"clashes": 1}, is_new=False), "pass", []),  # of last week
        (facts(state={"short_lives": 5, "connected_s": 900.0}, is_new=False), "warn", []),
        (facts(state={"short_lives": 3, "connected_s": 5.0}, is_new=False), "fail", ["mqtt-client-id-clash"]),
        (facts(state={"last_end": TAKEN, "connected_s": 5.0}, is_new=False), "fail", ["mqtt-client-id-clash"]),
        (facts(state={"refused": 2, "rejection": Rejection("mqtt-acl-denied", "other", 1, "no")}), "warn", []),
    ],
)  # fmt: skip
def test_what_the_brokers_words_mean(given: DeliveryFacts, status: str, named: list[str]) -> None:
    outcome = judge(given)
    assert (outcome.status, ids(outcome)) == (status, named)
    for cause in outcome.causes:
        assert bool(cause.send) == (status == "warn"), "only what is sure is a fault"


def test_loopback_inside_a_container_is_the_container() -> None:
    state = replace(CONNECTED, state="unreachable", code="mqtt-unreachable", detail="refused", connects=0)
    inside = unreached(state, "mqtt://b", ["127.0.0.1", "::1"], in_container=True).causes[0]
    assert (inside.id, inside.alternatives) == ("mqtt-unreachable", ("mqtt-wrong-host",))
    assert "container" in inside.evidence["loopback"]
    assert unreached(state, "mqtt://b", ["192.0.2.7"], in_container=True).causes[0].alternatives == ()


def test_real_messages_that_the_broker_refuses_are_named_without_a_probe_among_them(tmp_path: Path) -> None:
    events, count = "camagent/cam-01/front/events", "camagent/cam-01/front/count/person"
    acl = tmp_path / "acl"
    lines = (f"topic readwrite {HEALTH}", f"topic readwrite {DETECTIONS}", "topic readwrite camagent/cam-01/available")
    acl.write_text("\n".join(lines) + "\n")
    acl.chmod(0o700)
    real = {events: [events], "camagent/cam-01/front/count/#": [count], "camagent/cam-01/front/zone/#": []}
    with running(tmp_path, ["allow_anonymous true", f"acl_file {acl}"]) as broker:
        config = Mqtt(url=f"mqtt://127.0.0.1:{broker.port}")
        with own_client(Config(mqtt=config), TOPICS, CLOCK) as client:
            rung = DeliveryRung(config, client, Probes(probes, 1500, real), CLOCK, is_new=False, patience=QUICK)
            assert rung.run(lambda _: None).status == "pass", "nothing has happened yet"
            client.send(Message(events, b"{}", 1, lane="events"))
            client.send(Message(count, b"{}", 1, retain=True))
            wait_for(lambda: client.answer_on(events) and client.answer_on(count), 20, "the refusals")
            outcome = rung.run(lambda _: None)
    (cause,) = outcome.causes
    assert cause.id == "mqtt-acl-denied"
    assert cause.evidence["topics"] == [events, "camagent/cam-01/front/count/#"]
    assert "topic write camagent/cam-01/front/count/#" in cause.fix
