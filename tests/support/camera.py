"""Cameras and clips for the tests: a real RTSP server as a child process, plain sockets that misbehave, and a viewer."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import pytest

from camagent.clock import SystemClock
from camagent.config import Camera
from camagent.frame import Frame
from camagent.slot import Slot
from camagent.sources import SourceStatus
from camagent.sources.rtsp import RtspSource

SERVER = Path(__file__).with_name("rtsp_camera.py")
SYSTEM_PYTHON = "/usr/bin/python3"
CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "veryfast", "-x264-params", "log-level=error"],
    "h265": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"],
    # RTP carries no Huffman tables, so the picture must use the standard's own
    "mjpeg": ["-c:v", "mjpeg", "-huffman", "default", "-q:v", "5", "-pix_fmt", "yuvj420p"],
}


@functools.cache
def _why_no_server() -> str:
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, timeout=60, check=False)
    except OSError as exc:
        return str(exc)
    return done.stderr.decode("utf-8", "replace").strip().splitlines()[-1] if done.returncode else ""


def need_server() -> None:
    if reason := _why_no_server():
        pytest.skip(f"GStreamer's RTSP server is not installed: {reason}")


def need_ffmpeg() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


class Clips:
    """Short clips of a moving test picture, encoded once per folder."""

    def __init__(self, folder: Path) -> None:
        need_ffmpeg()
        self._folder = folder

    def make(
        self, codec: str = "h264", *, size: str = "640x360", fps: int = 10, gop: int = 10, seconds: float = 4,
        bframes: int = 0, suffix: str = "", slices: int = 1,
    ) -> Path:  # fmt: skip
        suffix = suffix or ("mkv" if codec == "mjpeg" else "mp4")
        path = self._folder / f"{codec}-{size}-{fps}-{gop}-{seconds}-{bframes}-{slices}.{suffix}"
        if not path.exists():
            gop_options = [] if codec == "mjpeg" else ["-g", str(gop), "-bf", str(bframes)]
            if slices > 1:
                small_blocks = ":ctu=16" if codec == "h265" else ""  # a slice is at least a row of them
                gop_options += [CODECS[codec][-2], f"{CODECS[codec][-1]}:slices={slices}{small_blocks}"]
            source = f"testsrc2=size={size}:rate={fps}:duration={seconds}"
            command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-threads", "1"]
            subprocess.run([*command, *CODECS[codec], *gop_options, str(path)], check=True, timeout=120)
        return path


class RtspCamera:
    """The RTSP server in rtsp_camera.py; `url` stays the same when it is killed and started again."""

    def __init__(
        self, *clips: Path, codec: str = "h264", port: int | None = None, options: tuple[str, ...] = (), host: str = "127.0.0.1"
    ) -> None:
        need_server()
        self.clips, self.codec, self.options = clips, codec, ("--address", host, *options)
        self.port = port or free_port(host)
        self.url = f"rtsp://{host}:{self.port}/cam"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        assert self._process is None
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), *map(str, self.clips), "--port", str(self.port), "--codec", self.codec, *self.options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._answer() == "ready", "the RTSP camera did not start"

    def kill(self) -> None:
        """As a power cut would: no TEARDOWN, no BYE."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def command(self, words: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def misbehaving(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A TCP server whose `serve(connection, over)` does as it likes with every client; gives its rtsp:// address."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection, over)
            except OSError:
                return  # the client left, as it should

    def accept(server: socket.socket) -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        acceptor = threading.Thread(target=accept, args=(server,), daemon=True)
        acceptor.start()
        try:
            yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            for thread in [acceptor, *threads]:
                thread.join(5)


class Viewer:
    """Runs a source the way the agent does, and keeps the times and sizes of the frames it was handed."""

    def __init__(
        self, url: str, *, open_timeout_s: float = 10.0, seed: int = 1, hold_s: float = 0.0, keep: int = 100, **settings: Any
    ) -> None:
        camera = Camera(name="view", url=url, **{"fps": 100.0, **settings})
        self.source = RtspSource(camera, clock=SystemClock(), rng=Random(seed), open_timeout_s=open_timeout_s)
        self.slot: Slot[Frame] = Slot()
        self.stop = threading.Event()
        self.frames: list[Frame] = []  # the newest `keep`
        self.taken_at: list[float] = []
        self.failure: BaseException | None = None
        self._keep = keep
        self._hold_s = hold_s
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._taker = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        self._taker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.stop.set()
        self._reader.join(15)
        self.slot.close()
        self._taker.join(5)
        assert not self._reader.is_alive(), "the reader does not stop"
        if self.failure is not None and exc is None:
            raise self.failure

    def stopped_in(self) -> float:
        """Seconds the reader needs to end."""
        began = time.monotonic()
        self.stop.set()
        self._reader.join(15)
        return time.monotonic() - began

    @property
    def status(self) -> SourceStatus:
        return self.source.status()

    @property
    def count(self) -> int:
        return len(self.taken_at)

    def wait(self, condition: Callable[[SourceStatus], bool], timeout_s: float, what: str = "condition") -> float:
        """Seconds until the status (or anything else) is as wanted."""
        began = time.monotonic()
        while not condition(self.status):
            assert self.failure is None, self.failure
            assert time.monotonic() - began < timeout_s, f"{what} not within {timeout_s} s: {self.status}"
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_frames(self, more: int = 1, timeout_s: float = 10.0) -> float:
        wanted = self.count + more
        return self.wait(lambda _: self.count >= wanted, timeout_s, f"{more} more frames")

    def _read(self) -> None:
        try:
            self.source.run(self.stop, self.slot)
        except BaseException as exc:
            self.failure = exc

    def _take(self) -> None:
        while (frame := self.slot.take(0.2)) is not None or not self.slot.closed:
            if frame is not None:
                self.taken_at.append(time.monotonic())
                self.frames.append(frame)
                del self.frames[: -self._keep]
                time.sleep(self._hold_s)


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def rss_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
