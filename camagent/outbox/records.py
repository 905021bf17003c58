"""How a message stands in a file: length, checksum, body; and how a file with a torn or damaged record is still read.

A file is a run of records. A record is a header (mark, kind, length, checksum) and a body. kill -9 in mid-write leaves the
beginning of a record at the end of the file: that message was never accepted, so it is passed over in silence. Damage in the
middle is told: reading goes on at the next record whose checksum fits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

Lane: TypeAlias = Literal["events", "detections"]
LANES: tuple[Lane, ...] = get_args(Lane)  # in the order in which they are sent; dropped from the other end

MESSAGE, SETTLED, LOW = 1, 2, 3  # kinds of record
_MARK = b"\xcam"
_HEADER = struct.Struct("<2sBxII")  # mark, kind, length of the body, CRC-32 of kind and body
_MESSAGE = struct.Struct(
    "<QddBBBH"
)  # key, opened (monotonic), opened (wall), lane, QoS + 4 x retain, lengths of camera and topic
_SETTLED = struct.Struct("<Q")
_LOW = struct.Struct("<BQ")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """What the outbox must know of a message."""

    lane: Lane
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a file holds it. `mono` means something only in the process that wrote it."""

    key: int
    mono: float
    wall: float
    message: OpenMessage


@dataclass(frozen=True, slots=True)
class Settled:
    """This message is no longer open."""

    key: int


@dataclass(frozen=True, slots=True)
class Low:
    """No message of this lane up to this key is open."""

    lane: Lane
    key: int


Record: TypeAlias = Stored | Settled | Low


def _frame(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_MARK, kind, len(body), zlib.crc32(body, kind)) + body


def pack_message(stored: Stored) -> bytes:
    """A message as a record."""
    message = stored.message
    camera, topic = message.camera.encode()[:255], message.topic.encode()
    flags = message.qos | (4 if message.retain else 0)
    lane = LANES.index(message.lane)
    head = _MESSAGE.pack(stored.key, stored.mono, stored.wall, lane, flags, len(camera), len(topic))
    return _frame(MESSAGE, b"".join((head, camera, topic, message.payload)))


def pack_settled(key: int) -> bytes:
    """The end of a message as a record."""
    return _frame(SETTLED, _SETTLED.pack(key))


def pack_low(low: Low) -> bytes:
    """The end of all messages of a lane up to a key, as a record."""
    return _frame(LOW, _LOW.pack(LANES.index(low.lane), low.key))


def _unpack(kind: int, body: bytes) -> Record | None:
    if kind == SETTLED and len(body) == _SETTLED.size:
        return Settled(_SETTLED.unpack(body)[0])
    if kind == LOW and len(body) == _LOW.size and body[0] < len(LANES):
        return Low(LANES[body[0]], _LOW.unpack(body)[1])
    if kind != MESSAGE or len(body) < _MESSAGE.size:
        return None
    key, mono, wall, lane, flags, camera_len, topic_len = _MESSAGE.unpack_from(body)
    topic_at = _MESSAGE.size + camera_len
    payload_at = topic_at + topic_len
    if lane >= len(LANES) or payload_at > len(body):
        return None
    message = OpenMessage(
        lane=cast("Lane", LANES[lane]),
        topic=body[topic_at:payload_at].decode(errors="replace"),
        payload=body[payload_at:],
        qos=flags & 3,
        retain=bool(flags & 4),
        camera=body[_MESSAGE.size : topic_at].decode(errors="replace"),
    )
    return Stored(key, mono, wall, message)


def body_length(header: bytes) -> int | None:
    """How many bytes follow this header; None where it is none."""
    if len(header) < HEADER_BYTES:
        return None
    mark, _, length, _ = _HEADER.unpack_from(header)
    return int(length) if mark == _MARK else None


def record_at(data: bytes, offset: int) -> tuple[Record, int] | None:
    """The record that begins at `offset` and the offset after it; None where no sound one begins."""
    if offset + HEADER_BYTES > len(data):
        return None
    mark, kind, length, checksum = _HEADER.unpack_from(data, offset)
    end = offset + HEADER_BYTES + length
    if mark != _MARK or end > len(data):
        return None
    body = data[offset + HEADER_BYTES : end]
    if zlib.crc32(body, kind) != checksum:
        return None
    record = _unpack(kind, body)
    return None if record is None else (record, end)


def next_record(data: bytes, offset: int) -> tuple[Record, int] | None:
    """The first sound record that begins at `offset` or behind it, and the offset after it."""
    while (at := data.find(_MARK, offset)) >= 0:
        found = record_at(data, at)
        if found is not None:
            return found
        offset = at + 1
    return None


@dataclass(slots=True)
class Reading:
    """The records of a file, and how many stretches between them could not be read."""

    data: bytes
    damaged: int = 0

    def __iter__(self) -> Iterator[Record]:
        """Every sound record, in order."""
        offset = 0
        while offset < len(self.data):
            found = record_at(self.data, offset)
            if found is None:
                found = next_record(self.data, offset + 1)
                if found is None:
                    return  # a torn end: kill -9 in mid-write, or a power cut
                self.damaged += 1
            record, offset = found
            yield record
