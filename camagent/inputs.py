"""Offline input for `infer`, golden pictures and self-test: the live sources' frames, one pass, as fast as asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import InputError, printable
from camagent.frame import Frame
from camagent.preprocess import rgb_picture
from camagent.sources import decode_picture, is_picture, list_pictures, open_source
from camagent.sources.apart import decode_apart


def named_frames(
    source: str, camera: Camera | None = None, *, damaged: Callable[[InputError], None] | None = None
) -> Iterator[tuple[str, Frame]]:
    """(picture's file name, frame) of a picture or folder; ("", frame) of a video or stream, every frame once.

    `camera` lends its privacy masks, transport and credentials. A damaged picture of a folder is told to `damaged` and
    passed over. Raises InputError or SourceError.
    """
    camera = camera or Camera(name="input", url=source)
    path = Path(camera.url)
    if "://" in camera.url or not (path.is_dir() or is_picture(path)):
        for frame in open_source(camera).frames():
            yield "", frame
        return
    for picture in list_pictures(path)[0] if path.is_dir() else [path]:
        try:
            frame = _picture(msgspec.structs.replace(camera, url=str(picture)))
        except InputError as exc:
            if damaged is None or not path.is_dir():
                raise
            damaged(exc)
        else:
            yield picture.name, frame


def passed_over(source: str) -> int:
    """How many files of a folder are no pictures; 0 for everything that is no folder."""
    return len(list_pictures(Path(source))[1]) if Path(source).is_dir() else 0


def one_picture(path: Path) -> Frame:
    """The one frame of a picture file. Raises InputError."""
    if not is_picture(path):
        what = "is no JPEG or PNG picture" if path.exists() else "is not there"
        raise InputError(f"{printable(path)} {what}", fix="give a JPEG or PNG picture")
    return _picture(Camera(name="picture", url=str(path)))


def picture_frame(data: bytes, name: str) -> Frame:
    """A picture that is in memory, such as a bundle's golden one. Raises InputError: no JPEG or PNG, too large, damaged."""
    return Frame(decode_picture(data, printable(name)), None, 0.0, "arrival", 0.0, 0.0)


def strange_frame(data: bytes, clock: Clock) -> Frame:
    """A picture that a stranger has sent, decoded in a process of its own. Raises InputError."""
    came, began = clock.wall(), clock.monotonic()
    picture = decode_apart(data, "the picture")
    return Frame(picture, None, came, "arrival", began, (clock.monotonic() - began) * 1e3)


def rgb_frame(pixels: NDArray[np.uint8]) -> Frame:
    """RGB pixels (height, width, 3) as a frame."""
    return Frame(rgb_picture(pixels), None, 0.0, "arrival", 0.0, 0.0)


def _picture(camera: Camera) -> Frame:
    for frame in open_source(camera).frames():
        return frame
    raise InputError(f"{printable(camera.url)} has no picture in it", fix="give a JPEG or PNG picture")
