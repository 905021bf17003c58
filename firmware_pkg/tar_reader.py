"""Members of the container, one after the other, from a source that need not seek. Every refusal here is of the container.

Headers are parsed one block at a time by the standard library, and nothing in them is ever followed: no extension, no link.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from firmware_pkg import limits
from firmware_pkg import manifest as manifests
from firmware_pkg.errors import BundleTruncated, ManifestInvalid, SizeLimit, UnsafePath
from signing import limits as signing_limits

SIGNATURES = "signatures/"
BLOCK = 512
CHUNK = 1024 * 1024  # the buffer that every payload passes through
REBUILD = "build the bundle again with 'camagent bundle create'"

_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE}
_SIG_NAME = re.compile(r"signatures/[A-Za-z0-9][A-Za-z0-9_-]{0,127}\.sig", re.ASCII)
_ROOT_NAME = re.compile(r"signatures/[1-9][0-9]{0,9}\.root\.json", re.ASCII)
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder", b"6": "a pipe",
    b"x": "a pax header", b"g": "a pax header", b"L": "a GNU long name", b"K": "a GNU long link", b"S": "a sparse file",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the container, by its header; `size` in bytes."""

    name: str
    size: int

    @property
    def padding(self) -> int:
        """Bytes that fill its last block."""
        return -self.size % BLOCK

    @property
    def is_payload(self) -> bool:
        """Neither bundle.json nor below signatures/."""
        return self.name != manifests.FILE_NAME and not self.name.startswith(SIGNATURES)


class Reader:
    """Members of a container in order, from a source that need not seek. Every refusal here is of the container.

    `next` gives a member's header; then `read`, `chunks` or `skip` takes its content (`next` skips what was not taken).
    Everything up to the first payload header is held, so that `pour_into` can still write the whole container.
    """

    def __init__(self, source: BinaryIO, progress: Callable[[int], None] | None = None) -> None:
        """Nothing is read yet; `progress` hears how many bytes have been."""
        self.names: dict[str, int] = {}  # name -> size of all members so far
        self.position = 0
        self._source = source
        self._fill: Callable[[memoryview], int | None] = getattr(source, "readinto", None) or self._fill_by_read
        self._progress = progress
        self._folders: set[str] = set()
        self._in_payload = False
        self._signature_bytes = self._signatures = 0
        self._current: Member | None = None  # its content has not been taken
        self._held: list[bytes] | None = []
        self._sink: BinaryIO | None = None
        self._buffer = memoryview(b"")

    def next(self) -> Member | None:
        """The next header; None at the end marker, behind which only padding may follow.

        Raises UnsafePath, SizeLimit, ManifestInvalid (the first member is not bundle.json), BundleTruncated.
        """
        if self._current is not None:
            self.skip()
        block = self._take(BLOCK, "the end marker of the tar")
        if block == bytes(BLOCK):
            self._finish()
            return None
        member = self._admit(_parse(block, self.position - BLOCK))
        self.names[member.name] = member.size
        self._current = member
        return member

    def read(self) -> bytes:
        """The whole content of the current member. Raises BundleTruncated."""
        member = self._taken()
        data = self._take(member.size, f"{member.name!r}")
        self._take(member.padding, f"{member.name!r}")
        return data

    def chunks(self) -> Iterator[memoryview]:
        """The content of the current member in pieces, each valid until the next is asked for. Raises BundleTruncated."""
        member = self._taken()
        left = member.size
        if len(self._buffer) < min(left, CHUNK):
            self._buffer = memoryview(bytearray(min(left, CHUNK)))
        while left:
            piece = self._buffer[: min(left, len(self._buffer))]
            self._take_into(piece, f"{member.name!r}")
            left -= len(piece)
            yield piece
        self._take(member.padding, f"{member.name!r}")

    def skip(self) -> None:
        """Reads over the current member. Raises BundleTruncated."""
        for _ in self.chunks():
            pass

    def pour_into(self, sink: BinaryIO) -> None:
        """Writes the container to `sink`, byte for byte: what has been read so far, and from now on whatever is read."""
        held, self._held = self._held or [], None
        self._sink = sink
        for piece in held:
            _write_all(sink, piece)

    def stop_pouring(self) -> None:
        """Writes nothing any more."""
        self._sink = None

    def _taken(self) -> Member:
        assert self._current is not None, "next() first"
        member, self._current = self._current, None
        if member.is_payload:
            self._held = None  # too late for pour_into
        return member

    def _take(self, count: int, of: str) -> bytes:
        data = self._read_up_to(count)
        self._passed(data, count, of)
        return data

    def _read_up_to(self, count: int) -> bytes:
        data = self._source.read(count) or b""
        if len(data) == count:
            return data
        pieces, left = [data], count - len(data)
        while left and (more := self._source.read(left)):
            pieces.append(more)
            left -= len(more)
        return b"".join(pieces)

    def _take_into(self, piece: memoryview, of: str) -> None:
        filled = 0
        while filled < len(piece) and (count := self._fill(piece[filled:])):
            filled += count
        self._passed(piece[:filled], len(piece), of)

    def _passed(self, data: bytes | memoryview, expected: int, of: str) -> None:
        self.position += len(data)
        if len(data) < expected:
            raise truncated(f"the file ends after {self.position} bytes", f"{expected - len(data)} bytes more, of {of}")
        if self._sink is not None:
            _write_all(self._sink, data)
        elif self._held is not None:
            self._held.append(bytes(data))
        if self._progress is not None:
            self._progress(self.position)

    def _fill_by_read(self, view: memoryview) -> int:
        data = self._source.read(len(view)) or b""
        view[: len(data)] = data
        return len(data)

    def _admit(self, info: tarfile.TarInfo) -> Member:
        member = Member(info.name, info.size)
        if info.type not in _REGULAR:
            kind = _KINDS.get(info.type, f"a member of type {info.type!r}")
            raise _unsafe(f"{info.name!r} is {kind}", kind, "a regular file")
        self._require_place(member)
        self._require_bounds(member)
        if not self.names and member.name != manifests.FILE_NAME:
            raise not_first(member.name)
        self._folders |= _folders_of(member.name)
        self._in_payload = self._in_payload or member.is_payload
        return member

    def _require_place(self, member: Member) -> None:
        name = member.name
        if not manifests.safe_path(name):
            raise _unsafe(f"{name!r} is never allowed as a name", name, "a relative POSIX name such as 'golden/bus.jpg'")
        if name in self.names:
            raise _unsafe(f"the bundle has {name!r} twice", f"{len(self.names)} members, {name!r} again", "every name once")
        if name in self._folders or _folders_of(name) & self.names.keys():
            raise _unsafe(
                f"{name!r} makes a file of a folder, or the reverse", name, "a name is a file or a folder, never both"
            )
        if name == SIGNATURES.rstrip("/") or name.startswith(SIGNATURES):
            if not (_SIG_NAME.fullmatch(name) or _ROOT_NAME.fullmatch(name)):
                raise _unsafe(f"{name!r} has no place below {SIGNATURES}", name, "<key id>.sig or <N>.root.json")
            if self._in_payload:
                last = next(reversed(self.names))
                raise _unsafe(f"{name!r} comes after a file", f"behind {last!r}", f"directly behind {manifests.FILE_NAME}")

    def _require_bounds(self, member: Member) -> None:
        limit = _limit_of(member.name)
        if not 0 <= member.size <= limit:
            raise _too_much(f"{member.name!r} is of a size that is never read", f"{member.size} bytes", f"0 to {limit} bytes")
        if len(self.names) >= limits.MEMBERS:
            raise _too_much("the bundle has too many members", f"more than {len(self.names)}", str(limits.MEMBERS))
        end = self.position + member.size + member.padding
        if end > limits.BUNDLE_BYTES:
            raise _too_much("the bundle is too large", f"{end} bytes up to {member.name!r}", f"{limits.BUNDLE_BYTES} bytes")
        if member.name.startswith(SIGNATURES):
            self._require_signature_bounds(member)

    def _require_signature_bounds(self, member: Member) -> None:
        self._signature_bytes += member.size
        self._signatures += member.name.endswith(".sig")
        if self._signature_bytes > limits.SIGNATURE_AREA_BYTES:
            allowed = f"{limits.SIGNATURE_AREA_BYTES} bytes"
            raise _too_much(f"{SIGNATURES} holds too much", f"{self._signature_bytes} bytes or more", allowed)
        if self._signatures > limits.SIGNATURES:
            raise _too_much("there are too many signatures", f"{self._signatures} or more", str(limits.SIGNATURES))

    def _finish(self) -> None:
        if any(self._take(BLOCK, "the end marker of the tar")):
            raise truncated("one block of zeros, and then something else", "two blocks of zeros: the end marker of a tar")
        at, most = self.position, limits.TRAILING_BYTES
        trailing = self._read_up_to(most + 1)
        if any(trailing) or len(trailing) > most:
            found = f"{len(trailing)} bytes or more" if len(trailing) > most else "bytes that are not zero"
            raise _too_much("there is data behind the end of the bundle", f"{found}, from byte {at}", f"{most} bytes of zeros")
        self._passed(trailing, len(trailing), "")
        if not self.names:
            raise not_first("nothing at all")


class SeekingReader(Reader):
    """The same over a file: what is skipped is not read."""

    def __init__(self, source: BinaryIO) -> None:
        """From the file's first byte on."""
        super().__init__(source)
        self._end = source.seek(0, 2)
        source.seek(0)

    def skip(self) -> None:
        """Seeks over the current member. Raises BundleTruncated."""
        member = self._taken()
        self._require_there(member)
        self.position = self._source.seek(self.position + member.size + member.padding)

    def read(self) -> bytes:
        """As Reader's; asks first whether the file is that long, so that nothing is made room for that is not there."""
        if self._current is not None:
            self._require_there(self._current)
        return super().read()

    def _require_there(self, member: Member) -> None:
        left = self._end - self.position
        if left < member.size + member.padding:
            missing = member.size + member.padding - left
            raise truncated(f"the file ends after {self._end} bytes", f"{missing} bytes more, of {member.name!r}")


def _write_all(sink: BinaryIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:  # a file without a buffer may take a part only
        view = view[sink.write(view) :]


def _parse(block: bytes, at: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError as exc:
        raise _unsafe("a member's name is not UTF-8", f"byte 0x{exc.object[exc.start]:02x}", "names in UTF-8") from exc
    except tarfile.HeaderError as exc:
        raise truncated(f"{exc} at byte {at}, which begins {block[:8].hex(' ')}", "a tar header or the end marker") from exc


def _folders_of(name: str) -> set[str]:
    parts = name.split("/")
    return {"/".join(parts[:depth]) for depth in range(1, len(parts))}


def _limit_of(name: str) -> int:
    if name == manifests.FILE_NAME:
        return limits.MANIFEST_BYTES
    if name.startswith(SIGNATURES):
        return limits.SIGNATURE_BYTES if name.endswith(".sig") else signing_limits.ROOT_BYTES
    return limits.MEMBER_BYTES


def not_first(found: str) -> ManifestInvalid:
    """The refusal of a container that does not begin with bundle.json."""
    return ManifestInvalid(
        f"the first member of the bundle is not {manifests.FILE_NAME}",
        evidence={"found": found, "expected": manifests.FILE_NAME},
        fix=REBUILD,
    )


def truncated(found: str, expected: str) -> BundleTruncated:
    """The refusal of a container that is damaged or ends early."""
    return BundleTruncated(
        "the bundle is not a whole tar file",
        evidence={"found": found, "expected": expected},
        fix="transfer the file again, or " + REBUILD,
    )


def _unsafe(what: str, found: str, expected: str) -> UnsafePath:
    fix = REBUILD + " (or pack it with 'tar --format=ustar', files named one by one)"
    return UnsafePath(f"{what}: such a bundle is never opened", evidence={"found": found, "expected": expected}, fix=fix)


def _too_much(what: str, found: str, allowed: str) -> SizeLimit:
    return SizeLimit(what, evidence={"found": found, "allowed": allowed}, fix="check that it is the right file; else split it")
