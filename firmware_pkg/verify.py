"""Bytes -> VerifiedBundle, the only way. Trust is decided from bundle.json and the signatures, before a payload byte is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias

from firmware_pkg.checklist import Checklist
from firmware_pkg.manifest import Manifest
from signing.trust import TrustRoot
from signing.trust_time import Clock
from signing.verify import TrustedKeys

# what becomes of a bundle without a signature that counts: `missing` on a workstation, `not-allowed` on a camera, and
# `allowed` on a development machine (no signature, unknown signer or no root are then a warning; a broken one is not)
Unsigned: TypeAlias = Literal["missing", "not-allowed", "allowed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a bundle is judged against. None or empty: not asked, and the checklist says so."""

    trusted: TrustedKeys | None  # None: no trust root and no key
    roots: tuple[TrustRoot, ...] = ()  # all that are known; roots inside the bundle are taken on top of these
    unsigned: Unsigned = "missing"
    clock: Clock | None = None  # None: expiry is not judged (a confirmed bundle runs on for ever)
    require_clock: bool = False
    device: str | None = None
    backends: Collection[str] | None = None  # with `device`: an artifact for both must be there
    runtime: str | None = None  # camagent's version
    stored_index: Callable[[str], int] | None = None  # bundle name -> the rollback index confirmed here


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
    """Reads a bundle once, from front to end, and judges it."""
    raise NotImplementedError


def load(source: BinaryIO, policy: Policy, want: Callable[[Manifest], Collection[str]]) -> LoadedBundle:
    """The wanted files of a bundle on disk, signature and each file's digest checked in the same pass."""
    raise NotImplementedError
