"""The commands against a real control socket and a real API; what is behind them is tested where it is."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from camagent import cli, owner
from camagent.control import ControlServer
from camagent.service import Origin, Tell
from tests.support.agent import camagent
from tests.support.http import serving, token_file
from tests.support.service import FakeService, package

NASTY = "cam[/]\x1b[31m\u202e<b>"


def here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in this process: what starting an interpreter costs is paid only where the process matters."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class NastyService(FakeService):
    """Everything it says comes from a bundle that wants to be more than text."""

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        tell({"step": {"id": NASTY, "status": NASTY, "measured": {NASTY: NASTY}}})
        tell({"state": NASTY})
        return {"name": NASTY, "version": NASTY, "digest": NASTY, "outcome": NASTY, "hint": NASTY}


@dataclass(frozen=True)
class Daemon:
    service: FakeService
    config: str
    bundle: Path

    def camagent(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return here(*arguments, "-c", self.config)

    def install(self, *more: str, **package_of: Any) -> subprocess.CompletedProcess[str]:
        self.bundle.write_bytes(package(**({"size": 300_000} | package_of)))
        return self.camagent("bundle", "install", str(self.bundle), *more)


def configured(folder: Path) -> Path:
    path = folder / "camagent.toml"
    path.write_text(f'[agent]\nid = "cam-01"\nstate_dir = "{folder}/state"\n[web]\nlisten = ""\n')
    return path


@pytest.fixture(params=[FakeService])
def daemon(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    held, service = owner.acquire(tmp_path / "state"), request.param()
    server = ControlServer(held.run_dir, service)
    server.start()
    yield Daemon(service, str(configured(tmp_path)), tmp_path / "a.cambundle")
    service.may_go_on.set()
    server.stop()
    held.release()


def test_install_shows_the_checklist_and_what_became_of_it(daemon: Daemon) -> None:
    daemon.bundle.write_bytes(package(300_000))
    done = camagent("bundle", "install", str(daemon.bundle), "-c", daemon.config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["✓", "container", "bytes", "=", "300000"]
    assert "fastestdet 1.0.0: on trial" in done.stdout
    assert daemon.service.asked == [("install", False)]
    assert daemon.service.origins[0].who.startswith(f"uid {os.getuid()}, pid ")
    assert daemon.install("--force").returncode == 0
    assert daemon.service.asked[-1] == ("install", True)


def test_install_as_json_is_one_object(daemon: Daemon) -> None:
    done = daemon.install("--json")
    body = json.loads(done.stdout)
    digest = hashlib.sha256(daemon.bundle.read_bytes().partition(b"\n")[2]).hexdigest()
    assert body == {
        "schema": "camagent.install/1", "accepted": True, "code": None,
        "steps": [{"id": "container", "status": "pass", "measured": {"bytes": 300_000}}],
        "result": {"name": "fastestdet", "version": "1.0.0", "digest": digest, "outcome": "trial"}, "refusal": None,
    }  # fmt: skip
    assert done.stderr == ""


def test_a_refused_install_exits_with_1_and_says_why(daemon: Daemon) -> None:
    done = daemon.install(signer="stranger")
    assert done.returncode == 1
    assert "✗ signer         UNTRUSTED_SIGNER: nobody here knows this signer" in done.stdout
    expected = (
        "error[UNTRUSTED_SIGNER]: nobody here knows this signer\n  evidence: found = stranger, trusted = good\n  fix: sign\n"
    )
    assert done.stderr == expected
    as_json = daemon.install("--json", signer="stranger")
    body = json.loads(as_json.stdout)
    assert as_json.returncode == 1
    assert (body["accepted"], body["code"], body["result"]) == (False, "UNTRUSTED_SIGNER", None)
    assert body["refusal"]["evidence"] == {"found": "stranger", "trusted": "good"}
    assert [step["status"] for step in body["steps"]] == ["pass", "fail"]
    assert as_json.stderr == expected


@pytest.mark.parametrize("daemon", [NastyService], indirect=True)
def test_foreign_strings_stay_strings(daemon: Daemon) -> None:
    for arguments in ((), ("--json",)):
        done = daemon.install(*arguments)
        assert done.returncode == 0, done.stderr
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text
            assert "\u202e" not in text
    assert "cam[/]" in done.stdout


def test_a_terminal_without_ticks_gets_words(daemon: Daemon) -> None:
    daemon.bundle.write_bytes(package(10))
    done = camagent("bundle", "install", str(daemon.bundle), "-c", daemon.config, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok container")


def test_activate_rollback_and_list(daemon: Daemon) -> None:
    assert daemon.camagent("bundle", "activate", "fastestdet", "1.0.0").returncode == 0
    done = daemon.camagent("bundle", "rollback", "fastestdet", "--json")
    assert json.loads(done.stdout)["result"] == {"name": "fastestdet", "version": "0.9.0", "outcome": "current"}
    assert daemon.camagent("bundle", "rollback", "fastestdet").stdout == "  fastestdet 0.9.0: runs\n".lstrip()
    assert daemon.camagent("bundle", "activate", "fastestdet", "--force").returncode == 0
    assert daemon.service.asked[0] == ("activate", "fastestdet", "1.0.0", False)
    assert daemon.service.asked[-1] == ("activate", "fastestdet", None, True)
    listed = daemon.camagent("bundle", "list")
    assert listed.stdout == "fastestdet: current 1.0.0; stored: 1.0.0; index 0\n"
    body = json.loads(daemon.camagent("bundle", "list", "--json").stdout)
    assert body == {"schema": "camagent.bundles/1", **daemon.service.bundles()}
    unknown = daemon.camagent("bundle", "rollback", "unknown")
    assert unknown.returncode == 1
    assert "error[NOT_STORED]" in unknown.stderr


def test_a_second_install_meanwhile_is_busy(daemon: Daemon) -> None:
    daemon.service.may_go_on.clear()
    daemon.bundle.write_bytes(package(10))
    first = subprocess.Popen([sys.executable, "-m", "camagent", "bundle", "install", str(daemon.bundle), "-c", daemon.config])
    assert daemon.service.reading.wait(30)
    second = daemon.install()
    assert second.returncode == 1
    assert "error[BUSY]" in second.stderr
    daemon.service.may_go_on.set()
    assert first.wait(30) == 0


def test_a_killed_command_leaves_the_install_to_the_agent(daemon: Daemon) -> None:
    daemon.service.may_go_on.clear()
    daemon.bundle.write_bytes(package(100_000))
    child = subprocess.Popen([sys.executable, "-m", "camagent", "bundle", "install", str(daemon.bundle), "-c", daemon.config])
    assert daemon.service.reading.wait(30)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    daemon.service.may_go_on.set()
    deadline = time.monotonic() + 10
    while not daemon.service.installed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(daemon.service.installed) == 1
    assert daemon.install().returncode == 0


def test_an_agent_that_does_not_answer_is_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("camagent.control.client.CONNECT_S", 0.3)
    held = owner.acquire(tmp_path / "state")
    (tmp_path / "a").write_bytes(b"x")
    done = here("bundle", "install", str(tmp_path / "a"), "-c", str(configured(tmp_path)), "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["code"] == "UNREACHABLE"
    assert f"process = pid {os.getpid()}" in done.stderr
    held.release()


def test_wrong_usage_is_2(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    for arguments in (
        ("bundle", "install", str(tmp_path / "missing")),
        ("bundle", "install", str(tmp_path / "a"), "-c", str(tmp_path / "missing.toml")),
        ("bundle", "install", str(tmp_path)),
        ("bundle", "push", str(tmp_path / "a")),
        ("bundle", "push", str(tmp_path / "a"), "--to", "ftp://camera"),
        ("bundle", "push", str(tmp_path / "a"), "--to", "http://127.0.0.1:1", "--token-file", str(tmp_path / "missing")),
        ("trust", "install"),
        ("trust", "install", str(tmp_path / "a"), "--token-file", str(tmp_path / "a")),
    ):
        done = here(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr


# -- push ------------------------------------------------------------------------------------------------------------------


def test_push_shows_the_cameras_checklist(tmp_path: Path) -> None:
    bundle, service = tmp_path / "a.cambundle", FakeService()
    bundle.write_bytes(package(3_000_000))
    path, _ = token_file(tmp_path, "c0rrecthorse")
    with serving(service, token_file=path) as api:
        to = ("--to", f"http://127.0.0.1:{api.port}", "--token-file", str(path))
        done = camagent("bundle", "push", str(bundle), *to)
        assert done.returncode == 0, done.stderr
        assert "✓ container" in done.stdout
        assert "fastestdet 1.0.0: on trial" in done.stdout
        body = json.loads(here("bundle", "push", str(bundle), *to, "--force", "--json").stdout)
        assert (body["schema"], body["accepted"], body["result"]["outcome"]) == ("camagent.push/1", True, "trial")
        assert service.asked[-1] == ("install", True)
        bundle.write_bytes(package(30_000_000, signer="stranger"))
        refused = camagent("bundle", "push", str(bundle), *to, "--json")
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["code"] == "UNTRUSTED_SIGNER"
        assert refused.stderr.startswith("error[UNTRUSTED_SIGNER]: nobody here knows this signer\n  evidence: found = stranger")
        wrong = here("bundle", "push", str(bundle), *to[:2])
        assert wrong.returncode == 1
        assert "error[TOKEN_NEEDED]" in wrong.stderr


def test_on_a_terminal_the_checklist_goes_past_the_progress_bar(tmp_path: Path) -> None:
    bundle = tmp_path / "a.cambundle"
    bundle.write_bytes(package(20_000_000))
    with serving(FakeService()) as api:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "camagent", "bundle", "push", str(bundle), "--to", f"http://127.0.0.1:{api.port}"]
        child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        assert child.wait(30) == 0
    assert b"20.0/20.0 MB" in shown
    assert re.search(rb"\x1b\[2K(\x1b\[\d+m)?\xe2\x9c\x93(\x1b\[0m)? container      bytes = 20000000\r\n", shown)
    assert shown.endswith(b"taken back otherwise\r\n")


def test_a_push_that_reaches_nobody_is_3(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(package(10))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = here("bundle", "push", str(tmp_path / "a"), "--to", f"http://127.0.0.1:{port}", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["code"] == "UNREACHABLE"
    assert "error[UNREACHABLE]" in done.stderr


# -- trust install ---------------------------------------------------------------------------------------------------------


def roots(folder: Path, *contents: bytes) -> list[str]:
    paths = [folder / f"{number}.root.json" for number in range(1, len(contents) + 1)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def test_trust_install_asks_first_what_it_costs(daemon: Daemon, tmp_path: Path) -> None:
    done = daemon.camagent("trust", "install", *roots(tmp_path, b"one"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "root 1 is in force until 2033-05-18; added: 1\n"
    assert daemon.service.asked == [("trust", (b"one",), True), ("trust", (b"one",), False)]
    costly = daemon.camagent("trust", "install", *roots(tmp_path, b"one", b"two"), "--json")
    assert costly.returncode == 0
    assert "warning[SIGNER_REVOKED]: fastestdet 1.0.0 loses its signers" in costly.stderr
    body = json.loads(costly.stdout)
    assert (body["schema"], body["dry_run"]) == ("camagent.trust-install/1", False)
    assert body["result"]["losing"] == [{"name": "fastestdet", "version": "1.0.0"}]
    asked = len(daemon.service.asked)
    dry = daemon.camagent("trust", "install", *roots(tmp_path, b"one", b"two"), "--dry-run")
    assert "would be in force" in dry.stdout
    assert daemon.service.asked[asked:] == [("trust", (b"one", b"two"), True)]


@pytest.mark.parametrize(("answer", "installed"), [("n", False), ("y", True)])
def test_on_a_terminal_it_asks_before_a_bundle_loses_its_signers(
    daemon: Daemon, tmp_path: Path, answer: str, installed: bool
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "camagent", "trust", "install", *roots(tmp_path, b"one", b"two"), "-c", daemon.config]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.write(ours, f"{answer}\n".encode())
    out, err = child.communicate(timeout=60)
    assert b"loses its signers" in err
    assert child.returncode == (0 if installed else 1), (out, err)
    assert (("trust", (b"one", b"two"), False) in daemon.service.asked) is installed
    assert (b"nothing was changed" in err) is not installed
    os.close(ours)
    os.close(theirs)


def test_a_refused_root_is_1(daemon: Daemon, tmp_path: Path) -> None:
    done = daemon.camagent("trust", "install", *roots(tmp_path, b"none"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "TRUST_MISSING"
    assert "error[TRUST_MISSING]" in done.stderr


def test_trust_goes_to_a_camera_too(tmp_path: Path) -> None:
    service = FakeService()
    path, _ = token_file(tmp_path, "c0rrecthorse")
    with serving(service, token_file=path) as api:
        to = ("--to", f"http://127.0.0.1:{api.port}", "--token-file", str(path))
        done = here("trust", "install", *roots(tmp_path, b"one", b"two"), *to)
        assert done.returncode == 0, done.stderr
        assert "loses its signers" in done.stderr
        assert service.asked == [("trust", (b"one", b"two"), True), ("trust", (b"one", b"two"), False)]
        assert service.origins[0].kind == "http"
        refused = here("trust", "install", *roots(tmp_path, b"none"), *to, "--json")
        assert refused.returncode == 1
        assert json.loads(refused.stdout)["code"] == "TRUST_MISSING"
    gone = here("trust", "install", *roots(tmp_path, b"one"), *to)
    assert gone.returncode == 3


def test_a_bundle_from_a_repository_is_asked_of_the_agent(daemon: Daemon) -> None:
    url = "https://updates.example.org/cameras/"
    done = daemon.camagent("bundle", "install", "fastestdet", "--repository", url, "--force", "--json")
    assert done.returncode == 0, done.stderr
    assert daemon.service.asked == [("fetch", "fastestdet", url, True)]
    body = json.loads(done.stdout)
    assert (body["schema"], body["result"]["version"]) == ("camagent.install/1", "1.1.0")
    assert daemon.service.origins[0].kind == "local"


def test_a_file_that_is_not_there_and_a_name_that_is_none(daemon: Daemon) -> None:
    missing = daemon.camagent("bundle", "install", "fastestdet")
    assert (missing.returncode, missing.stderr.split(":")[0]) == (2, "error[USAGE]")
    assert "--repository" in missing.stderr
    for name in ("../x", "cam[/]", "\x1b[2J", ""):
        wrong = daemon.camagent("bundle", "install", name, "--repository", "https://updates.example.org/")
        assert (wrong.returncode, wrong.stderr.split(":")[0]) == (2, "error[USAGE]")
        assert "\x1b" not in wrong.stderr
    assert daemon.service.asked == []
