"""FFmpeg's side effects in one place: what it says while it works, and what its errors may give away."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging

# Messages heard while nobody captures them (another camera's decoder, say) end here: FFmpeg's own lines may hold
# addresses with passwords, and decoder chatter is counted, not printed.
_logger = logging.getLogger("libav")
_logger.addHandler(logging.NullHandler())
_logger.propagate = False
av.logging.set_skip_repeated(False)  # the second refusal says the same as the first, and is wanted as much

_lock = threading.Lock()
_listeners = 0
_OWN_OPTIONS = re.compile(r"\?timeout=-?\d+")  # FFmpeg writes its own option into the address that it names


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Collects FFmpeg's error lines of this thread: the server's own word ("453 Not Enough Bandwidth") is only there.

    FFmpeg is listened to during these blocks alone: each line takes the GIL, and a damaged stream says thousands.
    """
    global _listeners  # noqa: PLW0603  FFmpeg has one log level per process
    heard: list[str] = []
    with _lock:
        _listeners += 1
        av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            try:
                yield heard
            finally:
                heard.extend(message.strip() for _level, _name, message in lines)
    finally:
        with _lock:
            _listeners -= 1
            if not _listeners:
                av.logging.set_level(None)


def without_secrets(exc: av.FFmpegError, shown: str) -> av.FFmpegError:
    """A copy of an FFmpeg error that names `shown` instead of the address it was opened with, for `raise .. from`."""
    return type(exc)(exc.errno or 0, exc.strerror or type(exc).__name__, shown)


def said(exc: av.FFmpegError, heard: list[str]) -> str:
    """The most telling words about a failure: FFmpeg's last error line, else the error's own text."""
    return _OWN_OPTIONS.sub("", heard[-1]) if heard else str(exc.strerror or type(exc).__name__)
