"""Publishes bundles as a TUF repository: verified, listed, signed, and put in place in an order that survives interruption.

The list (role targets) is signed by those who sign bundles, offline; snapshot and timestamp by an online key, which can renew
them and nothing else. With a threshold of several signers the list waits as a draft for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from firmware_pkg import catalog, disk
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import (
    ListedAlready,
    NotListed,
    Refused,
    RepositoryExpired,
    RepositoryInvalid,
    RepositoryKeys,
    RepositorySignature,
)
from firmware_pkg.publish_tree import Tree, signed_by
from firmware_pkg.verify import Policy, VerifiedBundle, verify
from signing import trust, trust_time
from signing.errors import CodedError, printable
from signing.keys import Signer
from signing.refusals import ThresholdNotMet, UntrustedSigner
from signing.trust import TrustRoot
from signing.trust_edit import ForTuf
from signing.trust_time import Clock

Progress = Callable[[Path, int], None]  # a bundle, and the bytes of it that were copied
_THEN = "cameras take nothing from here then"
_ONLINE_KEY = "camagent trust rotate ROOT --root-key R.pem --online-key O.pub.pem"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what is signed now is believed."""

    timestamp: timedelta = timedelta(days=7)
    snapshot: timedelta = timedelta(days=30)
    targets: timedelta = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose private keys are here."""

    offline: Sequence[Signer] = ()  # of the list: who may sign bundles
    online: Sequence[Signer] = ()  # of snapshot and timestamp


@dataclass(frozen=True, slots=True)
class Changes:
    """What the list is to hold besides, and no more."""

    add: Sequence[Path] = ()
    remove: Sequence[tuple[str, str]] = ()  # name, version

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


@dataclass(frozen=True, slots=True)
class Publication:
    """What came of it. `missing`: what keeps a draft from being published; the former state is in force then."""

    missing: tuple[str, ...]
    versions: Mapping[str, int]
    expires: Mapping[str, datetime]
    listed: tuple[catalog.Listed, ...]
    warnings: tuple[str, ...] = field(default=())


def publish(
    folder: Path, roots: Sequence[TrustRoot], changes: Changes, signers: Signers, *, clock: Clock,
    lifetimes: Lifetimes | None = None, progress: Progress = lambda _path, _done: None,
) -> Publication:  # fmt: skip
    """Makes or updates the repository in `folder`. Without changes and offline signers it renews snapshot and timestamp.

    Args:
        folder: made where it is missing; metadata/ and targets/ below it are what a web server gives out.
        roots: the root in force, or a chain that leads to it from the one that the repository shows.
        changes: bundles to add, each verified first, and to remove.
        signers: whose keys are here.
        clock: of this machine.
        lifetimes: of what is signed now.
        progress: hears of every bundle that is copied.

    Raises:
        RepositoryKeys: the root names nobody for snapshot and timestamp.
        TrustRotation, TrustMissing, TrustExpired: the roots are no chain, or the last has expired.
        UntrustedSigner: a key has no say in its role.
        ListedAlready, NotListed: of `changes`.
        RepositoryInvalid, RepositorySignature, RepositoryExpired: what lies in the folder cannot be built upon.
        Refused: a bundle is refused, as a camera would refuse it.
        NoSpace, StateError: the folder cannot be written.
    """
    tree = Tree(folder)
    with tree.alone():
        return _Edition(tree, roots, signers, clock, lifetimes or Lifetimes()).make(changes, progress)


class _Edition:
    """One run. Reads what is there, decides, writes; timestamp.json last."""

    def __init__(self, tree: Tree, roots: Sequence[TrustRoot], signers: Signers, clock: Clock, lifetimes: Lifetimes) -> None:
        self.shown = tree.roots()
        self.roots = (*self.shown, *trust.chain(self.shown, roots, first=True))
        self.root = trust.in_force(self.roots)
        self.tree, self.signers, self.clock, self.lifetimes = tree, signers, clock, lifetimes
        _require_keys(self.root)
        trust_time.judge(self.root.name, self.root.expires, clock)
        self._require_say()
        self.new: dict[str, bytes] = {}  # metadata files of the new state
        self.timestamp = tree.timestamp(self.roots)
        self.snapshot = tree.snapshot(self.timestamp.snapshot_meta.version, self.roots) if self.timestamp else None
        version = self.snapshot.meta["targets.json"].version if self.snapshot else 0
        self.listing = tree.listing(version, self.roots) if version else None

    def make(self, changes: Changes, progress: Progress) -> Publication:
        draft = self.tree.drafted()
        if draft is not None:
            self._look_over(draft, progress)
        if changes or (self.signers.offline and draft is None):
            draft = self._drafted(changes, draft or self.listing, progress)
        if draft is None:
            return self._renewed()
        for signer in self.signers.offline:
            _sign(draft, signer)
        missing = self._missing(draft)
        if missing and self.listing and not (changes or self.signers.offline):  # cron does not wait for people
            return self._renewed(f"draft/targets.json waits for {'; '.join(missing)}")
        if missing:
            self.tree.write_draft(draft.to_bytes(JSONSerializer(compact=False)))
            return self._told(missing, draft)
        return self._published(draft)

    # -- the list -----------------------------------------------------------------------------------------------------

    def _drafted(self, changes: Changes, base: Metadata[Targets] | None, progress: Progress) -> Metadata[Targets]:
        targets = dict(base.signed.targets) if base else {}
        for name, gone in changes.remove:
            if targets.pop(catalog.target_path(name, gone), None) is None:
                evidence = {"asked for": f"{name} {gone}", "listed": ", ".join(sorted(targets)) or "nothing"}
                raise NotListed("the repository lists no such bundle", evidence=evidence, fix="name one that is listed")
        for bundle in changes.add:
            made = self._take_in(bundle, targets, progress)
            targets[made.path] = made
        version = self.tree.highest(Targets.type) + 1
        return Metadata(Targets(version=version, expires=self._until(self.lifetimes.targets), targets=targets))

    def _take_in(self, bundle: Path, targets: Mapping[str, TargetFile], progress: Progress) -> TargetFile:
        """Verifies the copy, not the file that somebody may change meanwhile."""
        with self.tree.staged(bundle, lambda done: progress(bundle, done)) as (staged, sha256):
            verified = self._verified(staged, bundle)
            path = catalog.target_path(verified.manifest.name, verified.manifest.version)
            about = catalog.custom(verified.manifest, verified.digest)
            listed = targets.get(path)
            if listed is not None and (listed.custom or {}).get("digest") != verified.digest:
                evidence = {"listed": (listed.custom or {}).get("digest", "unknown content"), "offered": verified.digest}
                fix = "give it a version of its own, or take the other one out first with '--remove NAME VERSION'"
                what = f"{verified.manifest.name} {verified.manifest.version} is listed with another content"
                raise ListedAlready(what, evidence=evidence, fix=fix)
            made = TargetFile(staged.stat().st_size, {"sha256": sha256}, path, {"custom": about})
            self.tree.place(staged, path, sha256)
        return made

    def _look_over(self, draft: Metadata[Targets], progress: Progress) -> None:
        """Whoever adds a signature to somebody's draft signs what was verified here too. Raises Refused."""
        before = self.listing.signed.targets if self.listing else {}
        for path, target in draft.signed.targets.items():
            if path in before and before[path] == target:
                continue
            file = self.tree.file_of(path, target.hashes.get("sha256", ""))
            verified = self._verified(file, file)
            progress(file, verified.size)
            about = catalog.custom(verified.manifest, verified.digest)
            same = TargetFile.from_file(path, str(file), ["sha256"])
            if (target.length, target.hashes, target.custom) != (
                same.length,
                same.hashes,
                about,
            ) or path != catalog.target_path(verified.manifest.name, verified.manifest.version):
                evidence = {"draft says": printable(target.custom), "bundle says": printable(about)}
                raise RepositoryInvalid(f"the draft says of {printable(path)} what is not so", evidence=evidence,
                                        fix="throw draft/targets.json away and publish the bundles again")  # fmt: skip
        if self.clock.judged_at >= draft.signed.expires:
            raise self._expired(draft.signed, "throw draft/targets.json away and publish the bundles again")

    def _verified(self, path: Path, shown: Path) -> VerifiedBundle:
        """As a camera does it, but for the device. Raises Refused, with the file's name in its evidence."""
        try:
            with disk.refusing(path.parent), path.open("rb") as source:
                return verify(source, Policy(trusted=None, roots=self.roots, clock=self.clock), Checklist())
        except CodedError as exc:
            exc.evidence = MappingProxyType({**exc.evidence, "file": str(shown)})
            raise

    def _missing(self, draft: Metadata[Targets]) -> tuple[str, ...]:
        """What the draft lacks, in words."""
        role = self.root.metadata.signed.roles[Targets.type]
        found = self.root.metadata.signed.get_verification_result(Targets.type, draft.signed_bytes, draft.signatures)
        missing = []
        if not found.verified:
            others = " ".join(sorted(key_id[:16] for key_id in set(role.keyids) - set(found.signed)))
            missing.append(f"{role.threshold - len(found.signed)} more of {role.threshold} signatures, by {others}")
        if not self.signers.online:
            missing.append("an online key")
        return tuple(missing)

    # -- snapshot and timestamp ---------------------------------------------------------------------------------------

    def _published(self, draft: Metadata[Targets]) -> Publication:
        data = self.new[f"{draft.signed.version}.targets.json"] = draft.to_bytes(JSONSerializer(compact=False))
        self.listing = draft
        self.snapshot = self._new_snapshot(draft.signed.version, data)
        self._new_timestamp()
        self._put_in_place()
        self.tree.end_draft()
        return self._told((), draft)

    def _renewed(self, note: str = "") -> Publication:
        """A new timestamp, and a new snapshot where the old one is past its half or was signed by keys of a former root."""
        if self.listing is None or self.snapshot is None:
            evidence = {"found": "an empty repository", "expected": "bundles to list"}
            raise NotListed("there is nothing to renew", evidence=evidence, fix="name bundles, and --key S.pem who signs them")
        if not self.signers.online:
            evidence = {"given": "neither bundles nor keys", "expected": "--online-key O.pem, or bundles and --key S.pem"}
            raise UntrustedSigner("nothing was asked for", evidence=evidence, fix="see 'camagent bundle publish --help'")
        self._require_good_listing(self.listing)
        data = self.tree.read(f"{self.listing.signed.version}.targets.json")
        old = self.snapshot.expires - self.clock.judged_at < self.lifetimes.snapshot / 2
        if old or not self._still_signed():
            self.snapshot = self._new_snapshot(self.listing.signed.version, data)
        self._new_timestamp()
        self._put_in_place()
        return self._told((), self.listing, note)

    def _require_good_listing(self, listing: Metadata[Targets]) -> None:
        try:
            self.root.metadata.signed.verify_delegate(Targets.type, listing.signed_bytes, listing.signatures)
        except (RepositoryError, ValueError) as exc:
            evidence = {"found": printable(exc), "expected": f"{self.root.threshold} signers of root {self.root.version}"}
            fix = "sign the list anew: 'camagent bundle publish DIR --root root.json --key S.pem --online-key O.pem'"
            raise RepositorySignature("those who signed the list may not any more", evidence=evidence, fix=fix) from exc
        if self.clock.judged_at >= listing.signed.expires:
            raise self._expired(listing.signed, "sign the list anew: 'camagent bundle publish DIR --key S.pem ..'")

    def _expired(self, targets: Targets, fix: str) -> Refused:
        evidence = {"expires": f"{targets.expires:%Y-%m-%dT%H:%M:%SZ}", "now": f"{self.clock.judged_at:%Y-%m-%dT%H:%M:%SZ}"}
        return RepositoryExpired(f"the list {targets.version} has expired", evidence=evidence, fix=fix)

    def _still_signed(self) -> bool:
        assert self.snapshot is not None
        return self.tree.is_signed(f"{self.snapshot.version}.snapshot.json", Snapshot, self.root)

    def _new_snapshot(self, version: int, targets: bytes) -> Snapshot:
        meta = dict(self.snapshot.meta) if self.snapshot else {}
        meta["targets.json"] = MetaFile.from_data(version, targets, ["sha256"])
        made = Snapshot(version=self.tree.highest(Snapshot.type) + 1, expires=self._until(self.lifetimes.snapshot), meta=meta)
        self.new[f"{made.version}.snapshot.json"] = self._online(made)
        return made

    def _new_timestamp(self) -> None:
        assert self.snapshot is not None
        name = f"{self.snapshot.version}.snapshot.json"
        data = self.new.get(name) or self.tree.read(name)
        meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        version = self.timestamp.version + 1 if self.timestamp else 1
        self.timestamp = Timestamp(version=version, expires=self._until(self.lifetimes.timestamp), snapshot_meta=meta)
        self.new["timestamp.json"] = self._online(self.timestamp)

    def _online(self, made: Snapshot | Timestamp) -> bytes:
        metadata: Metadata[Any] = Metadata(made)
        allowed = set(self.root.metadata.signed.roles[made.type].keyids)
        for signer in self.signers.online:
            _sign(metadata, signer)
        try:
            self.root.metadata.signed.verify_delegate(made.type, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as exc:
            evidence = {"found": printable(exc), "expected": " ".join(sorted(allowed))}
            raise ThresholdNotMet(
                f"too few online keys for {made.type}", evidence=evidence, fix="give more --online-key"
            ) from exc
        return metadata.to_bytes(JSONSerializer(compact=False))

    def _put_in_place(self) -> None:
        """Numbered files first: nobody asks for them yet. Then new roots and timestamp.json, the one file that is replaced.

        Between the last two the former root may meet the new timestamp, or the other way round. Where the new state is signed
        for both, it goes first and every moment is a sound one; where it is not, clients refuse for that moment and come again.
        """
        timestamp = self.new.pop("timestamp.json")
        for name, data in self.new.items():
            self.tree.write(name, data)
        if self.shown and self._good_for(self.shown[-1], timestamp):
            self.tree.write("timestamp.json", timestamp)
        self._write_roots()
        self.tree.write("timestamp.json", timestamp)

    def _good_for(self, root: TrustRoot, timestamp: bytes) -> bool:
        assert self.snapshot is not None
        assert self.listing is not None
        listing = f"{self.listing.signed.version}.targets.json"
        return (
            signed_by(Metadata[Timestamp].from_bytes(timestamp), root)
            and self.tree.is_signed(f"{self.snapshot.version}.snapshot.json", Snapshot, root)
            and self.tree.is_signed(listing, Targets, root)
        )

    def _write_roots(self) -> None:
        for root in self.roots:
            self.tree.write(root.name, root.data)

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _require_say(self) -> None:
        for signer in self.signers.offline:
            if signer.public not in self.root.signers:
                raise _no_say(signer, "the list of bundles", [key.id for key in self.root.signers], self.root)
        online = {*self.root.online_keys, *(self.shown[-1].online_keys if self.shown else ())}  # at a rotation both may sign
        for signer in self.signers.online:
            if signer.public not in online:
                raise _no_say(signer, "snapshot and timestamp", [key.id for key in self.root.online_keys], self.root)

    def _until(self, lifetime: timedelta) -> datetime:
        return (self.clock.judged_at + lifetime).replace(microsecond=0)

    def _told(self, missing: tuple[str, ...], listing: Metadata[Targets], note: str = "") -> Publication:
        made = {"targets": listing.signed, "snapshot": self.snapshot, "timestamp": self.timestamp}
        there = {name: signed for name, signed in made.items() if signed is not None}
        expires = {"root": self.root.expires, **{name: signed.expires for name, signed in there.items()}}
        soon = [name for name in ("root", "targets") if name in expires and self._is_soon(expires[name])]
        return Publication(
            missing, MappingProxyType({"root": self.root.version, **{name: signed.version for name, signed in there.items()}}),
            MappingProxyType(expires), catalog.listed(listing.signed.targets),
            (*([note] if note else ()), *(f"{name} expires on {expires[name]:%Y-%m-%d}; {_THEN}" for name in soon)),
        )  # fmt: skip

    def _is_soon(self, moment: datetime) -> bool:
        return moment - self.clock.judged_at <= trust_time.WARN_BEFORE


def _require_keys(root: TrustRoot) -> None:
    if root.has_repository:
        return
    found = "no keys for snapshot and timestamp" if not root.online_keys else "file names without version and digest"
    raise RepositoryKeys(
        f"root {root.version} is not made for a repository",
        evidence={"found": found, "expected": "an online key for both, and consistent snapshots"},
        fix=f"make a key with 'camagent key generate', and the next root with '{_ONLINE_KEY}'",
    )


def _no_say(signer: Signer, over: str, allowed: Sequence[str], root: TrustRoot) -> Refused:
    evidence = {"found": signer.public.id, "expected": " ".join(sorted(allowed)), "by": f"root {root.version}"}
    return UntrustedSigner(
        f"this key may not sign {over}", evidence=evidence, fix="see 'camagent trust show root.json' for who may"
    )


def _sign(metadata: Metadata[Any], signer: Signer) -> None:
    try:
        metadata.sign(ForTuf(signer), append=True)
    except UnsignedMetadataError as exc:
        if isinstance(exc.__cause__, Refused):  # tuf wraps what a token says; our users want the token's words
            raise exc.__cause__ from exc
        raise
