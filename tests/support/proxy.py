"""A TCP proxy between a client and a broker that a test can cut, silence and restore."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """One thread; every connection to `port` of `host` is passed on to port `target` of it."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target = target
        self._host = host
        self.accepted = 0
        self._silent = False
        self._closing = False
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._closing = True
        self._wake_write.send(b"x")
        self._thread.join(5)
        self.cut()
        for sock in (self._wake_read, self._wake_write):
            sock.close()
        self._selector.close()

    def cut(self) -> None:
        """Both ends of every connection are closed, and new ones are refused."""
        with self._lock:
            if self._listener.fileno() >= 0:
                self._selector.unregister(self._listener)
                self._listener.close()
            for sock in list(self._pairs):
                self._drop(sock)

    def silence(self) -> None:
        """Connections stay, new ones are accepted, and not a byte passes."""
        with self._lock:
            self._silent = True
            for sock in self._pairs:
                self._selector.unregister(sock)

    def restore(self) -> None:
        """Back to normal; connections that were silenced are dropped."""
        with self._lock:
            if self._silent:
                self._silent = False
                for sock in list(self._pairs):
                    self._drop(sock, registered=False)
            if self._listener.fileno() < 0:
                self._listener = self._listen(self.port)
        self._wake_write.send(b"x")

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((self._host, port))
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.05):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with self._lock:
                    if sock is self._wake_read:
                        sock.recv(4096)
                    elif sock is self._listener:
                        self._accept()
                    elif sock in self._pairs and not self._silent:
                        self._pass(sock)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        try:
            server = socket.create_connection((self._host, self.target), timeout=2)
        except OSError:
            client.close()
            return
        self._pairs[client], self._pairs[server] = server, client
        if not self._silent:
            self._selector.register(client, selectors.EVENT_READ)
            self._selector.register(server, selectors.EVENT_READ)

    def _pass(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
            if data:
                self._pairs[sock].sendall(data)
                return
        except OSError:
            data = b""
        self._drop(sock)

    def _drop(self, sock: socket.socket, *, registered: bool = True) -> None:
        other = self._pairs.pop(sock, None)
        for end in (sock, other):
            if end is None:
                continue
            self._pairs.pop(end, None)
            if registered:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(end)
            end.close()
