"""A stranger's picture, decoded in a process of its own: what breaks or bursts there is not the agent.

The child may use so much memory and processor time, writes no file, and hands the decoder's planes over a pipe.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from camagent.errors import InputError, printable
from camagent.sources.pictures import decode_picture
from firmware_pkg.limits import MIB, PICTURE_BYTES, PICTURE_PIXELS

WITHIN_S = 60.0
_CPU_S = 30
_MEMORY = 8 * PICTURE_PIXELS + 64 * MIB  # beyond what the interpreter and its libraries have mapped: decoder's copy and ours
_HEAD_BYTES = 4096
# the planes of these are handed over as they are, so that the model gets what it gets from a stream; all others become rgb24
_PLANAR = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})


def decode_apart(data: bytes, name: str, *, within_s: float = WITHIN_S) -> av.VideoFrame:
    """As `pictures.decode_picture`, for bytes from a stranger. Raises InputError."""
    command = [sys.executable, "-I", "-m", "camagent.sources.apart"]
    with subprocess.Popen(  # noqa: S603  a list, no shell
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:
        limit = threading.Timer(within_s, child.kill)
        limit.start()
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            return _exchange(child.stdin, child.stdout, data)
        except (OSError, EOFError, ValueError) as exc:
            child.kill()
            raise InputError(
                f"{name} cannot be decoded: the decoder's process ended",
                evidence={"ended by": child.wait(), "allowed": f"{_CPU_S} s of processor time, {_MEMORY // MIB} MiB"},
                fix="give another JPEG or PNG picture, or a smaller one",
            ) from exc
        finally:
            limit.cancel()
            child.kill()


def _exchange(to_child: IO[bytes], from_child: IO[bytes], data: bytes) -> av.VideoFrame:
    to_child.write(data)
    to_child.close()
    head: dict[str, Any] = json.loads(from_child.readline(_HEAD_BYTES))
    if "what" in head:
        raise InputError(head["what"], evidence=head["evidence"], fix=head["fix"])
    picture = av.VideoFrame(head["width"], head["height"], head["format"])
    picture.colorspace, picture.color_range = head["colorspace"], head["color_range"]
    for rows in _planes(picture):
        _fill(from_child, rows)
    return picture


def _planes(picture: av.VideoFrame) -> Iterator[NDArray[np.uint8]]:
    """(rows, bytes of a row) of each plane, without the padding behind."""
    for plane in picture.planes:
        width = plane.width * (3 if picture.format.name == "rgb24" else 1)
        view = np.ndarray((plane.height, plane.line_size), np.uint8, cast("Any", plane))
        yield view[:, :width]


def _fill(source: IO[bytes], rows: NDArray[np.uint8]) -> None:
    for row in rows:
        data = source.read(len(row))
        if len(data) < len(row):
            raise EOFError
        row[:] = np.frombuffer(data, np.uint8)


def _limit() -> None:
    """From here on this process can do little harm."""
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, mapped + _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _main() -> None:
    """The child: a picture on stdin; a line of JSON and the planes, or a refusal, on stdout."""
    _limit()
    out = sys.stdout.buffer
    try:
        picture = decode_picture(sys.stdin.buffer.read(PICTURE_BYTES + 1), "the picture")
        if picture.format.name not in _PLANAR:
            picture = picture.reformat(format="rgb24", threads=1)
    except InputError as exc:
        out.write(json.dumps(exc.report()).encode() + b"\n")
        return
    except (av.FFmpegError, MemoryError) as exc:
        refusal = InputError("the picture cannot be decoded", evidence={"cause": printable(exc)}, fix="give another one")
        out.write(json.dumps(refusal.report()).encode() + b"\n")
        return
    head = {
        "width": picture.width, "height": picture.height, "format": picture.format.name,
        "colorspace": int(picture.colorspace), "color_range": int(picture.color_range),
    }  # fmt: skip
    out.write(json.dumps(head).encode() + b"\n")
    for rows in _planes(picture):
        out.write(np.ascontiguousarray(rows).tobytes())


if __name__ == "__main__":
    _main()
