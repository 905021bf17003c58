"""The sockets under the API: how many may be open, how long one may say nothing, and what becomes of one that does not read.

uvicorn bounds none of these by itself, and a camera has few descriptors.
"""

from __future__ import annotations

import asyncio
import json
import socket
import weakref
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from camagent.web.guard import HEAD_BYTES

CONNECTIONS = 128
PER_ADDRESS = 64
HEADER_S = 10.0  # from the connection, or from the first byte of a further request, to the end of its head
UNREAD_MS = 30_000  # that the other side may leave an answer unread
_LAST_WORDS_S = 0.5  # for answers that are under way when the agent stops


class Listener(socket.socket):
    """A listening socket that closes what is too much at once, before a byte of it is read or a TLS handshake begins."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.turned_away = 0

    @classmethod
    def bound(cls, host: str, port: int) -> Listener:
        """Listens on the first address that `host` stands for; an empty one is every address. Raises OSError."""
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # noqa: S104
        family, *_, address = found[0]
        listener = cls(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(CONNECTIONS)
        except OSError:
            listener.close()
            raise
        return listener

    def accept(self) -> tuple[socket.socket, Any]:
        """As any socket. Raises ConnectionAbortedError for one too many, which asyncio passes over."""
        conn, address = super().accept()
        open_now = [each for each in self._open if each.fileno() != -1]
        mine = Counter(_peer(each) for each in open_now)[address[0]]
        if len(open_now) >= CONNECTIONS or mine >= PER_ADDRESS:
            conn.close()
            self.turned_away += 1
            raise ConnectionAbortedError
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._open.add(conn)
        return conn, address


class Connection(H11Protocol):
    """uvicorn's, with a deadline for a request's head, and with refusals that are JSON like all others."""

    header_s = HEADER_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The other side has connected: the first request is due."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.header_s, self._too_late)

    def data_received(self, data: bytes) -> None:
        """Bytes came: a request's head, its body, or what is left of a body after the answer."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_s, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._forget_deadline()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The agent stops: what is not answered in a moment is cut off, whoever follows a job or uploads."""
        super().shutdown()
        self.loop.call_later(_LAST_WORDS_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP: told where an answer may still be written, cut off where one is under way."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering or self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        body = json.dumps({
            "code": "NO_HTTP", "what": "this is no HTTP request that can be read", "evidence": {"reason": msg},
            "fix": f"send HTTP/1.1 with a head of at most {HEAD_BYTES} bytes, to the right port",
        }).encode()  # fmt: skip
        headers = [
            (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
            (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"),
        ]  # fmt: skip
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _too_late(self) -> None:
        self._deadline = None
        self.transport.abort()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _peer(conn: socket.socket) -> str:
    try:
        return str(conn.getpeername()[0])
    except OSError:  # it has gone, and asyncio has not noticed yet
        return ""
