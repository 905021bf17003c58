"""Ends the network thread's wait from another thread."""

from __future__ import annotations

import socket


class Wake:
    """One end is polled, the other is written to."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        for end in (self._read, self._write):
            end.setblocking(False)  # noqa: FBT003  Python's own signature

    def set(self) -> None:
        """Any thread; after `close` it does nothing."""
        try:
            self._write.send(b"\0")
        except BlockingIOError:  # it is awake already
            return
        except OSError:
            if self._write.fileno() >= 0:
                raise

    def clear(self) -> None:
        """The network thread, when it woke."""
        try:
            self._read.recv(4096)
        except BlockingIOError:  # somebody else's wake-up was read with an earlier one
            return

    def fileno(self) -> int:
        """For poll()."""
        return self._read.fileno()

    def close(self) -> None:
        """Nobody waits any more."""
        self._read.close()
        self._write.close()
