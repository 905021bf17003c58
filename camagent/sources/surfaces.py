"""Pictures that a hardware decoder leaves in memory of its own, which nobody here can read: fetched from there as NV12."""

from __future__ import annotations

import av

PIXELS = "nv12"  # what such decoders make; privacy masks and preprocessing read it as it is


def is_surface(picture: av.VideoFrame) -> bool:
    """True for `drm_prime`, `vaapi`, `cuda` and their kin: formats without components, a handle in place of pixels."""
    return not picture.format.components


def fetched(picture: av.VideoFrame) -> av.VideoFrame:
    """The same picture in plain memory. Raises av.FFmpegError or ValueError where it cannot be copied from there."""
    return picture.reformat(format=PIXELS, threads=1)
