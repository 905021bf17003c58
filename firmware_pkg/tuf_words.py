"""What tuf's client refuses, in our words: which attack or slip it is, both sides of the difference, and what to do.

tuf raises few classes and says the rest in English; here the files themselves are asked, never its sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization import DeserializationError

from firmware_pkg.errors import (
    Refused,
    RepositoryExpired,
    RepositoryInvalid,
    RepositoryKeys,
    RepositoryMixed,
    RepositoryRollback,
    RepositorySignature,
)
from firmware_pkg.response import failed
from signing import trust_time
from signing.errors import CodedError, printable
from signing.refusals import TrustExpired
from signing.trust_time import Clock

_STALE = "where a CDN hands out old copies, let it keep timestamp.json for no longer than a minute"
_RENEW = "renew it: 'camagent bundle publish DIR --root root.json --online-key O.pem', and see that cron does so every day"
_AGAIN = "publish the repository again from the folder in which it was made, whole; it is tried again by itself"
_RESIGN = "sign it with the keys that 'camagent trust show' lists, or give the camera the root that names the new ones"
_WORDS = "'camagent trust rotate ROOT --root-key R.pem --online-key O.pub.pem'"


@dataclass(slots=True)
class Evidence:
    """What came in this look, in order, and what was kept of earlier ones."""

    kept: Path
    root: bytes
    came: dict[str, bytes] = field(default_factory=dict)  # role -> the last file of it
    last: str = "root"  # the role that came last

    def note(self, name: str, data: bytes) -> None:
        """A file has come: `7.snapshot.json`, `timestamp.json`."""
        role = name.removesuffix(".json")
        number, dot, rest = role.partition(".")
        self.last = rest if dot and number.isdecimal() else role
        self.came[self.last] = data
        if self.last == Root.type:
            self.root = data

    def offered(self, role: str) -> Signed | None:
        """What came; None where nothing that can be read did."""
        return _signed(self.root if role == Root.type else self.came.get(role))

    def known(self, role: str) -> Signed | None:
        """What was kept from before."""
        path = self.kept / f"{quote(role, '')}.json"
        try:
            return _signed(path.read_bytes())
        except FileNotFoundError:
            return None

    def latest(self, role: str) -> Signed | None:
        """What came, else what was kept."""
        return self.offered(role) or self.known(role)


def refusal(exc: Exception, evidence: Evidence, clock: Clock, *, require_clock: bool = False) -> CodedError:
    """The refusal that stands for what tuf raised."""
    match exc:
        case DownloadHTTPError():
            return failed(
                "http-status", f"the repository does not give out its {_file_of(exc)}", expected=200,
                found=exc.status_code, fix="check the address: below it lie metadata/timestamp.json and targets/",
            )  # fmt: skip
        case DownloadError():
            return failed("broken", f"the repository cannot be read: {printable(exc)}", expected="its metadata", found="none",
                          fix="look at what the server gives out under that address")  # fmt: skip
        case ExpiredMetadataError():
            return _expired(evidence, clock, require_clock=require_clock)
        case UnsignedMetadataError():
            return _unsigned(exc, evidence)
        case LengthOrHashMismatchError():
            return _mixed(evidence, str(exc))
        case BadVersionNumberError():
            return _wrong_version(evidence)
        case DeserializationError():
            return _invalid(evidence, "what is no TUF metadata")
    before, after = evidence.known(Snapshot.type), evidence.offered(Snapshot.type)
    if (
        evidence.last == Snapshot.type
        and isinstance(before, Snapshot)
        and isinstance(after, Snapshot)
        and before.meta.keys() - after.meta
    ):
        return _rollback("snapshot", ", ".join(sorted(before.meta)), ", ".join(sorted(after.meta)) or "nothing")
    return _invalid(evidence, str(exc))


def _file_of(exc: DownloadHTTPError) -> str:
    """The file that was asked for, as tuf_client.Fetcher has named it."""
    return printable(str(exc).partition(":")[0], 60)


def _expired(evidence: Evidence, clock: Clock, *, require_clock: bool) -> CodedError:
    """Which of them it is; a clock that is not synchronised is doubted before the repository is."""
    for role in (Root.type, Timestamp.type, Snapshot.type, Targets.type, evidence.last):
        found = evidence.latest(role)
        if found is None or clock.judged_at < found.expires:
            continue
        try:
            if role == Root.type:
                trust_time.judge(
                    f"root {found.version}", found.expires, clock, refusal=TrustExpired, require_clock=require_clock
                )
            else:
                what = f"the repository's {printable(role, 60)} {found.version}"
                trust_time.judge(what, found.expires, clock, refusal=RepositoryExpired, fix=_RENEW, require_clock=require_clock)
        except Refused as exc:
            return exc
    return _invalid(evidence, "metadata that has expired")


def _unsigned(exc: Exception, evidence: Evidence) -> CodedError:
    root, role = evidence.offered(Root.type), evidence.last
    assert isinstance(root, Root)
    if role in root.roles and not root.roles[role].keyids:
        return RepositoryKeys(
            f"the trust root names nobody who may sign {role} of a repository",
            evidence={"in force": f"root {root.version}: no key for {role}", "expected": "at least one"},
            fix=f"make the next root with online keys: {_WORDS}",
        )
    signed_by = _signatures(evidence.came.get(role))
    expected = root.roles.get(role)
    return RepositorySignature(
        f"the repository's {printable(role)} is not signed by enough of the keys that may",
        evidence={
            "found": printable(exc),
            "signatures in the file": " ".join(str(key)[:16] for key in signed_by) or "none",
            "expected": f"{expected.threshold} of {' '.join(str(key)[:16] for key in expected.keyids)}"
            if expected
            else "its keys",
        },
        fix=_RESIGN,
    )


def _wrong_version(evidence: Evidence) -> CodedError:
    timestamp, snapshot = evidence.latest(Timestamp.type), evidence.offered(Snapshot.type)
    if evidence.last == Timestamp.type:
        before = evidence.known(Timestamp.type)
        assert isinstance(before, Timestamp)
        assert isinstance(timestamp, Timestamp)
        return _rollback("timestamp", *(f"{one.version} (snapshot {one.snapshot_meta.version})" for one in (before, timestamp)))
    if evidence.last != Snapshot.type:
        return _mixed(evidence, f"version {getattr(evidence.offered(evidence.last), 'version', '?')}")
    assert isinstance(timestamp, Timestamp)
    assert isinstance(snapshot, Snapshot)
    if snapshot.version != timestamp.snapshot_meta.version:
        return _mixed(evidence, f"version {snapshot.version}")
    before = evidence.known(Snapshot.type)
    assert isinstance(before, Snapshot)
    return _rollback("snapshot", _table(before), _table(snapshot))


def _table(snapshot: Snapshot) -> str:
    return ", ".join(f"{printable(name, 60)} {meta.version}" for name, meta in sorted(snapshot.meta.items()))


def _rollback(role: str, before: str, after: str) -> RepositoryRollback:
    return RepositoryRollback(
        f"the repository shows an older {role} than this device has seen",
        evidence={"seen before": before, "offered": after},
        fix="find out who put an old copy back: a restored backup, a stale mirror, or an attack; publish again from the folder "
        "with the newest state, or rotate the online keys to start anew",
    )


def _mixed(evidence: Evidence, found: str) -> RepositoryMixed:
    role = printable(evidence.last, 60)
    by = evidence.latest(Timestamp.type if role == Snapshot.type else Snapshot.type)
    expected = "the one that is listed"
    if isinstance(by, Timestamp):
        expected = f"version {by.snapshot_meta.version}, which timestamp {by.version} names"
    elif isinstance(by, Snapshot) and f"{evidence.last}.json" in by.meta:
        expected = f"version {by.meta[f'{evidence.last}.json'].version}, which snapshot {by.version} names"
    return RepositoryMixed(
        f"the repository's {role} does not belong to the rest of it",
        evidence={"found": printable(found), "expected": expected},
        fix=f"{_STALE}; {_AGAIN}",
    )


def _invalid(evidence: Evidence, found: str) -> RepositoryInvalid:
    return RepositoryInvalid(
        f"the repository's {printable(evidence.last, 60)} cannot be used",
        evidence={"found": printable(found), "expected": "TUF metadata of that role"},
        fix=_AGAIN,
    )


def _signed(data: bytes | None) -> Signed | None:
    if data is None:
        return None
    try:
        found: Signed = Metadata.from_bytes(data).signed
        return found  # noqa: TRY300
    except (DeserializationError, RepositoryError):
        return None  # the refusal is about that


def _signatures(data: bytes | None) -> list[str]:
    if data is None:
        return []
    try:
        return sorted(Metadata.from_bytes(data).signatures)
    except (DeserializationError, RepositoryError):
        return []
