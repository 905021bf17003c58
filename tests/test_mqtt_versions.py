"""Brokers that speak an older MQTT, or none: the agent finds the version that works and outlives the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.broker import wait_for
from tests.support.fake_broker import Connection, accept, connack, faking
from tests.support.sending import sending


def test_a_refusal_of_mqtt_5_leads_to_3_1_1_at_once(tmp_path: Path) -> None:
    def old(connection: Connection) -> None:
        if connection.version == 5:
            connection.send(b"\x20\x03\x00\x84\x00")
        else:
            accept(connection)

    with faking(old) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        assert agent.client.snapshot().protocol == "3.1.1"
        agent.detection(1)
        agent.wait_empty()
        assert broker.versions == [5, 4]


def test_a_refusal_in_3_1_1_form_leads_to_3_1_1_at_once_and_it_is_remembered(tmp_path: Path) -> None:
    count = 0

    def older(connection: Connection) -> None:
        nonlocal count
        if connection.version == 5:
            connection.send(b"\x20\x02\x00\x01")
            return
        count += 1
        connection.send(connack(4))
        if count > 1:
            connection.serve()

    with faking(older) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: agent.client.snapshot().connects >= 2)
        assert broker.versions == [5, 4, 4]


def test_two_closes_before_an_answer_lead_to_3_1_1(tmp_path: Path) -> None:
    def like_amqtt(connection: Connection) -> None:
        if connection.version != 5:
            accept(connection)

    with faking(like_amqtt) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        assert broker.versions == [5, 5, 4]


def test_two_silences_lead_to_3_1_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camagent.mqtt.link.CONNACK_TIMEOUT_S", 0.3)

    def as_amqtt_does(connection: Connection) -> None:
        """It takes the properties of MQTT 5 for the length of the client's id, and waits for more."""
        if connection.version != 5:
            accept(connection)
        else:
            assert connection.read() is None, "nothing more comes"

    with faking(as_amqtt_does) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        assert broker.versions == [5, 5, 4]


def test_a_broker_that_was_proven_to_speak_5_is_not_left_for_3_1_1_when_it_restarts_badly(tmp_path: Path) -> None:
    calls = 0

    def restarting(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        if calls in {1, 6}:
            connection.send(connack(5))
        if calls == 6:
            connection.serve()

    with faking(restarting) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: agent.client.snapshot().connects == 2)
        assert set(broker.versions) == {5}


def test_a_broker_that_refuses_both_versions_is_refused_not_connected(tmp_path: Path) -> None:
    with (
        faking(lambda connection: connection.send(b"\x20\x02\x00\x01")) as broker,
        sending(tmp_path, broker.port) as agent,
    ):
        wait_for(lambda: len(broker.versions) >= 4)
        state = agent.client.snapshot()
        assert (state.state, state.connects) == ("refused", 0)
        assert broker.versions[:4] == [5, 4, 5, 4]


def test_the_brokers_own_words_are_made_printable(tmp_path: Path) -> None:
    words = b"\x1f" + len(evil := "no\x1b[31m\u202e".encode()).to_bytes(2, "big") + evil

    def refuse(connection: Connection) -> None:
        connection.send(connack(5, 0x8A, words))

    with faking(refuse) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_code("mqtt-auth-refused")
        detail = agent.client.snapshot().detail
        assert detail is not None
        assert detail.isprintable()
        assert "Banned" in detail


@pytest.mark.parametrize("rubbish", [b"\xf0\xff\xff\xff\xff\xff", b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\x20\x03\x00\x05\x00"])
def test_something_that_is_no_broker_does_not_end_the_network_thread(tmp_path: Path, rubbish: bytes) -> None:
    with faking(lambda connection: connection.send(rubbish)) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: len(broker.versions) >= 3)
        assert agent.client.snapshot().state in {"unreachable", "refused"}


def test_rubbish_after_connack_ends_the_connection_only(tmp_path: Path) -> None:
    rubbish = [
        b"\x30\x7f\xff\xff" + b"x" * 125, b"\x40\x00", b"\x90\x02\x00\x09", b"\xe0\x01\x77", b"\x60\x01\x00", b"\x50\x01\x00",
        b"\x34\x05\x00\x01a\x00\x01", b"\x30\x03\x00\x01\xff", b"\x00\x00",
    ]  # fmt: skip
    left = list(rubbish)

    def spoil(connection: Connection) -> None:
        connection.send(connack(connection.version))
        if left:
            connection.send(left.pop())
        else:
            connection.serve()

    with faking(spoil) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: agent.client.snapshot().connects > len(rubbish), 20)
        agent.detection(1)
        agent.wait_empty()


def test_a_packet_too_long_to_keep_is_not_read(tmp_path: Path) -> None:
    def flood(connection: Connection) -> None:
        connection.send(connack(connection.version))
        connection.send(b"\x30\xff\xff\xff\x7f")  # 268 MB follow, it says
        connection.serve()

    with faking(flood) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: agent.client.snapshot().last_end is not None)
        end = agent.client.snapshot().last_end
        assert end is not None
        assert "268435455" in end.detail
        assert broker.versions
