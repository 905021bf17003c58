"""Hands a bundle to a camera over its HTTP API and tells what becomes of it there.

    for event in push(path, "https://camera:8420", token=.., fingerprint=..):
        show(event)

Events are those of the camera's job (`step`, `state`, `progress`, at last `result`), before them perhaps a `warning` of ours.
Texts in them are the camera's: they pass `printable` before they are shown.
"""

from __future__ import annotations

import hmac
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec
from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from firmware_pkg.addresses import UnusableUrl, Url, literal, parse_url
from firmware_pkg.limits import BUNDLE_BYTES
from firmware_pkg.pinned import Pinned, in_words, tls_context, untrusted, untrusted_evidence
from signing.errors import CodedError, printable
from signing.refusals import Refused, SizeLimit

Event: TypeAlias = Mapping[str, Any]

CONNECT_S, SEND_S, SILENCE_S = 10.0, 60.0, 300.0
TRIES, PAUSE_S = 5, 1.0  # to find a job again whose connection broke
_ANSWER_BYTES: Final = 64 * 1024
_LINE_BYTES: Final = 256 * 1024
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,47}")
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[!-~]{1,4096}")


class NotReached(CodedError):
    """No camera answered, or the connection ended before the end of the job was known. Commands exit with 3."""

    code = "UNREACHABLE"


class TlsUntrusted(NotReached):
    """What answered did not prove to be that camera; it got neither token nor bundle."""

    code = "TLS_UNTRUSTED"


class WrongTarget(CodedError):
    """The address, token, fingerprint or file cannot be used. Commands exit with 2."""

    code = "USAGE"


class RemoteRefusal(Refused):
    """The camera said no; the code, the evidence and the fix are the camera's."""

    def __init__(self, code: str, what: str, *, fix: str, evidence: Mapping[str, object]) -> None:
        super().__init__(what, fix=fix, evidence=evidence)
        self.__dict__["code"] = code if _CODE.fullmatch(code) else "REFUSED"


class _Refusal(msgspec.Struct):
    code: str
    what: str
    fix: str = "see the camera's log"
    evidence: dict[str, Any] = {}


class _Started(msgspec.Struct):
    job: str


_REFUSAL = msgspec.json.Decoder(_Refusal)
_STARTED = msgspec.json.Decoder(_Started)
_EVENT = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Camera:
    """Where to, and how it is known to be the right one."""

    url: Url
    tls: ssl.SSLContext | None
    fingerprint: str | None
    token: str | None = field(repr=False)

    @property
    def is_remote(self) -> bool:
        address = literal(self.url.host)
        return not (self.url.host == "localhost" if address is None else address.is_loopback)

    def at(self, *segments: str, query: str = "") -> Url:
        base = self.url.segments[:-1] if self.url.segments[-1:] == ("",) else self.url.segments
        return Url(self.url.scheme, self.url.host, self.url.port, (*base, *segments), query)

    def check_peer(self, certificate: bytes) -> None:
        found = sha256(certificate).hexdigest()
        if self.fingerprint is not None and not hmac.compare_digest(found, self.fingerprint):
            raise TlsUntrusted(
                f"{self.url.authority} shows another certificate than the one with that fingerprint; nothing was sent",
                evidence={"expected": self.fingerprint, "found": found},
                fix="compare with the certificate on the camera: openssl x509 -noout -fingerprint -sha256 -in CERT.pem",
            )


def push(
    path: Path,
    url: str,
    *,
    token: str | None = None,
    ca: Path | None = None,
    fingerprint: str | None = None,
    progress: Callable[[int], None] | None = None,
    force: bool = False,
) -> Iterator[Event]:
    """Uploads a bundle and yields what the camera tells of it, up to the result.

    Args:
        path: the bundle.
        url: the camera's API, such as `https://camera:8420`.
        token: what the camera's `web.token_file` holds; goes to this server alone, after TLS has proved it.
        ca: PEM of the authority that signed the camera's certificate; without it, the machine's own authorities.
        fingerprint: SHA-256 of the camera's certificate (DER), with or without colons: trusted alone.
        progress: called with the number of bytes sent so far.
        force: also what was refused before.

    Raises:
        WrongTarget: nothing was asked, because the arguments cannot be used.
        SizeLimit: the file is larger than any bundle.
        NotReached: and TlsUntrusted; the end of the job is not known.
        RemoteRefusal: the camera's no, with its own code.
    """
    return _pushed(path, _camera(url, token, ca, fingerprint), progress or (lambda _: None), "force=1" if force else "")


def _camera(url: str, token: str | None, ca: Path | None, fingerprint: str | None) -> _Camera:
    try:
        place = parse_url(url)
    except UnusableUrl as exc:
        raise WrongTarget(f"the camera's address cannot be used: {exc}", fix="write it as https://HOST:8420") from exc
    pin = None if fingerprint is None else fingerprint.replace(":", "").strip().lower()
    if pin is not None and not _FINGERPRINT.fullmatch(pin):
        raise WrongTarget(
            "the fingerprint is no SHA-256", evidence={"expected": "64 hex digits", "found": fingerprint},
            fix="take it from: openssl x509 -noout -fingerprint -sha256 -in CERT.pem",
        )  # fmt: skip
    if token is not None and not _TOKEN.fullmatch(token):
        raise WrongTarget(
            "the token cannot be sent", evidence={"expected": "1 to 4096 printable ASCII characters without blanks"},
            fix="check the token file: one line",
        )  # fmt: skip
    if (ca is not None and pin is not None) or (place.scheme == "http" and (ca is not None or pin is not None)):
        raise WrongTarget(
            "an authority and a fingerprint exclude each other, and over http neither proves anything",
            evidence={"address": place.shown}, fix="use https:// with one of the two",
        )  # fmt: skip
    return _Camera(place, _tls(ca, pin) if place.scheme == "https" else None, pin, token)


def _tls(ca: Path | None, pin: str | None) -> ssl.SSLContext:
    if pin is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # check_peer compares the certificate itself
        return context
    try:
        return tls_context(ca)
    except OSError as exc:
        raise WrongTarget(
            "the file of certificate authorities cannot be used", evidence={"file": ca}, fix="name a PEM file with certificates"
        ) from exc


def _pushed(path: Path, camera: _Camera, progress: Callable[[int], None], query: str) -> Iterator[Event]:
    with _opened(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size > BUNDLE_BYTES:
            raise SizeLimit(
                "the file is larger than any bundle", evidence={"expected": f"at most {BUNDLE_BYTES} bytes", "found": size},
                fix="push a .cambundle file",
            )  # fmt: skip
        if camera.url.scheme == "http" and camera.is_remote:
            yield {"warning": _plain_http(camera)}
        job = _upload(camera, _Upload(file, size, progress), size, query)
    yield from _followed(camera, job)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise WrongTarget(
            f"{printable(path)} cannot be read: {exc.strerror}", evidence={"file": path}, fix="name a .cambundle file"
        ) from exc


def _plain_http(camera: _Camera) -> dict[str, str]:
    stolen = "read the bundle and take the token, with which they can push bundles and trust roots of their own"
    return {
        "code": "PLAIN_HTTP",
        "what": f"{camera.url.authority} is asked over http: whoever listens on the way can "
        + (stolen if camera.token else "read the bundle, or answer in the camera's place"),
        "fix": "give the camera a certificate (web.cert_file, web.key_file) and push to https:// with --fingerprint",
    }


class _Upload:
    """The file as an HTTP body."""

    def __init__(self, file: BinaryIO, size: int, progress: Callable[[int], None]) -> None:
        self._file, self._left, self._size, self._progress = file, size, size, progress

    def read(self, most: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(min(most, self._left) if most >= 0 else self._left)
        self._left -= len(data)
        self._progress(self._size - self._left)
        return data


def _upload(camera: _Camera, body: _Upload, size: int, query: str) -> str:
    """Sends the bundle; the id of the job that the camera made of it."""
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    with closing(_Talk(camera, SEND_S)) as talk:
        response = talk.ask(camera.at("api", "bundles", query=query), headers, SILENCE_S, method="POST", body=body)
        answer = talk.answer(response)
        try:
            job = _STARTED.decode(answer).job
        except msgspec.MsgspecError as exc:
            raise _no_camagent(camera, response.status_code) from exc
        if not _JOB.fullmatch(job):
            raise _no_camagent(camera, response.status_code)
        return job


def _followed(camera: _Camera, job: str) -> Iterator[Event]:
    """The job's events. A connection that breaks is made again; the camera then tells from the beginning."""
    seen = tries = 0
    broken = "its end was never told"
    while tries < TRIES:
        number = 0
        try:
            with closing(_Talk(camera)) as talk:
                for event in talk.events(camera.at("api", "jobs", job)):
                    number += 1
                    if number <= seen:
                        continue
                    seen, tries = number, 0
                    if isinstance(event.get("refusal"), dict):
                        raise _refused(msgspec.json.encode(event["refusal"]), camera, 200)
                    yield event
                    if "result" in event:
                        return
        except _Broke as exc:
            broken = str(exc)
        tries += 1
        time.sleep(PAUSE_S * tries)
    raise NotReached(
        f"the bundle is on {camera.url.authority}, but what became of it is not known: {broken}",
        evidence={"events seen": seen, "attempts": TRIES},
        fix="look at the camera: 'camagent bundle list' there, or its bundle/state",
    )


class _Broke(Exception):
    """The connection of a job ended before the job did."""


class _Talk:
    """One request to the camera over a connection of its own. Redirects are answers like any other: nothing follows them."""

    def __init__(self, camera: _Camera, send_s: float | None = None) -> None:
        self._camera = camera
        peer = camera.check_peer if camera.fingerprint is not None else None
        self._adapter = Pinned(camera.url, camera.url.host, camera.tls, peer=peer, send_s=send_s)

    def ask(self, url: Url, headers: Mapping[str, str], silence_s: float, *, method: str = "GET", body: Any = None) -> Response:
        """Sends a request. Raises NotReached or TlsUntrusted."""
        camera = self._camera
        everything = {"X-Camagent": "1", "Accept-Encoding": "identity", **headers}
        if camera.token is not None:
            everything["Authorization"] = f"Bearer {camera.token}"
        try:
            return self._adapter.ask(url, everything, (CONNECT_S, silence_s), method=method, body=body)
        except (RequestException, HTTPError, OSError) as exc:
            raise self._trouble(exc) from exc

    def answer(self, response: Response) -> bytes:
        """A short body of a good answer. Raises RemoteRefusal or NotReached for the others."""
        data = b""
        try:
            while len(data) <= _ANSWER_BYTES and (more := response.raw.read1(_ANSWER_BYTES, decode_content=False)):
                data += more
        except (HTTPError, OSError) as exc:
            raise self._trouble(exc) from exc
        if response.status_code not in {200, 202} or len(data) > _ANSWER_BYTES:
            raise _refused(data, self._camera, response.status_code)
        return data

    def events(self, url: Url) -> Iterator[dict[str, Any]]:
        """The lines of a job as they come. Raises _Broke where they end, which a caller who has the last one never sees."""
        try:
            response = self.ask(url, {}, SILENCE_S)
        except TlsUntrusted:
            raise
        except NotReached as exc:
            raise _Broke(exc.what) from exc
        if response.status_code != 200:
            self.answer(response)
        rest = b""
        while True:
            try:
                data = response.raw.read1(_ANSWER_BYTES, decode_content=False)
            except (HTTPError, OSError) as exc:
                raise _Broke(in_words(exc)) from exc
            if not data:
                raise _Broke("the camera ended the connection")
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LINE_BYTES:
                raise _no_camagent(self._camera, 200)
            for line in lines:
                yield self._event(line)

    def close(self) -> None:
        """Ends the connection."""
        self._adapter.close()

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            return _EVENT.decode(line)
        except msgspec.MsgspecError as exc:
            raise _no_camagent(self._camera, 200) from exc

    def _trouble(self, exc: Exception) -> NotReached:
        verdict, name = untrusted(exc), self._camera.url.authority
        if verdict is None:
            return NotReached(
                f"{name} was not reached: {in_words(exc)}", evidence={"camera": self._camera.url.shown},
                fix="check address and port, and that the agent runs with web.listen on an address of the network",
            )  # fmt: skip
        return TlsUntrusted(
            f"{name} does not prove that it is that camera; nothing was sent",
            evidence=untrusted_evidence(verdict, f"a certificate for {self._camera.url.host}, from a known authority"),
            fix="name the camera's authority with --ca, or its certificate with --fingerprint",
        )


def _refused(data: bytes, camera: _Camera, status: int) -> RemoteRefusal | NotReached:
    try:
        told = _REFUSAL.decode(data)
    except msgspec.MsgspecError:
        return _no_camagent(camera, status)
    return RemoteRefusal(told.code, told.what, fix=told.fix, evidence=told.evidence)


def _no_camagent(camera: _Camera, status: int) -> NotReached:
    return NotReached(
        f"what answers at {camera.url.authority} does not speak like camagent",
        evidence={"expected": "camagent's HTTP API", "found": f"status {status} without camagent's words"},
        fix="check host and port; a redirect is never followed, because the token would go with it",
    )


__all__ = ["Event", "NotReached", "RemoteRefusal", "TlsUntrusted", "WrongTarget", "push"]
