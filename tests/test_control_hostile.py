"""What somebody in the agent's group may send by mistake or on purpose over the control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.control import ControlServer
from camagent.control.protocol import DESCRIPTORS, REQUEST_BYTES, TRUST_BYTES
from camagent.service import Event
from tests.support.service import FakeService, package


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def server(tmp_path: Path, service: FakeService) -> Iterator[ControlServer]:
    (tmp_path / "run").mkdir()
    made = ControlServer(tmp_path / "run", service, request_s=0.5)
    made.start()
    yield made
    made.stop()


def raw(server: ControlServer, data: bytes, files: list[int] | None = None) -> list[Event]:
    """What a stranger may send, and every line that comes back."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(20)
        conn.connect(str(server.path))
        with contextlib.suppress(BrokenPipeError):  # refused before it had read everything
            socket.send_fds(conn, [data], files or [])
        answer = b""
        while part := received(conn):
            answer += part
    return [json.loads(line) for line in answer.splitlines()]


def received(conn: socket.socket) -> bytes:
    try:
        return conn.recv(65536)
    except ConnectionResetError:  # it left something of ours unread: its answer has been read before
        return b""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"hello\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100 + b"\n", b"\xff\xfe\n", b"[]\n", b"{}\n",
        b'{"op":"reboot"}\n', b'{"op":"status","x":1}\n', b'{"op":"activate","name":"' + b"a" * 49 + b'"}\n',
        b'{"op":"install","force":"yes"}\n', b"[" * 60_000 + b"\n", b'{"op":"status","op":["status"]}\n',
        b"x" * (REQUEST_BYTES + 1) + b"\n", b"x" * (REQUEST_BYTES + 1),
        b'{"op":"install"}\n', b'{"op":"trust"}\n',
    ],
    ids=lambda line: repr(line[:24]),
)  # fmt: skip
def test_what_is_no_request_is_a_sentence(server: ControlServer, service: FakeService, line: bytes) -> None:
    answer = raw(server, line)
    assert [list(event) for event in answer] == [["refusal"]]
    assert answer[0]["refusal"]["code"] == "REQUEST_INVALID"
    assert answer[0]["refusal"]["fix"]
    assert service.asked == []


def test_descriptors_that_nobody_asked_for_are_closed(server: ControlServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(package(10))
    before = descriptors()
    for count in (1, DESCRIPTORS + 1, 40):
        with (tmp_path / "a").open("rb") as file:
            answer = raw(server, b'{"op":"status"}\n' if count == 1 else b'{"op":"install"}\n', [file.fileno()] * count)
        assert ("result" in answer[0]) == (count == 1)
    with (tmp_path / "a").open("rb") as file, socket.socket(socket.AF_UNIX) as conn:
        conn.connect(str(server.path))
        socket.send_fds(conn, [b'{"op":"inst'], [file.fileno()])  # and then gone
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert descriptors() == before


def test_only_a_regular_file_open_for_reading_is_taken(server: ControlServer, service: FakeService, tmp_path: Path) -> None:
    ends = os.pipe()
    (tmp_path / "write-only").touch()
    strange = [
        os.open(tmp_path, os.O_RDONLY), ends[0], os.open("/dev/zero", os.O_RDONLY),
        os.open(tmp_path / "write-only", os.O_WRONLY), os.open(tmp_path / "write-only", os.O_PATH),
    ]  # fmt: skip
    for descriptor in strange:
        answer = raw(server, b'{"op":"install"}\n', [descriptor])
        assert answer[0]["refusal"]["code"] == "REQUEST_INVALID"
    for descriptor in {*strange, *ends}:
        os.close(descriptor)
    assert service.asked == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"roots":[]}', b'{"roots":["!"]}', b'{"roots":[1]}', b'{"x":[]}'])
def test_a_chain_of_roots_that_is_none_is_a_sentence(server: ControlServer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "roots").write_bytes(content)
    with (tmp_path / "roots").open("rb") as file:
        answer = raw(server, b'{"op":"trust"}\n', [file.fileno()])
    assert answer[0]["refusal"]["code"] == "REQUEST_INVALID"


def test_an_endless_chain_of_roots_is_not_read(server: ControlServer, tmp_path: Path) -> None:
    with (tmp_path / "roots").open("w+b") as file:
        file.truncate(TRUST_BYTES * 100)
        answer = raw(server, b'{"op":"trust"}\n', [file.fileno()])
    assert "too long" in answer[0]["refusal"]["what"]
