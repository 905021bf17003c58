"""WebSocket in front of a broker that speaks TCP only (Debian's mosquitto is built so). One client, small frames, slow."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Client:
    """The client's socket, with or without TLS; one lock, for TLS sockets are not to be read and written at once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(0.005)
        self._lock = threading.Lock()

    def exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                with self._lock:
                    more = self._sock.recv(length - len(data))
            except TimeoutError:
                continue
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def send(self, data: bytes) -> None:
        with self._lock:
            self._sock.settimeout(5)
            self._sock.sendall(data)
            self._sock.settimeout(0.005)


def _shake_hands(client: _Client) -> None:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += client.exactly(1)
    headers = dict(line.lower().split(b":", 1)[:1] + line.split(b":", 1)[1:] for line in request.split(b"\r\n") if b":" in line)
    key = headers[b"sec-websocket-key"].strip()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    client.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def _inward(client: _Client, server: socket.socket, pause_s: float) -> None:
    """Frames to bytes."""
    while True:
        head = client.exactly(2)
        length = head[1] & 127
        if length > 125:
            length = int.from_bytes(client.exactly(2 if length == 126 else 8), "big")
        mask = client.exactly(4)
        data = bytearray()
        while len(data) < length:  # slowly, so that the client's socket fills up in the middle of a frame
            data += client.exactly(min(16384, length - len(data)))
            time.sleep(pause_s)
        padded = (mask * (length // 4 + 1))[:length]
        if head[0] & 15 == 8:
            return
        server.sendall((int.from_bytes(data, "big") ^ int.from_bytes(padded, "big")).to_bytes(length, "big"))


def _outward(client: _Client, server: socket.socket) -> None:
    """Bytes to frames."""
    while data := server.recv(100):
        client.send(bytes([0x82, len(data)]) + data)


@contextmanager
def websocket_gateway(target: int, pause_s: float = 0.0, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port on which WebSocket clients are served, one after the other."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def outward(client: _Client, server: socket.socket) -> None:
        try:
            _outward(client, server)
        except OSError:
            return

    def serve(raw: socket.socket) -> None:
        with raw if context is None else context.wrap_socket(raw, server_side=True) as sock:
            client = _Client(sock)
            _shake_hands(client)
            with socket.create_connection(("127.0.0.1", target)) as server:
                out = threading.Thread(target=outward, args=(client, server), daemon=True)
                out.start()
                try:
                    _inward(client, server, pause_s)
                finally:
                    server.shutdown(socket.SHUT_RDWR)
                    out.join(5)

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                serve(raw)
            except OSError:
                raw.close()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
