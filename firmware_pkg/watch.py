"""Cuts a connection whose time is over, from a thread of its own: no handshake, header, chunk or trailer can outlast it.

Time-outs of a socket hold for one read; a server that sends a byte now and then never meets them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

from firmware_pkg.order import Limits

Verdict: TypeAlias = Literal["deadline", "too-slow", "stopped"]
_TICK_S = 0.1


@dataclass(slots=True)
class Pace:
    """Bytes per second of waiting for the server. While nobody reads, because the disk is slow, no time is counted."""

    rate: int  # bytes per second
    window_s: float
    waited: float = 0.0
    got: int = 0
    since: float | None = None  # when the present wait began

    def begin(self, now: float) -> None:
        """Starts to wait for the server."""
        self.since = now

    def end(self, now: float, got: int) -> None:
        """Something came. A window that was fast enough is forgotten."""
        self.waited += now - (now if self.since is None else self.since)
        self.got += got
        self.since = None
        if self.waited >= self.window_s and not self.too_slow(now):
            self.waited, self.got = 0.0, 0

    def too_slow(self, now: float) -> bool:
        """Whether a whole window has passed with less than the rate."""
        waited = self.waited + (now - self.since if self.since is not None else 0.0)
        return waited >= self.window_s and self.got < self.rate * waited


class Watch:
    """Watches the connections of one download, one after the other. `verdict` says why it has cut them."""

    def __init__(self, limits: Limits, size: int, stop: threading.Event) -> None:
        """Starts the clock and the thread."""
        self.verdict: Verdict | None = None
        self.total_s = limits.total(size)
        self.pace = Pace(limits.rate, limits.window_s)
        self._deadline = time.monotonic() + self.total_s
        self._stop = stop
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._head_ends: float | None = None
        self._thread = threading.Thread(target=self._run, name="download-watch", daemon=True)
        self._thread.start()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at least a moment."""
        return max(0.001, self._deadline - time.monotonic())

    def opened(self, sock: socket.socket) -> None:
        """A connection was made. Its duplicate stays valid when TLS takes the socket over."""
        with self._lock:
            self._forget()
            self._socket = sock.dup()
            if self.verdict:
                self._cut()

    def closed(self) -> None:
        """The connection was given up; without this the duplicate would keep it open."""
        with self._lock:
            self._forget()

    @contextmanager
    def head(self, seconds: float) -> Iterator[None]:
        """Around what is no body (connecting, TLS, an answer's head, what follows the body): within these seconds, or cut.

        Raises:
            TimeoutError: in place of what the cut looked like.
        """
        self._head_ends = time.monotonic() + seconds
        try:
            yield
        except Exception as exc:
            if self._head_ends is not None and time.monotonic() >= self._head_ends:
                raise TimeoutError from exc
            raise
        finally:
            self._head_ends = None

    @contextmanager
    def body(self) -> Iterator[list[int]]:
        """Around every read of a body; the caller puts into the list how many bytes came."""
        came: list[int] = []
        with self._lock:
            self.pace.begin(time.monotonic())
        try:
            yield came
        finally:
            with self._lock:
                self.pace.end(time.monotonic(), sum(came))

    def pause(self, seconds: float) -> None:
        """Waits before another attempt; ends early with a verdict."""
        end = time.monotonic() + seconds
        while self.look() is None and (left := end - time.monotonic()) > 0:
            self._stop.wait(min(left, _TICK_S))

    def look(self) -> Verdict | None:
        """The verdict as of now; the first one stays."""
        now = time.monotonic()
        with self._lock:
            if self.verdict is None:
                if self._stop.is_set():
                    self.verdict = "stopped"
                elif now >= self._deadline:
                    self.verdict = "deadline"
                elif self.pace.too_slow(now):
                    self.verdict = "too-slow"
            return self.verdict

    def close(self) -> None:
        """Ends the thread and forgets the connection."""
        self._over.set()
        self._thread.join()
        self.closed()

    def _run(self) -> None:
        while not self._over.wait(_TICK_S):
            head_ends = self._head_ends
            if self.look() is not None or (head_ends is not None and time.monotonic() >= head_ends):
                with self._lock:
                    self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the server has closed it meanwhile: that is what is wanted
                self._socket.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
