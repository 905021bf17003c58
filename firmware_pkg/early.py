"""Hears an answer that comes while the request is still being sent: an upload is spared, and its refusal is not lost.

A server that refuses an upload answers at once and hangs up. Who goes on sending gets "connection reset" in place of the
answer, over TLS for certain; so the connection is read, without waiting, before each block that is sent.
"""

from __future__ import annotations

import io
import ssl
from functools import partial
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection
from urllib3.response import HTTPResponse as Answer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_SOME = 64 * 1024


class _Joined(io.RawIOBase):
    """What was heard early, then the rest of the connection."""

    def __init__(self, early: bytes, rest: Any) -> None:
        super().__init__()
        self._early, self._rest = early, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._early[: len(view)] or self._rest.read1(len(view))
        self._early = self._early[len(data) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()


class _Heard(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, early: bytes, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Joined(early, self.fp))


class Attentive(HTTPConnection):
    """A connection that stops sending when it is answered. `send_s`: how long one block may take; None: as it comes."""

    def __init__(self, *args: Any, send_s: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._send_s = send_s
        self._early = b""

    def send(self, data: Any) -> None:
        """As ever. Raises BrokenPipeError when the answer is there: urllib3 then goes on to read it."""
        if self._send_s is None or self.sock is None:
            super().send(data)
            return
        if self._is_answered():
            raise BrokenPipeError
        self.sock.settimeout(self._send_s)
        try:
            super().send(data)
        except OSError as exc:
            if self._is_answered() and self._early:
                raise BrokenPipeError from exc
            raise

    def getresponse(self) -> Answer:  # type: ignore[override]  # urllib3's own departure from http.client
        """As ever, with what was heard early in front."""
        if self._early:
            self.response_class = partial(_Heard, early=self._early)  # type: ignore[assignment]
            self._early = b""
        return super().getresponse()

    def _is_answered(self) -> bool:
        """Whether there is an answer, or an end of the connection, to be read."""
        self.sock.settimeout(0)
        try:
            self._early += self.sock.recv(_SOME)
        except _NOTHING_YET:
            return False
        except OSError:  # reset: the next read will say so
            return True
        return True
