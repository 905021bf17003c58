"""Key frames that a server sends in pieces, as GStreamer's payloaders do with encoders that cut pictures into slices."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from camagent.sources.units import Joiner, first_slice
from tests.support.camera import Clips, RtspCamera, Viewer

SETS = bytes.fromhex("00000001674d401f00000001 68ee3c80".replace(" ", ""))
FIRST, LATER = b"\0\0\1\x65\x88\x84", b"\0\0\1\x65\x06\x22"  # first_mb_in_slice 0 and another


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


def packet(data: bytes, pts: int | None, *, key: bool = True) -> av.Packet[Any]:
    made = av.Packet(data)
    made.pts = made.dts = pts
    made.time_base, made.is_keyframe = Fraction(1, 90_000), key
    return made


def joined(packets: list[av.Packet[Any]], codec: str = "h264") -> list[tuple[bytes, int | None]]:
    return [(bytes(memoryview(one)) if one.size else b"", one.pts) for one in Joiner(codec).joined(packets)]


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_of_several_slices_come_whole(clips: Clips, codec: str, transport: str) -> None:
    """Against the file itself: every pixel of the key frames, and of what refers to them."""
    clip = clips.make(codec, gop=5, slices=3)
    with av.open(str(clip)) as file:
        sent = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    with RtspCamera(clip, codec=codec) as camera, Viewer(camera.url, transport=transport) as viewer:
        viewer.wait_frames(12, 20)
        status = viewer.status
        assert (status.corrupt, status.decoder_errors, status.damaged_keys) == (0, 0, 0)
        assert status.key_frames > 1
        for frame in viewer.frames[:12]:
            assert isinstance(frame.picture, av.VideoFrame)
            seen = frame.picture.to_ndarray(format="gray").astype(np.int16)
            assert min(int(np.abs(seen - one).max()) for one in sent) <= 2, "none of the pictures that were sent"


def test_the_pieces_of_a_first_key_frame_are_put_together() -> None:
    third = b"\0\0\1\x65\x05\x33"
    stream = [
        packet(SETS + FIRST, None),
        packet(SETS + LATER, 0),
        packet(SETS + third, 0),
        packet(b"\0\0\1\x41\x9a", 9, key=False),
    ]
    assert joined(stream) == [(SETS + FIRST + LATER + third, 0), (b"\0\0\1\x41\x9a", 9)]


def test_later_ones_too_and_the_end_of_the_stream_loses_none() -> None:
    stream = [packet(SETS + data, at) for at in (0, 90, 180) for data in (FIRST, LATER)]
    assert joined([*stream, packet(b"", None, key=False)]) == [(SETS + FIRST + LATER, at) for at in (0, 90, 180)] + [
        (b"", None)
    ]
    assert joined(stream) == [(SETS + FIRST + LATER, at) for at in (0, 90, 180)]


def test_whole_key_frames_do_not_wait_after_the_first() -> None:
    taken: list[int | None] = []

    def stream() -> list[av.Packet[Any]]:
        return [packet(SETS + FIRST + LATER, at) for at in (0, 90, 180)]

    def noting() -> Iterator[Any]:
        for one in stream():
            taken.append(one.pts)
            yield one

    given = Joiner("h264").joined(noting())
    assert next(given).pts == 0
    assert taken == [0, 90], "the first one waits for what follows it"
    assert next(given).pts == 90
    assert next(given).pts == 180
    assert taken == [0, 90, 180], "the others are given on at once"


def test_a_piece_without_its_beginning_is_left_out() -> None:
    assert joined([packet(SETS + LATER, 0), packet(SETS + FIRST, 90), packet(SETS + LATER, 90)]) == [(SETS + FIRST + LATER, 90)]


def test_slices_in_any_order_are_a_picture_of_their_own() -> None:
    """H.264's baseline profile allows them; what tells them from a piece is their time."""
    assert joined([packet(SETS + FIRST, 0), packet(SETS + LATER, 90)]) == [(SETS + FIRST, 0), (SETS + LATER, 90)]


@pytest.mark.parametrize(
    ("data", "begins"), [(SETS + FIRST, True), (SETS + LATER, False), (SETS, None), (b"\0\0\1\x65", None), (b"", None)]
)
def test_what_a_packet_begins_with(data: bytes, begins: bool | None) -> None:
    found = first_slice(data)
    assert (None if found is None else found.begins) == begins


def test_other_codecs_pass() -> None:
    assert joined([packet(b"\xff\xd8", 0), packet(b"\xff\xd8", 0)], "mjpeg") == [(b"\xff\xd8", 0), (b"\xff\xd8", 0)]
