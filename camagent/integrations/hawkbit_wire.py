"""Requests to hawkBit: one connection each, to the server that is configured, within a deadline, answers of bounded length.

No proxy and no credentials from the environment, no redirect: `requests` speaks through the adapter that downloads use.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from camagent.errors import HawkbitBusy, HawkbitDenied, HawkbitUnreachable
from camagent.integrations.hawkbit_read import ANSWER_BYTES, strange
from camagent.integrations.hawkbit_server import Server
from firmware_pkg.addresses import Url
from firmware_pkg.order import Limits, system_resolver
from firmware_pkg.pinned import Pinned, in_words, tls_context, untrusted, untrusted_evidence
from firmware_pkg.response import Validator
from firmware_pkg.watch import Watch

RETRY_AFTER_MOST_S = 3600.0
_LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class Gone(Exception):
    """404, 405, 410: the action is not, or no longer, this device's to speak of."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that went well. `is_same`: 304, the body is what it was."""

    body: bytes
    etag: str
    is_same: bool


class Wire:
    """Belongs to one thread. Every call raises Gone or an error below HawkbitUnreachable."""

    def __init__(self, server: Server, stop: threading.Event, limits: Limits) -> None:
        """Connects to nothing yet. `stop` cuts what is going on."""
        self._server, self._stop, self._limits = server, stop, limits
        self._failures = 0  # of a name's addresses the next one is asked after each

    def get(self, url: Url, etag: str = "") -> Reply:
        """Reads a resource."""
        return self._ask("GET", url, {"If-None-Match": etag} if etag else {}, None)

    def post(self, url: Url, body: bytes) -> None:
        """Gives feedback."""
        self._ask("POST", url, {"Content-Type": "application/json"}, body)

    def put(self, url: Url, body: bytes) -> None:
        """Gives attributes."""
        self._ask("PUT", url, {"Content-Type": "application/json"}, body)

    def _ask(self, method: str, url: Url, more: Mapping[str, str], body: bytes | None) -> Reply:
        headers = {"Accept": "application/hal+json, application/json", "Accept-Encoding": "identity", **more}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        token = self._server.token()
        if token is not None:
            headers["Authorization"] = f"{self._server.scheme} {token}"
        watch = Watch(self._limits, 0, self._stop)
        try:
            adapter = Pinned(url, self._address(url), self._tls(url), opened=watch.opened)
            try:
                with watch.head(self._limits.connect_s + self._limits.read_s):
                    timeouts = (self._limits.connect_s, self._limits.read_s)
                    response = adapter.ask(url, headers, timeouts, method=method, body=body)
                with response:
                    return _reply(response, method, watch)
            finally:
                adapter.close()
        except (RequestException, HTTPError, OSError) as exc:
            self._failures += 1
            raise self._trouble(url, exc, watch) from exc
        finally:
            watch.close()

    def _tls(self, url: Url) -> ssl.SSLContext | None:
        return tls_context(self._server.ca_file, self._server.client) if url.scheme == "https" else None

    def _address(self, url: Url) -> str:
        found = system_resolver(url.host, url.port)
        if not found:
            raise OSError("no address")
        return found[self._failures % len(found)]

    def _trouble(self, url: Url, exc: Exception, watch: Watch) -> HawkbitUnreachable:
        verdict, where = untrusted(exc), f"the hawkBit server {url.authority}"
        if verdict is not None:
            return HawkbitUnreachable(
                f"{where} does not prove that it is that server",
                evidence=untrusted_evidence(verdict, f"a certificate for {url.host}, from a known authority"),
                fix="name the authority's certificate in fleet.hawkbit.ca_file",
            )
        cut = watch.verdict
        why = f"its answer did not come to an end within {watch.total_s:.0f} s" if cut == "deadline" else in_words(exc)
        return HawkbitUnreachable(
            f"{where} cannot be reached: {'stopped' if cut == 'stopped' else why}",
            evidence={"server": url.authority},
            fix="check fleet.hawkbit.url, and from this device's network that the server answers",
        )


def judge(status: int, headers: Mapping[str, str], method: str) -> None:
    """What a status means. Raises Gone or an error below HawkbitUnreachable for all that is not success."""
    if status in {200, 201, 202, 204} or (status == 304 and method == "GET"):
        return
    if status in {404, 405, 410}:
        raise Gone(str(status))
    if status in {401, 403}:
        raise HawkbitDenied(
            f"the hawkBit server does not accept this device's token (status {status})",
            evidence={"status": status},
            fix="compare the token file with the target's (or the tenant's) token in hawkBit, and whether that kind is enabled",
        )
    if status in _LATER:
        busy = HawkbitBusy(
            f"the hawkBit server answered with status {status}",
            evidence={"status": status},
            fix="nothing: it is asked again later; where it stays so, look into the server's log and quotas",
        )
        busy.after_s = retry_after_s(headers.get("Retry-After", ""))
        raise busy
    wrong = strange(f"status {status} to {method}", f"status {status}")
    wrong.status = status
    raise wrong


def retry_after_s(text: str) -> float | None:
    """Seconds of a Retry-After header, bounded; a date is read as none, for this device's clock may be wrong."""
    text = text.strip()
    return min(float(text), RETRY_AFTER_MOST_S) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _reply(response: Response, method: str, watch: Watch) -> Reply:
    judge(response.status_code, response.headers, method)
    data = _read(response, watch) if method == "GET" and response.status_code == 200 else b""
    return Reply(data, Validator.of(response.headers).etag or "", response.status_code == 304)


def _read(response: Response, watch: Watch) -> bytes:
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise strange("it is compressed although it was asked not to be", coding)
    data = bytearray()
    while len(data) <= ANSWER_BYTES:
        with watch.body() as came:
            piece: bytes = response.raw.read1(64 * 1024, decode_content=False)
            came.append(len(piece))
        if not piece:
            return bytes(data)
        data += piece
        if watch.look() is not None:
            raise TimeoutError
    raise strange(f"it is longer than {ANSWER_BYTES} bytes", f"more than {ANSWER_BYTES} bytes")
