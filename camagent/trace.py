"""Where a frame's time goes: a file of Chrome trace events (JSON array format), to be opened in ui.perfetto.dev.

One row for each camera's decoding, one for its worker; a gap between them is a frame that waited for the model. A file whose
process was killed lacks its closing bracket, which the viewers forgive.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from camagent.errors import FileUnusable
from camagent.frame import Latency, Result

LIMIT_BYTES = 256 << 20  # half a million frames; a trace that was forgotten must not fill the disk
_ROWS = ("decode", "worker")
_log = logging.getLogger("camagent")


class Trace:
    """Writes events as frames come; any thread. A disk that takes no more ends the trace, never the agent."""

    def __init__(self, path: Path, *, limit: int = LIMIT_BYTES) -> None:
        """Starts the file anew.

        Raises:
            FileUnusable: it cannot be written.
        """
        self._path, self._left = path, limit
        self._lock = Lock()
        self._rows: dict[str, int] = {}
        self._ended = False
        try:
            self._file = path.open("w", encoding="utf-8")
            self._file.write("[\n")
        except OSError as exc:
            raise FileUnusable.of(exc, path) from exc
        self._first = True

    def frame(self, camera: str, result: Result, done: float) -> None:
        """The spans of one frame whose last step ended at `done` (monotonic seconds)."""
        spans = tuple(_spans(result.latency, result.frame.arrived, done))
        with self._lock:
            if self._ended:
                return
            try:
                row = self._row_of(camera)
                for place, name, start, length in spans:
                    self._write({"name": name, "ph": "X", "ts": start, "dur": length, "tid": row + _ROWS.index(place)})
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

    def _row_of(self, camera: str) -> int:
        """The first of a camera's rows; their names are written once."""
        if camera not in self._rows:
            first = self._rows[camera] = 1 + len(self._rows) * len(_ROWS)
            for number, place in enumerate(_ROWS):
                named = {"name": f"{camera} {place}"}
                self._write({"name": "thread_name", "ph": "M", "tid": first + number, "args": named})
        return self._rows[camera]

    def _write(self, event: dict[str, Any]) -> None:
        line = ("" if self._first else ",\n") + json.dumps({"pid": os.getpid(), **event})
        self._first = False
        self._left -= len(line)
        self._file.write(line)

    def _end(self, why: str) -> None:
        self._ended = True
        _log.warning("the trace %s ends here: %s", self._path, why)


def _spans(latency: Latency, arrived: float, done: float) -> Iterator[tuple[str, str, int, int]]:
    """(row, step, start, length) in microseconds, from the step's lengths and the moment when the last one ended."""
    at = done
    for name in ("postprocess", "infer", "preprocess"):
        length = getattr(latency, name) / 1e3
        at -= length
        yield "worker", name, round(at * 1e6), round(length * 1e6)
    length = latency.decode / 1e3
    yield "decode", "decode", round(min(arrived, at - length) * 1e6), round(length * 1e6)
