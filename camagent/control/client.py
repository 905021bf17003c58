"""The command line's end of the control socket: finding the agent of a state directory, and asking it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec

from camagent.config import Config
from camagent.control.protocol import ANSWER_BYTES, SOCKET_NAME, Request, TrustBody
from camagent.errors import StateError, Unreachable
from camagent.jobs import relayed
from camagent.owner import LOCK_NAME
from camagent.service import Event, Origin, SelfTestWish, Service, Tell

CONNECT_S = 5.0  # an agent that starts takes the lock some moments before it listens
ANSWER_S = 900.0  # between two lines: golden pictures on a slow NPU take their time
_STEP_S = 0.1


class _Lock(msgspec.Struct, frozen=True):
    run: str
    pid: int


_LOCK = msgspec.json.Decoder(_Lock)


def connect(state_dir: Path, wait_s: float | None = None) -> Client | None:
    """The agent that owns `state_dir`; None where no process does.

    Raises:
        Unreachable: a process holds the lock and does not answer, `wait_s` (5) seconds long.
        StateError: this user may not ask, or not even look.
    """
    wait_s = CONNECT_S if wait_s is None else wait_s
    lock, deadline = state_dir / LOCK_NAME, time.monotonic() + wait_s
    while True:
        try:
            with lock.open("rb") as file:
                found = _read(file)
                # the socket first: trying the lock could get in the way of an agent that is just starting
                client = Client(Path(found.run) / SOCKET_NAME, found.pid) if found else None
                if client and client.answers():
                    return client
                if not _is_held(file):
                    return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as exc:
            raise StateError(
                f"this user may not ask the agent of {state_dir}",
                evidence={"user": os.getuid(), "file": exc.filename or SOCKET_NAME, "error": exc.strerror},
                fix="run it as root, or as a member of the group camagent",
            ) from exc
        if time.monotonic() > deadline:
            raise Unreachable(
                f"a process owns {state_dir} and does not answer",
                evidence={
                    "process": f"pid {found.pid}" if found else "unknown",
                    "socket": client.path if client else "not made yet",
                    "waited": f"{wait_s:g} s",
                },
                fix="wait until it has started or its command is over; if it hangs, restart it",
            )
        time.sleep(_STEP_S)


class Client:
    """A running agent as a Service. The bundle is handed over as an open file, so the agent need not be able to open it."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path, self.pid = path, pid

    def answers(self) -> bool:
        """Whether somebody listens. Raises PermissionError."""
        try:
            self._connected().close()
        except PermissionError:
            raise
        except OSError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        """See Service."""
        return self._ask(Request(op="status"))

    def bundles(self) -> dict[str, Any]:
        """See Service."""
        return self._ask(Request(op="bundles"))

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service. `source` is a regular file and is read from its front; the kernel says who asks, not `origin`."""
        del origin
        return self._ask(Request(op="install", force=force), source, tell)

    def fetch(self, name: str, url: str, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service."""
        del origin
        return self._ask(Request(op="fetch", name=name, url=url, force=force), tell=tell)

    def activate(self, name: str, version: str | None, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service."""
        del origin
        return self._ask(Request(op="activate", name=name, version=version, force=force), tell=tell)

    def rollback(self, name: str, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service."""
        del origin
        return self._ask(Request(op="rollback", name=name), tell=tell)

    def install_trust(self, roots: Sequence[bytes], origin: Origin, *, dry_run: bool = False) -> dict[str, Any]:
        """See Service."""
        del origin
        with tempfile.TemporaryFile() as file:
            file.write(msgspec.json.encode(TrustBody(roots=tuple(roots))))
            file.flush()
            return self._ask(Request(op="trust", dry_run=dry_run), file)

    def selftest(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service."""
        del origin
        request = Request(
            op="selftest", camera=wish.camera, whole=wish.whole, config_path=wish.config_path, config_digest=wish.config_digest
        )
        return self._ask(request, tell=tell)

    def _ask(self, request: Request, file: IO[bytes] | None = None, tell: Tell | None = None) -> dict[str, Any]:
        """Passes events on until the last one. Raises what the agent refused, or Unreachable where it went away."""
        for event in self._events(request, file):
            if "refusal" in event:
                raise relayed(event["refusal"])
            if "result" in event:
                result: dict[str, Any] = event["result"]
                return result
            if tell:
                tell(event)
        raise self._lost("it closed the connection before its answer")

    def _events(self, request: Request, file: IO[bytes] | None) -> Iterator[Event]:
        try:
            with self._connected() as conn, conn.makefile("rb") as lines:
                _send(conn, msgspec.json.encode(request) + b"\n", file)
                conn.settimeout(ANSWER_S)
                while line := lines.readline(ANSWER_BYTES):
                    yield _event(line)
        except OSError as exc:
            raise self._lost(exc.strerror or str(exc)) from exc

    def _connected(self) -> socket.socket:
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            conn.settimeout(CONNECT_S)
            conn.connect(str(self.path))
        except OSError:
            conn.close()
            raise
        return conn

    def _lost(self, why: str) -> Unreachable:
        return Unreachable(
            f"the agent (pid {self.pid}) has not answered to the end: {why}",
            evidence={"socket": self.path, "process": f"pid {self.pid}"},
            fix="see the agent's log; 'camagent bundle list' shows what became of it",
        )


@contextmanager
def with_agent_or_alone(config: Config) -> Iterator[Service]:
    """The running agent of this configuration, or, where none runs, this process as the owner of its state directory.

    Raises Unreachable or StateError as `connect` does.
    """
    client = connect(config.agent.state_dir)
    if client is not None:
        yield client
        return
    from camagent.bundles import open_alone  # noqa: PLC0415  the whole agent, where only a question is to be passed on

    with open_alone(config) as service:
        yield service


def _send(conn: socket.socket, line: bytes, file: IO[bytes] | None) -> None:
    try:
        if file is None:
            conn.sendall(line)
        else:
            socket.send_fds(conn, [line], [file.fileno()])
    except BrokenPipeError:
        return  # it has refused already: the reason is there to be read


def _event(line: bytes) -> Event:
    try:
        event: Event = json.loads(line)
    except ValueError as exc:
        raise OSError("an answer that is cut off") from exc
    return event


def _read(file: IO[bytes]) -> _Lock | None:
    try:
        return _LOCK.decode(file.read(ANSWER_BYTES))
    except msgspec.DecodeError:
        return None  # empty or half written: the owner has just taken the lock


def _is_held(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
