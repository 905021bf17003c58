"""Adding a signature to a bundle: the file as it is, with one more member below signatures/, put in place of the old one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from firmware_pkg import archive, disk, verify
from firmware_pkg import manifest as manifests
from firmware_pkg.archive import Front
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import NoSpace
from firmware_pkg.policy import Policy
from firmware_pkg.tar_reader import BLOCK, SIGNATURES, Reader
from signing import envelope as envelopes
from signing import statement as statements
from signing import trust
from signing.digests import Hasher, digest_bytes
from signing.keys import BUNDLE_KINDS, PublicKey, Signer
from signing.refusals import PayloadDigestMismatch, Refused, SignatureFormat
from signing.trust import TrustRoot
from signing.verify import trust_key

IGNORED = "signatures"  # recorded in the signature, so that the public tool verifies an unpacked bundle
_COPY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Signing:
    """What `add` did."""

    key: PublicKey
    replaced: bool  # a signature by this key was there already
    signatures: tuple[str, ...]  # ids of all keys that have signed this bundle now
    roots: tuple[int, ...]  # versions of the roots that it carries
    digest: str  # identity of the content


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A bundle whose container is sound, and where its payload lies."""

    front: Front
    files: Mapping[str, str]
    begin: int
    end: int


def add(path: Path, signer: Signer, roots: Sequence[bytes] = ()) -> Signing:
    """Signs a bundle; the file has its old content or the new one, whatever happens meanwhile.

    The content signed is that of the file as it is now. The new file is verified before it takes the name.

    Args:
        path: the bundle.
        signer: whose signature; a former one by the same key is replaced, those by others stay.
        roots: root.json files to put into the bundle, for cameras that slept through rotations.

    Raises:
        Refused: the container is damaged (as firmware_pkg.verify.verify); a signature is left over from another build
            (PayloadDigestMismatch) or is none (SignatureFormat ..); the roots are no chain (TrustRotation).
        KeyTypeUnsupported: bundles are signed with ECDSA P-256.
        KeyUnavailable: the signer's token failed.
        NoSpace: the disk is full; the old file is untouched.
        OSError: the file cannot be read or its folder written.
    """
    signer.public.require(BUNDLE_KINDS, "to sign a bundle")
    path = path.resolve()  # a link stays a link
    with path.open("rb") as source:
        found = _look(source)
        manifest = found.front.manifest
        own = f"{signer.public.id}.sig"
        kept = {name: data for name, data in found.front.signatures.items() if name != own}
        for name, data in kept.items():
            _require_same_build(name, data, found.files)
        all_roots = _merged(found.front.roots, roots)
        payload = statements.build(f"{manifest.name}-{manifest.version}", found.files, [IGNORED])
        members = {**kept, own: envelopes.sign(payload, signer), **all_roots}
        try:
            _replace(path, source, found, members, signer.public)
        except OSError as exc:
            if exc.errno not in disk.FULL:
                raise
            evidence = {"needed": f"{found.end} bytes", "free": f"{shutil.disk_usage(path.parent).free} bytes"}
            fix = "make room beside the bundle: its new content is written in full before it takes the old one's place"
            raise NoSpace(f"there is no room for the signed bundle in {path.parent}", evidence=evidence, fix=fix) from exc
    signers = tuple(sorted(name.removesuffix(".sig") for name in members if name.endswith(".sig")))
    versions = tuple(sorted(int(name.partition(".")[0]) for name in all_roots))
    return Signing(signer.public, own in found.front.signatures, signers, versions, verify.root_digest(found.files))


def _look(source: BinaryIO) -> _Found:
    reader = Reader(source)
    front, member = archive.read_front(reader)
    files = {manifests.FILE_NAME: digest_bytes(front.manifest_bytes).sha256}
    begin = end = reader.position - BLOCK
    while member is not None:
        archive.require_declared_size(member, front.manifest)
        hasher = Hasher()
        for chunk in reader.chunks():
            hasher.update(chunk)
        files[member.name] = hasher.finish().sha256
        end = reader.position
        member = reader.next()
    archive.require_names(front.manifest, reader.names)
    return _Found(front, files, begin, end)


def _require_same_build(name: str, data: bytes, files: Mapping[str, str]) -> None:
    fix = "build the bundle again with 'camagent bundle create' and have everybody sign that file"
    try:
        signed = statements.parse(envelopes.read(data, name=name).payload)
    except Refused as exc:
        evidence = {"found": f"{exc.code}: {exc.what}", "expected": "a signature over this bundle"}
        raise SignatureFormat(f"the bundle holds {name}, which is no signature of it", evidence=evidence, fix=fix) from exc
    if signed.files == files:
        return
    differs = min(other for other in signed.files.keys() | files.keys() if signed.files.get(other) != files.get(other))
    evidence = {
        "differs": differs,
        f"signed by {name.removesuffix('.sig')}": signed.files.get(differs, "not in it"),
        "in this bundle": files.get(differs, "not in it"),
    }
    raise PayloadDigestMismatch(f"{name} is left over from another build of this bundle", evidence=evidence, fix=fix)


def _merged(present: Mapping[str, bytes], added: Sequence[bytes]) -> dict[str, bytes]:
    """All roots by name, a chain without gaps."""
    roots: list[TrustRoot] = [trust.read_root(data, name) for name, data in present.items()]
    roots += [trust.read_root(data) for data in added]
    if roots:
        trust.chain((), roots, first=True)
    return {root.name: root.data for root in sorted(roots, key=lambda root: root.version)}


def _replace(path: Path, source: BinaryIO, found: _Found, members: Mapping[str, bytes], key: PublicKey) -> None:
    handle, staging = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with open(handle, "w+b") as target:  # noqa: PTH123  a descriptor
            os.fchmod(handle, os.fstat(source.fileno()).st_mode & 0o777)
            _write(target, source, found, members)
            target.seek(0)
            verify.verify(target, Policy(trusted=trust_key(key)), Checklist())  # what was read twice may have changed between
            os.fsync(handle)
        os.replace(staging, path)  # noqa: PTH105  beside fsync, in the os module's words
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
    disk.fsync_folder(path.parent)


def _write(target: BinaryIO, source: BinaryIO, found: _Found, members: Mapping[str, bytes]) -> None:
    named = {manifests.FILE_NAME: found.front.manifest_bytes}
    named |= {SIGNATURES + name: members[name] for name in sorted(members)}
    for name, data in named.items():
        target.write(archive.header(name, len(data)))
        target.write(data)
        target.write(bytes(-len(data) % BLOCK))
    source.seek(found.begin)
    left = found.end - found.begin
    while left and (chunk := source.read(min(_COPY, left))):
        target.write(chunk)
        left -= len(chunk)
    target.write(archive.end(target.tell()))
    target.flush()
