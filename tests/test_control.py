from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from camagent import owner
from camagent.control import SOCKET_NAME, Client, ControlServer, connect
from camagent.control.server import CONVERSATIONS, GROUP
from camagent.errors import CodedError, Unreachable
from camagent.service import Event, Origin
from tests.support.service import FakeService, package

ME = Origin("local", "the kernel knows better")
CHILD = """
import os, sys
from pathlib import Path
from camagent import owner
from camagent.control import ControlServer
from tests.support.service import FakeService
if sys.argv[3:]:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)  # only now: this user may not read the interpreter's own files
held = owner.acquire(Path(sys.argv[1]))
service = FakeService()
if sys.argv[2] == "listening":
    ControlServer(held.run_dir, service).start()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture(autouse=True)
def no_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[owner.Owner]:
    made = owner.acquire(tmp_path)
    yield made
    made.release()


@pytest.fixture
def server(held: owner.Owner, service: FakeService) -> Iterator[ControlServer]:
    made = ControlServer(held.run_dir, service, request_s=0.5)
    made.start()
    assert made.problem is None
    yield made
    made.stop()


def client_of(tmp_path: Path) -> Client:
    found = connect(tmp_path)
    assert found is not None
    return found


def test_every_question_is_answered(server: ControlServer, service: FakeService, tmp_path: Path) -> None:
    client = client_of(tmp_path)
    assert client.pid == os.getpid()
    assert client.status() == service.status()
    assert client.bundles() == service.bundles()
    told: list[Event] = []
    assert client.activate("fastestdet", "1.0.0", ME, told.append, force=True)["outcome"] == "trial"
    assert told == [{"state": "testing"}]
    assert client.rollback("fastestdet", ME, told.append)["version"] == "0.9.0"
    assert client.install_trust([b"one", b"two"], ME, dry_run=True)["losing"] == [{"name": "fastestdet", "version": "1.0.0"}]
    assert service.asked == [
        ("activate", "fastestdet", "1.0.0", True), ("rollback", "fastestdet"), ("trust", (b"one", b"two"), True),
    ]  # fmt: skip
    assert {origin.kind for origin in service.origins} == {"local"}
    assert service.origins[0].who == f"uid {os.getuid()}, pid {os.getpid()}"


def test_a_bundle_is_handed_over_and_its_steps_come_back_live(
    server: ControlServer, service: FakeService, tmp_path: Path
) -> None:
    path = tmp_path / "a.cambundle"
    path.write_bytes(package(700_000))
    service.may_go_on.clear()
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        service.may_go_on.set()  # the install can only end if this came while it was going on

    with path.open("rb") as source:
        source.seek(123)  # the shared offset is nobody's business
        answer = client_of(tmp_path).install(source, ME, tell)
        assert source.tell() == 123
    assert answer["digest"] == hashlib.sha256(path.read_bytes().partition(b"\n")[2]).hexdigest()
    assert told[0]["step"]["id"] == "container"
    assert told[-1] == {"state": "testing"}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: another user's agent")
def test_a_file_that_only_root_can_open_is_installed_by_a_daemon_that_may_not(tmp_path: Path) -> None:
    """The daemon is another process of another user; what it reads comes through the descriptor alone."""
    state, bundle = tmp_path / "state", tmp_path / "root-only.cambundle"
    bundle.write_bytes(package(300_000))
    bundle.chmod(0o600)
    state.mkdir()
    os.chown(state, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o755)  # pytest's folders are root's alone
    daemon = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(state), "listening", "nobody"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    with daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "up\n"
        client = client_of(state)
        assert client.pid == daemon.pid
        assert Path(f"/proc/{daemon.pid}").stat().st_uid == 65534
        denied = subprocess.run(["cat", str(bundle)], user=65534, group=65534, extra_groups=[], capture_output=True)
        assert b"denied" in denied.stderr
        with bundle.open("rb") as source:
            assert client.install(source, ME, lambda event: None)["outcome"] == "trial"
        daemon.kill()


def test_a_refusal_comes_back_whole(server: ControlServer, tmp_path: Path) -> None:
    path = tmp_path / "b.cambundle"
    path.write_bytes(package(10, signer="stranger"))
    told: list[Event] = []
    with path.open("rb") as source, pytest.raises(CodedError) as caught:
        client_of(tmp_path).install(source, ME, told.append)
    assert caught.value.code == "UNTRUSTED_SIGNER"
    assert caught.value.evidence == {"found": "stranger", "trusted": "good"}
    assert told[-1]["step"]["status"] == "fail"


def test_a_defect_in_the_service_is_internal_and_the_next_question_is_answered(
    server: ControlServer, service: FakeService, tmp_path: Path
) -> None:
    service.defect = KeyError("x")
    with io.BytesIO() as _, (tmp_path / "c").open("w+b") as source, pytest.raises(CodedError) as caught:
        client_of(tmp_path).install(source, ME, lambda event: None)
    assert caught.value.code == "INTERNAL"
    assert client_of(tmp_path).status()["agent"] == "cam-01"


def test_without_an_agent_there_is_no_client(tmp_path: Path) -> None:
    assert connect(tmp_path) is None
    assert connect(tmp_path / "missing") is None
    owner.acquire(tmp_path).release()
    assert connect(tmp_path) is None, "a lock file alone is no agent"


@pytest.mark.parametrize("how", ["listening", "silent"])
def test_a_killed_agents_socket_is_replaced(tmp_path: Path, service: FakeService, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    ) as killed:  # fmt: skip
        assert killed.stdout is not None
        assert killed.stdout.readline() == "up\n"
        if how == "silent":
            with pytest.raises(Unreachable) as caught:
                connect(tmp_path, wait_s=0.3)
            assert caught.value.evidence["process"] == f"pid {killed.pid}"
        else:
            assert client_of(tmp_path).pid == killed.pid
        killed.kill()
    assert (tmp_path / "run" / SOCKET_NAME).exists() == (how == "listening")
    assert connect(tmp_path) is None
    held = owner.acquire(tmp_path)
    server = ControlServer(held.run_dir, service)
    server.start()
    assert client_of(tmp_path).status()["agent"] == "cam-01"
    server.stop()
    assert not server.path.exists()
    held.release()


def test_an_agent_that_is_still_starting_is_waited_for(tmp_path: Path, held: owner.Owner, service: FakeService) -> None:
    late = ControlServer(held.run_dir, service)
    timer = threading.Timer(0.5, late.start)
    timer.start()
    assert client_of(tmp_path).status()["agent"] == "cam-01"
    timer.join()
    late.stop()


def test_the_socket_is_for_the_owner_and_the_group(server: ControlServer, held: owner.Owner) -> None:
    status = server.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    groups = [line.split(":") for line in Path("/etc/group").read_text().splitlines()]
    expected = next((int(entry[2]) for entry in groups if entry[0] == GROUP), os.getgid())
    assert status.st_gid == expected
    assert sorted(path.name for path in held.run_dir.iterdir()) == [SOCKET_NAME]


def test_a_silent_client_is_dropped_and_others_are_served_meanwhile(server: ControlServer, tmp_path: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(CONVERSATIONS - 1)]
    for conn in silent:
        conn.settimeout(10)
        conn.connect(str(server.path))
        conn.sendall(b'{"op": "sta')
    started = time.monotonic()
    assert client_of(tmp_path).status()["agent"] == "cam-01"
    assert time.monotonic() - started < 0.4
    for conn in silent:
        assert conn.recv(100) == b""
        conn.close()
    assert 0.3 < time.monotonic() - started < 5


def test_one_byte_now_and_then_does_not_keep_a_place(server: ControlServer) -> None:
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(str(server.path))
        started = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < started + 20:
                conn.sendall(b" ")
                time.sleep(0.05)
        assert 0.4 < time.monotonic() - started < 3


def test_more_conversations_than_there_are_places_are_refused_with_a_sentence(
    server: ControlServer, service: FakeService, tmp_path: Path
) -> None:
    service.may_go_on.clear()
    client = client_of(tmp_path)
    answers: list[str] = []

    def ask() -> None:
        try:
            client.rollback("fastestdet", ME, lambda event: None)
            answers.append("done")
        except CodedError as exc:
            answers.append(exc.code)

    threads = [threading.Thread(target=ask) for _ in range(CONVERSATIONS + 4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(answers) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert answers == ["BUSY"] * 4
    service.may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == ["BUSY"] * 4 + ["done"] * CONVERSATIONS


def test_a_client_that_goes_away_does_not_end_what_it_asked_for(
    server: ControlServer, service: FakeService, tmp_path: Path
) -> None:
    path = tmp_path / "a.cambundle"
    path.write_bytes(package(500_000))
    service.may_go_on.clear()
    with path.open("rb") as source, socket.socket(socket.AF_UNIX) as conn:
        conn.connect(str(server.path))
        socket.send_fds(conn, [b'{"op":"install"}\n'], [source.fileno()])
        conn.recv(10)
    path.unlink()
    service.may_go_on.set()
    deadline = time.monotonic() + 10
    while not service.installed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.installed[0][0] == "fastestdet"


def test_a_socket_that_somebody_removed_comes_back(held: owner.Owner, service: FakeService, tmp_path: Path) -> None:
    server = ControlServer(held.run_dir, service, look_s=0.2)
    server.start()
    server.path.unlink()
    assert connect(tmp_path) is not None
    server.stop()


def test_a_run_folder_that_cannot_hold_it_is_a_problem_not_a_crash(service: FakeService, tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "missing", service)
    server.start()
    assert "control.sock" in str(server.problem)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 3


def test_stop_does_not_wait_for_anybody(held: owner.Owner, service: FakeService) -> None:
    service.may_go_on.clear()
    server = ControlServer(held.run_dir, service)
    server.start()
    seen: list[Any] = []

    def ask() -> None:
        try:
            Client(server.path, 1).rollback("fastestdet", ME, lambda event: None)
        except Unreachable as exc:
            seen.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 10
    while not service.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    started = time.monotonic()
    server.stop(0.5)
    assert time.monotonic() - started < 1
    asking.join(5)
    assert len(seen) == 1, "who has asked is told that the agent is gone"
    service.may_go_on.set()
