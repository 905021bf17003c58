"""Pictures from files: JPEG and PNG by their first bytes, sizes known before anything is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import av

from camagent.errors import InputError, printable
from firmware_pkg.limits import MIB, PICTURE_BYTES, PICTURE_PIXELS

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_NO_SIZE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length: TEM, RSTn
_NOT_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC stand among the frame headers
_FIX = "give a JPEG or PNG picture"


def is_picture(path: Path) -> bool:
    """True when the file begins like a JPEG or PNG; False also where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(PNG)).startswith((JPEG, PNG))
    except OSError:  # the caller counts it, or opens it and says why
        return False


def read_picture(path: Path) -> av.VideoFrame:
    """The picture in a file, a JPEG's as the YUV it holds.

    Raises:
        InputError: not there, not readable, no JPEG or PNG, larger than pictures may be, or damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(PICTURE_BYTES + 1)
    except OSError as exc:
        raise InputError(
            f"{printable(path)} cannot be read: {exc.strerror or type(exc).__name__}", fix="check the name and the rights"
        ) from exc
    return decode_picture(data, printable(path))


def decode_picture(data: bytes, name: str) -> av.VideoFrame:
    """Decodes one JPEG or PNG; `name` stands in the error's sentence.

    Raises:
        InputError: no JPEG or PNG, larger than pictures may be, or damaged.
    """
    if len(data) > PICTURE_BYTES:
        raise InputError(f"{name} is larger than {PICTURE_BYTES // MIB} MiB", fix="scale the picture down")
    codec = "mjpeg" if data.startswith(JPEG) else "png" if data.startswith(PNG) else ""
    if not codec:
        raise InputError(f"{name} is no JPEG or PNG", fix=_FIX, evidence={"first bytes": data[:8].hex(" ") or "none"})
    width, height = _size(data)
    if not 0 < width * height <= PICTURE_PIXELS:
        raise InputError(
            f"{name} has no size, or more than {PICTURE_PIXELS // 1_000_000} megapixels",
            fix="scale the picture down",
            evidence={"width": width, "height": height},
        )
    context = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
    context.thread_count = 1
    context.options = {"err_detect": "explode"}  # without it a file cut in half is a picture that is half grey
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as exc:
        raise InputError(f"{name} is damaged", fix=_FIX, evidence={"cause": exc.strerror or type(exc).__name__}) from exc
    if not frames or frames[0].is_corrupt:
        raise InputError(f"{name} is damaged", fix=_FIX, evidence={"bytes": len(data)})
    return frames[0]


def _size(data: bytes) -> tuple[int, int]:
    """Width and height from the header, (0, 0) where it ends before telling."""
    try:
        if data.startswith(PNG):
            return cast("tuple[int, int]", struct.unpack_from(">II", data, 16))
        return _jpeg_size(data)
    except (struct.error, IndexError):  # cut off inside the header
        return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if data[at] != 0xFF:
            return 0, 0
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width), int(height)
        at += 2 if marker in _NO_SIZE_MARKERS else 2 + int(struct.unpack_from(">H", data, at + 2)[0])
