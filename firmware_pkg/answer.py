"""One request of a download and the body that answers it. Everything that libraries raise leaves here as one of our errors."""

from __future__ import annotations

from pathlib import Path

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from firmware_pkg.addresses import Url
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Rules
from firmware_pkg.pinned import Pinned, in_words, tls_context, untrusted, untrusted_evidence
from firmware_pkg.response import AtMost, Body, Broken, Moved, Want, failed, judge, judge_small
from firmware_pkg.watch import Watch


class Answer:
    """One connection to one address, for one request. Methods raise Broken (try again) or DownloadFailed."""

    def __init__(self, url: Url, address: str, rules: Rules, watch: Watch) -> None:
        self._url, self._watch, self._rules = url, watch, rules
        try:
            self._adapter = Pinned(
                url, address, tls_context(rules.ca_file, rules.client) if url.scheme == "https" else None, opened=watch.opened
            )
        except OSError as exc:
            raise failed(
                "tls", "the files of certificates cannot be used", expected="PEM certificates, and a key without passphrase",
                found=", ".join(str(path) for path in _files(rules)), fix="name files that this user can read",
            ) from exc  # fmt: skip
        self._response: Response | None = None
        self._framed = True

    def ask(self, headers: dict[str, str], want: Want | AtMost) -> Body | Moved:
        """Sends the request and judges the answer's head. Raises NotServed too where `want` is AtMost."""
        limits, left = self._rules.limits, self._watch.left_s
        try:
            with self._watch.head(limits.connect_s + limits.read_s):
                timeouts = (min(limits.connect_s, left), min(limits.read_s, left))
                self._response = self._adapter.ask(self._url, headers, timeouts)
        except (RequestException, HTTPError, OSError) as exc:
            raise self._trouble(exc) from exc
        status, given = self._response.status_code, self._response.headers
        found = judge_small(status, given, want) if isinstance(want, AtMost) else judge(status, given, want)
        self._framed = not isinstance(found, Body) or found.framed
        return found

    def read(self, most: int) -> bytes:
        """What comes next: 1 to `most` bytes."""
        data = self.take(most)
        if not data:
            raise Broken("the connection ended before the file did")
        return data

    def take(self, most: int) -> bytes:
        """What comes next: at most `most` bytes; none at the end of a body whose end the server has marked."""
        assert self._response is not None
        try:
            with self._watch.body() as came:
                data: bytes = self._response.raw.read1(most, decode_content=False)
                came.append(len(data))
        except (HTTPError, OSError) as exc:
            raise self._trouble(exc) from exc
        return data

    def goes_on(self) -> bool:
        """Whether the server sends more; asked when everything that was announced is here."""
        if self._framed:
            return False
        try:
            with self._watch.head(self._rules.limits.read_s):
                return bool(self.read(1))
        except (Broken, TimeoutError):
            return False  # the body is complete; how the server ends the connection is its own affair

    def close(self) -> None:
        """Gives the connection up, read or not."""
        if self._response is not None:
            self._response.close()
        self._adapter.close()
        self._watch.closed()

    def _trouble(self, exc: Exception) -> Broken | DownloadFailed:
        verdict = untrusted(exc)
        if verdict is None:
            return Broken(in_words(exc))
        return failed(
            "tls",
            f"{self._url.authority} does not prove that it is that server",
            fix="give the server a certificate for its name, from an authority that this device knows",
            **untrusted_evidence(verdict, f"a certificate for {self._url.host}, from a known authority"),
        )


def _files(rules: Rules) -> list[Path]:
    client = [rules.client.cert, rules.client.key] if rules.client else []
    return [*([rules.ca_file] if rules.ca_file else []), *client]
