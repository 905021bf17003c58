"""The container: a plain POSIX tar of bundle.json, signatures/, then the files, every length declared in bundle.json."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from firmware_pkg import limits
from firmware_pkg import manifest as manifests
from firmware_pkg.errors import BundleTruncated, ExtraFile, FileMissing, ManifestInvalid, SizeLimit, UnsafePath
from firmware_pkg.manifest import Manifest

SIGNATURES = "signatures/"
_REBUILD = "build the bundle again with 'camagent bundle create'"


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in memory, its container sound. Whose it is has not been asked: see firmware_pkg.verify."""

    manifest: Manifest
    manifest_bytes: bytes
    signatures: Mapping[str, bytes]
    files: Mapping[str, bytes]


def write(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes an unsigned bundle; the file appears under its name only when it is complete."""
    staging = path.with_name(path.name + ".part")
    with tarfile.open(staging, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in {manifests.FILE_NAME: manifests.dump(manifest), **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    staging.replace(path)


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """bundle.json alone; nothing behind it is read. Raises Refused."""
    with path.open("rb") as stream:
        for name, data in _members(stream):
            if name != manifests.FILE_NAME:
                break
            return manifests.parse(data), data
    raise ManifestInvalid(f"the first member of the bundle is not {manifests.FILE_NAME}", fix=_REBUILD)


def read(path: Path) -> Bundle:
    """The whole bundle. Raises Refused when the container is not what bundle.json declares."""
    with path.open("rb") as stream:
        members = _members(stream)
        first = next(members, None)
        if first is None or first[0] != manifests.FILE_NAME:
            raise ManifestInvalid(f"the first member of the bundle is not {manifests.FILE_NAME}", fix=_REBUILD)
        manifest = manifests.parse(first[1])
        signatures: dict[str, bytes] = {}
        files: dict[str, bytes] = {}
        for name, data in members:
            _require_declared(name, len(data), manifest)
            (signatures if name.startswith(SIGNATURES) else files)[name] = data
    missing = sorted(set(manifest.files) - set(files))
    if missing:
        raise FileMissing(f"{missing[0]!r} is listed in {manifests.FILE_NAME} but not in the bundle", fix=_REBUILD)
    return Bundle(manifest, first[1], signatures, files)


def _members(stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:
            for member in tar:
                _require_allowed(member, seen)
                seen.add(member.name)
                source = tar.extractfile(member)
                data = source.read() if source else b""
                if len(data) != member.size:
                    raise _truncated(f"{member.name!r} has {len(data)} of {member.size} bytes")
                yield member.name, data
    except (tarfile.TarError, EOFError) as exc:
        raise _truncated(str(exc)) from exc


def _require_allowed(member: tarfile.TarInfo, seen: set[str]) -> None:
    if not member.isreg() or member.issparse() or not manifests.safe_path(member.name):
        raise UnsafePath(
            f"the bundle has a member that is never allowed: {member.name!r}",
            evidence={"type": member.type.decode("ascii", "replace"), "allowed": "regular files with relative POSIX names"},
            fix=_REBUILD,
        )
    if member.name in seen:
        raise UnsafePath(f"the bundle has {member.name!r} twice", fix=_REBUILD)
    limit = limits.MANIFEST_BYTES if member.name == manifests.FILE_NAME else limits.MEMBER_BYTES
    if member.size > limit or len(seen) >= limits.MEMBERS:
        raise SizeLimit(
            f"{member.name!r} is more than a bundle may hold",
            evidence={"bytes": member.size, "limit": limit, "members": len(seen) + 1, "member limit": limits.MEMBERS},
            fix="split the bundle",
        )


def _require_declared(name: str, size: int, manifest: Manifest) -> None:
    if name.startswith(SIGNATURES):
        return
    declared = manifest.files.get(name)
    if declared is None:
        raise ExtraFile(f"{name!r} is in the bundle but not listed in {manifests.FILE_NAME}", fix=_REBUILD)
    if declared != size:
        raise BundleTruncated(
            f"{name!r} has another length than declared", evidence={"declared": declared, "in the bundle": size}, fix=_REBUILD
        )


def _truncated(how: str) -> BundleTruncated:
    return BundleTruncated(
        "the bundle is not a whole tar file", evidence={"at": how}, fix="transfer the file again, or " + _REBUILD
    )
