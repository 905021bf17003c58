"""Servers, names and URLs that mean harm: the trap counts no request, nothing outlasts its limits, nothing is read back."""

from __future__ import annotations

import collections
import gzip
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest

from firmware_pkg.addresses import Prefix
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Limits, Order, Rules
from firmware_pkg.transfer import download
from tests.support.http_server import Answer, Files, Request, Server, head, refusing, serving, sha256, trap

CONTENT = Random(4).randbytes(200_000)
MARK = "PASSWD-ROOT-0"  # stands for what an attacker would like to read through us
IMPATIENT = Limits(
    connect_s=0.4, read_s=0.4, total_s=5, rate=2000, window_s=0.6, first_tries=1, resumes=1, backoff_s=0.01, backoff_max_s=0.01
)
GIVEN_UP_S = 5.0


def attempt(url: str, allowed: str, *, size: int = len(CONTENT), content: bytes = CONTENT, **changes: Any) -> DownloadFailed:
    """A download that must fail, in time, with both sides in its evidence, and with nothing in it that the server sent."""
    rules = Rules(**{"allowed": (Prefix.parse(allowed),), "limits": IMPATIENT, **changes})
    order = Order(url=url, sha256=sha256(content), size=size, token="geheim")
    began = time.monotonic()
    with pytest.raises(DownloadFailed) as caught, download(order, rules) as source:
        collections.deque(iter(lambda: source.read(4096), b""), maxlen=0)
    assert time.monotonic() - began < GIVEN_UP_S
    told = json.dumps(caught.value.report()) + caught.value.render() + str(caught.value.__cause__)
    assert MARK not in told
    assert "geheim" not in told
    assert {"reason", "expected", "found"} <= set(caught.value.evidence)
    assert not [thread for thread in threading.enumerate() if thread.name == "download-watch"]
    return caught.value


def reason(url: str, allowed: str, **changes: Any) -> str:
    return attempt(url, allowed, **changes).evidence["reason"]


# -- where to -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
     "[::ffff:7f00:1]", "0.0.0.0", "0", "127.0.0.1.", "updates.example@127.0.0.1", "127.0.0.1#@updates.example",
     "127.0.0.1?@updates.example", "127.0.0.1\\@updates.example"],
)  # fmt: skip
def test_a_url_to_loopback_that_is_not_in_the_list_reaches_nobody(host: str) -> None:
    with serving(trap) as trapped:
        name, mark, rest = host.partition("@")
        url = f"http://{name}{mark}{rest}:{trapped.port}/models/x"
        assert reason(url, "http://updates.example/models/") == "not-allowed-url"
        assert reason(url, f"http://updates.example:{trapped.port}/models/") == "not-allowed-url"
    assert trapped.connections == 0


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:70/_x",
     "ftp://127.0.0.1/x", "dict://127.0.0.1/x", "http://[fe80::1%25eth0]/x", "unix:///run/camagent/control.sock", "/x"],
)  # fmt: skip
def test_other_ways_out_are_no_ways(url: str) -> None:
    assert reason(url, "https://updates.example/models/") == "not-allowed-url"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "64:ff9b::7f00:1",
    ],
)
def test_a_name_that_resolves_to_a_forbidden_address_reaches_nobody(address: str) -> None:
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.1", address]

    with serving(trap, host="127.0.0.1") as trapped:
        url = f"http://updates.example:{trapped.port}/models/x"
        found = attempt(url, url, resolve=resolve)
        assert found.evidence["reason"] == "address-not-allowed"
        assert address in found.evidence["found"]
    assert trapped.connections == 0
    assert asked == ["updates.example"]


def test_localhost_is_a_name_and_no_literal_address() -> None:
    with serving(trap) as trapped:
        url = f"http://localhost:{trapped.port}/models/x"
        assert reason(url, url) == "address-not-allowed"
    assert trapped.connections == 0


def test_in_a_network_of_its_own_the_connection_goes_to_the_address_that_was_checked() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    done = subprocess.run(
        [unshare, "-rn", sys.executable, "-m", "tests.support.own_network"],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    good = {"outcome": "whole", "asked": 1, "requests": 3, "trap": 0, "hosts": ["updates.example:8443"]}
    assert found["http"] == good, "the name is resolved once, also for three connections"
    assert found["https"] == good, "TLS verifies the name, not the address"
    assert found["https-wrong-name"]["outcome"] == "tls"
    assert found["https-wrong-name"]["requests"] == found["https-wrong-name"]["trap"] == 0
    assert found["own-listener"] == {"outcome": "address-not-allowed", "requests": 0}


# -- sent elsewhere -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{trap}/" + MARK, "//127.0.0.1:{trap}/models/x", "http://localhost:{trap}/models/x",
     "https://127.0.0.1:{trap}/x", "http://127.0.0.1:{own}@127.0.0.1:{trap}/models/x", "http://2130706433:{trap}/models/x",
     "file:///etc/passwd", "http://127.0.0.1:{own}/other/x", "../other/x", "/models/../other/" + MARK, "/models/%2e%2e/other",
     "\\\\127.0.0.1:{trap}\\x", "", "http://[", "http://127.0.0.1:{own}\t/models", "x" * 5000],
)  # fmt: skip
def test_an_allowed_server_that_redirects_elsewhere_is_left(location: str, status: int) -> None:
    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        if request.target.startswith("/other"):
            trap(server, request, wire)
        else:
            where = location.format(trap=trapped.port, own=server.port)
            refusing(status, *([f"Location: {where}"] if where else []))(server, request, wire)

    with serving(trap) as trapped, serving(answer) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == "redirected"
    assert trapped.connections == 0
    assert [request.target for request in server.requests] == ["/models/x"]


def test_a_redirect_to_another_server_is_refused_even_where_both_are_allowed() -> None:
    with serving(trap) as other, serving(refusing(302, f"Location: {other.url('/models/x')}")) as server:
        order = Order(url=server.url("/models/x"), sha256=sha256(CONTENT), size=len(CONTENT))
        rules = Rules(allowed=(Prefix.parse(server.url()), Prefix.parse(other.url())), limits=IMPATIENT)
        with pytest.raises(DownloadFailed) as caught, download(order, rules) as source:
            source.read()
    assert caught.value.evidence["reason"] == "redirected"
    assert other.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_in_a_circle_end_and_carry_no_token(status: int) -> None:
    with serving(refusing(status, "Location: /models/y")) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == "redirected"
    assert len(server.requests) == 1 + IMPATIENT.redirects
    assert ["authorization" in request.headers for request in server.requests] == [True, False, False, False]


# -- what comes back ------------------------------------------------------------------------------------------------------


def test_a_gzip_body_that_swells_to_a_gigabyte_is_refused_unread() -> None:
    bomb = gzip.compress(bytes(16 << 20)) * 64  # 1 GiB of zeros in 1 MiB
    sent: list[int] = []

    def answer(_server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"))
        for at in range(0, len(bomb), 4096):
            wire.sendall(bomb[at : at + 4096])
            sent.append(4096)
            time.sleep(0.001)

    with serving(answer) as server:
        attempt(server.url("/models/x"), server.url("/models/"))  # libraries are loaded
        del sent[:]
        tracemalloc.start()
        try:
            found = attempt(server.url("/models/x"), server.url("/models/"), size=len(bomb), content=bomb)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found.evidence == {"reason": "encoded", "expected": "identity", "found": "gzip"}
    assert len(server.requests) == 2
    assert sum(sent) < len(bomb), "the connection was left, not read to its end"
    assert peak < 4 << 20, peak  # of which the test's own thread has a part


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate, gzip", "gzip, identity", "aws-chunked", MARK])
def test_no_encoding_whatever_is_decoded(coding: str) -> None:
    with serving(refusing(200, f"Content-Encoding: {coding}")) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == "encoded"


def slowly(first: bytes, pause_s: float = 0.05, drip: bytes = b"x") -> Answer:
    def answer(server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(first)
        while not server.over.wait(pause_s):
            wire.sendall(drip)

    return answer


WHOLE = head(200, f"Content-Length: {len(CONTENT)}")
CHUNKED = head(200, "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("first", "drip", "expected"),
    [
        (WHOLE, b"x", "too-slow"),
        (WHOLE + CONTENT[:3000], b"x", "too-slow"),
        (CHUNKED, b"1\r\nx\r\n", "too-slow"),
        (CHUNKED, b"0", "too-slow"),  # the length of a chunk, digit by digit
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", "unreachable"),  # a header
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "unreachable"),
        (b"", b"x", "unreachable"),
    ],
)
def test_a_server_that_drips_is_given_up(first: bytes, drip: bytes, expected: str) -> None:
    with serving(slowly(first, drip=drip)) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == expected


def test_a_tls_handshake_that_drips_is_given_up() -> None:
    with serving(slowly(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", drip=b"\x03"), greet=True) as server:
        url = f"https://127.0.0.1:{server.port}/models/x"
        assert reason(url, url) == "unreachable"


def test_a_server_that_is_just_fast_enough_for_the_rate_meets_the_deadline() -> None:
    patient = Limits(connect_s=1, read_s=1, total_s=1.5, rate=1, window_s=0.5)
    with serving(slowly(WHOLE)) as server:
        found = attempt(server.url("/models/x"), server.url("/models/"), limits=patient)
    assert found.evidence["reason"] == "deadline"
    assert "of 200000 bytes" in found.evidence["found"]


def test_one_byte_a_second_is_given_up_under_the_limits_that_are_in_force() -> None:
    """The default window at a tenth of its length; the rule is a rate, so the verdict is the same."""
    usual = Limits(window_s=Limits().window_s / 10)
    with serving(slowly(WHOLE, pause_s=1.0)) as server:
        assert reason(server.url("/models/x"), server.url("/models/"), limits=usual) == "too-slow"


@pytest.mark.full(seconds=35)
def test_one_byte_a_second_is_given_up_after_the_default_window() -> None:
    global GIVEN_UP_S  # noqa: PLW0603
    GIVEN_UP_S = Limits().window_s + 5
    try:
        with serving(slowly(WHOLE, pause_s=1.0)) as server:
            assert reason(server.url("/models/x"), server.url("/models/"), limits=Limits()) == "too-slow"
    finally:
        GIVEN_UP_S = 5.0


def endless(first: bytes, block: bytes) -> Answer:
    def answer(_server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(first)
        while True:
            wire.sendall(block)

    return answer


@pytest.mark.parametrize(
    ("first", "block"),
    [(head(200) + CONTENT, b"x" * 8192), (CHUNKED, b"2000\r\n" + b"x" * 8192 + b"\r\n")],
    ids=["unframed", "chunked"],
)
def test_an_endless_body_is_left_after_the_announced_size(first: bytes, block: bytes) -> None:
    with serving(endless(first, block)) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == "too-large"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 1000 + b"\r\n"), "unreachable"),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 8192), "unreachable"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "unreachable"),
        (endless(b"", b"\x00\xff" * 4096), "unreachable"),
        (endless(CHUNKED, b"0" * 8192), "unreachable"),
        (endless(CHUNKED + b"30d40\r\n" + CONTENT + b"\r\n0\r\n", b"T: x\r\n"), ""),  # trailers: the file is complete
    ],
    ids=["headers", "header", "continue", "noise", "chunk-length", "trailers"],
)
def test_endless_heads_are_left_too(answer: Answer, expected: str) -> None:
    with serving(answer) as server:
        if expected:
            assert reason(server.url("/models/x"), server.url("/models/")) == expected
        else:
            order = Order(url=server.url("/models/x"), sha256=sha256(CONTENT), size=len(CONTENT))
            with download(order, Rules(allowed=(Prefix.parse(server.url("/models/")),), limits=IMPATIENT)) as source:
                assert source.read() == CONTENT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([f"Content-Length: {len(CONTENT) + 1}"], "wrong-size"),
        ([f"Content-Length: {len(CONTENT) - 1}"], "wrong-size"),
        (["Content-Length: 0"], "wrong-size"),
        (["Content-Length: -5"], "wrong-size"),
        (["Content-Length: +200000"], "wrong-size"),
        (["Content-Length: 0x30d40"], "wrong-size"),
        ([f"Content-Length: {len(CONTENT)}", "Content-Length: 5"], "unreachable"),
        ([f"Content-Length: {MARK}"], "wrong-size"),
    ],
)
def test_a_length_that_is_not_the_announced_one_is_refused_unread(headers: list[str], expected: str) -> None:
    with serving(endless(head(200, *headers), b"x" * 4096)) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) == expected


def test_both_lengths_are_named() -> None:
    with serving(Files(CONTENT[:-1])) as server:
        found = attempt(server.url("/models/x"), server.url("/models/"))
    assert found.evidence["expected"] == "200000 bytes"
    assert found.evidence["found"] == "199999 bytes"


def test_a_file_with_one_wrong_bit_is_refused_before_its_last_bytes_are_given() -> None:
    wrong = bytearray(CONTENT)
    wrong[100] ^= 1
    given: list[bytes] = []
    with serving(Files(bytes(wrong))) as server:
        order = Order(url=server.url("/models/x"), sha256=sha256(CONTENT), size=len(CONTENT))
        rules = Rules(allowed=(Prefix.parse(server.url("/models/")),), limits=IMPATIENT)
        with download(order, rules) as source, pytest.raises(DownloadFailed) as caught:
            given.extend(iter(lambda: source.read(1000), b""))
    assert 0 < sum(map(len, given)) < len(CONTENT), "nobody ever holds a complete wrong file"
    assert caught.value.evidence["expected"] == sha256(CONTENT)
    assert caught.value.evidence["found"] == sha256(bytes(wrong))


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 416, 418, 451, 501])
def test_other_answers_are_refused_with_their_number(status: int) -> None:
    with serving(refusing(status, f"X: {MARK}", f'ETag: "{MARK}"')) as server:
        found = attempt(server.url("/models/x"), server.url("/models/"))
    assert found.evidence["reason"] in {"http-status", "changed"}
    assert str(status) in found.evidence["found"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [MARK.encode() + b"\r\n\r\n", f"HTTP/1.1 {MARK} 200\r\n\r\n".encode(), f"HTTP/9.9 200 {MARK}\r\n\r\n".encode(),
     b"SSH-2.0-x\r\n", f"HTTP/1.1 200 {MARK}\r\n{MARK}\r\n\r\n{MARK}".encode(), b"",
     f"HTTP/1.1 503 {MARK}\r\n\r\n{MARK}".encode(),
     f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}\r\n".encode()],
)  # fmt: skip
def test_nothing_that_a_server_says_is_told_on(said: bytes) -> None:
    with serving(lambda _server, _request, wire: wire.sendall(said)) as server:
        assert reason(server.url("/models/x"), server.url("/models/")) in {"unreachable", "broken"}


def test_an_etag_that_would_be_a_header_of_ours_is_not_sent_back() -> None:
    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        files = Files(CONTENT, etag=f'"x",\r\n Evil: {MARK}', cuts=[1000] if len(server.requests) == 1 else [])
        files(server, request, wire)

    with serving(answer) as server:
        order = Order(url=server.url("/models/x"), sha256=sha256(CONTENT), size=len(CONTENT))
        with download(order, Rules(allowed=(Prefix.parse(server.url("/models/")),), limits=IMPATIENT)) as source:
            assert source.read() == CONTENT
    assert "if-range" not in server.requests[1].headers
