"""Brokers that mosquitto cannot be told to be: they answer CONNECT as a script says, and more where a test needs it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


@dataclass
class Connection:
    """One client, read packet by packet."""

    sock: socket.socket
    version: int = 0
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def read(self) -> tuple[int, int, bytes] | None:
        """(packet type, flags, body); None at the end."""
        head = self._exactly(1)
        if head is None:
            return None
        length = shift = 0
        while True:
            byte = self._exactly(1)
            if byte is None:
                return None
            length |= (byte[0] & 127) << shift
            shift += 7
            if not byte[0] & 128:
                break
        body = self._exactly(length)
        return None if body is None else (head[0] >> 4, head[0] & 15, body)

    def _exactly(self, length: int) -> bytes | None:
        data = b""
        while len(data) < length:
            try:
                more = self.sock.recv(length - len(data))
            except OSError:
                return None
            if not more:
                return None
            data += more
        return data

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            return

    def serve(self, *, stop_acks_after: int = 1 << 30) -> None:
        """Behaves: acknowledges publishes and subscriptions until the client goes."""
        five = self.version == 5
        while (packet := self.read()) is not None:
            kind, flags, body = packet
            if kind == PUBLISH:
                size = int.from_bytes(body[:2], "big")
                qos = (flags >> 1) & 3
                at = 2 + size + (2 if qos else 0)
                self.published.append((body[2 : 2 + size].decode(), body[at + five :]))
                if qos and len(self.published) <= stop_acks_after:
                    self.send(b"\x40\x02" + body[2 + size : at])
            elif kind == SUBSCRIBE:
                self.send(bytes([0x90, 4 if five else 3]) + body[:2] + (b"\0\x01" if five else b"\x01"))
            elif kind == PINGREQ:
                self.send(b"\xd0\0")
            elif kind == DISCONNECT:
                return


class FakeBroker:
    """`answer(connection)` is called for every CONNECT, in its own thread; when it returns, the connection is closed."""

    def __init__(self, answer: Callable[[Connection], None]) -> None:
        self.versions: list[int] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        with sock:
            packet = connection.read()
            if packet is not None and packet[0] == CONNECT:
                connection.version = packet[2][6]
                self.versions.append(connection.version)
                self._answer(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(5)


@contextmanager
def faking(answer: Callable[[Connection], None]) -> Iterator[FakeBroker]:
    broker = FakeBroker(answer)
    try:
        yield broker
    finally:
        broker.close()


def connack(version: int, code: int = 0, properties: bytes = b"") -> bytes:
    body = bytes([0, code]) + (bytes([len(properties)]) + properties if version == 5 else b"")
    return bytes([0x20, len(body)]) + body


def accept(connection: Connection) -> None:
    """The least a broker can do."""
    connection.send(connack(connection.version))
    connection.serve()
