"""Refusals of a bundle that `signing` does not know of: what it says of itself, where it may run, where it is to lie.

signing.refusals.Refused
+-- container   ManifestInvalid, BundleTruncated   (and signing's UnsafePath, SizeLimit)
+-- signature   UnsignedNotAllowed
+-- time        BundleExpired
+-- device      DeviceMismatch, ArtifactTarget
+-- runtime     RuntimeTooOld
+-- index       RollbackRefused
+-- golden      GoldenFailed, TrialFailed
+-- the way in  NoSpace, DownloadFailed, NotStored, StateError
+-- repository  RepositoryExpired, RepositoryRollback, RepositoryMixed, RepositorySignature, RepositoryInvalid, RepositoryKeys,
                NotListed, ListedAlready
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signing.refusals import ExtraFile, FileMissing, Refused, SizeLimit, UnsafePath


class ManifestInvalid(Refused):
    """bundle.json is no manifest, or contradicts itself or the model."""

    code = "MANIFEST_INVALID"


class BundleTruncated(Refused):
    """The tar or a member ends early."""

    code = "BUNDLE_TRUNCATED"


class UnsignedNotAllowed(Refused):
    """A bundle without a signature, where only signed ones may run."""

    code = "UNSIGNED_NOT_ALLOWED"


class BundleExpired(Refused):
    """The bundle says that it is not to be installed any more."""

    code = "BUNDLE_EXPIRED"


class DeviceMismatch(Refused):
    """The bundle is not made for this kind of device."""

    code = "DEVICE_MISMATCH"


class ArtifactTarget(Refused):
    """No artifact of the bundle runs on this machine."""

    code = "ARTIFACT_TARGET"


class RuntimeTooOld(Refused):
    """The bundle needs another camagent than this one."""

    code = "RUNTIME_TOO_OLD"


class RollbackRefused(Refused):
    """The bundle's rollback index is below what this device has confirmed."""

    code = "ROLLBACK_REFUSED"


class GoldenFailed(Refused):
    """The model does not see on its golden pictures what it saw when the bundle was built."""

    code = "GOLDEN_FAILED"


class TrialFailed(Refused):
    """The model failed while it was on trial, or did so before and is refused since."""

    code = "TRIAL_FAILED"


class NoSpace(Refused):
    """The disk does not hold it."""

    code = "NO_SPACE"


class DownloadFailed(Refused):
    """The bundle could not be fetched as it was announced."""

    code = "DOWNLOAD_FAILED"


class RepositoryExpired(Refused):
    """A repository's metadata has expired: nobody renews it, or somebody hands out an old state of it (freeze)."""

    code = "REPOSITORY_EXPIRED"


class RepositoryRollback(Refused):
    """A repository shows an older state than this device has seen of it."""

    code = "REPOSITORY_ROLLBACK"


class RepositoryMixed(Refused):
    """Files of a repository that do not belong together: they come from different states of it (mix-and-match)."""

    code = "REPOSITORY_MIXED"


class RepositorySignature(Refused):
    """A repository's metadata is not signed by enough of the keys that the trust root names for it."""

    code = "REPOSITORY_SIGNATURE"


class RepositoryInvalid(Refused):
    """What is served is no TUF repository, or a damaged one."""

    code = "REPOSITORY_INVALID"


class RepositoryKeys(Refused):
    """The trust root names nobody who could keep a repository fresh."""

    code = "REPOSITORY_KEYS"


class NotListed(Refused):
    """A repository lists no bundle of that name, or no version that could run here."""

    code = "NOT_LISTED"


class ListedAlready(Refused):
    """A repository lists another bundle under that name and version."""

    code = "LISTED_ALREADY"


class NotStored(Refused):
    """The store has no bundle of that name or version."""

    code = "NOT_STORED"


class RefusedBefore(Refused):
    """What was refused earlier still is; the code is the one of then."""

    def __init__(self, code: str, what: str, *, fix: str, evidence: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__(what, fix=fix, evidence=evidence)
        self.__dict__["code"] = code


class StateError(Refused):
    """The state directory cannot be used: read-only, full, damaged, or held by another agent."""

    code = "STATE_UNUSABLE"


__all__ = [
    "ArtifactTarget",
    "BundleExpired",
    "BundleTruncated",
    "DeviceMismatch",
    "DownloadFailed",
    "ExtraFile",
    "FileMissing",
    "GoldenFailed",
    "ListedAlready",
    "ManifestInvalid",
    "NoSpace",
    "NotListed",
    "NotStored",
    "Refused",
    "RefusedBefore",
    "RepositoryExpired",
    "RepositoryInvalid",
    "RepositoryKeys",
    "RepositoryMixed",
    "RepositoryRollback",
    "RepositorySignature",
    "RollbackRefused",
    "RuntimeTooOld",
    "SizeLimit",
    "StateError",
    "TrialFailed",
    "UnsafePath",
    "UnsignedNotAllowed",
]
