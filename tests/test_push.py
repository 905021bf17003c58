"""`push` against the agent's own HTTP API, and against servers that are none."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from camagent.clock import SystemClock
from camagent.config import Web
from camagent.jobs import Jobs
from camagent.web import Server as WebServer
from firmware_pkg import push as push_module
from firmware_pkg.push import NotReached, RemoteRefusal, TlsUntrusted, WrongTarget, push
from signing.refusals import SizeLimit
from tests.support.http_server import Answer, Request, Server, head, refusing, serving, sha256, trap
from tests.support.service import FakeService, package
from tests.support.tls import Authority, Identity

TOKEN = "0123456789abcdef"


@contextmanager
def camera(folder: Path, *, token: bool = True, identity: Identity | None = None) -> Iterator[tuple[str, FakeService]]:
    """The real API over a service that checks what it is given."""
    (folder / "token").write_text(TOKEN + "\n")
    web = Web(
        listen="127.0.0.1:0", token_file=folder / "token" if token else None, cert_file=identity.cert if identity else None,
        key_file=identity.key if identity else None,
    )  # fmt: skip
    service = FakeService()
    server = WebServer(web, service, Jobs(service, SystemClock()))
    server.start(10)
    assert server.address, server.problem
    try:
        yield f"{'https' if identity else 'http'}://127.0.0.1:{server.address[1]}", service
    finally:
        server.stop()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "x.cambundle"
    path.write_bytes(package(3_000_000))
    return path


def pushed(path: Path, url: str, **options: Any) -> list[dict[str, Any]]:
    return [dict(event) for event in push(path, url, **options)]


# -- the agent's own API --------------------------------------------------------------------------------------------------


def test_a_bundle_is_pushed_and_its_steps_come_back(tmp_path: Path, bundle: Path) -> None:
    told: list[int] = []
    with camera(tmp_path) as (url, service):
        events = pushed(bundle, url, token=TOKEN, progress=told.append)
    assert [name for event in events for name in event][-1] == "result"
    assert events[-1]["result"]["name"] == "fastestdet"
    assert any("step" in event for event in events)
    assert not any("warning" in event for event in events), "loopback is not another machine"
    assert service.installed == [("fastestdet", "1.0.0", sha256(bundle.read_bytes().partition(b"\n")[2]))]
    assert told[-1] == bundle.stat().st_size
    assert service.asked == [("install", False)]


def test_force_and_no_token_on_this_machine(tmp_path: Path, bundle: Path) -> None:
    with camera(tmp_path, token=False) as (url, service):
        assert "result" in pushed(bundle, url + "/", force=True)[-1]
    assert service.asked == [("install", True)]


def test_the_cameras_refusal_keeps_code_evidence_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "x.cambundle"
    path.write_bytes(package(10_000_000, signer="stranger"))  # refused from its first line: most of it is never sent
    told: list[int] = []
    with camera(tmp_path) as (url, _), pytest.raises(RemoteRefusal) as caught:
        pushed(path, url, token=TOKEN, progress=told.append)
    refusal = caught.value
    assert refusal.code == "UNTRUSTED_SIGNER"
    assert refusal.evidence == {"found": "stranger", "trusted": "good"}
    assert refusal.render().startswith("error[UNTRUSTED_SIGNER]")
    assert RemoteRefusal.code != "UNTRUSTED_SIGNER", "the code belongs to this error, not to the class"
    assert told[-1] < path.stat().st_size, "the camera's answer ends the upload"


@pytest.mark.parametrize("tls", [False, True])
def test_a_wrong_token_is_told_in_the_cameras_words(tmp_path: Path, tls: bool) -> None:
    path = tmp_path / "x.cambundle"
    path.write_bytes(package(30_000_000))
    identity = Authority(tmp_path).issue("127.0.0.1") if tls else None
    with camera(tmp_path, identity=identity) as (url, service):
        for token, code in ((None, "TOKEN_NEEDED"), ("wrong", "TOKEN_WRONG")):
            with pytest.raises(RemoteRefusal) as caught:
                pushed(path, url, token=token, fingerprint=identity.fingerprint if identity else None)
            assert caught.value.code == code
    assert service.asked == []


def test_tls_with_an_authority_or_a_fingerprint(tmp_path: Path, bundle: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("127.0.0.1")
    colons = ":".join(identity.fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    with camera(tmp_path, identity=identity) as (url, service):
        for options in ({"ca": authority.file}, {"fingerprint": identity.fingerprint}, {"fingerprint": colons}):
            assert "result" in pushed(bundle, url, token=TOKEN, **options)[-1]
    assert len(service.asked) == 3


# -- who answers there ----------------------------------------------------------------------------------------------------


def test_another_certificate_gets_neither_token_nor_bundle(tmp_path: Path, bundle: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    identity = authority.issue("127.0.0.1")
    with serving(trap, tls=identity.server()) as server:
        for options in ({"fingerprint": "ab" * 32}, {"ca": stranger.file}, {}):
            with pytest.raises(TlsUntrusted) as caught:
                pushed(bundle, server.url(), token=TOKEN, **options)
            assert caught.value.code == "TLS_UNTRUSTED"
            assert {"expected", "found"} <= set(caught.value.evidence)
            assert isinstance(caught.value, NotReached)
        with pytest.raises(TlsUntrusted) as caught:
            pushed(bundle, server.url(), token=TOKEN, fingerprint="ab" * 32)
        assert caught.value.evidence == {"expected": "ab" * 32, "found": identity.fingerprint}
    assert server.connections == 4
    assert server.requests == [], "not a byte of a request"


def test_a_certificate_for_another_name_is_refused_with_the_right_authority(tmp_path: Path, bundle: Path) -> None:
    authority = Authority(tmp_path)
    with serving(trap, tls=authority.issue("camera.example").server()) as server, pytest.raises(TlsUntrusted):
        pushed(bundle, server.url(), token=TOKEN, ca=authority.file)
    assert server.requests == []


def test_http_to_another_machine_is_warned_of_before_anything_is_sent(bundle: Path) -> None:
    events = push(bundle, "http://192.0.2.7:8420", token=TOKEN)
    warning = next(iter(events))["warning"]
    assert warning["code"] == "PLAIN_HTTP"
    assert "token" in warning["what"]
    assert "https" in warning["fix"]
    assert "token" not in next(iter(push(bundle, "http://camera:8420")))["warning"]["what"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_never_gets_the_token(bundle: Path, status: int) -> None:
    with serving(trap) as trapped, serving(refusing(status, f"Location: {trapped.url()}")) as server:
        with pytest.raises(NotReached) as caught:
            pushed(bundle, server.url(), token=TOKEN)
        assert str(status) in caught.value.evidence["found"]
    assert trapped.connections == 0
    assert len(server.requests) == 1


def test_nobody_there_is_not_reached(bundle: Path) -> None:
    with serving(trap) as server:
        pass
    with pytest.raises(NotReached) as caught:
        pushed(bundle, server.url())
    assert caught.value.code == "UNREACHABLE"
    assert "Connection refused" in caught.value.what
    with pytest.raises(NotReached):
        pushed(bundle, "http://no-such-camera.invalid:8420")


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-OpenSSH\r\n", head(200, "Content-Length: 5") + b"hello", head(500, "Content-Length: 0"),
     head(202, "Content-Length: 13") + b'{"job": "../"', head(202, "Content-Length: 14") + b'{"job": "../"}',
     head(401, "Content-Length: 9") + b"go away!!", head(202) + b'{"job": "' + b"x" * 200_000],
)  # fmt: skip
def test_what_does_not_speak_like_camagent_is_said_so(bundle: Path, said: bytes) -> None:
    with serving(lambda _server, _request, wire: wire.sendall(said)) as server, pytest.raises(NotReached):
        pushed(bundle, server.url(), token=TOKEN)


def test_a_foreign_code_is_a_code_or_none(bundle: Path) -> None:
    body = json.dumps({"code": "evil\x1b[2J", "what": "w\x1b[2J", "evidence": {"a": 1}, "fix": "f"}).encode()
    with serving(lambda _server, _request, wire: wire.sendall(head(409, f"Content-Length: {len(body)}") + body)) as server:
        with pytest.raises(RemoteRefusal) as caught:
            pushed(bundle, server.url())
        assert caught.value.code == "REFUSED"
        assert "\x1b" not in caught.value.render()


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_that_comes_before_the_upload_has_ended_is_heard(tmp_path: Path, tls: bool) -> None:
    path = tmp_path / "x.cambundle"
    path.write_bytes(bytes(50_000_000))
    body = b'{"code": "BUSY", "what": "another job is going on", "evidence": {}, "fix": "wait"}'
    identity = Authority(tmp_path).issue("127.0.0.1")

    def answer(_server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(head(409, f"Content-Length: {len(body)}", "Connection: close") + body)
        wire.settimeout(1)
        end = time.monotonic() + 1  # a good server reads on for a while, so that its answer is not lost
        while time.monotonic() < end and wire.recv(65536):
            time.sleep(0.01)

    told: list[int] = []
    with serving(answer, tls=identity.server() if tls else None) as server, pytest.raises(RemoteRefusal) as caught:
        pushed(path, server.url(), fingerprint=identity.fingerprint if tls else None, progress=told.append)
    assert caught.value.code == "BUSY"
    assert told[-1] < 20_000_000, "most of the upload was spared"


# -- following the job ----------------------------------------------------------------------------------------------------

STEPS = [{"step": {"id": f"s{number}", "status": "pass", "measured": {}}} for number in range(4)]
RESULT = {"result": {"name": "x", "version": "1.0.0", "digest": "d", "outcome": "trial"}}


def camera_that_breaks_off(*stops: int) -> Answer:
    """Tells the job from the beginning each time, and ends the connection after so many lines."""
    lines = [json.dumps(event).encode() + b"\n" for event in (*STEPS, RESULT)]
    left = list(stops)

    def answer(_server: Server, request: Request, wire: socket.socket) -> None:
        if request.method == "POST":
            wire.settimeout(0.3)
            try:
                while wire.recv(65536):
                    pass
            except TimeoutError:
                wire.sendall(head(202, "Content-Length: 14") + b'{"job": "abc"}')
            return
        told = b"".join(lines[: left.pop(0) if left else len(lines)])
        wire.sendall(head(200, "Content-Type: application/x-ndjson"))
        for at in range(0, len(told), 7):
            wire.sendall(told[at : at + 7])

    return answer


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "PAUSE_S", 0.01)


@pytest.mark.usefixtures("hasty")
def test_a_job_whose_connection_breaks_is_followed_again_and_nothing_is_told_twice(bundle: Path) -> None:
    with serving(camera_that_breaks_off(2, 0, 1, 4)) as server:
        assert pushed(bundle, server.url(), token=TOKEN) == [*STEPS, RESULT]
    assert {request.target for request in server.requests[1:]} == {"/api/jobs/abc"}
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    assert {request.headers["x-camagent"] for request in server.requests} == {"1"}


@pytest.mark.usefixtures("hasty")
def test_a_job_whose_end_never_comes_is_not_known(bundle: Path) -> None:
    with serving(camera_that_breaks_off(*[2] * 20)) as server, pytest.raises(NotReached) as caught:
        pushed(bundle, server.url())
    assert caught.value.evidence["events seen"] == "2"
    assert len(server.requests) == 1 + push_module.TRIES


# -- arguments ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("camera:8420", {}), ("ftp://camera", {}), ("https://user:secret@camera", {}), ("https://camera", {"token": ""}),
        ("https://camera", {"fingerprint": "a" * 40}), ("https://camera", {"token": "a\r\nEvil: 1"}),
        ("http://camera", {"fingerprint": "ab" * 32}), ("https://camera", {"ca": Path("/nonexistent.pem")}),
        ("https://camera", {"ca": Path("/etc/hosts"), "fingerprint": "ab" * 32}),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used_are_said_at_once(bundle: Path, url: str, options: dict[str, Any]) -> None:
    with pytest.raises(WrongTarget) as caught:
        push(bundle, url, **options)
    assert "secret" not in caught.value.render()


def test_a_file_that_is_not_there_or_too_large_is_not_sent(tmp_path: Path) -> None:
    with serving(trap) as server:
        with pytest.raises(WrongTarget):
            pushed(tmp_path / "none", server.url())
        huge = tmp_path / "huge"
        with huge.open("wb") as file:
            file.truncate(2 << 30)
        with pytest.raises(SizeLimit):
            pushed(huge, server.url())
    assert server.connections == 0
