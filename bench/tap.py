"""Listens on the loopback interface: when each picture came in over RTSP, and when each PUBLISH left for the broker.

The times are the kernel's, taken as a packet passes, so nothing is built into the processes that are measured and all of them
are measured alike. It needs root (AF_PACKET); `available` says whether it can be done. Times are seconds since 1970.
"""

from __future__ import annotations

import ctypes
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

CLOCK_HZ = 90_000  # of RTP video
_CONNECT, _PUBLISH = 1, 3
_ETHERTYPE_ALL = 3
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SOL_PACKET, _PACKET_IGNORE_OUTGOING = 26, 35, 33, 263, 23
_BUFFER = 64 << 20
_LOOK_EVERY_S = 0.05  # the kernel keeps packets and their times meanwhile: reading them in lots disturbs the least
_LARGEST = 1 << 17
_LEAST_RTP = 16  # bytes of the smallest interleaved RTP packet: 4 before it, 12 of its header
_TIMESPEC = struct.Struct("qq")
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_START = re.compile(rb"rtptime=(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unit:
    """One picture as RTP brought it."""

    pts: float  # seconds on the stream's own line, which begins where the answer to PLAY says
    first: float  # when its first packet was complete
    last: float  # when its last one was


@dataclass(frozen=True, slots=True)
class Publish:
    """One PUBLISH as it entered the socket."""

    at: float
    topic: str
    payload: bytes

    def body(self) -> dict[str, Any]:
        """Its JSON object."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


@dataclass(slots=True)
class RtspReader:
    """The server's side of an RTSP connection over TCP: RTP packets between `$` marks, answers in between."""

    units: list[Unit] = field(default_factory=list)  # without the newest, which may not be complete
    _data: bytearray = field(default_factory=bytearray)
    _start: int | None = None  # RTP time of pts 0
    _newest: int = 0  # RTP time of the open picture, counted on beyond 32 bits
    _open: Unit | None = None

    def feed(self, data: bytes, at: float) -> None:
        """The next bytes of the connection, and when they passed."""
        self._data += data
        while (size := self._next()) is not None:
            if self._data[:1] != b"$":
                start = _START.search(self._data[:size])
                self._start = int(start[1]) if start else self._start
            elif self._data[1] % 2 == 0 and size >= _LEAST_RTP:  # odd channels are RTCP
                self._packet(int.from_bytes(self._data[8:12], "big"), at)
            del self._data[:size]

    def _next(self) -> int | None:
        """Bytes of what stands first; None while it is not complete."""
        data = self._data
        if data[:1] == b"$":
            size = 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else 4
            return size if len(data) >= max(size, 4) else None
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(data[:head])
        size = head + 4 + (int(length[1]) if length else 0)
        return size if len(data) >= size else None

    def _packet(self, stamp: int, at: float) -> None:
        if self._start is None:
            self._start = stamp
        if self._open is None:
            self._newest = self._start
        step = (stamp - self._newest + (1 << 31)) % (1 << 32) - (1 << 31)  # 32 bits count round
        if self._open is not None and step == 0:
            self._open = Unit(self._open.pts, self._open.first, at)
            return
        if self._open is not None:
            self.units.append(self._open)
        self._newest += step
        self._open = Unit((self._newest - self._start) / CLOCK_HZ, at, at)


@dataclass(slots=True)
class MqttReader:
    """A client's side of an MQTT connection."""

    publishes: list[Publish] = field(default_factory=list)
    _data: bytearray = field(default_factory=bytearray)
    _level: int = 4  # 5: MQTT 5

    def feed(self, data: bytes, at: float) -> None:
        """The next bytes of the connection, and when they passed."""
        self._data += data
        while (found := _mqtt_packet(self._data)) is not None:
            body, size = found
            kind, qos = self._data[0] >> 4, self._data[0] >> 1 & 3
            if kind == _CONNECT:
                self._level = body[6]  # behind the protocol's name
            elif kind == _PUBLISH:
                self.publishes.append(self._publish(body, qos, at))
            del self._data[:size]

    def _publish(self, body: bytes, qos: int, at: float) -> Publish:
        """From topic, packet id (where an answer is due), properties (MQTT 5; shorter than 128 bytes) and payload."""
        start = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:start].decode("utf-8", "replace")
        start += 2 if qos else 0
        start += 1 + body[start] if self._level >= 5 else 0
        return Publish(at, topic, body[start:])


def _mqtt_packet(data: bytearray) -> tuple[bytes, int] | None:
    """The first packet's body and its whole size; None while it is not complete."""
    length = shift = 0
    for index, byte in enumerate(data[1:5], 1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            size = 1 + index + length
            return (bytes(data[1 + index : size]), size) if len(data) >= size else None
    return None


@dataclass(slots=True)
class Connection:
    """One direction of a TCP connection on a loopback that loses nothing: bytes in order, each once."""

    reader: RtspReader | MqttReader
    due: int | None = None  # sequence number of the next byte
    lost: bool = False  # packets were missed: what follows cannot be read

    def segment(self, sequence: int, data: bytes, at: float) -> None:
        """One TCP segment with data."""
        if self.due is None:
            self.due = sequence
        behind = (self.due - sequence) % (1 << 32)
        if behind >= 1 << 31:
            self.lost = True
        if self.lost or behind >= len(data):
            return
        self.reader.feed(data[behind:], at)
        self.due = (sequence + len(data)) % (1 << 32)


@dataclass(frozen=True, slots=True)
class Segment:
    """What matters of a packet."""

    source: int  # port
    target: int
    sequence: int
    data: bytes


def segment_of(packet: bytes) -> Segment | None:
    """An Ethernet frame with IPv4 and TCP; None for anything else and for segments without data."""
    if packet[12:14] != b"\x08\x00" or packet[23] != socket.IPPROTO_TCP:
        return None
    tcp = 14 + (packet[14] & 0x0F) * 4
    source, target, sequence = struct.unpack_from("!HHI", packet, tcp)
    data = packet[tcp + (packet[tcp + 12] >> 4) * 4 : 14 + int.from_bytes(packet[16:18], "big")]
    return Segment(source, target, sequence, data) if data else None


def available() -> str:
    """Why this machine does not let us listen; empty where it does."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except (OSError, AttributeError) as exc:
        return f"the loopback cannot be listened on: {exc}"
    return ""


class Tap:
    """Listens from `with` to its end, for one stream and one broker."""

    def __init__(self, rtsp_port: int, broker_port: int) -> None:
        self._ports = rtsp_port, broker_port
        self._connections: dict[tuple[int, int], Connection] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)  # on a loopback everything passes twice
        self._program = _filter(rtsp_port, broker_port)  # must outlive the call
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, self._program.attached())
        self._socket.setblocking(False)  # noqa: FBT003  Python's own signature
        self._socket.bind(("lo", _ETHERTYPE_ALL))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def units(self) -> list[Unit]:
        """After the end: the pictures of every session, in the order of their sessions."""
        return [unit for reader in self._readers() if isinstance(reader, RtspReader) for unit in reader.units]

    def publishes(self) -> list[Publish]:
        """After the end: every PUBLISH, in the order of time."""
        found = [made for reader in self._readers() if isinstance(reader, MqttReader) for made in reader.publishes]
        return sorted(found, key=lambda made: made.at)

    def _readers(self) -> Iterator[RtspReader | MqttReader]:
        for connection in self._connections.values():
            if connection.lost:
                raise RuntimeError("packets were missed: the machine is too busy to listen")
            yield connection.reader

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                packet, extras, _, _ = self._socket.recvmsg(_LARGEST, 64)
            except BlockingIOError:
                return
            seconds, nanoseconds = _TIMESPEC.unpack_from(extras[0][2]) if extras else (time.time(), 0)
            found = segment_of(packet)
            if found is not None:
                self._take(found, seconds + nanoseconds / 1e9)

    def _take(self, found: Segment, at: float) -> None:
        key = found.source, found.target
        if key not in self._connections:
            self._connections[key] = Connection(RtspReader() if found.source == self._ports[0] else MqttReader())
        self._connections[key].segment(found.sequence, found.data, at)


class _Program:
    """A classic BPF program and the struct that points at it."""

    def __init__(self, instructions: list[tuple[int, int, int, int]]) -> None:
        self._code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
        self._count = len(instructions)

    def attached(self) -> bytes:
        """struct sock_fprog."""
        return struct.pack("HL", self._count, ctypes.addressof(self._code))


def _filter(rtsp_port: int, broker_port: int) -> _Program:
    """Only TCP over IPv4 that comes from the camera or goes to the broker; the rest never wakes us."""
    return _Program([
        (0x28, 0, 0, 12), (0x15, 0, 8, 0x0800),  # EtherType
        (0x30, 0, 0, 23), (0x15, 0, 6, socket.IPPROTO_TCP),
        (0xB1, 0, 0, 14),  # X = length of the IP header
        (0x48, 0, 0, 14), (0x15, 2, 0, rtsp_port),  # source port
        (0x48, 0, 0, 16), (0x15, 0, 1, broker_port),  # destination port
        (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0),
    ])  # fmt: skip
