"""Files as sources: a video, a picture, a folder of pictures.

As a camera's `url` (for development) a file plays at its own pace and starts over at its end, and a folder shows one
picture every 1 / fps seconds, over and over. For `infer` and the benchmarks, `frames` gives every frame once, as fast
as it is asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av

from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import InputError, SourceError, printable
from camagent.frame import Frame
from camagent.pulse import Pulse
from camagent.slot import Slot
from camagent.sources.decoder import check_name
from camagent.sources.masks import Masker
from camagent.sources.pacing import Pacer
from camagent.sources.pictures import is_picture, read_picture
from camagent.sources.session import Session
from camagent.sources.status import SourceStatus, Tally
from camagent.sources.tap import Tap

if TYPE_CHECKING:
    from av.container import InputContainer

    from camagent.sources.session import Packet

TURN_MARGIN_S = 15.0  # what a turn may take beside the waiting it is meant for
BEHIND_S = 1.0  # a player this late starts its pace anew instead of hurrying
_FALLBACK_RATE = 25.0  # of a file that tells neither times nor a rate
# A playlist or script that passes for a video must not make FFmpeg fetch something else.
_OPTIONS = {"protocol_whitelist": "file"}
_log = logging.getLogger(__name__)


def list_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder sorted by name, and the files in it that are none. Subfolders are not entered.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    except OSError as exc:
        raise InputError(
            f"{printable(folder)} cannot be read: {exc.strerror or type(exc).__name__}", fix="check the name and the rights"
        ) from exc
    pictures = [file for file in files if is_picture(file)]
    known = set(pictures)
    return pictures, [file for file in files if file not in known]


class VideoFile:
    """A video file."""

    def __init__(self, camera: Camera, path: Path, clock: Clock) -> None:
        check_name(camera.name, camera.decoder)
        self._camera, self._path, self._clock = camera, path, clock
        self._tally, self._masker = Tally(), Masker(camera.mask)
        self.tap: Tap | None = None

    def status(self) -> SourceStatus:
        """The source at this moment."""
        return self._tally.snapshot()

    def frames(self) -> Iterator[Frame]:
        """Every frame of the file once.

        Raises:
            InputError: the file is not there, is no video, or no picture in it can be decoded.
        """
        with self._opened(Pacer(self._camera.fps)) as session:
            yield from session.every(session.packets())
            self._must_have_given(session)
        self._tally.ended()

    def run(self, stop: threading.Event, slot: Slot[Frame], pulse: Pulse | None = None) -> None:
        """Plays the file at its own pace, again and again, until `stop` is set.

        Raises:
            InputError: as `frames`.
        """
        turn = _Turn(pulse or Pulse(), self._camera.stall_timeout)
        pace = _Pace(self._clock, stop, turn)
        pacer = Pacer(self._camera.fps)
        while not stop.is_set():
            turn.began()
            with self._opened(pacer) as session:
                session.run(pace.packets(session), slot, stop)
                if not stop.is_set():
                    self._must_have_given(session)
        self._tally.ended()

    def _must_have_given(self, session: Session) -> None:
        if session.first_good is None:
            raise InputError(
                f"{printable(self._path)}: no picture in it could be decoded",
                fix="see whether ffplay can play the file",
                evidence={
                    "packets": self._tally.packets,
                    "decoder errors": self._tally.decoder_errors,
                    "last": self._tally.decoder_error or "none",
                },
            )

    @contextmanager
    def _opened(self, pacer: Pacer) -> Iterator[Session]:
        """The file as a session. What goes wrong in it names the file."""
        if not self._tally.is_running:  # playing again from the start is no interruption
            self._tally.connecting()
        container: InputContainer | None = None
        try:
            # "file:" keeps FFmpeg from taking a name like concat:.. or pipe:0 for a protocol
            container = av.open(f"file:{self._path}", mode="r", options=_OPTIONS)
            self._tally.sessions = 1
            yield Session(
                container, self._camera, self._clock, self._tally, masker=self._masker, pacer=pacer, tap=lambda: self.tap
            )
        except (av.FFmpegError, SourceError) as exc:
            cause = exc.what if isinstance(exc, SourceError) else exc.strerror or type(exc).__name__
            raise InputError(
                f"{printable(self._path)} cannot be played: {printable(cause)}",
                fix="give a video file (see whether ffplay plays it), a picture or a folder of pictures",
            ) from exc
        finally:
            if container is not None:
                container.close()


class _Turn:
    """A turn of a reader of files, for the watchdog."""

    def __init__(self, pulse: Pulse, stall_s: float) -> None:
        self._pulse, self._stall_s = pulse, stall_s

    def began(self, wait_s: float = 0.0) -> None:
        """One turn, which waits for `wait_s` first."""
        self._pulse.beat(wait_s + self._stall_s + TURN_MARGIN_S, "reading a file")


class _Pace:
    """Hands out packets when they are due by their own time stamps, over all passes of a loop."""

    def __init__(self, clock: Clock, stop: threading.Event, turn: _Turn) -> None:
        self._clock, self._stop, self._turn = clock, stop, turn
        self._zero: float | None = None  # monotonic moment of the line's zero
        self._shift = 0.0  # seconds that earlier passes took on the line

    def packets(self, session: Session) -> Iterator[Packet]:
        """One pass; time stamps go on where the pass before ended, so that a loop is one line."""
        step, at, end = 1.0 / (session.rate or _FALLBACK_RATE), None, 0.0
        shift = session.ticks(self._shift)
        for packet in session.packets():
            if packet.size:
                told = session.seconds(packet.dts if packet.dts is not None else packet.pts)
                at = told if told is not None else 0.0 if at is None else at + step
                end = max(end, at + step, (session.seconds(packet.pts) or 0.0) + step)
                self._await(at + self._shift)
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
            yield packet
            if self._stop.is_set():
                return
        self._shift += session.seconds(session.ticks(end)) or end

    def _await(self, at: float) -> None:
        now = self._clock.monotonic()
        if self._zero is None or now - (self._zero + at) > BEHIND_S:
            self._zero = now - at
        wait_s = max(self._zero + at - now, 0.0)
        self._turn.began(wait_s)
        self._stop.wait(wait_s)


class PictureFolder:
    """A folder of pictures, or a single one."""

    def __init__(self, camera: Camera, path: Path, clock: Clock) -> None:
        self._camera, self._path, self._clock = camera, path, clock
        self._tally, self._masker = Tally(), Masker(camera.mask)
        self.tap: Tap | None = None

    def status(self) -> SourceStatus:
        """The source at this moment."""
        return self._tally.snapshot()

    def frames(self) -> Iterator[Frame]:
        """Every picture once, sorted by name; files that are no pictures are counted and left out.

        Raises:
            InputError: the folder holds no picture, or the single picture that was named cannot be read.
        """
        for path in self._list():
            frame = self._frame(path, None)
            if frame is not None:
                yield frame
        self._tally.ended()

    def run(self, stop: threading.Event, slot: Slot[Frame], pulse: Pulse | None = None) -> None:
        """Shows one picture every 1 / fps seconds, again and again, until `stop` is set.

        Raises:
            InputError: as `frames`.
        """
        turn = _Turn(pulse or Pulse(), self._camera.stall_timeout)
        shown, zero, interval = 0, self._clock.monotonic(), 1.0 / self._camera.fps
        while not stop.is_set():
            before = shown
            turn.began()
            for path in self._list():
                frame = self._frame(path, shown * interval)
                if frame is None:
                    turn.began()
                    continue
                wait_s = max(zero + shown * interval - self._clock.monotonic(), 0.0)
                turn.began(wait_s)
                if stop.wait(wait_s):
                    break
                slot.put(frame)
                self._show(frame)
                shown += 1
            if shown == before and not stop.is_set():
                raise self._empty()
        self._tally.ended()

    def _show(self, frame: Frame) -> None:
        tap, picture = self.tap, frame.picture
        if tap is not None and isinstance(picture, av.VideoFrame) and tap.saw(picture, frame.pts, frame.arrived):
            tap.keep(frame)

    def _list(self) -> list[Path]:
        if not self._tally.is_running:
            self._tally.connecting()
        self._tally.unreadable = 0
        if not self._path.is_dir():
            return [self._path]
        pictures, others = list_pictures(self._path)
        self._tally.unreadable = len(others)
        if not pictures:
            raise self._empty()
        return pictures

    def _empty(self) -> InputError:
        return InputError(
            f"{printable(self._path)} holds no picture that can be read",
            fix="put JPEG or PNG pictures into it",
            evidence={"files": self._tally.unreadable},
        )

    def _frame(self, path: Path, pts: float | None) -> Frame | None:
        """The picture as a frame; None, counted and logged, for a damaged one in a folder."""
        began = self._clock.monotonic()
        try:
            picture = read_picture(path)
        except InputError as exc:
            if not self._path.is_dir():
                raise
            self._tally.unreadable += 1
            self._tally.decoder_error = exc.what
            _log.warning("camera %s: %s", self._camera.name, exc.what)
            return None
        now = self._clock.monotonic()
        tally = self._tally
        tally.packets, tally.decoded, tally.last_frame = tally.packets + 1, tally.decoded + 1, now
        tally.width, tally.height, tally.time_source = picture.width, picture.height, "arrival"
        tally.running()
        return Frame(self._masker.fill(picture), pts, self._clock.wall(), "arrival", now, (now - began) * 1000.0)
