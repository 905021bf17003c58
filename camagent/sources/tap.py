"""A look over the reader's shoulder for a bounded time: every picture's fingerprint, and a few whole frames.

Nothing is opened and nothing stops: the reader goes on as before, and does without it at the cost of one comparison per frame.
"""

from __future__ import annotations

import zlib
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from camagent.frame import Frame

if TYPE_CHECKING:
    import av

ROWS = 270  # of the luma plane, spread evenly, that a fingerprint reads: a tenth of a millisecond
MOST_PICTURES = 4096


def fingerprint(picture: av.VideoFrame) -> int | None:
    """A checksum over evenly spread rows of the luma plane: equal pictures, equal numbers. None where no plane can be read."""
    try:
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows = rows[: plane.height, : _row_bytes(picture, plane)]
    except (ValueError, IndexError, BufferError, AttributeError):  # a hardware surface: nothing is known of it
        return None
    return zlib.adler32(rows[:: max(1, plane.height // ROWS)].tobytes())


def _row_bytes(picture: av.VideoFrame, plane: av.video.plane.VideoPlane) -> int:
    """Bytes of a row that belong to the picture; what lies behind them is padding and may be anything."""
    bits = max((component.bits for component in picture.format.components if component.plane == 0), default=8)
    samples = sum(component.plane == 0 for component in picture.format.components) if not picture.format.is_planar else 1
    return min(plane.line_size, plane.width * samples * (2 if bits > 8 else 1))


class Tap:
    """What one watcher collects: the reader's thread writes, any thread reads."""

    def __init__(self, every_s: float, most: int) -> None:
        """Keeps at most `most` frames, `every_s` seconds apart by their arrival."""
        self._every_s, self._most = every_s, most
        self._lock = Lock()
        self._next = float("-inf")
        self._frames: list[Frame] = []
        self._seen: list[tuple[float, float | None, int | None]] = []  # arrival, pts, fingerprint

    def saw(self, picture: av.VideoFrame, pts: float | None, arrived: float) -> bool:
        """The reader has a good picture, its masks not filled yet; True where the finished frame is wanted."""
        if len(self._seen) < MOST_PICTURES:
            self._seen.append((arrived, pts, fingerprint(picture)))
        return len(self._frames) < self._most and arrived >= self._next

    def keep(self, frame: Frame) -> None:
        """The frame of the picture that was seen last, masks filled."""
        with self._lock:
            self._frames.append(frame)
            self._next = frame.arrived + self._every_s

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The kept ones, oldest first."""
        with self._lock:
            return tuple(self._frames)

    @property
    def arrivals(self) -> tuple[float, ...]:
        """Monotonic seconds of every picture."""
        return tuple(arrived for arrived, _, _ in tuple(self._seen))

    @property
    def marks(self) -> tuple[tuple[float, int], ...]:
        """(pts in seconds, fingerprint) of every picture that has both, in order."""
        return tuple((pts, mark) for _, pts, mark in tuple(self._seen) if pts is not None and mark is not None)


__all__ = ["Tap", "fingerprint"]
