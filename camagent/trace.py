"""Where a frame's time goes: a file of Chrome trace events (JSON array format), to be opened in ui.perfetto.dev.

One row for each camera's decoding, one for its worker, and an arrow from a frame's decoding to its preparation: a long one is a
frame that waited for the model. A file whose process was killed lacks its closing bracket, which the viewers forgive.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from camagent.errors import FileUnusable
from camagent.frame import Latency, Result

LIMIT_BYTES = 256 << 20  # 300,000 frames; a trace that was forgotten must not fill the disk
_ROWS = ("decode", "worker")
_STEPS = ("preprocess", "infer", "postprocess")
_log = logging.getLogger("camagent")


@dataclass(slots=True)
class _Camera:
    """A camera's rows: the number of the first, how many frames it had, and when its last decoding ended (microseconds)."""

    row: int
    frames: int = 0
    decoded: int = 0


class Trace:
    """Writes events as frames come; any thread. A disk that takes no more ends the trace, never the agent."""

    def __init__(self, path: Path, *, limit: int = LIMIT_BYTES) -> None:
        """Starts the file anew.

        Raises:
            FileUnusable: it cannot be written.
        """
        self._path, self._left = path, limit
        self._lock = Lock()
        self._cameras: dict[str, _Camera] = {}
        self._ended = False
        try:
            self._file = path.open("w", encoding="utf-8")
            self._file.write("[\n")
            self._first = True
            self._write({"name": "process_name", "ph": "M", "tid": 0, "args": {"name": "camagent"}})
        except OSError as exc:
            raise FileUnusable.of(exc, path) from exc

    def frame(self, camera: str, result: Result, done: float) -> None:
        """The spans of one frame whose last step ended at `done` (monotonic seconds)."""
        with self._lock:
            if self._ended:
                return
            try:
                for event in _events(self._camera(camera), result, done):
                    self._write(event)
            except OSError as exc:
                self._end(f"{exc.strerror}")
            else:
                if self._left <= 0:
                    self._end("it has reached its greatest length")

    def close(self) -> None:
        """Ends the file."""
        with self._lock:
            self._ended = True
            try:
                if not self._file.closed:
                    self._file.write("\n]\n")
                    self._file.close()
            except OSError as exc:
                _log.warning("the trace %s is not complete: %s", self._path, exc.strerror)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _camera(self, name: str) -> _Camera:
        """A camera's rows; their names are written once."""
        if name not in self._cameras:
            found = self._cameras[name] = _Camera(1 + len(self._cameras) * len(_ROWS))
            for number, place in enumerate(_ROWS, found.row):
                self._write({"name": "thread_name", "ph": "M", "tid": number, "args": {"name": f"{name} {place}"}})
                self._write({"name": "thread_sort_index", "ph": "M", "tid": number, "args": {"sort_index": number}})
        return self._cameras[name]

    def _write(self, event: dict[str, Any]) -> None:
        line = ("" if self._first else ",\n") + json.dumps({"pid": os.getpid(), **event})
        self._first = False
        self._left -= len(line)
        self._file.write(line)

    def _end(self, why: str) -> None:
        self._ended = True
        _log.warning("the trace %s ends here: %s", self._path, why)


def _events(camera: _Camera, result: Result, done: float) -> Iterator[dict[str, Any]]:
    """A frame's steps back from `done`, when the last one ended (monotonic seconds), and the arrow between its rows."""
    camera.frames += 1
    about = {"cat": "frame", "args": {"frame": camera.frames, "pts": result.frame.pts}}
    begins = _begins(result.latency, done)
    for step, start, end in zip(_STEPS, begins, [*begins[1:], _us(done)], strict=True):
        yield {"name": step, "ph": "X", "ts": start, "dur": end - start, "tid": camera.row + 1, **about}
    length = _us(result.latency.decode / 1e3)
    # a decoder that reorders gives out frames whose packets came long before: rows that overlap are not drawn
    start = max(min(_us(result.frame.arrived), begins[0] - length), camera.decoded)
    camera.decoded = start + length
    yield {"name": "decode", "ph": "X", "ts": start, "dur": length, "tid": camera.row, **about}
    arrow = {"name": "waits", "cat": "frame", "id": camera.frames << 16 | camera.row}  # Perfetto passes over other than numbers
    yield {"ph": "s", "ts": start, "tid": camera.row, **arrow}
    yield {"ph": "f", "bp": "e", "ts": max(start, begins[0]), "tid": camera.row + 1, **arrow}


def _begins(latency: Latency, done: float) -> list[int]:
    """When each step began. A step ends exactly where the next begins: viewers drop spans that overlap by a tick."""
    after = (latency.preprocess + latency.infer + latency.postprocess, latency.infer + latency.postprocess, latency.postprocess)
    return [_us(done - length / 1e3) for length in after]


def _us(seconds: float) -> int:
    """Whole microseconds: fractions would let neighbours overlap once a viewer counts in nanoseconds."""
    return round(seconds * 1e6)
