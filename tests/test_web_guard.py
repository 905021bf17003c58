"""The rules of the API as the pure functions they are."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from camagent.config import Web
from camagent.errors import ConfigError
from camagent.web import Listen, problem
from camagent.web.address import may_be_asked
from camagent.web.guard import FAILURES, FAILURES_S, Asked, Failures, Pace, judge
from camagent.web.refusals import TokenWrong, TooManyFailures

HERE = ("127.0.0.1", 8420)


def asked(client: str = "127.0.0.1", authorization: str | None = None) -> Asked:
    return Asked(
        method="GET", path="/api/status", scheme="http", client=client, local=HERE, host="127.0.0.1:8420",
        authorization=authorization,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "hosts", "local", "known"),
    [
        ("127.0.0.1:8420", (), HERE, True), ("localhost:8420", (), HERE, True), ("LOCALHOST:8420", (), HERE, True),
        ("[::1]:8420", (), HERE, True), ("[0:0::1]:8420", (), ("::1", 8420), True),
        ("192.0.2.7:8420", (), ("192.0.2.7", 8420), True), ("192.0.2.7:8420", (), ("::ffff:192.0.2.7", 8420), True),
        ("localhost:8420", (), ("192.0.2.7", 8420), False), ("127.0.0.1:8420", (), ("192.0.2.7", 8420), False),
        ("192.0.2.8:8420", (), ("192.0.2.7", 8420), False),
        ("cam.local", (), ("192.0.2.7", 80), False), ("cam.local", ("cam.local",), ("192.0.2.7", 8420), True),
        ("cam.local:8420", ("CAM.local",), ("192.0.2.7", 8420), True),
        ("cam.local:8420", ("cam.local:443",), ("192.0.2.7", 8420), False),
        ("cam.local:443", ("cam.local:443",), ("192.0.2.7", 8420), True),
        ("evil.cam.local", ("cam.local",), ("192.0.2.7", 8420), False), ("192.0.2.7", (), ("192.0.2.7", 80), True),
    ],
)  # fmt: skip
def test_which_names_are_ours(host: str, hosts: tuple[str, ...], local: tuple[str, int], known: bool) -> None:
    assert may_be_asked(host, hosts, scheme="http", local=local) is known


def test_after_a_minute_it_may_be_tried_again() -> None:
    failures, now = Failures(), 1000.0
    wrong, right = asked(authorization="Bearer wrong"), asked(authorization="Bearer t0ken")
    for _ in range(FAILURES):
        with pytest.raises(TokenWrong):
            judge(wrong, hosts=(), token="t0ken", failures=failures, now=now)
        now += 1
    for request in (wrong, right):
        with pytest.raises(TooManyFailures):
            judge(request, hosts=(), token="t0ken", failures=failures, now=now)
    judge(asked(authorization="Bearer t0ken", client="192.0.2.1"), hosts=(), token="t0ken", failures=failures, now=now)
    judge(right, hosts=(), token="t0ken", failures=failures, now=1000 + FAILURES_S)


def test_the_table_of_guesses_is_bounded_and_ipv6_neighbours_are_one() -> None:
    failures = Failures()
    for number in range(100_000):
        failures.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(number))
    assert len(failures._times) == 256
    for number in range(FAILURES):
        failures.note(f"2001:db8::{number:x}", 0.0)
    assert failures.wait_s("2001:db8::ffff", 1.0) > 0
    assert failures.wait_s("2001:db8:0:1::1", 1.0) == 0
    for _ in range(FAILURES):
        failures.note("::ffff:192.0.2.7", 0.0)
    assert failures.wait_s("192.0.2.7", 1.0) > 0


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr("hmac.compare_digest", compare)
    with pytest.raises(TokenWrong):
        judge(asked(authorization="Bearer a"), hosts=(), token="b", failures=Failures(), now=0.0)
    judge(asked(authorization="bearer  b "), hosts=(), token="b", failures=Failures(), now=0.0)
    assert compared == [(b"a", b"b"), (b"b", b"b")]


def test_the_pace_counts_only_waiting() -> None:
    pace = Pace(30.0, 65536)
    assert not any(pace.too_slow(0.0, 1) for _ in range(10_000)), "what the agent itself takes does not count"
    assert not pace.too_slow(29.9, 0)
    assert not pace.too_slow(0.2, 65536)
    assert not pace.too_slow(29.9, 65535)
    assert not pace.too_slow(0.1, 1)
    assert not pace.too_slow(29.9, 0)
    assert pace.too_slow(0.2, 65535)


@pytest.mark.parametrize(
    ("web", "key"),
    [
        (Web(listen=""), None), (Web(), None), (Web(listen="[::1]:8420"), None), (Web(listen="localhost:8420"), None),
        (Web(listen="127.9.9.9:1"), None),
        (Web(listen="0.0.0.0:8420", token_file=Path("t")), None), (Web(listen="[::]:8420", token_file=Path("t")), None),
        (Web(listen="0.0.0.0:8420"), "web.token_file"), (Web(listen=":8420"), "web.token_file"),
        (Web(listen="[::]:8420"), "web.token_file"), (Web(listen="192.0.2.1:8420"), "web.token_file"),
        (Web(listen="camera.local:8420"), "web.token_file"),
        (Web(listen="127.0.0.1"), "web.listen"), (Web(listen="8420"), "web.listen"), (Web(listen="::1:8420"), "web.listen"),
        (Web(listen="http://127.0.0.1:8420"), "web.listen"), (Web(listen="127.0.0.1:99999"), "web.listen"),
        (Web(cert_file=Path("c")), "web.cert_file"), (Web(key_file=Path("k")), "web.cert_file"),
        (Web(hosts=("cam.example", "cam.example:8443", "192.0.2.1", "[2001:db8::1]:80")), None),
        (Web(hosts=("https://cam.example",)), "web.hosts"), (Web(hosts=("*",)), "web.hosts"),
    ],
    ids=repr,
)  # fmt: skip
def test_the_section_is_judged_before_it_is_used(web: Web, key: str | None) -> None:
    found = problem(web)
    assert (found[0] if found else None) == key


def test_listen_is_parsed() -> None:
    assert Listen.parse("[::1]:8420") == Listen("::1", 8420)
    assert Listen.parse(":80") == Listen("", 80)
    with pytest.raises(ConfigError):
        Listen.parse("127.0.0.1:")
