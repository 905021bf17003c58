"""Fetches a small file of unknown size: a repository's metadata. Under the same rules as a bundle, and never endless."""

from __future__ import annotations

import threading

from firmware_pkg.addresses import Url
from firmware_pkg.answer import Answer
from firmware_pkg.order import Rules
from firmware_pkg.response import AtMost, Body, Broken, NotServed, endless, failed
from firmware_pkg.transfer import CHUNK, checked_addresses, elsewhere, obey, redirected
from firmware_pkg.watch import Watch

_HEADERS = {"Accept-Encoding": "identity", "Accept": "*/*"}


def fetch(url: Url, most: int, rules: Rules, *, stop: threading.Event) -> bytes:
    """The file at `url`, of at most `most` bytes, in memory.

    Args:
        url: of the file; one of `rules.allowed` covers it.
        most: bytes; one more is a refusal.
        rules: from where it may come, and how long it may take, retries included.
        stop: ends it when set.

    Raises:
        NotServed: the server answers, and has none, or not for us.
        DownloadFailed: not reached, too slow, too large, redirected to another server.
    """
    watch = Watch(rules.limits, most, stop)
    try:
        return _patiently(url, most, rules, watch)
    finally:
        watch.close()


def _patiently(url: Url, most: int, rules: Rules, watch: Watch) -> bytes:
    limits, attempts = rules.limits, 0
    while True:
        obey(watch, limits, "nothing yet")
        try:
            addresses = checked_addresses(url, rules)
            return _once(url, addresses[attempts % len(addresses)], most, rules, watch)
        except Broken as exc:
            obey(watch, limits, "a part of it")
            attempts += 1
            if attempts > limits.first_tries:
                raise failed(
                    "unreachable",
                    f"{url.shown} cannot be fetched: {exc}",
                    expected="an answer with the file",
                    found=f"none after {attempts} attempts",
                    fix="check from this device's network that the server answers; it is tried again by itself",
                ) from exc
            watch.pause(min(limits.backoff_s * 2 ** (attempts - 1), limits.backoff_max_s))


def _once(url: Url, address: str, most: int, rules: Rules, watch: Watch) -> bytes:
    for _ in range(rules.limits.redirects + 1):
        answer = Answer(url, address, rules, watch)
        try:
            found = answer.ask(dict(_HEADERS), AtMost(most))
            if isinstance(found, Body):
                return _read(answer, most, rules, watch)
            url = redirected(url, found, rules)
        finally:
            answer.close()
    raise elsewhere("one that leads to the file", f"more than {rules.limits.redirects} redirects")


def _read(answer: Answer, most: int, rules: Rules, watch: Watch) -> bytes:
    data = bytearray()
    while part := answer.take(min(CHUNK, most + 1 - len(data))):
        data += part
        if len(data) > most:
            raise endless(most, f"{most} bytes and more")
        obey(watch, rules.limits, f"{len(data)} bytes")
    obey(watch, rules.limits, f"{len(data)} bytes")  # a connection that was cut looks like an end
    return bytes(data)


__all__ = ["NotServed", "fetch"]
