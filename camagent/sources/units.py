"""Access units that arrive in pieces, put together again.

Encoders that cut a picture into slices (x264 with tune=zerolatency, many SoCs) meet senders that repeat the parameter sets
before every slice of a key frame instead of once before the first (GStreamer's rtph264pay with config-interval=-1, seen in
1.22; its rtph265pay does not). A parameter set begins a new access unit (H.264 7.4.1.2.3), so FFmpeg makes a picture of each
slice, every one of them mostly missing, and all frames up to the next key frame are smeared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    Packet = av.Packet[VideoStream]

log = logging.getLogger("camagent")

_START = b"\0\0\1"
_LARGEST = 16 << 20  # bytes; a server that never ends a key frame fills no memory
_SEARCHED = 8192  # bytes: parameter sets and SEI before a picture's first slice are far shorter


@dataclass(frozen=True, slots=True)
class Slice:
    """The first slice found in some bytes."""

    at: int  # index of its start code
    begins: bool  # it is the first of its picture


def first_slice(data: bytes) -> Slice | None:
    """H.264 7.3.1, 7.3.3: unit types 1 and 5; first_mb_in_slice is 0 where the first bit of the slice header is set."""
    at = data.find(_START)
    while 0 <= at < len(data) - 4:
        if data[at + 3] & 31 in (1, 5):
            return Slice(at, bool(data[at + 4] & 0x80))
        at = data.find(_START, at + 3)
    return None


class Joiner:
    """Puts key frames together that one session's server sends in pieces. Costs a look at every key frame.

    A key frame is whole when something else comes, so it has to wait for the next packet. Only the first one of a session
    does, and all of a server that has sent pieces.
    """

    def __init__(self, codec: str) -> None:
        self._wanted = codec == "h264"
        self._waits = True
        self._in_pieces = False

    def joined(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The same packets, pieces of one key frame in one. Byte streams only (start codes), as RTP gives them."""
        if not self._wanted:
            yield from packets
            return
        held: Packet | None = None
        last: float | None = None  # time stamp of the newest key frame
        for packet in packets:
            found = first_slice(bytes(memoryview(packet)[:_SEARCHED])) if packet.size and packet.is_keyframe else None
            if found is not None and not found.begins and (None in (last, packet.pts) or last == packet.pts):
                self._note()
                held = None if held is None or held.size > _LARGEST else _one(held, packet, found.at)
                continue  # without its beginning, a piece is only damage
            if held is not None:
                yield held
                held = None
            if found is None:
                yield packet
                continue
            last = packet.pts
            if self._waits:
                held = packet
                self._waits = self._in_pieces
            else:
                yield packet
        if held is not None:
            yield held

    def _note(self) -> None:
        if not self._in_pieces:
            log.info("the server repeats parameter sets inside key frames; the pieces are put together")
        self._in_pieces = self._waits = True


def _one(first: Packet, piece: Packet, at: int) -> Packet:
    """Both as one packet; of the second only from its slice on."""
    made = cast("Packet", av.Packet(bytes(memoryview(first)) + bytes(memoryview(piece)[at:])))
    made.pts = piece.pts if first.pts is None else first.pts
    made.dts = piece.dts if first.dts is None else first.dts
    made.time_base, made.is_keyframe = first.time_base, True
    if first.has_sidedata("prft"):
        made.set_sidedata(first.get_sidedata("prft"))
    return made
