"""Bytes -> VerifiedBundle, the only way. Trust is decided from bundle.json and the signatures, before a payload byte is kept.

DESIGN section 7 says which of several refusals speaks: container, signature, content, time, device, runtime, index. A
refusal of a later group therefore waits until the stream has ended without one of an earlier group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeAlias

from firmware_pkg import archive
from firmware_pkg import manifest as manifests
from firmware_pkg.archive import Front
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import BundleTruncated, ExtraFile, FileMissing
from firmware_pkg.manifest import Manifest
from firmware_pkg.policy import Policy, Signed, Unsigned, judge_circumstances, judge_signers
from firmware_pkg.tar_reader import Member, Reader, SeekingReader
from signing.digests import FileDigest, Hasher, check_file, check_table, digest_bytes
from signing.errors import CodedError
from signing.limits import TEXT_BYTES
from signing.refusals import Refused
from signing.trust import TrustRoot

# what is done with a file of the payload: its digest, or None where it is not looked at
Take: TypeAlias = Callable[[Member], FileDigest | None]


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedBundle:
    """What enough trusted keys have signed, or what was allowed unsigned (`signers` is empty then)."""

    manifest: Manifest
    manifest_bytes: bytes
    files: Mapping[str, str]  # name -> lowercase hex SHA-256, bundle.json included
    digest: str  # identity of the content, whoever signed it: the statement's root digest
    signers: tuple[str, ...]  # key ids
    roots: tuple[TrustRoot, ...]  # newer than the known ones, proven: to be kept
    size: int  # bytes of the whole container


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBundle:
    """A verified bundle with some of its files: the very bytes that were hashed."""

    verified: VerifiedBundle
    files: Mapping[str, bytes]


def verify(
    source: BinaryIO,
    policy: Policy,
    checklist: Checklist,
    *,
    keep: Callable[[VerifiedBundle], BinaryIO] | None = None,
    progress: Callable[[int], None] | None = None,
) -> VerifiedBundle:
    """Reads a bundle once, from front to end, and judges it.

    Args:
        source: a binary file, a pipe, a request's body; only ever read forwards.
        policy: what it is judged against.
        checklist: hears of every step, the refusal included.
        keep: called once, with what has been verified so far (`size` is 0; of an unsigned bundle only bundle.json's digest
            is known yet, and `digest` is empty), when all that bundle.json and the signatures can decide has passed and no
            payload byte has been read. The file that it returns receives the whole container byte for byte. It stays open;
            whoever gave it discards it when this function raises.
        progress: hears how many bytes have been read.

    Raises:
        UnsafePath: a name or kind of member that is never allowed, or one in the wrong place.
        SizeLimit: something is larger or more than firmware_pkg.limits allow, or there is data behind the end.
        ManifestInvalid: the container does not begin with a bundle.json, or that is no manifest.
        BundleTruncated: the container is damaged or ends early, or a length is not the declared one.
        SignatureMissing, UnsignedNotAllowed: nobody has signed it (by the policy's `unsigned`).
        SignatureFormat, FormatUnsupported, SignatureEncoding, SignatureInvalid: see signing.verify.verify_signatures.
        SignerRevoked, UntrustedSigner, ThresholdNotMet: likewise.
        TrustMissing, TrustRotation, KeyTypeUnsupported: nobody is trusted, or a root in the bundle cannot be taken.
        FileMissing, ExtraFile: what is signed, what bundle.json lists and what is there differ.
        LineEndingsChanged, PayloadDigestMismatch: a file is not the one that was signed.
        TrustExpired, BundleExpired, ClockUntrusted: of time.
        DeviceMismatch, ArtifactTarget, RuntimeTooOld, RollbackRefused: it is not for this device, or no more.
        OSError: `source` or the file of `keep` failed.
    """
    reader = Reader(source, progress)
    try:
        opened = _open(reader, policy, checklist)
        if keep is not None and opened.later is None:
            reader.pour_into(keep(opened.draft))
        found = _read_payload(reader, opened, lambda _: _hash(reader))
        return _conclude(reader, opened, found, checklist)
    except CodedError as exc:
        checklist.refused(exc)
        raise


def load(source: BinaryIO, policy: Policy, want: Callable[[Manifest], Collection[str]], *, whole: bool = False) -> LoadedBundle:
    """The wanted files of a bundle on disk, signature and each file's digest checked in the same pass.

    What is not wanted is passed over by seeking, unless `whole` is said: of it, name, length and place are checked, and not
    the content. Of a bundle that is allowed unsigned everything is read, because its identity is known from nothing else.

    Args:
        source: the file, seekable; read from its start.
        policy: what it is judged against.
        want: names of the files to load, chosen from a manifest that is verified.
        whole: check the content of every file: for a file that nobody has verified before.

    Raises:
        Refused: as verify; FileMissing too for a wanted name that the bundle does not have.
        OSError: the file failed.
    """
    reader = SeekingReader(source)
    checklist = Checklist()
    opened = _open(reader, policy, checklist)
    wanted = frozenset(want(opened.front.manifest))
    files: dict[str, bytes] = {}

    def take(member: Member) -> FileDigest | None:
        if member.name not in wanted:
            return _hash(reader) if whole or opened.signed.files is None else None
        data = files[member.name] = reader.read()
        return digest_bytes(data)

    found = _read_payload(reader, opened, take)
    verified = _conclude(reader, opened, found, checklist)
    if unknown := sorted(wanted - files.keys()):
        evidence = {"wanted": unknown[0], "in the bundle": ", ".join(sorted(opened.front.manifest.files)[:5])}
        raise FileMissing(f"the bundle has no file {unknown[0]!r}", evidence=evidence, fix="build the bundle again")
    return LoadedBundle(verified, files)


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """A bundle up to its payload: whose it is, and that bundle.json is what they signed."""

    front: Front
    first: Member | None  # of the payload; its content has not been read
    signed: Signed
    draft: VerifiedBundle
    later: Refused | None  # of time, device, runtime or index: speaks if the content does not


def _open(reader: Reader, policy: Policy, checklist: Checklist) -> _Opened:
    front, first = archive.read_front(reader)
    manifest = front.manifest
    with _container_first(reader, first, manifest, checklist):
        signed = judge_signers(front, policy, checklist)
        digest = digest_bytes(front.manifest_bytes)
        if signed.files is not None:
            _check_listed(signed.files, manifest)
            check_file(manifests.FILE_NAME, signed.files[manifests.FILE_NAME], digest)
    later = None
    try:
        judge_circumstances(manifest, signed, policy, checklist)
    except Refused as exc:
        later = exc
    files = signed.files if signed.files is not None else {manifests.FILE_NAME: digest.sha256}
    identity = root_digest(signed.files) if signed.files is not None else ""
    draft = VerifiedBundle(manifest, front.manifest_bytes, files, identity, signed.signers, signed.roots, 0)
    return _Opened(front, first, signed, draft, later)


@contextmanager
def _container_first(reader: Reader, first: Member | None, manifest: Manifest, checklist: Checklist) -> Iterator[None]:
    """A refusal of what is inside waits for one of the container: the rest of it is read, and thrown away."""
    try:
        yield
    except CodedError:
        for member in _members(reader, first):
            archive.require_declared_size(member, manifest)
            reader.skip()
        _tell_container(reader, manifest, checklist)
        raise


def _members(reader: Reader, first: Member | None) -> Iterator[Member]:
    member = first
    while member is not None:
        yield member
        member = reader.next()


def _read_payload(reader: Reader, opened: _Opened, take: Take) -> dict[str, FileDigest]:
    manifest = opened.front.manifest
    found: dict[str, FileDigest] = {}
    for member in _members(reader, opened.first):
        _require_declared_size(reader, member, opened)
        if member.name not in manifest.files:
            reader.stop_pouring()  # nobody declared how large it is
            reader.skip()
        elif (digest := take(member)) is not None:
            found[member.name] = digest
    return found


def _require_declared_size(reader: Reader, member: Member, opened: _Opened) -> None:
    """Another length is a damaged container; unless it is the length with the other line endings, which is worth saying."""
    try:
        archive.require_declared_size(member, opened.front.manifest)
    except BundleTruncated:
        signed = (opened.signed.files or {}).get(member.name)
        if signed is not None and member.size <= TEXT_BYTES:
            found = _hash(reader)
            if signed in {found.with_lf, found.with_crlf}:
                check_file(member.name, signed, found)
        raise


def _hash(reader: Reader) -> FileDigest:
    hasher = Hasher()
    for chunk in reader.chunks():
        hasher.update(chunk)
    return hasher.finish()


def _conclude(reader: Reader, opened: _Opened, found: dict[str, FileDigest], checklist: Checklist) -> VerifiedBundle:
    manifest, signed = opened.front.manifest, opened.signed.files
    _tell_container(reader, manifest, checklist)
    archive.require_names(manifest, reader.names)
    if signed is not None:
        check_table({name: signed[name] for name in found}, found)
        files = signed
    else:
        files = dict(opened.draft.files) | {name: digest.sha256 for name, digest in found.items()}
    identity = root_digest(files)
    checklist.passed("digests", files=len(files), sha256=identity)
    if opened.later is not None:
        raise opened.later
    return replace(opened.draft, files=files, digest=identity, size=reader.position)


def _tell_container(reader: Reader, manifest: Manifest, checklist: Checklist) -> None:
    checklist.passed(
        "container", name=manifest.name, version=manifest.version, members=len(reader.names), bytes=reader.position
    )
    checklist.passed("lengths", files=len(manifest.files), bytes=sum(manifest.files.values()))


def _check_listed(signed: Mapping[str, str], manifest: Manifest) -> None:
    """The signers signed bundle.json and exactly the files that it lists. Raises FileMissing, ExtraFile."""
    listed = {manifests.FILE_NAME, *manifest.files}
    counts = {"signed": f"{len(signed)} files", f"{manifests.FILE_NAME} and the files it lists": f"{len(listed)} files"}
    if missing := sorted(signed.keys() - listed):
        what = f"{missing[0]!r} was signed, but {manifests.FILE_NAME} does not list it"
        raise FileMissing(what, evidence={"missing": ", ".join(missing[:5]), **counts}, fix=_SIGN_AGAIN)
    if extra := sorted(listed - signed.keys()):
        what = f"{extra[0]!r} is part of the bundle, and nobody signed it"
        raise ExtraFile(what, evidence={"not signed": ", ".join(extra[:5]), **counts}, fix=_SIGN_AGAIN)


def root_digest(files: Mapping[str, str]) -> str:
    """SHA-256 over the files' digests in code-point order of their names: what a signature calls its subject."""
    return hashlib.sha256(b"".join(bytes.fromhex(files[name]) for name in sorted(files))).hexdigest()


_SIGN_AGAIN = "get the bundle again from its maker; or, if it is yours, sign it: 'camagent bundle sign F --key S.pem'"

__all__ = ["LoadedBundle", "Policy", "Unsigned", "VerifiedBundle", "load", "root_digest", "verify"]
