from __future__ import annotations

import base64
import hashlib
import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from camagent.clock import SystemClock
from camagent.config import Web
from camagent.jobs import Jobs
from camagent.web import Server
from tests.support.http import MARK, Api, first_reply, serving, token_file
from tests.support.service import FakeService, package


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving(FakeService()) as made:
        yield made


@pytest.fixture
def api(shared: Api) -> Api:
    shared.settle()
    return shared


@pytest.fixture
def service(api: Api) -> FakeService:
    return api.service


def pushed(api: Api, body: bytes, path: str = "/api/bundles") -> str:
    answer = api.ask("POST", path, body, MARK)
    assert answer.status == 202, answer
    assert answer.headers["location"] == f"/api/jobs/{answer.json['job']}"
    job: str = answer.json["job"]
    return job


def test_status_and_healthz(api: Api, service: FakeService) -> None:
    assert api.ask("GET", "/api/status").json == service.status()
    assert api.ask("GET", "/healthz").json == {"ok": True}
    assert api.ask("HEAD", "/api/status").body == b""


def test_a_bundle_is_pushed_and_its_job_followed(api: Api, service: FakeService) -> None:
    body = package(3_000_000)
    job = pushed(api, body)
    answer = api.ask("GET", f"/api/jobs/{job}")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.lines[0]["step"]["id"] == "container"
    assert answer.lines[-1]["result"]["digest"] == hashlib.sha256(body.partition(b"\n")[2]).hexdigest()
    assert service.origins[0].kind == "http"
    assert service.origins[0].who == "127.0.0.1"
    assert api.ask("GET", f"/api/jobs/{job}").body == answer.body, "it can be read again"
    assert api.ask("HEAD", f"/api/jobs/{job}").status == 200


def test_force_is_passed_on(api: Api, service: FakeService) -> None:
    api.ask("GET", f"/api/jobs/{pushed(api, package(10), '/api/bundles?force=1')}")
    assert ("install", True) in service.asked
    wrong = api.ask("POST", "/api/bundles?force=yes", package(10), MARK)
    assert (wrong.status, wrong.json["code"]) == (400, "QUERY_INVALID")


def test_a_job_is_followed_live(api: Api, service: FakeService) -> None:
    service.may_go_on.clear()
    job = pushed(api, package(100))
    with api.connect() as conn:
        conn.sendall(api.head("GET", f"/api/jobs/{job}"))
        seen = b""
        while b"container" not in seen:
            seen += conn.recv(4096)
        assert b"result" not in seen
        service.may_go_on.set()
        while b'"result"' not in seen:
            part = conn.recv(4096)
            assert part
            seen += part


def test_the_pipe_holds_little_of_a_large_upload(api: Api, service: FakeService) -> None:
    """The sender waits while the agent does: nothing is kept in between but half a megabyte and the kernel's buffers."""
    service.may_go_on.clear()
    body, sent = package(64_000_000), [0]
    with api.connect() as conn:
        conn.sendall(api.head("POST", "/api/bundles", "X-Camagent: 1", f"Content-Length: {len(body)}"))
        conn.settimeout(1)
        view = memoryview(body)
        try:
            while sent[0] < len(body):
                sent[0] += conn.send(view[sent[0] : sent[0] + 65536])
        except TimeoutError:
            pass
        assert sent[0] < 16_000_000, f"{sent[0]} bytes were taken with nobody reading them"
        service.may_go_on.set()
        conn.settimeout(30)
        conn.sendall(view[sent[0] :])
        answer = first_reply(conn)
    assert answer.status == 202
    assert api.ask("GET", f"/api/jobs/{answer.json['job']}").lines[-1]["result"]["outcome"] == "trial"


def test_a_refusal_in_the_middle_answers_before_the_rest_has_come(api: Api) -> None:
    """Whoever sends 40 MB that are refused at the first line reads an answer, not a reset."""
    body = package(40_000_000, signer="stranger")
    job = pushed(api, body)
    assert api.ask("GET", f"/api/jobs/{job}").lines[-1]["refusal"]["code"] == "UNTRUSTED_SIGNER"
    with api.connect() as conn:
        conn.sendall(api.head("POST", "/api/bundles", "X-Camagent: 1", f"Content-Length: {len(body)}") + body[:1000])
        assert first_reply(conn).status == 202, "who reads while sending knows it at once"


def test_a_broken_off_upload_ends_the_job_with_bundle_truncated(api: Api, service: FakeService) -> None:
    body = package(1_000_000)
    with api.connect() as conn:
        conn.sendall(api.head("POST", "/api/bundles", "X-Camagent: 1", f"Content-Length: {len(body)}") + body[:500_000])
        assert service.reading.wait(10)
        job = api.jobs.running
    assert job is not None
    last = job.wait(10)
    assert last is not None
    assert last["refusal"]["code"] == "BUNDLE_TRUNCATED"
    assert 0 < int(last["refusal"]["evidence"]["there"]) <= 500_000
    api.ask("GET", f"/api/jobs/{pushed(api, package(10))}")
    assert len(service.installed) == 1, "the next one goes through"


def test_a_client_that_waits_for_100_continue_sends_nothing_that_would_be_refused(api: Api) -> None:
    head = api.head("POST", "/api/bundles", "Content-Length: 1000", "Expect: 100-continue")
    with api.connect() as conn:
        conn.sendall(head)
        assert first_reply(conn).status == 403
    with api.connect() as conn:
        conn.sendall(head.replace(b"Expect", b"X-Camagent: 1\r\nExpect"))
        assert conn.recv(4096).startswith(b"HTTP/1.1 100")


def test_a_second_upload_meanwhile_is_refused(api: Api, service: FakeService) -> None:
    service.may_go_on.clear()
    first = pushed(api, package(10))
    second = api.ask("POST", "/api/bundles", package(20_000_000), MARK)
    assert (second.status, second.json["code"]) == (409, "BUSY")
    assert second.json["evidence"]["asked by"] == "http 127.0.0.1"
    assert api.ask("POST", "/api/bundles/fastestdet/rollback", b"", MARK).status == 409
    service.may_go_on.set()
    assert "result" in api.ask("GET", f"/api/jobs/{first}").lines[-1]


def test_rollback_and_activate_answer_with_what_came_of_it(api: Api, service: FakeService) -> None:
    done = api.ask("POST", "/api/bundles/fastestdet/rollback", b"", MARK)
    assert (done.status, done.json["version"], done.json["outcome"]) == (200, "0.9.0", "current")
    assert "result" in api.ask("GET", f"/api/jobs/{done.json['job']}").lines[-1]
    refused = api.ask("POST", "/api/bundles/unknown/rollback", b"", MARK)
    assert (refused.status, refused.json["code"], refused.json["fix"]) == (404, "NOT_STORED", "see bundle list")
    assert api.ask("POST", "/api/bundles/fastestdet/activate?version=1.0.0", b"", MARK).json["outcome"] == "trial"
    assert ("activate", "fastestdet", "1.0.0", False) in service.asked


def test_a_rollback_that_takes_long_is_answered_with_its_job(
    api: Api, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camagent.web.app.ANSWER_S", 0.1)
    service.may_go_on.clear()
    answer = api.ask("POST", "/api/bundles/fastestdet/rollback", b"", MARK)
    assert answer.status == 202
    service.may_go_on.set()
    assert api.ask("GET", f"/api/jobs/{answer.json['job']}").lines[-1]["result"]["version"] == "0.9.0"


def test_trust_takes_a_chain(api: Api, service: FakeService) -> None:
    body = json.dumps({"roots": [base64.b64encode(root).decode() for root in (b"one", b"two")]}).encode()
    answer = api.ask("PUT", "/api/trust?dry_run=1", body, MARK)
    assert answer.json["losing"] == [{"name": "fastestdet", "version": "1.0.0"}]
    assert api.ask("PUT", "/api/trust", body, MARK).json["in_force"] == 2
    assert service.asked == [("trust", (b"one", b"two"), True), ("trust", (b"one", b"two"), False)]
    none = api.ask("PUT", "/api/trust", json.dumps({"roots": [base64.b64encode(b"none").decode()]}).encode(), MARK)
    assert (none.status, none.json["code"]) == (422, "TRUST_MISSING")


def test_everything_else_is_a_sentence_in_json(api: Api) -> None:
    for method, path, status, code in (
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/api/status/", 404, "NOT_FOUND"),
        ("GET", "/api/jobs/nothing", 404, "NOT_FOUND"),
        ("DELETE", "/api/status", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/api/bundles", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/trust", 405, "METHOD_NOT_ALLOWED"),
    ):
        answer = api.ask(method, path, headers=MARK)
        assert (answer.status, answer.json["code"]) == (status, code), path
        assert {"what", "evidence", "fix"} < set(answer.json)
    assert api.ask("GET", "/api/trust").headers["allow"] == "PUT"


def test_every_answer_says_that_it_is_no_page(api: Api) -> None:
    paths = (
        ("GET", "/healthz"),
        ("GET", "/api/status"),
        ("GET", "/nothing"),
        ("POST", "/api/bundles"),
        ("OPTIONS", "/api/trust"),
    )
    for method, path in paths:
        headers = api.ask(method, path, headers={"Origin": "http://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"] == "default-src 'none'"
        assert not [name for name in headers if name.startswith("access-control")]
        assert "server" not in headers


def test_a_defect_is_internal_and_logged_once(
    api: Api, service: FakeService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "status", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        answer = api.ask("GET", "/api/status")
    assert (answer.status, answer.json["code"]) == (500, "INTERNAL")
    assert caplog.text.count("Traceback") == 1
    assert api.ask("GET", "/healthz").status == 200


def test_fifty_parallel_status_reads(api: Api) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: api.ask("GET", "/api/status"), range(200)))
    assert [answer.status for answer in answers] == [200] * 200
    assert threading.active_count() < 60


def test_a_token_is_needed_for_all_but_healthz_and_may_change_while_it_runs(tmp_path: Path, service: FakeService) -> None:
    path, header = token_file(tmp_path)
    with serving(service, token_file=path) as api:
        assert api.ask("GET", "/healthz").status == 200
        for method, target in (("GET", "/api/status"), ("GET", "/api/jobs/x"), ("GET", "/nothing"), ("POST", "/api/bundles")):
            answer = api.ask(method, target, headers=MARK)
            assert (answer.status, answer.json["code"]) == (401, "TOKEN_NEEDED"), target
            assert answer.headers["www-authenticate"] == "Bearer"
        assert api.ask("GET", "/api/status", headers=header).status == 200
        assert api.ask("POST", "/api/bundles", package(10), header).status == 202, "with the token no marker is needed"
        _, other = token_file(tmp_path, "a new one, über alles")
        assert api.ask("GET", "/api/status", headers=header).json["code"] == "TOKEN_WRONG"
        raw = {"Authorization": other["Authorization"].encode().decode("latin-1")}
        assert api.ask("GET", "/api/status", headers=raw).status == 200
        path.unlink()
        answer = api.ask("GET", "/api/status", headers=header)
        assert (answer.status, answer.json["code"]) == (503, "TOKEN_UNREADABLE")


def test_https(tmp_path: Path, service: FakeService) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", "k.pem", "-out", "c.pem", "-subj", "/CN=cam", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    trusting = ssl.create_default_context(cafile=tmp_path / "c.pem")
    with serving(service, cert_file=tmp_path / "c.pem", key_file=tmp_path / "k.pem") as api:
        assert api.ask("GET", "/api/status", tls=trusting).status == 200
        body = package(2_000_000)
        job = api.ask("POST", "/api/bundles", body, MARK, tls=trusting).json["job"]
        assert "result" in api.ask("GET", f"/api/jobs/{job}", tls=trusting).lines[-1]
        same = {**MARK, "Origin": f"https://127.0.0.1:{api.port}"}
        assert api.ask("POST", "/api/bundles", package(10), same, tls=trusting).status == 202
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            api.ask("GET", "/healthz", tls=old)


def test_a_certificate_that_cannot_be_used_is_a_problem(tmp_path: Path, service: FakeService) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    server = Server(
        Web(listen="127.0.0.1:0", cert_file=tmp_path / "c.pem", key_file=tmp_path / "c.pem"), service,
        Jobs(service, SystemClock()),
    )  # fmt: skip
    server.start(timeout_s=10)
    assert "c.pem" in str(server.problem)
    server.stop()


def test_a_port_that_is_taken_is_said_and_tried_again(service: FakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(Web(listen=f"127.0.0.1:{port}"), service, Jobs(service, SystemClock()), retry_s=0.1)
        server.start(timeout_s=10)
        assert server.problem == f"127.0.0.1:{port}: Address already in use"
        assert server.address is None
    deadline = time.monotonic() + 10
    while server.address is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert str(server.problem) == "None"
    assert Api(server, service, Jobs(service, SystemClock()), port).ask("GET", "/healthz").status == 200
    server.stop()


def test_listen_empty_is_off(service: FakeService) -> None:
    before = threading.active_count()
    server = Server(Web(listen=""), service, Jobs(service, SystemClock()))
    server.start(timeout_s=10)
    assert (server.address, server.problem) == (None, None)
    assert threading.active_count() == before
    server.stop()


def test_a_wildcard_answers_to_the_address_it_was_reached_at(tmp_path: Path, service: FakeService) -> None:
    path, header = token_file(tmp_path)
    with serving(service, listen="0.0.0.0:0", token_file=path, hosts=("cam.example",)) as api:
        for host, status in (
            ("127.0.0.1", 200),
            ("localhost", 200),
            ("127.0.0.2", 421),
            ("0.0.0.0", 421),
            ("cam.example", 200),
        ):
            answer = api.ask("GET", "/api/status", headers={**header, "Host": f"{host}:{api.port}"})
            assert answer.status == status, host
        assert api.ask("GET", "/api/status", headers={**header, "Host": "cam.example"}).status == 200, "behind a proxy"


def test_ipv6(service: FakeService) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(service, listen="[::1]:0") as api, socket.create_connection(("::1", api.port), timeout=10) as conn:
        conn.sendall(f"GET /api/status HTTP/1.1\r\nHost: [::1]:{api.port}\r\n\r\n".encode())
        assert first_reply(conn).json == service.status()


def test_what_would_let_strangers_in_is_not_served(service: FakeService) -> None:
    server = Server(Web(listen="0.0.0.0:0"), service, Jobs(service, SystemClock()))
    server.start(timeout_s=10)
    assert "token_file is needed" in str(server.problem)
    assert server.address is None
    server.stop()


def test_stop_waits_for_nobody(service: FakeService) -> None:
    with serving(service) as api:
        service.may_go_on.clear()
        job = pushed(api, package(10))
        idle, follower, uploader = api.connect(), api.connect(), api.connect()
        follower.sendall(api.head("GET", f"/api/jobs/{job}"))
        follower.recv(4096)
        uploader.sendall(api.head("PUT", "/api/trust", "X-Camagent: 1", "Content-Length: 100"))
        started = time.monotonic()
        api.server.stop()
        assert time.monotonic() - started < 1.8
        assert not api.server._thread.is_alive()
        for conn in (idle, follower, uploader):
            conn.close()


def test_signals_and_logging_stay_the_agents(service: FakeService) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    with serving(service) as api:
        api.ask("GET", "/healthz")
        during = (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    assert during == before


def test_importing_the_package_loads_no_server() -> None:
    code = "import sys, camagent.web, camagent.control; print({'uvicorn', 'starlette'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
