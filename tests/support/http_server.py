"""HTTP servers for tests, byte by byte: what a well-kept library refuses to send is what a client has to be tested with."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]  # lower-case names
    rest: bytes  # of the body, what had come with the head


@dataclass
class Server:
    """A listening server and what it was asked. `connections` counts also those that asked nothing."""

    host: str
    port: int
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)  # set at the end of the test

    def url(self, path: str = "/", host: str | None = None) -> str:
        name = host or self.host
        return f"{self.scheme}://{f'[{name}]' if ':' in name else name}:{self.port}{path}"


Answer = Callable[[Server, Request, socket.socket], None]


@contextmanager
def serving(
    answer: Answer, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None, greet: bool = False
) -> Iterator[Server]:
    """Answers every connection in a thread of its own with `answer`, then closes it. `greet`: without reading a request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        server = Server(host, listener.getsockname()[1], "https" if tls else "http")
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                server.connections += 1
                threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
                threads[-1].start()

        def handle(connection: socket.socket) -> None:
            connection.settimeout(30)
            with suppress(OSError), connection:
                wire = tls.wrap_socket(connection, server_side=True) if tls else connection
                with wire:
                    request = Request("", "", {}, b"") if greet else read_request(wire)
                    if request is not None:
                        server.requests.append(request)
                        answer(server, request, wire)

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield server
        finally:
            server.over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            accepting.join(10)
            for thread in threads:
                thread.join(10)


def read_request(wire: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = wire.recv(65536)
        if not more:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    return Request(method, target, {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}, rest)


def head(status: int = 200, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Words", *headers, "", ""]).encode("latin-1")


def refusing(status: int, *headers: str) -> Answer:
    return lambda _server, _request, wire: wire.sendall(head(status, "Content-Length: 0", *headers))


def trap(server: Server, request: Request, wire: socket.socket) -> None:
    """A service that nobody was to reach: what counts is that it was asked."""
    wire.sendall(head(200, "Content-Length: 6") + b"secret")


@dataclass
class Files:
    """A file as a good server serves it, or a bad one: `cuts` are the bytes after which the first connections break."""

    content: bytes
    etag: str | None = None
    cuts: Sequence[int] = ()
    ranges: bool = True
    length: bool = True
    then: bytes | None = None  # the content from the second request on
    then_etag: str | None = None
    asked: int = 0

    def __call__(self, server: Server, request: Request, wire: socket.socket) -> None:
        number, self.asked = self.asked, self.asked + 1
        later = number and self.then is not None
        content = self.then if later and self.then is not None else self.content
        etag = (self.then_etag if later else None) or self.etag
        headers = [f"ETag: {etag}"] if etag else []
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        fresh = request.headers.get("if-range") in {None, etag}
        start = int(wanted[1]) if wanted and self.ranges and fresh else 0
        if start:
            headers.append(f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        if self.length:
            headers.append(f"Content-Length: {len(body)}")
        sent = body[: self.cuts[number]] if number < len(self.cuts) else body
        wire.sendall(head(206 if start else 200, *headers))
        for at in range(0, len(sent), 16384):
            wire.sendall(sent[at : at + 16384])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
