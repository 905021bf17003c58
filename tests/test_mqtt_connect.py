"""Getting in, being turned away, coming back: on a real mosquitto, and on brokers that behave as mosquitto cannot."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from camagent.messages import Message
from tests.support.broker import Authority, Broker, Subscriber, free_port, password_file, running, subscribed, wait_for
from tests.support.fake_broker import Connection, connack, faking
from tests.support.proxy import Proxy
from tests.support.sending import AVAILABLE, COMMAND, Sending, sending, seqs
from tests.support.ws_gateway import websocket_gateway


def test_online_when_connected_and_stopped_after_a_clean_stop(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener:
        with sending(tmp_path, broker.port) as agent:
            wait_for(lambda: listener.on(AVAILABLE) == [b"online"])
            state = agent.client.snapshot()
            assert (state.state, state.protocol, state.connects, state.code) == ("connected", "5", 1, None)
        wait_for(lambda: listener.on(AVAILABLE) == [b"online", b"stopped"])
        assert agent.client.snapshot().state == "stopped"


def test_the_will_says_offline_when_the_agent_vanishes(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port) as listener, Proxy(broker.port) as proxy:
        with sending(tmp_path, proxy.port) as agent:
            agent.wait_connected()
            wait_for(lambda: listener.on(AVAILABLE) == [b"online"])
            proxy.cut()
            wait_for(lambda: listener.on(AVAILABLE)[-1] == b"offline")
            with subscribed(broker.port, client_id="late") as late:  # whoever comes later learns it too
                wait_for(lambda: late.on(AVAILABLE) == [b"offline"])
            wait_for(lambda: agent.client.snapshot().state == "unreachable")
            proxy.restore()
            wait_for(lambda: listener.on(AVAILABLE)[-1] == b"online")
        wait_for(lambda: listener.on(AVAILABLE)[-1] == b"stopped")


def test_right_password_connects_and_wrong_one_is_refused_in_words(tmp_path: Path) -> None:
    passwords = password_file(tmp_path, {"cam": "right"})
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    with (
        running(tmp_path, [f"password_file {passwords}"]) as broker,
        sending(tmp_path, broker.port, username="cam", password_file=secret) as agent,
    ):
        agent.wait_code("mqtt-auth-refused")
        state = agent.client.snapshot()
        assert state.state == "refused"
        assert state.detail is not None
        assert "Not authorized" in state.detail
        assert not agent.client.connected
        assert state.connects == 0
        secret.write_text("right\n")  # read at every attempt: no restart is needed
        agent.wait_connected()
        assert agent.client.snapshot().code is None


def test_no_password_where_one_is_needed(tmp_path: Path) -> None:
    passwords = password_file(tmp_path, {"cam": "right"})
    with running(tmp_path, [f"password_file {passwords}"]) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_code("mqtt-auth-refused")


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with running(tmp_path) as broker, sending(tmp_path, broker.port, username="u", password_file=tmp_path / "nowhere") as agent:
        agent.wait_code("mqtt-auth-refused")
        detail = agent.client.snapshot().detail
        assert detail is not None
        assert "nowhere" in detail


def tls_lines(authority: Authority, *, starts_in_days: int = -1, client: bool = False) -> list[str]:
    server = authority.issue("server", starts_in_days=starts_in_days)
    lines = [f"cafile {authority.file}", f"certfile {server.cert}", f"keyfile {server.key}", "allow_anonymous true"]
    return [*lines, "require_certificate true"] if client else lines


def test_tls_with_the_right_ca_and_with_the_wrong_one(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    with running(tmp_path, tls_lines(ours)) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        with sending(tmp_path / "a", 0, url=url, ca_file=ours.file) as agent:
            agent.wait_connected()
            for number in range(50):
                agent.detection(number, size=20_000)
            agent.wait_empty()
        with sending(tmp_path / "b", 0, url=url, ca_file=other.file) as agent:
            agent.wait_code("tls-untrusted")
            assert agent.client.snapshot().state == "unreachable"


def test_a_certificate_of_the_future_says_look_at_the_clock(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with (
        running(tmp_path, tls_lines(ours, starts_in_days=5)) as broker,
        sending(tmp_path, 0, url=f"mqtts://127.0.0.1:{broker.port}", ca_file=ours.file) as agent,
    ):
        agent.wait_code("tls-clock-wrong")
        detail = agent.client.snapshot().detail
        assert detail is not None
        assert "clock says" in detail


def test_mutual_tls_with_and_without_our_certificate(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    mine = ours.issue("client")
    with running(tmp_path, tls_lines(ours, client=True)) as broker:
        url = f"mqtts://localhost:{broker.port}"
        with sending(tmp_path / "a", 0, url=url, ca_file=ours.file, cert_file=mine.cert, key_file=mine.key) as agent:
            agent.wait_connected()
        with sending(tmp_path / "b", 0, url=url, ca_file=ours.file) as agent:
            agent.wait_code("tls-untrusted")


def test_tls_files_that_are_not_there_and_a_port_without_tls(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        with sending(tmp_path / "a", 0, url=url, ca_file=tmp_path / "nowhere.pem") as agent:
            agent.wait_code("tls-untrusted")
        with sending(tmp_path / "b", 0, url=url) as agent:
            agent.wait_code("mqtt-unreachable")


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:{port}", "mqtt://no-such-host.invalid:{port}"])
def test_nobody_there_is_unreachable_and_stop_ends_promptly(tmp_path: Path, url: str) -> None:
    with sending(tmp_path, 0, url=url.format(port=free_port())) as agent:
        agent.wait_code("mqtt-unreachable")
        assert agent.client.snapshot().state == "unreachable"
        start = time.monotonic()
    assert time.monotonic() - start < 2


def test_stop_ends_promptly_while_the_broker_is_silent(tmp_path: Path) -> None:
    hold = threading.Event()

    def keep_silent(_connection: Connection) -> None:
        hold.wait(20)

    with faking(keep_silent) as broker:
        with sending(tmp_path, broker.port):
            wait_for(lambda: broker.versions)
            start = time.monotonic()
        assert time.monotonic() - start < 1
        hold.set()


def test_subscriptions_are_made_again_after_the_broker_restarts(tmp_path: Path) -> None:
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent:
        agent.client.subscribe([COMMAND])
        for number, word in enumerate((b"ON", b"OFF", b"ON")):
            wait_for(lambda: agent.client.snapshot().connects == number + 1)  # noqa: B023
            with subscribed(broker.port, "nothing") as other:
                wait_for(lambda: _heard(agent, other, word))  # noqa: B023
            broker.stop(signal.SIGKILL if number else signal.SIGTERM)
            broker.start()
        agent.client.subscribe([])
        wait_for(lambda: agent.client.snapshot().connects == 4)
        count = len(agent.commands)
        with subscribed(broker.port, "nothing") as other:
            other.client.publish(COMMAND, b"ON", 1).wait_for_publish(5)
        assert len(agent.commands) == count


def _heard(agent: Sending, other: Subscriber, word: bytes) -> bool:
    other.client.publish(COMMAND, word, 1).wait_for_publish(5)
    return bool(agent.commands) and agent.commands[-1] == (COMMAND, word)


def test_a_retained_command_is_ignored_and_a_long_one_too(tmp_path: Path) -> None:
    with running(tmp_path) as broker, subscribed(broker.port, "nothing") as other:
        other.client.publish(COMMAND, b"OFF", 1, retain=True).wait_for_publish(5)
        with sending(tmp_path, broker.port) as agent:
            agent.client.subscribe([COMMAND])
            wait_for(lambda: _heard(agent, other, b"ON"))
            other.client.publish(COMMAND, b"x" * 5000, 1).wait_for_publish(5)
            wait_for(lambda: agent.client.snapshot().commands_too_long == 1)
            assert {word for _, word in agent.commands} == {b"ON"}


def test_a_retained_notice_is_heard_and_a_command_on_its_topic_is_a_command(tmp_path: Path) -> None:
    notice = "homeassistant/status"
    with running(tmp_path) as broker, subscribed(broker.port, "nothing") as other, sending(tmp_path, broker.port) as agent:
        agent.client.subscribe([COMMAND], [notice, COMMAND])
        wait_for(lambda: _heard(agent, other, b"ON"))
        other.client.publish(COMMAND, b"OFF", 1, retain=True).wait_for_publish(5)
        other.client.publish(notice, b"x" * 5000, 1, retain=True).wait_for_publish(5)
        other.client.publish(notice, b"online", 1, retain=True).wait_for_publish(5)
        wait_for(lambda: agent.client.snapshot().notices == 1)
        assert agent.commands[-1] == (notice, b"online")
        assert (COMMAND, b"OFF") not in agent.commands
        assert agent.client.snapshot().commands_too_long == 1


def test_on_3_1_1_a_retained_command_comes_and_is_counted(tmp_path: Path) -> None:
    def push(connection: Connection) -> None:
        if connection.version == 5:
            connection.send(connack(4, 1))
            return
        connection.send(connack(4))
        topic = COMMAND.encode()
        body = len(topic).to_bytes(2, "big") + topic + b"OFF"
        connection.send(bytes([0x31, len(body)]) + body)
        connection.serve()

    with faking(push) as broker, sending(tmp_path, broker.port) as agent:
        agent.client.subscribe([COMMAND])
        wait_for(lambda: agent.client.snapshot().commands_retained == 1)
        assert agent.commands == []


def test_a_command_that_raises_does_not_end_the_network_thread(tmp_path: Path) -> None:
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent, subscribed(broker.port, "nothing") as other:

        def fail(_topic: str, _payload: bytes) -> None:
            raise RuntimeError("a bug")

        agent.client.subscribe([COMMAND])
        agent.client._on_command = fail
        wait_for(lambda: agent.client.snapshot().connects)
        wait_for(lambda: bool(other.client.publish(COMMAND, b"ON", 1)) and agent.client.snapshot().commands_failed > 0)
        assert agent.client.connected


def test_a_refused_subscription_is_counted_and_visible(tmp_path: Path) -> None:
    def deny(connection: Connection) -> None:
        connection.send(connack(5))
        while (packet := connection.read()) is not None:
            if packet[0] == 8:
                connection.send(b"\x90\x04" + packet[2][:2] + b"\x00\x87")

    with faking(deny) as broker, sending(tmp_path, broker.port) as agent:
        agent.client.subscribe([COMMAND])
        wait_for(lambda: agent.client.snapshot().subscriptions_refused == 1)
        rejection = agent.client.snapshot().rejection
        assert rejection is not None
        assert (rejection.code, rejection.topic) == ("mqtt-acl-denied", COMMAND)


def test_a_session_taken_over_is_named_as_such(tmp_path: Path) -> None:
    def take_over(connection: Connection) -> None:
        connection.send(connack(5) + b"\xe0\x01\x8e")

    with faking(take_over) as broker, sending(tmp_path, broker.port) as agent:
        wait_for(lambda: agent.client.snapshot().clashes > 0)
        end = agent.client.snapshot().last_end
        assert end is not None
        assert end.code == "mqtt-client-id-clash"


def test_two_agents_with_one_id_are_hinted_at_where_the_broker_says_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as broker, sending(tmp_path / "a", broker.port) as one, sending(tmp_path / "b", broker.port):
        wait_for(lambda: one.client.snapshot().short_lives >= 3)
        end = one.client.snapshot().last_end
        assert end is not None
        assert "same id" in end.detail


def test_retained_state_is_published_again_after_every_connect_and_cleared_by_an_empty_payload(tmp_path: Path) -> None:
    topic, other = "p/cam-01/health", "p/cam-01/front/count/dog"
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent:
        agent.client.send(Message(topic, b"1", 0, retain=True))
        agent.client.send(Message(topic, b"2", 0, retain=True))
        agent.client.send(Message(other, b"3", 1, retain=True))
        for round_number in range(2):
            with subscribed(broker.port) as late:
                wait_for(lambda: late.on(topic) == [b"2"] and late.on(other) == [b"3"])
            if not round_number:
                broker.stop(signal.SIGKILL)  # its memory is gone
                broker.start()
                wait_for(lambda: agent.client.snapshot().connects == 2)
        agent.client.send(Message(other, b"", 0, retain=True))
        wait_for(lambda: other not in agent.client._sender.retained._states)
        with subscribed(broker.port, client_id="another") as late:
            wait_for(lambda: late.on(topic) == [b"2"])
            assert late.on(other) == []


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_websocket_also_when_the_socket_fills_up_in_the_middle_of_a_frame(tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if scheme == "wss" else None
    if context is not None:
        context.load_cert_chain(server.cert, server.key)
    with (
        running(tmp_path) as broker,
        websocket_gateway(broker.port, 0.0005, context) as port,
        subscribed(broker.port) as listener,
        sending(tmp_path, 0, url=f"{scheme}://127.0.0.1:{port}/mqtt", ca_file=authority.file) as agent,
    ):
        agent.client.subscribe([COMMAND])
        agent.wait_connected()
        for number in range(4):
            agent.detection(number, size=700_000)
        agent.wait_empty()
        assert seqs(listener.on("p/cam-01/front/detections")) == list(range(4))
        wait_for(lambda: _heard(agent, listener, b"ON"))
        assert agent.client.snapshot().connects == 1


def test_a_web_server_is_no_websocket_broker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with sending(tmp_path, 0, url=f"ws://127.0.0.1:{listener.getsockname()[1]}") as agent:
            agent.wait_code("mqtt-unreachable")
        thread.join(5)


def test_a_link_that_falls_silent_is_given_up_after_a_keepalive(tmp_path: Path) -> None:
    with running(tmp_path) as broker, Proxy(broker.port) as proxy, sending(tmp_path, proxy.port, keepalive_s=5) as agent:
        agent.wait_connected()
        proxy.silence()
        start = time.monotonic()
        agent.detection(1)
        wait_for(lambda: not agent.client.connected)
        assert 4 < time.monotonic() - start < 8
        end = agent.client.snapshot().last_end
        assert end is not None
        assert not end.by_broker
        proxy.restore()
        agent.wait_empty(15)


def test_a_broker_that_starts_later_is_found(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with sending(tmp_path, broker.port) as agent:
        agent.wait_code("mqtt-unreachable")
        agent.detection(1)
        broker.start()
        agent.wait_empty()
    broker.stop()
