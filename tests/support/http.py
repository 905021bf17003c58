"""A real API on a free loopback port, and ways of talking to it that a well-behaved client has not."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camagent.clock import SystemClock
from camagent.config import Web
from camagent.jobs import Jobs
from camagent.web import Server
from tests.support.service import FakeService

MARK = {"X-Camagent": "1"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.body)
        return made

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass(frozen=True)
class Api:
    server: Server
    service: FakeService
    jobs: Jobs
    port: int

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *,
        timeout_s: float = 30, tls: ssl.SSLContext | None = None,
    ) -> Reply:  # fmt: skip
        made = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s, context=tls)
            if tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        )
        try:
            made.request(method, path, body, dict(headers or {}))
            answer = made.getresponse()
            return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            made.close()

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def settle(self) -> None:
        """Waits until no job of an earlier test is going on, and forgets what was asked."""
        self.service.may_go_on.set()
        if job := self.jobs.running:
            job.wait(10)
        self.service.forget()

    def raw(self, data: bytes, timeout_s: float = 20) -> bytes:
        """Bytes as they are, and everything that comes back until the other side closes."""
        with self.connect(timeout_s) as conn:
            try:
                conn.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                return b""
            return drained(conn)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *lines, "", ""]).encode("latin-1")


def drained(conn: socket.socket) -> bytes:
    answer = b""
    try:
        while part := conn.recv(65536):
            answer += part
    except ConnectionResetError:
        return answer
    return answer


def first_reply(conn: socket.socket) -> Reply:
    """The first answer on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data or len(reply(data).body) < int(reply(data).headers.get("content-length", "0")):
        part = conn.recv(65536)
        if not part:
            break
        data += part
    return reply(data)


def reply(data: bytes) -> Reply:
    """The first answer in what a raw connection gave."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in rest)}
    return Reply(int(first.split()[1]), headers, body)


@contextmanager
def serving(service: FakeService, **options: Any) -> Iterator[Api]:
    """`options`: keys of [web], and of Server (retry_s, upload_window_s, header_s, desk)."""
    own = {key: options.pop(key) for key in ("retry_s", "upload_window_s", "header_s", "desk") if key in options}
    web = Web(**{"listen": "127.0.0.1:0", **options})
    jobs = Jobs(service, SystemClock())
    server = Server(web, service, jobs, **own)
    server.start(timeout_s=20)
    try:
        assert server.address is not None, server.problem
        yield Api(server, service, jobs, server.address[1])
    finally:
        service.may_go_on.set()
        server.stop()


def token_file(folder: Path, token: str = "correct horse battery staple") -> tuple[Path, dict[str, str]]:
    path = folder / "token"
    path.write_text(token + "\n")
    return path, {"Authorization": f"Bearer {token}"}
