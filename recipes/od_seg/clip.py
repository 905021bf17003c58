"""Pictures -> an H.264 clip of a given size, through PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable

_SAFETY = 0.9  # of the wanted rate: the encoder keeps it on average, not to the byte


def write_clip(
    path: Path, pictures: Iterable[NDArray[np.uint8]], fps: int, size: tuple[int, int], bytes_per_second: float,
    tell: Callable[[], object] = lambda: None,
) -> int:  # fmt: skip
    """Writes red-first pictures of `size` (width, height) as MP4; how many bytes it came to. Raises FileUnusable."""
    bits = int(bytes_per_second * 8 * _SAFETY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as target:
            stream = target.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.thread_type = "FRAME"  # PyAV's own choice cuts pictures into slices, which costs bits and no camera does
            stream.bit_rate = bits
            stream.gop_size = fps * 2
            stream.options = {"preset": "slow", "maxrate": str(bits), "bufsize": str(bits), "profile": "main"}
            for picture in pictures:
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                tell()
            target.mux(stream.encode(None))
        return path.stat().st_size
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc
