"""Files as the signature sees them: a name, a digest, a size. The same checks serve a folder and a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from signing import limits
from signing.refusals import ExtraFile, FileMissing, LineEndingsChanged, PayloadDigestMismatch, SizeLimit, UnsafePath

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FileDigest:
    """SHA-256 and size of a file; for a small text file also what its SHA-256 would be with the other line endings."""

    sha256: str
    size: int
    with_lf: str | None = None
    with_crlf: str | None = None


class Hasher:
    """Digests a file while it is copied: `update` per chunk, `finish` at its end.

    Files up to limits.TEXT_BYTES without a NUL are kept until then, to tell changed line endings from other changes.
    """

    __slots__ = ("_hash", "_kept", "_size")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._kept: bytearray | None = bytearray()

    def update(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._hash.update(chunk)
        self._size += len(chunk)
        if self._kept is not None:
            if self._size > limits.TEXT_BYTES:
                self._kept = None
                return
            self._kept += chunk
            if b"\0" in self._kept[-len(chunk) :]:
                self._kept = None

    def finish(self) -> FileDigest:
        """The digest of all that was given."""
        if not self._kept or b"\n" not in self._kept:
            return FileDigest(self._hash.hexdigest(), self._size)
        lf = bytes(self._kept).replace(b"\r\n", b"\n")
        crlf = lf.replace(b"\n", b"\r\n")
        return FileDigest(self._hash.hexdigest(), self._size, hashlib.sha256(lf).hexdigest(), hashlib.sha256(crlf).hexdigest())


def digest_bytes(data: bytes) -> FileDigest:
    """The digest of a file that is in memory."""
    hasher = Hasher()
    hasher.update(data)
    return hasher.finish()


def require_safe_name(name: str) -> None:
    """A relative POSIX name that stays below its folder, and is the only spelling of it.

    Raises:
        UnsafePath: absolute, empty, with an empty, `.` or `..` part, with a NUL, or not expressible in UTF-8.
        SizeLimit: longer than limits.NAME_BYTES.
    """
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise _unsafe(name, "bytes that are no UTF-8") from exc
    if length > limits.NAME_BYTES:
        evidence = {"found": f"{length} bytes", "allowed": f"{limits.NAME_BYTES} bytes"}
        raise SizeLimit(f"a file name is too long: {name[:60]!r}...", evidence=evidence, fix="shorten the name and sign again")
    if not name or name.startswith("/"):
        raise _unsafe(name, "an absolute name" if name else "an empty name")
    if "\0" in name:
        raise _unsafe(name, "a NUL character")
    if bad := {"", ".", ".."} & set(name.split("/")):
        raise _unsafe(name, f"the part {max(bad)!r}")


def _unsafe(name: str, found: str) -> UnsafePath:
    evidence = {"found": found, "expected": "a relative name below the folder, such as 'golden/bus.jpg'"}
    shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return UnsafePath(f"the file name {shown!r} is never allowed", evidence=evidence, fix="rename the file and sign again")


def check_names(signed: Iterable[str], present: Iterable[str]) -> None:
    """The names that are there are the names that were signed, no more and no fewer.

    Raises:
        FileMissing: a signed one is not there.
        ExtraFile: one is there that nobody signed.
    """
    signed, present = set(signed), set(present)
    if missing := sorted(signed - present):
        evidence = {"missing": _some(missing), "signed": f"{len(signed)} files", "found": f"{len(present)} files"}
        fix = "copy all files of the signed folder, or sign what is there now"
        raise FileMissing(f"the signed file {missing[0]!r} is not there", evidence=evidence, fix=fix)
    if extra := sorted(present - signed):
        evidence = {"not signed": _some(extra), "signed": f"{len(signed)} files", "found": f"{len(present)} files"}
        fix = "remove it, or sign again with it; nothing is opened that nobody signed"
        raise ExtraFile(f"the file {extra[0]!r} was not signed", evidence=evidence, fix=fix)


def check_file(name: str, signed_sha256: str, found: FileDigest) -> None:
    """The file is the one that was signed.

    Raises:
        LineEndingsChanged: it is, but for CR LF in place of LF or the reverse.
        PayloadDigestMismatch: it is not.
    """
    if found.sha256 == signed_sha256:
        return
    evidence = {"file": name, "signed": f"sha256 {signed_sha256}", "found": f"sha256 {found.sha256}, {found.size} bytes"}
    if signed_sha256 in {found.with_lf, found.with_crlf}:
        signed, now = ("LF", "CR LF") if signed_sha256 == found.with_lf else ("CR LF", "LF")
        raise LineEndingsChanged(
            f"only the line endings of {name!r} have changed, from {signed} to {now}",
            evidence=evidence | {"line endings": f"signed {signed}, found {now}"},
            fix=f"get the file without conversion: '.gitattributes' with '{name} -text', or copy in binary mode",
        )
    fix = "get the file again from where it was signed; if it was changed on purpose, sign again"
    raise PayloadDigestMismatch(f"{name!r} is not the file that was signed", evidence=evidence, fix=fix)


def check_table(signed: Mapping[str, str], found: Mapping[str, FileDigest]) -> None:
    """All of the above for a whole table, in DESIGN's order: missing, extra, line endings, content.

    Raises:
        FileMissing: see check_names.
        ExtraFile: see check_names.
        LineEndingsChanged: see check_file.
        PayloadDigestMismatch: see check_file.
    """
    check_names(signed, found)
    changed: PayloadDigestMismatch | None = None
    for name in sorted(signed):
        try:
            check_file(name, signed[name], found[name])
        except PayloadDigestMismatch as exc:
            changed = changed or exc
    if changed:
        raise changed


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
