"""The container: a plain POSIX tar of bundle.json, signatures/, then the files, every length declared in bundle.json."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_pkg import manifest as manifests
from firmware_pkg.errors import BundleTruncated, ExtraFile, FileMissing, UnsafePath
from firmware_pkg.manifest import Manifest
from firmware_pkg.tar_reader import BLOCK, REBUILD, SIGNATURES, Member, Reader, not_first

_END = bytes(2 * BLOCK)


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """What stands before the payload, in memory; nothing of it is believed. Names without `signatures/`."""

    manifest: Manifest
    manifest_bytes: bytes
    signatures: Mapping[str, bytes]  # <key id>.sig
    roots: Mapping[str, bytes]  # <N>.root.json


def read_front(reader: Reader) -> tuple[Front, Member | None]:
    """bundle.json, the signatures, and the first header behind them (None: there is no file).

    Raises UnsafePath, SizeLimit, ManifestInvalid, BundleTruncated.
    """
    first = reader.next()
    if first is None or first.name != manifests.FILE_NAME:
        raise not_first("nothing at all")
    data = reader.read()
    manifest = manifests.parse(data)
    signatures: dict[str, bytes] = {}
    roots: dict[str, bytes] = {}
    while (member := reader.next()) is not None and not member.is_payload:
        into = signatures if member.name.endswith(".sig") else roots
        into[member.name.removeprefix(SIGNATURES)] = reader.read()
    return Front(manifest, data, signatures, roots), member


def require_declared_size(member: Member, manifest: Manifest) -> None:
    """The length in the header is the one in bundle.json, where that lists the name. Raises BundleTruncated."""
    declared = manifest.files.get(member.name)
    if declared is not None and declared != member.size:
        raise BundleTruncated(
            f"{member.name!r} has another length than {manifests.FILE_NAME} declares",
            evidence={"declared": f"{declared} bytes", "in the bundle": f"{member.size} bytes"},
            fix="transfer the file again; if it was unpacked and packed, a file was changed meanwhile (a text's line endings?)",
        )


def header(name: str, size: int) -> bytes:
    """A member's header, the same for the same name and size. Raises UnsafePath for a name that no POSIX tar can hold."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as exc:
        evidence = {"found": str(exc), "expected": "at most 100 bytes, or 255 with a folder in it"}
        raise UnsafePath(f"{name!r} fits into no POSIX tar", evidence=evidence, fix="give it a shorter name") from exc


def end(position: int) -> bytes:
    """The end marker behind `position` bytes, filled up to a whole record as tar does it."""
    return _END + bytes(-(position + len(_END)) % tarfile.RECORDSIZE)


def write(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes an unsigned bundle; the file appears under its name only when it is complete. Raises UnsafePath, OSError."""
    staging = path.with_name(path.name + ".part")
    members = {manifests.FILE_NAME: manifests.dump(manifest), **files}
    try:
        with staging.open("wb") as stream:
            for name, data in members.items():
                stream.write(header(name, len(data)))
                stream.write(data)
                stream.write(bytes(-len(data) % BLOCK))
            stream.write(end(stream.tell()))
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """bundle.json alone; nothing behind it is read. Raises Refused, OSError."""
    with path.open("rb") as stream:
        reader = Reader(stream)
        if reader.next() is None:  # it raises for any other first member
            raise not_first("nothing at all")
        data = reader.read()
    return manifests.parse(data), data


def require_names(manifest: Manifest, present: Mapping[str, object]) -> None:
    """The files in the container are those that bundle.json lists. Raises FileMissing, ExtraFile."""
    listed = f"{len(manifest.files)} files"
    found = [name for name in present if name != manifests.FILE_NAME and not name.startswith(SIGNATURES)]
    if missing := sorted(set(manifest.files) - set(found)):
        raise FileMissing(
            f"{missing[0]!r} is listed in {manifests.FILE_NAME} but not in the bundle",
            evidence={"missing": ", ".join(missing[:5]), "listed": listed, "in the bundle": f"{len(found)} files"},
            fix="transfer the file again, or " + REBUILD,
        )
    if extra := sorted(set(found) - set(manifest.files)):
        raise ExtraFile(
            f"{extra[0]!r} is in the bundle but not listed in {manifests.FILE_NAME}",
            evidence={"not listed": ", ".join(extra[:5]), "listed": listed, "in the bundle": f"{len(found)} files"},
            fix="remove it, or " + REBUILD,
        )
