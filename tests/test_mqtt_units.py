"""The parts of delivery that need no broker: suspicion, versions, waiting, tables, packet sizes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.clock import SystemClock
from camagent.config import Mqtt
from camagent.errors import BrokerError
from camagent.messages import Message
from camagent.mqtt.outgoing import LIVE_DEPTH, Live, Retained
from camagent.mqtt.sender import packet_size
from camagent.mqtt.session import Versions
from camagent.mqtt.suspects import Patience, Sent, Suspects, Token
from camagent.mqtt.wake import Wake
from camagent.mqtt.wire import Endpoint, LinkError, Wire, password


def lane(key: int, size: int = 100) -> Sent:
    token: Token = ("lane", key)
    return Sent(token, size)


def test_a_message_is_set_aside_the_second_time_it_is_blamed() -> None:
    suspects = Suspects()
    assert not suspects.hung_up([lane(1), lane(2)], None)
    assert lane(1).token in suspects
    suspects.passed(lane(1))
    assert lane(1).token not in suspects
    assert not suspects.hung_up([lane(2)], lane(2))
    assert suspects.strikes(lane(2).token) == 1
    assert suspects.hung_up([lane(2)], lane(2))
    assert not suspects.any


def test_a_hang_up_without_it_acquits_a_message() -> None:
    suspects = Suspects()
    suspects.hung_up([lane(1)], lane(1))
    suspects.acquit(lane(1).token)
    assert lane(1).token in suspects
    assert not suspects.hung_up([lane(1)], lane(1))
    assert suspects.hung_up([lane(1)], lane(1))


def limit(suspects: Suspects) -> int | None:
    return suspects.packet_limit


def current(versions: Versions) -> str:
    return versions.current


def set_aside(suspects: Suspects, sent: Sent) -> None:
    suspects.hung_up([sent], sent)
    assert suspects.hung_up([sent], sent)


def test_the_packet_limit_is_learnt_from_two_that_were_larger_than_all_that_passed() -> None:
    suspects = Suspects()
    suspects.passed(lane(0, 1000))
    set_aside(suspects, lane(1, 5000))
    assert limit(suspects) is None
    set_aside(suspects, lane(2, 3000))
    assert limit(suspects) == 3000
    suspects.forget_limit()
    assert limit(suspects) is None


def test_messages_that_are_no_larger_than_others_teach_no_limit() -> None:
    suspects = Suspects()
    suspects.passed(lane(0, 1000))
    for key in range(1, 5):
        set_aside(suspects, lane(key, 400))
    assert limit(suspects) is None
    set_aside(suspects, lane(7, 5000))
    suspects.passed(lane(8, 6000))
    set_aside(suspects, lane(9, 7000))
    assert limit(suspects) is None


def test_the_memory_of_suspicion_is_bounded() -> None:
    suspects = Suspects()
    suspects.hung_up([lane(key) for key in range(1000)], None)
    assert sum(lane(key).token in suspects for key in range(1000)) == 256
    suspects.forget("lane")
    assert not suspects.any


def test_versions_are_tried_in_turn_until_one_has_worked() -> None:
    versions = Versions()
    assert [versions.closed_early() for _ in range(4)] == [False, True, False, True]
    assert current(versions) == "5"
    versions.worked()
    assert [versions.closed_early() for _ in range(4)] == [False] * 4
    assert versions.refused()
    assert current(versions) == "3.1.1"
    assert not versions.refused()
    assert current(versions) == "5"


def test_waiting_doubles_from_one_second_to_thirty_with_jitter() -> None:
    for failures, most in ((0, 1.0), (1, 2.0), (4, 16.0), (5, 30.0), (10_000, 30.0)):
        waits = {Patience().wait_s(failures) for _ in range(50)}
        assert len(waits) > 10
        assert most * 0.75 <= min(waits) <= max(waits) <= most


def test_live_messages_wait_a_few_per_topic_and_take_turns() -> None:
    live = Live()
    dropped = [live.put(Message("a", bytes([n]), 0), 0.0) for n in range(LIVE_DEPTH + 2)]
    assert [message.payload for message in dropped if message is not None] == [b"\0", b"\1"]
    live.put(Message("b", b"x", 0), 0.0)
    first, second = live.next(), live.next()
    assert first is not None
    assert second is not None
    assert (first.topic, second.topic) == ("a", "b")
    live.mute("a", 10.0)
    assert live.put(Message("a", b"x", 0), 5.0) is not None
    assert live.put(Message("a", b"x", 0), 15.0) is None
    assert len(live.clear()) == LIVE_DEPTH
    assert live.next() is None


def test_retained_state_is_the_latest_value_and_a_cleared_topic_is_forgotten() -> None:
    first = Message("available", b"online", 1, retain=True)
    table = Retained(first)
    table.put(Message("h", b"1", 0, retain=True))
    table.put(Message("h", b"2", 0, retain=True))
    assert table.next(0.0) is first
    table.sent(first)
    state = table.next(0.0)
    assert state is not None
    assert state.payload == b"2"
    newer = Message("h", b"3", 0, retain=True)
    table.put(newer)
    table.sent(state)
    assert table.next(0.0) is newer
    table.put(Message("h", b"", 0, retain=True))
    clearing = table.next(0.0)
    assert clearing is not None
    assert clearing.qos == 1
    assert table.next(0.0, max_qos=0) is None
    table.sent(clearing)
    table.acknowledged(clearing)
    table.all_dirty()
    table.sent(first)
    assert not table.pending(0.0)
    table.all_dirty()
    table.mute("available", 5.0)
    assert not table.pending(1.0)
    assert table.pending(6.0)


@pytest.mark.parametrize("size", [0, 1, 90, 120, 16_370, 16_380, 2_097_130, 2_097_150])
def test_packet_sizes_are_those_of_the_wire(size: int) -> None:
    message = Message("a/b", b"x" * size, 1)
    rest = 2 + 3 + 2 + 1 + size
    length_bytes = 1 if rest < 128 else 2 if rest < 16_384 else 3 if rest < 2_097_152 else 4
    assert packet_size(message, "5", 1) == 1 + length_bytes + rest
    assert packet_size(message, "3.1.1", 0) <= packet_size(message, "5", 1) - 3
    expiring = Message(message.topic, message.payload, 1, expires_at=1.0)
    assert packet_size(expiring, "3.1.1", 1) == packet_size(message, "3.1.1", 1)
    assert 5 <= packet_size(expiring, "5", 1) - packet_size(message, "5", 1) <= 6, "a longer packet may need a longer length"


def test_urls_have_their_default_ports() -> None:
    ports = {url: Endpoint.parse(f"{url}://h").port for url in ("mqtt", "mqtts", "ws", "wss")}
    assert ports == {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
    assert str(Endpoint.parse("mqtts://[::1]:1234")) == "mqtts://[::1]:1234"
    assert Endpoint.parse("ws://h/other").path == "/other"


def test_a_password_that_is_not_text_is_named_without_being_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe hush")
    with pytest.raises(LinkError) as caught:
        password(Mqtt(password_file=path))
    assert "hush" not in caught.value.render()
    assert isinstance(caught.value, BrokerError)
    path.write_text("pass word\r\n")
    assert password(Mqtt(password_file=path)) == "pass word"


def test_waking_what_has_ended_is_no_error() -> None:
    wake = Wake()
    for _ in range(100_000):
        wake.set()  # more than the socket holds
    wake.clear()
    wake.close()
    wake.set()


class Asked:
    """A socket that notes what is asked of it."""

    def __init__(self, inner: socket.socket) -> None:
        self.inner, self.reads = inner, 0
        self.send, self.close, self.fileno, self.setblocking = inner.send, inner.close, inner.fileno, inner.setblocking

    def recv(self, length: int) -> bytes:
        self.reads += 1
        return self.inner.recv(length)


@pytest.fixture
def line() -> Iterator[tuple[Asked, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield Asked(ours), theirs


def test_a_packet_that_is_asked_for_in_pieces_is_read_at_once(line: tuple[Asked, socket.socket]) -> None:
    ours, broker = line
    wire = Wire(ours, SystemClock(), max_incoming=100)
    broker.sendall(bytes([0x20, 2, 0, 1, 0x40, 2]))
    assert [wire.recv(1), wire.recv(1), wire.recv(2)] == [b"\x20", b"\x02", b"\x00\x01"]
    assert (ours.reads, wire.pending()) == (1, 2)
    assert wire.head == bytes([0x20, 2, 0, 1])
    assert [wire.recv(1), wire.recv(1)] == [b"\x40", b"\x02"]
    assert wire.pending() == 0
    with pytest.raises(BlockingIOError):  # half a packet: paho comes again
        wire.recv(2)
    broker.sendall(b"ab")
    broker.close()
    assert [wire.recv(2), wire.recv(1)] == [b"ab", b""]


def test_more_than_the_wire_takes_is_refused_before_it_is_read(line: tuple[Asked, socket.socket]) -> None:
    ours, broker = line
    wire = Wire(ours, SystemClock(), max_incoming=100)
    broker.sendall(bytes([0x30, 101]))
    assert wire.recv(1) + wire.recv(1) == bytes([0x30, 101])
    with pytest.raises(ConnectionAbortedError, match="101 bytes, more than 100"):
        wire.recv(101)
    assert ours.reads == 1
