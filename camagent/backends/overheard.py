"""What a vendor's runtime prints: heard where it explains a failure, and never on the agent's own stdout.

Such libraries return -1 and print the reason, from C and from Python, to stdout or stderr as they like.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import threading
from collections.abc import Iterator

_OUT, _ERR = 1, 2
_KEPT = 32 * 1024  # bytes of the newest words
_DRAIN_S = 1.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_listening = threading.Lock()


class Words:
    """What was heard so far."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, chunk: bytes) -> None:
        """One more piece, in the order it was printed."""
        self._bytes = (self._bytes + chunk)[-_KEPT:]

    @property
    def lines(self) -> list[str]:
        """Whole and half lines, without colours and without empty ones."""
        said = _COLOURS.sub("", self._bytes.decode("utf-8", "replace"))
        return [line.rstrip() for line in said.splitlines() if line.strip()]


def keep_stdout() -> None:
    """From here on what is printed to descriptor 1 goes to stderr; `sys.stdout` alone writes to the real one.

    Once per process: a runtime prints while it infers too, and `--json` promises that stdout holds JSON and nothing else.
    """
    own = sys.stdout
    try:
        shared = own.fileno() == _OUT
    except (AttributeError, OSError, ValueError):  # replaced by something without a descriptor: then it is safe
        return
    if not shared:
        return
    own.flush()
    _flush_c()
    real = os.dup(_OUT)
    os.dup2(_ERR, _OUT)
    sys.stdout = open(  # noqa: SIM115, PTH123  it lives as long as the process
        real, "w", encoding=own.encoding, errors=own.errors, buffering=1 if own.isatty() else -1
    )


@contextlib.contextmanager
def overhear() -> Iterator[Words]:
    """Listens to everything that this process prints to descriptors 1 and 2, and passes it on to stderr as it comes.

    Other threads' lines are passed on too, a moment late. One listener at a time: a second one hears nothing.
    """
    words = Words()
    if not _listening.acquire(blocking=False):
        yield words
        return
    try:
        with _diverted(words):
            yield words
    finally:
        _listening.release()


@contextlib.contextmanager
def _diverted(words: Words) -> Iterator[None]:
    _flush_c()
    read, write = os.pipe()
    kept = {number: os.dup(number) for number in (_OUT, _ERR)}
    pump = threading.Thread(target=_pump, args=(read, os.dup(_ERR), words), name="overheard", daemon=True)
    pump.start()
    for number in kept:
        os.dup2(write, number)
    os.close(write)
    try:
        yield
    finally:
        _flush_c()
        for number, file in kept.items():
            os.dup2(file, number)
            os.close(file)
        pump.join(_DRAIN_S)  # a child that inherited the pipe may hold it open: then the thread goes on passing on


def _pump(read: int, to: int, words: Words) -> None:
    try:
        while chunk := os.read(read, 4096):
            words.add(chunk)
            with contextlib.suppress(OSError):  # stderr is closed: there is nobody left to tell
                os.write(to, chunk)
    finally:
        os.close(read)
        os.close(to)


def _flush_c() -> None:
    """C's own buffers: what lies in stdout's comes out only when it is full, wherever descriptor 1 then leads."""
    ctypes.CDLL(None).fflush(None)
