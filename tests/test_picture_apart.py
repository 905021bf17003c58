"""Pictures of strangers: decoded in a child, the same as in the agent, which is none the worse for any of them."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from camagent import vitals
from camagent.errors import InputError
from camagent.frame import Frame
from camagent.pipeline import rgb_pixels
from camagent.sources.apart import decode_apart
from camagent.sources.pictures import decode_picture

RANDOM = random.Random(6)


def pixels(width: int, height: int, channels: int = 3) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).integers(0, 256, (height // 4 + 1, width // 4 + 1, channels)).astype(np.uint8)
    return cast("NDArray[np.uint8]", cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def coded(kind: str, picture: NDArray[np.uint8], *options: int) -> bytes:
    return bytes(cv2.imencode(kind, picture, list(options))[1].tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, color: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def seen(picture: av.VideoFrame) -> NDArray[np.uint8]:
    return rgb_pixels(Frame(picture, None, 0.0, "arrival", 0.0, 0.0))


@pytest.mark.parametrize(
    "data",
    [
        coded(".jpg", pixels(64, 48)), coded(".jpg", pixels(33, 17)), coded(".jpg", pixels(1, 1)),
        coded(".jpg", pixels(50, 40), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        coded(".jpg", pixels(40, 30, 1)), coded(".png", pixels(31, 19)), coded(".png", pixels(16, 16, 4)),
        coded(".png", pixels(16, 9, 1)),
    ],
)  # fmt: skip
def test_it_is_the_picture_that_the_agent_itself_would_have_decoded(data: bytes) -> None:
    here, apart = decode_picture(data, "x"), decode_apart(data, "x")
    assert (here.width, here.height) == (apart.width, apart.height)
    assert np.abs(seen(here).astype(int) - seen(apart).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GIF89a", b"\xff\xd8\xff", coded(".jpg", pixels(200, 200))[:3000],
        png(30_000, 30_000, zlib.compress(bytes(1000))),
        png(6000, 6000, zlib.compress(bytes(1000))), png(16, 16, b"no deflate"), b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(21 * 2**20), b"\xff\xd8\xff" + bytes(21 * 2**20),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decode_apart(data, "the picture")
    assert caught.value.fix
    assert "the picture" in caught.value.what


def test_a_large_picture_passes_and_a_bomb_does_not_reach_the_agent() -> None:
    large = png(5000, 5000, zlib.compress(b"\x00" * (5000 * 3 + 1) * 5000, 9))
    before = vitals.rss_bytes()
    made = decode_apart(large, "x")
    assert (made.width, made.height) == (5000, 5000)
    del made
    bomb = png(20_000, 20_000, zlib.compress(b"\x00" * (20_000 * 3 + 1) * 500, 9))
    with pytest.raises(InputError):
        decode_apart(bomb, "x")
    assert vitals.rss_bytes() - before < 200 * 2**20


def test_broken_bytes_end_in_a_picture_or_a_sentence() -> None:
    samples = [coded(".jpg", pixels(64, 48)), coded(".png", pixels(64, 48))]
    for number in range(14):
        data = bytearray(samples[number % 2])
        for _ in range(RANDOM.randrange(1, 20)):
            data[RANDOM.randrange(8, len(data))] = RANDOM.randrange(256)
        with contextlib.suppress(InputError):  # anything else fails the test
            assert decode_apart(bytes(data), "x").width


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "hangs").chmod(0o755)
    monkeypatch.setattr("camagent.sources.apart.sys.executable", str(tmp_path / "hangs"))
    with pytest.raises(InputError, match="ended"):
        decode_apart(b"x", "x", within_s=1)


def test_the_child_may_write_no_file_and_takes_so_much_memory_only(tmp_path: Path) -> None:
    code = (
        "import camagent.sources.apart as a; a._limit()\n"
        "try: bytearray(2 << 30)\nexcept MemoryError: print('bounded')\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n with open(a.sys.argv[1], 'wb') as f: f.write(b'x'); f.flush()\n"
        "except OSError: print('no file')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["bounded", "no file"], done.stderr
