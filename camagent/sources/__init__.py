"""Where frames come from: RTSP cameras, video files, pictures. The one place of the agent that demuxes and decodes.

`open_source` gives a `Source` for a camera's `url`; nothing is opened before `run` or `frames` is called.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Protocol

from camagent.clock import Clock, SystemClock
from camagent.config import Camera
from camagent.errors import InputError, printable
from camagent.frame import Frame
from camagent.pulse import Pulse
from camagent.slot import Slot
from camagent.sources.files import PictureFolder, VideoFile, list_pictures
from camagent.sources.pictures import decode_picture, is_picture
from camagent.sources.rtsp import RtspSource
from camagent.sources.status import SourceStatus
from camagent.sources.tap import Tap
from camagent.sources.urls import is_url


class Source(Protocol):
    """One camera. `run` or `frames` belongs to one thread; `status` may be called from any.

    `tap`: any thread may put one there while `run` goes on, and take it away; None for nobody watches.
    """

    tap: Tap | None

    def run(self, stop: threading.Event, slot: Slot[Frame], pulse: Pulse | None = None) -> None:
        """Live: leaves due frames in the slot, at most `fps` a second, the newest waiting, until `stop` is set.

        Privacy masks are filled. A camera that is away is waited for; it is never a reason to return. The slot is not
        closed. `pulse` beats at every turn, also while the camera is away.

        Raises:
            InputError: a file or folder that cannot be played.
        """
        ...

    def frames(self) -> Iterator[Frame]:
        """Offline: every undamaged frame once, masks filled, as fast as it is asked for, without reconnecting.

        Raises:
            SourceError: a camera that cannot be reached or whose session breaks.
            InputError: a file or folder that cannot be played.
        """
        ...

    def status(self) -> SourceStatus:
        """State, reason and counters at this moment."""
        ...


def open_source(camera: Camera, *, clock: Clock | None = None, rng: Random | None = None) -> Source:
    """The source that a camera's `url` names: an RTSP address, a video file, a picture or a folder of pictures.

    Raises:
        ConfigError: an address that is none, a credentials file that cannot be read, an unknown decoder.
        InputError: there is no such file.
    """
    clock = clock or SystemClock()
    if is_url(camera.url):
        return RtspSource(camera, clock=clock, rng=rng or Random())  # noqa: S311  jitter is no secret
    path = Path(camera.url)
    if not path.exists():
        raise InputError(
            f"{printable(path)} is not there", fix="give an rtsp:// address, a video file, a picture or a folder of pictures"
        )
    if path.is_dir() or is_picture(path):
        return PictureFolder(camera, path, clock)
    return VideoFile(camera, path, clock)


__all__ = [
    "Source",
    "SourceStatus",
    "Tap",
    "decode_picture",
    "is_picture",
    "is_url",
    "list_pictures",
    "open_source",
    "without_credentials",
]
