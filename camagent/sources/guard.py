"""Ends a read that blocks, from outside: by shutting down the session's TCP connection.

Why not PyAV's own read time-out: its callback takes the GIL about three times per RTP packet. Measured on a 1080p
stream beside one busy Python thread (a self-test, a page being rendered), pictures then come 570 ms late on average and
1.7 s at worst; without the callback 11 ms. FFmpeg's socket time-outs cannot replace it: a few bytes a second, or RTCP
reports alone, renew them for ever. The connection also carries RTSP over UDP, so one shutdown ends either transport,
and `stop` ends a session at once instead of at the next packet.

The connection is found in /proc right after opening, as the one that was not there before. Where that is not possible
or not unique, the session is opened again with PyAV's time-out, which is slower but certain.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from camagent.clock import Clock

Line: TypeAlias = socket.socket  # a second handle of the session's connection

LOOK_EVERY_S = 0.25
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(slots=True)
class _Turn:
    """Who may open a session with one server, and since when somebody does."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    since: float = field(default_factory=time.monotonic)


_turns: dict[tuple[str, int], _Turn] = {}
_turns_lock = threading.Lock()


@contextmanager
def turn(host: str, port: int, stopped: Callable[[], bool], patience_s: float) -> Iterator[bool]:
    """One opening per server at a time, so that a new connection to it is surely one's own; False when stopped meanwhile.

    A recorder with sixteen channels is not met by sixteen handshakes at once either. Whoever has had the turn for `patience_s`
    hangs: the next one goes ahead.
    """
    with _turns_lock:
        current = _turns.setdefault((host, port), _Turn())
    while not current.lock.acquire(timeout=LOOK_EVERY_S):
        if stopped():
            yield False
            return
        if time.monotonic() - current.since > patience_s:
            with _turns_lock:
                if _turns[host, port] is current:
                    _turns[host, port] = _Turn()
                current = _turns[host, port]
    current.since = time.monotonic()
    try:
        yield True
    finally:
        current.lock.release()


def available() -> bool:
    """Whether this system tells which sockets a process has."""
    return _DESCRIPTORS.is_dir()


def open_sockets() -> frozenset[str]:
    """The kernel's names of this process's sockets."""
    return frozenset(_descriptors())


def connection_since(before: frozenset[str], host: str, port: int) -> Line | None:
    """A second handle of the one connection to host:port that `before` did not have; None when it is not exactly one."""
    found = [handle for name, fd in _descriptors().items() if name not in before and (handle := _connected(fd, port))]
    if len(found) > 1:
        addresses = _addresses(host, port)
        found, others = (
            [handle for handle in found if _peer(handle)[0] in addresses],
            [handle for handle in found if _peer(handle)[0] not in addresses],
        )
        for handle in others:
            handle.close()
    if len(found) == 1:
        return found[0]
    for handle in found:
        handle.close()
    return None


class Guard:
    """Watches one session: for `stop`, and for `limit_s` without a packet (`first_s` for the first one).

    Without a connection to shut down it only counts.
    """

    def __init__(
        self, line: Line | None, stop: threading.Event, clock: Clock, *, limit_s: float, first_s: float, name: str
    ) -> None:
        self._line, self._stop, self._clock = line, stop, clock
        self._limit_s, self._patience_s = limit_s, first_s
        self.packets = 0
        self._done = threading.Event()
        self._fed = clock.monotonic()
        self.stalled = False
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self) -> Self:
        if self._line is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        if self._line is not None:
            self._thread.join()
            self._line.close()

    def fed(self) -> None:
        """A packet came."""
        self.packets += 1
        self._patience_s = self._limit_s
        self._fed = self._clock.monotonic()

    def _watch(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            self.stalled = self._clock.monotonic() - self._fed > self._patience_s
            if self.stalled or self._stop.is_set():
                self._cut()
                return

    def _cut(self) -> None:
        assert self._line is not None
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster: the read has ended already


def _descriptors() -> dict[str, int]:
    """This process's sockets: the kernel's name of each, and its descriptor."""
    sockets: dict[str, int] = {}
    try:
        entries = list(_DESCRIPTORS.iterdir())
    except OSError:  # no /proc here: the caller falls back
        return sockets
    for entry in entries:
        try:
            name = str(entry.readlink())
        except OSError:  # closed between listing and looking, like the listing's own descriptor
            continue
        if name.startswith("socket:"):
            sockets[name] = int(entry.name)
    return sockets


def _connected(fd: int, port: int) -> Line | None:
    """A second handle of a TCP connection to `port`, None for any other socket."""
    try:
        copy = os.dup(fd)
    except OSError:  # closed since it was listed
        return None
    try:
        handle = socket.socket(fileno=copy)
    except OSError:  # and its number given to a file
        os.close(copy)
        return None
    if handle.family in (socket.AF_INET, socket.AF_INET6) and handle.type == socket.SOCK_STREAM and _peer(handle)[1] == port:
        return handle
    handle.close()
    return None


def _peer(handle: Line) -> tuple[str, int]:
    try:
        name = handle.getpeername()
    except OSError:  # not connected: a listening socket, or one that is just being opened
        return "", 0
    return str(name[0]), int(name[1])


def _addresses(host: str, port: int) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:  # resolved a moment ago, not any more: nothing can be told apart
        return set()
