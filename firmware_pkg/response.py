"""What a server's answer means for a download. Pure: status and headers in; a body, another place or a refusal out.

Nothing that the server wrote goes into an error but numbers: whoever ordered the download must not read the network with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from firmware_pkg.errors import DownloadFailed

Reason: TypeAlias = Literal[
    "not-allowed-url", "address-not-allowed", "unreachable", "tls", "http-status", "redirected", "encoded", "wrong-size",
    "too-large", "digest", "changed", "broken", "too-slow", "deadline", "stopped",
]  # fmt: skip

_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_NUMBER = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)", re.IGNORECASE)
_ETAG = re.compile(r'(W/)?"[!#-~]{0,200}"')
_DATE = re.compile(r"[A-Za-z0-9:, +-]{1,40}")
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})


def failed(reason: Reason, what: str, *, fix: str, **evidence: object) -> DownloadFailed:
    """The error of every download; `reason` says in one word which of the ways to fail it was."""
    return DownloadFailed(what, evidence={"reason": reason, **evidence}, fix=fix)


class Broken(Exception):
    """The connection or the server failed in a way that may pass. The words hold nothing that the server wrote."""


@dataclass(frozen=True, slots=True)
class Validator:
    """By what a server tells one state of a file from another."""

    etag: str | None
    modified: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validator:
        """From an answer; what does not look like one is none, for it is sent back to the server."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return cls(etag if _ETAG.fullmatch(etag) else None, modified if _DATE.fullmatch(modified) else None)

    @property
    def if_range(self) -> str | None:
        """For the If-Range header: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def contradicts(self, other: Validator) -> bool:
        """Whether the two belong to different files for certain."""
        if self.etag and other.etag:
            return self.etag != other.etag
        return bool(self.modified and other.modified and self.modified != other.modified)


@dataclass(frozen=True, slots=True)
class Want:
    """What was asked for."""

    size: int  # of the whole file
    offset: int  # bytes that are here already
    validator: Validator | None  # of the answer that brought them


@dataclass(frozen=True, slots=True)
class AtMost:
    """What was asked for where nobody knows its size: a small file of at most `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Body:
    """The file comes."""

    skip: int  # bytes at its beginning that are here already
    framed: bool  # the server has said how long the body is, and it is right: nothing can follow
    validator: Validator


@dataclass(frozen=True, slots=True)
class Moved:
    """The file is said to be elsewhere. The location is the server's word: judged as any URL, never shown."""

    location: str


def judge(status: int, headers: Mapping[str, str], want: Want) -> Body | Moved:
    """Reads an answer's head; `headers` are case-insensitive.

    Raises:
        Broken: worth another try.
        DownloadFailed: it is not the file that was announced.
    """
    if status in _MOVED:
        return Moved(headers.get("Location", ""))
    if status in _TEMPORARY:
        raise Broken(f"the server answered with status {status}")
    if status != 200 and not (status == 206 and want.offset):
        raise _wrong_status(status, want)
    _refuse_encoding(headers)
    validator = Validator.of(headers)
    if want.validator and want.validator.contradicts(validator):
        raise changed("ETag or date of the first answer", "another one")
    if status == 206:
        _check_range(headers.get("Content-Range", ""), want)
    skip = want.offset if status == 200 else 0
    return Body(skip, _framed(headers, want.size - want.offset + skip), validator)


class NotServed(Exception):
    """The server has answered, and does not give the file out."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def judge_small(status: int, headers: Mapping[str, str], want: AtMost) -> Body | Moved:
    """As `judge`, for a small file of unknown size.

    Raises:
        Broken: worth another try.
        NotServed: there is none, or not for us.
        DownloadFailed: it is compressed, or larger than is ever read.
    """
    if status in _MOVED:
        return Moved(headers.get("Location", ""))
    if status in _TEMPORARY:
        raise Broken(f"the server answered with status {status}")
    if status != 200:
        raise NotServed(status)
    _refuse_encoding(headers)
    text = headers.get("Content-Length", "").strip()
    if _NUMBER.fullmatch(text) and int(text) > want.size:
        raise endless(want.size, f"{int(text)} bytes")
    return Body(0, framed=False, validator=Validator(None, None))


def endless(most: int, found: str) -> DownloadFailed:
    """A file that is larger than is ever read."""
    return failed(
        "too-large",
        "the server sends more than a file of this kind ever holds; nothing of it was kept",
        expected=f"{most} bytes at most",
        found=found,
        fix="look at what the server gives out under that address: it is not what belongs there",
    )


def changed(expected: object, found: object) -> DownloadFailed:
    """The server's file is not the one that the first part came from."""
    return failed(
        "changed",
        "the file on the server changed while it was being downloaded",
        expected=expected,
        found=found,
        fix="order it again when the new file is complete on the server, with its size and sha256",
    )


def _wrong_status(status: int, want: Want) -> DownloadFailed:
    if status == 416:
        return changed(f"a file of {want.size} bytes", f"status 416: none that reaches byte {want.offset}")
    return failed(
        "http-status",
        f"the server answered with status {status} instead of the file",
        expected=200,
        found=status,
        fix="open the URL with another client: the file may be missing there, or may need credentials",
    )


def _refuse_encoding(headers: Mapping[str, str]) -> None:
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding in {"", "identity"}:
        return
    raise failed(
        "encoded",
        "the server sends the file compressed although it was asked not to; nothing of it was read",
        expected="identity",
        found=coding if coding in _ENCODINGS else "an encoding that is unknown here",
        fix="switch compression off for this path on the server (weights do not compress)",
    )


def _check_range(text: str, want: Want) -> None:
    found = _RANGE.fullmatch(text.strip())
    first, last, whole = (found[1], found[2], found[3]) if found else ("", "", "")
    if found and (int(first), int(last)) == (want.offset, want.size - 1) and whole in {"*", str(want.size)}:
        return
    shown = f"bytes {first}-{last} of {whole}" if found else "no range that can be read"
    raise changed(f"bytes {want.offset}-{want.size - 1} of {want.size}", shown)


def _framed(headers: Mapping[str, str], expected: int) -> bool:
    if "Content-Length" not in headers:
        return False
    text = headers["Content-Length"].strip()
    found = int(text) if _NUMBER.fullmatch(text) else "no number"
    if found != expected:
        raise failed(
            "wrong-size",
            "the file on the server does not have the size that was announced; nothing of it was read",
            expected=f"{expected} bytes",
            found=f"{found} bytes" if isinstance(found, int) else found,
            fix="order it with the size of the file that lies on the server",
        )
    return "Transfer-Encoding" not in headers
