"""A stranger on the page: each of these is something that a web page, a neighbour on the network or a fuzzer really does."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from camagent.web import connections
from camagent.web.guard import FAILURES, FAILURES_S
from firmware_pkg.limits import BUNDLE_BYTES
from tests.support.http import MARK, Api, drained, first_reply, reply, serving, token_file
from tests.support.service import FakeService, package


@pytest.fixture(scope="module")
def shared() -> Iterator[Api]:
    with serving(FakeService(), upload_window_s=0.6, header_s=1.0) as made:
        yield made


@pytest.fixture
def api(shared: Api) -> Iterator[Api]:
    shared.settle()
    yield shared
    assert shared.ask("GET", "/api/status").status == 200, "whatever was sent, the next one is answered"


@pytest.fixture
def service(api: Api) -> FakeService:
    return api.service


def refused(api: Api, data: bytes) -> tuple[int, str]:
    answer = reply(api.raw(data))
    assert {"code", "what", "evidence", "fix"} <= set(json.loads(answer.body))
    return answer.status, answer.json["code"]


# -- another name for this address ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.2:{port}", "0.0.0.0:{port}",
     "localhost.evil.example:{port}", "127.0.0.1:{port}@evil.example", "[::1", "", "localhost:{port}:{port}", "a b:{port}"],
)  # fmt: skip
def test_dns_rebinding_is_refused(api: Api, service: FakeService, host: str) -> None:
    name = host.format(port=api.port)
    for method, path in (("GET", "/api/status"), ("POST", "/api/bundles"), ("GET", "/healthz")):
        data = f"{method} {path} HTTP/1.1\r\nHost: {name}\r\nX-Camagent: 1\r\nConnection: close\r\n\r\n".encode()
        status, code = refused(api, data)
        assert (status, code) == (421, "HOST_UNKNOWN")
    assert service.asked == []


def test_a_request_without_or_with_two_hosts_is_refused(api: Api) -> None:
    assert refused(api, b"GET /api/status HTTP/1.0\r\n\r\n") == (421, "HOST_UNKNOWN")
    assert refused(api, b"GET /api/status HTTP/1.1\r\n\r\n") == (400, "NO_HTTP")
    two = f"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nHost: evil.example\r\n\r\n"
    assert refused(api, two.encode()) == (400, "NO_HTTP")


# -- a page elsewhere ------------------------------------------------------------------------------------------------------


def test_a_form_post_of_another_page_is_refused(api: Api, service: FakeService) -> None:
    """A form can send any body as text/plain or multipart, with the browser's Origin, and no header of its own."""
    for origin in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {}):
        for path in ("/api/bundles", "/api/bundles/fastestdet/rollback"):
            answer = api.ask("POST", path, package(100), {"Content-Type": "text/plain", **origin})
            assert (answer.status, answer.json["code"]) == (403, "CROSS_SITE")
    assert service.asked == []


def test_a_fetch_of_another_origin_is_refused_and_its_preflight_allows_nothing(api: Api, service: FakeService) -> None:
    preflight = {
        "Origin": "http://evil.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-camagent", "Access-Control-Request-Private-Network": "true",
    }  # fmt: skip
    answer = api.ask("OPTIONS", "/api/bundles", headers=preflight)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    others = (
        "http://evil.example", f"https://127.0.0.1:{api.port}", "http://127.0.0.1", f"http://localhost:{api.port}", "null",
        f"http://127.0.0.1:{api.port}.evil.example", f"http://127.0.0.1:{api.port}/",
    )  # fmt: skip
    for origin in others:
        answer = api.ask("POST", "/api/bundles", package(100), {**MARK, "Origin": origin})
        assert (answer.status, answer.json["code"]) == (403, "CROSS_SITE"), origin
    assert service.asked == []
    same = {**MARK, "Origin": f"http://127.0.0.1:{api.port}"}
    assert api.ask("POST", "/api/bundles", package(100), same).status == 202


def test_two_origins_or_two_markers_are_not_one(api: Api, service: FakeService) -> None:
    own = f"Origin: http://127.0.0.1:{api.port}"
    for lines in (
        (own, "Origin: http://evil.example", "X-Camagent: 1"),
        ("X-Camagent: 1", "X-Camagent: 0"),
        ("X-Camagent: 11",),
    ):
        data = api.head("POST", "/api/bundles/a/rollback", *lines, "Content-Length: 0", "Connection: close")
        assert refused(api, data) == (403, "CROSS_SITE")
    assert service.asked == []


def test_the_forwarded_address_is_not_believed(tmp_path: Path, service: FakeService) -> None:
    path, _ = token_file(tmp_path)
    with serving(service, token_file=path) as api:
        for number in range(FAILURES):
            headers = {"Authorization": "Bearer guess", "X-Forwarded-For": f"192.0.2.{number}"}
            assert api.ask("GET", "/api/status", headers=headers).status == 401
        last = {"Authorization": "Bearer guess", "X-Forwarded-For": "192.0.2.99"}
        assert api.ask("GET", "/api/status", headers=last).status == 429


# -- guessing the token ----------------------------------------------------------------------------------------------------


def test_five_wrong_tokens_and_then_even_the_right_one_has_to_wait(tmp_path: Path, service: FakeService) -> None:
    path, right = token_file(tmp_path)
    with serving(service, token_file=path) as api:
        for _ in range(20):
            assert api.ask("GET", "/api/status").status == 401, "no token is no guess"
            assert api.ask("GET", "/api/status", headers={"Authorization": "Basic x"}).status == 401
        for number in range(FAILURES):
            answer = api.ask("POST", "/api/bundles", package(10), {"Authorization": f"Bearer {number}"})
            assert (answer.status, answer.json["code"]) == (401, "TOKEN_WRONG")
        for headers in ({"Authorization": "Bearer x"}, right):
            answer = api.ask("POST", "/api/bundles", package(10), headers)
            assert (answer.status, answer.json["code"]) == (429, "TOO_MANY_FAILURES")
            assert 0 < int(answer.headers["retry-after"]) <= FAILURES_S
        assert api.ask("GET", "/healthz").status == 200
        assert service.asked == []


# -- bodies ----------------------------------------------------------------------------------------------------------------


def test_an_over_size_body_is_refused_before_it_is_read(api: Api, service: FakeService) -> None:
    for length in (BUNDLE_BYTES + 1, 10**18):
        data = api.head("POST", "/api/bundles", "X-Camagent: 1", f"Content-Length: {length}")
        with api.connect() as conn:
            conn.sendall(data)
            answer = first_reply(conn)
        assert (answer.status, answer.json["code"]) == (413, "SIZE_LIMIT")
        assert answer.json["evidence"] == {"Content-Length": str(length), "limit": str(BUNDLE_BYTES)}
    roots = api.head("PUT", "/api/trust", "X-Camagent: 1", f"Content-Length: {5 * 2**20}")
    with api.connect() as conn:
        conn.sendall(roots)
        assert first_reply(conn).status == 413
    assert service.asked == []


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", "١", "9" * 40, "", "5, 6"])
def test_a_length_that_is_none_is_refused(api: Api, service: FakeService, length: str) -> None:
    data = api.head("POST", "/api/bundles", "X-Camagent: 1", "Connection: close").rstrip(b"\r\n")
    status, _ = refused(api, data + b"\r\nContent-Length: " + length.encode() + b"\r\n\r\n")
    assert status in {400, 413}
    assert service.asked == []


def test_an_endless_chunked_upload_is_refused_and_ended(api: Api, service: FakeService) -> None:
    for extra in ((), ("Content-Length: 100",)):
        head = api.head("POST", "/api/bundles", "X-Camagent: 1", "Transfer-Encoding: chunked", *extra)
        started, sent = time.monotonic(), 0
        with api.connect() as conn:
            conn.sendall(head)
            assert first_reply(conn).status == 411
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while time.monotonic() < started + 20:
                    conn.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                    sent += 65536
        assert time.monotonic() - started < 10, "an endless body is cut off"
        assert sent > 0
    assert service.asked == []


def test_a_slow_upload_is_ended_and_its_place_is_free(api: Api, service: FakeService) -> None:
    """One byte now and then: each wait is short enough, together they are too slow."""
    service.lingers_s = 0.5  # the refusal has to wait for it
    with api.connect() as conn:
        conn.sendall(
            api.head("POST", "/api/bundles", "X-Camagent: 1", "Content-Length: 1000000") + b"fastestdet 1.0.0 good 9\n"
        )
        assert service.reading.wait(10)
        assert api.ask("POST", "/api/bundles", package(10), MARK).status == 409
        conn.settimeout(0.05)
        answer, started = b"", time.monotonic()
        while b"UPLOAD_TOO_SLOW" not in answer and time.monotonic() < started + 10:
            conn.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer += conn.recv(65536)
        assert reply(answer).status == 408
    assert api.ask("POST", "/api/bundles", package(10), MARK).status == 202


def test_an_upload_that_stops_is_ended(api: Api, service: FakeService) -> None:
    with api.connect() as conn:
        conn.sendall(api.head("POST", "/api/bundles", "X-Camagent: 1", "Content-Length: 1000000") + package(10))
        assert first_reply(conn).status in {202, 408}
    with api.connect() as conn:
        conn.sendall(api.head("PUT", "/api/trust", "X-Camagent: 1", "Content-Length: 1000") + b'{"roots":')
        assert first_reply(conn).json["code"] == "UPLOAD_TOO_SLOW"


def test_two_uploads_at_once(api: Api, service: FakeService) -> None:
    service.may_go_on.clear()
    first = api.ask("POST", "/api/bundles", package(10), MARK)
    answers = []

    def push() -> None:
        answers.append(api.ask("POST", "/api/bundles", package(3_000_000), MARK).status)

    threads = [threading.Thread(target=push) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [409] * 6
    service.may_go_on.set()
    assert "result" in api.ask("GET", f"/api/jobs/{first.json['job']}").lines[-1]
    assert len(service.installed) == 1


# -- paths, heads, bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["..", ".", "%2e%2e", "%2e", "..%2f..%2fetc", "-rf", "a%00b", "a%0ab", "%c0%ae", "%ff", "a%20b", "a" * 49, "%5c", "a;b",
     "~", "%E2%80%AE", "a%2Fb"],
)  # fmt: skip
def test_tricks_in_a_bundles_name_reach_nobody(api: Api, service: FakeService, name: str) -> None:
    for what in ("rollback", "activate"):
        data = api.head("POST", f"/api/bundles/{name}/{what}", "X-Camagent: 1", "Content-Length: 0", "Connection: close")
        assert refused(api, data) == (404, "NOT_FOUND")
    assert service.asked == []


@pytest.mark.parametrize("target", ["http://evil.example/api/status", "//api/status", "*", "/api/../api/status", "/API/status"])
def test_odd_targets_lead_nowhere(api: Api, target: str) -> None:
    status, _ = refused(api, api.head("GET", target, "Connection: close"))
    assert status in {400, 404}


def test_huge_heads_are_refused_and_do_not_stay_in_memory(api: Api) -> None:
    close, too_large = "Connection: close", {(400, "NO_HTTP"), (431, "HEAD_TOO_LARGE")}  # as it came in pieces, or at once
    assert refused(api, api.head("GET", "/api/status", close, "X-Big: " + "a" * 40_000)) in too_large
    assert refused(api, api.head("GET", "/" + "a" * 40_000, close)) in too_large
    assert refused(api, api.head("GET", "/api/status", close, *(f"X-{number}: a" for number in range(5000)))) in too_large
    with api.connect() as conn:  # endless, without a line's end
        conn.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 50_000_000:
                sent += conn.send(b"a" * 65536)
        assert sent < 50_000_000


def test_garbage_on_the_socket_is_answered_or_cut_off(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    seeded = random.Random(8420)
    samples = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"\x00" * 1000, b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
        *(seeded.randbytes(seeded.randrange(1, 3000)) + b"\r\n\r\n" for _ in range(60)),
    ]  # fmt: skip
    with caplog.at_level(logging.DEBUG), ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(api.raw, samples))
    for data, answer in zip(samples, answers, strict=True):
        assert not answer or answer.startswith(b"HTTP/1.1 4"), (data, answer)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING], "a stranger cannot fill the log"


def test_garbage_in_the_middle_of_a_body_ends_the_job_and_nothing_else(
    api: Api, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    head = api.head("PUT", "/api/trust", "X-Camagent: 1", "Content-Length: 5")
    with api.connect() as conn:
        conn.sendall(
            head + b'{"a":1}' + b"\x00\xff" * 3000 + b"\r\n\r\n"
        )  # more than was announced: a second request that is none
        data = drained(conn)
    assert reply(data).status == 400
    upload = api.head("POST", "/api/bundles", "X-Camagent: 1", "Content-Length: 3", "Expect: nonsense")
    api.raw(upload + b"abc" + b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert "Traceback" not in caplog.text


def test_a_head_that_never_ends_is_cut_off(api: Api) -> None:
    """Slowloris: also on a connection whose first request was answered."""
    for first in (b"", api.head("GET", "/healthz")):
        started = time.monotonic()
        with api.connect() as conn:
            if first:
                conn.sendall(first)
                assert b"200 OK" in conn.recv(4096)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while time.monotonic() < started + 10:
                    conn.sendall(b"G")
                    time.sleep(0.05)
        assert 0.9 < time.monotonic() - started < 5


def test_a_silent_connection_is_cut_off(api: Api) -> None:
    started = time.monotonic()
    with api.connect() as conn:
        assert drained(conn) == b""
    assert 0.9 < time.monotonic() - started < 5


def test_one_address_cannot_hold_more_than_its_share_of_connections(service: FakeService) -> None:
    with serving(service) as api:
        held = [api.connect() for _ in range(connections.PER_ADDRESS)]
        more = [api.connect() for _ in range(20)]
        started = time.monotonic()
        assert [drained(conn) for conn in more] == [b""] * 20
        assert time.monotonic() - started < 5, "what is too much is closed at once, not when its head is overdue"
        with socket.create_connection(("127.0.0.1", api.port), source_address=("127.0.0.2", 0), timeout=10) as other:
            other.sendall(api.head("GET", "/healthz"))
            assert first_reply(other).json == {"ok": True}, "somebody else is served meanwhile"
        for conn in (*held, *more):
            conn.close()
        deadline = time.monotonic() + 10
        is_free = False
        while not is_free and time.monotonic() < deadline:
            with contextlib.suppress(OSError, HTTPException):
                is_free = api.ask("GET", "/healthz").status == 200
        assert is_free


def test_connections_end_with_their_descriptors(api: Api) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(300):
        with contextlib.suppress(ConnectionResetError):
            api.connect().close()
    for _ in range(50):
        api.ask("GET", "/api/status")
    deadline = time.monotonic() + 5
    while len(list(Path("/proc/self/fd").iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_pipelined_requests_are_judged_one_by_one(api: Api, service: FakeService) -> None:
    good = api.head("GET", "/healthz")
    bad = api.head("POST", "/api/bundles/fastestdet/rollback", "Content-Length: 0", "Connection: close")
    answers = api.raw(good + good + bad)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.count(b"HTTP/1.1 403") == 1
    assert service.asked == []


def test_the_work_beside_it_goes_on_while_strangers_knock(service: FakeService) -> None:
    """What stands for the detecting threads: its longest pause while eight strangers send what they can."""
    stop, longest = threading.Event(), [0.0]

    def work() -> None:
        last = time.monotonic()
        while not stop.is_set():
            time.sleep(0.001)
            now = time.monotonic()
            longest[0], last = max(longest[0], now - last), now

    def knock(api: Api, data: bytes) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                api.raw(data, timeout_s=1)

    with serving(service, header_s=0.3) as api:
        samples = [
            bytes(2000) + b"\r\n\r\n", api.head("GET", "/api/status", "Connection: close"), b"G",
            api.head("GET", "/" + "a" * 20_000),
            api.head("POST", "/api/bundles", "Transfer-Encoding: chunked") + b"10000\r\n" + bytes(65536) + b"\r\n",
            api.head("POST", "/api/bundles", "X-Camagent: 1", "Content-Length: 9999999") + bytes(500_000),
        ]  # fmt: skip
        threads = [threading.Thread(target=knock, args=(api, samples[number % len(samples)])) for number in range(8)]
        worker = threading.Thread(target=work)
        for thread in (worker, *threads):
            thread.start()
        time.sleep(2)
        stop.set()
        for thread in (worker, *threads):
            thread.join(20)
        assert api.ask("GET", "/api/status").status == 200
    assert longest[0] < 0.5, f"the longest pause was {longest[0]:.3f} s"
