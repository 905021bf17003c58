"""What the store knows of the bundles of one name, and how it may change. Values and policy only; store.py does the writing.

    stored      every bundle whose file is there
    confirmed   the digests that proved themselves, newest first; the first runs, the second is the way back
    trial       the one that is being tried; while there is one, it runs

DESIGN section 7 has the transition table. Every function takes the state and returns the next one, or raises a refusal and
leaves everything as it is. Where nothing changes, the very same value comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from packaging.version import InvalidVersion, Version

from firmware_pkg.errors import NotStored, RollbackRefused, TrialFailed
from signing.errors import CodedError

SCHEMA = 1
DEATHS_IN_ONE_BOOT, DEATHS_IN_ALL = 3, 6
KEPT_CONFIRMED = 2
SPARE = 3  # stored bundles that are kept beside those that are current, on trial or the way back
REFUSED_KEPT = 32

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Index = Annotated[int, Meta(ge=0)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Ref(_Strict, frozen=True, kw_only=True):
    """A stored bundle: a verified one, when it was stored. `size` in bytes; `stored_at` in seconds since 1970."""

    digest: Digest
    version: str
    rollback_index: Index
    created: str
    size: Annotated[int, Meta(ge=0)]
    stored_at: float


class Attempt(_Strict, frozen=True, kw_only=True):
    """A process that began to load the bundle on trial. While the record stands, that process has died of it."""

    boot_id: str
    time: float


class Trial(_Strict, frozen=True, kw_only=True):
    """The bundle that is being tried. `tested`: it has passed its golden check."""

    digest: Digest
    since: float
    attempts: tuple[Attempt, ...] = ()
    tested: bool = False


class Refusal(_Strict, frozen=True, kw_only=True):
    """Why a bundle was turned away, as `bundle/state` shows it. `time` in seconds since 1970."""

    code: str
    what: str
    fix: str
    version: str
    time: float

    @classmethod
    def of(cls, error: CodedError, version: str, now: float) -> Refusal:
        """An error as it is kept; its strings are made printable."""
        said = error.report()
        return cls(code=error.code, what=str(said["what"]), fix=str(said["fix"]), version=version, time=now)


class Slots(_Strict, frozen=True, kw_only=True):
    """All that is known of one name."""

    schema: Literal[1] = 1
    stored: tuple[Ref, ...] = ()
    confirmed: Annotated[tuple[Digest, ...], Meta(max_length=KEPT_CONFIRMED)] = ()
    trial: Trial | None = None
    rollback_index: Index = 0
    refused: Mapping[Digest, Refusal] = {}  # failed here before; never tried again unless somebody insists
    last_refusal: Refusal | None = None

    @property
    def running(self) -> Ref | None:
        """The bundle that runs: the one on trial, else the last confirmed one."""
        return self.ref(self.trial.digest) if self.trial else self.safe

    @property
    def safe(self) -> Ref | None:
        """The last confirmed bundle: it runs when the trial fails, or when the one on trial cannot even be tried."""
        return self.ref(self.confirmed[0]) if self.confirmed else None

    @property
    def previous(self) -> Ref | None:
        """The last confirmed bundle before the one that runs."""
        if self.trial:
            return self.safe
        return self.ref(self.confirmed[1]) if len(self.confirmed) > 1 else None

    def ref(self, digest: str) -> Ref | None:
        """The stored bundle of that digest."""
        return next((ref for ref in self.stored if ref.digest == digest), None)

    def find(self, version: str) -> Ref | None:
        """The stored bundle of that version (1.0 finds 1.0.0); among several the one that was stored last."""
        same = [ref for ref in self.stored if ref.version == version or _order(ref.version) == _order(version)]
        return max(same, key=lambda ref: ref.stored_at, default=None)

    @property
    def newest(self) -> Ref | None:
        """The stored bundle of the highest version."""
        return max(self.stored, key=lambda ref: (_order(ref.version), ref.stored_at), default=None)

    def candidates(self) -> tuple[Ref, ...]:
        """Stored bundles that may still run here, best first: the confirmed ones, then by version."""
        may = [ref for ref in self.stored if ref.rollback_index >= self.rollback_index and ref.digest not in self.refused]
        ranked = sorted(may, key=lambda ref: (_order(ref.version), ref.stored_at), reverse=True)
        known = [ref for digest in self.confirmed for ref in may if ref.digest == digest]
        return (*known, *(ref for ref in ranked if ref not in known))

    def state_body(self) -> dict[str, Any]:
        """The name's part of `bundle/state`."""
        running, previous = self.running, self.previous
        return {
            "current": running.version if running else None,
            "trial": running.version if running and self.trial else None,
            "previous": previous.version if previous else None,
            "stored": [ref.version for ref in sorted(self.stored, key=lambda ref: _order(ref.version))],
            "rollback_index": self.rollback_index,
            "last_refusal": None if self.last_refusal is None else msgspec.to_builtins(self.last_refusal),
        }


def problem(slots: Slots) -> str | None:
    """What cannot be in a state that these functions made; None where it is sound."""
    stored = [ref.digest for ref in slots.stored]
    if len(set(stored)) < len(stored) or len(set(slots.confirmed)) < len(slots.confirmed):
        return "a digest stands there twice"
    missing = {*slots.confirmed, *([slots.trial.digest] if slots.trial else [])} - set(stored)
    return f"{min(missing)} is in use but not among the stored" if missing else None


# -- in ---------------------------------------------------------------------------------------------------------------


def added(slots: Slots, ref: Ref) -> Slots:
    """Its file is there; nothing else changes."""
    return _with(slots, stored=(*(other for other in slots.stored if other.digest != ref.digest), ref))


def installed(slots: Slots, ref: Ref, now: float, *, force: bool = False) -> Slots:
    """A verified bundle is stored and put on trial; the confirmed one itself ends whatever trial there is.

    Raises:
        RollbackRefused: its index is below what was confirmed here; `force` does not help.
        TrialFailed: it failed here before, and `force` was not said.
    """
    if ref.rollback_index < slots.rollback_index:
        raise RollbackRefused(
            f"version {ref.version} was retired: its rollback index is below the one of this device",
            evidence={"rollback index of the bundle": ref.rollback_index, "of this device": slots.rollback_index},
            fix=f"install a newer version, or build this one again with --rollback-index {slots.rollback_index} and sign it",
        )
    before = slots.refused.get(ref.digest)
    if before is not None and not force:
        raise TrialFailed(
            f"version {ref.version} failed on this device before: {before.what}",
            evidence={"code then": before.code, "time": before.time, "digest": ref.digest},
            fix=f"{before.fix}; or try the same bundle again with --force",
        )
    slots = added(slots, ref)
    if before is not None:
        slots = _with(slots, refused={digest: why for digest, why in slots.refused.items() if digest != ref.digest})
    if slots.trial and slots.trial.digest == ref.digest:
        return slots
    if slots.confirmed and slots.confirmed[0] == ref.digest:
        return _with(slots, trial=None)
    return _with(slots, trial=Trial(digest=ref.digest, since=now))


def activated(slots: Slots, version: str | None, now: float, *, force: bool = False) -> Slots:
    """A stored version, the highest one where none is named, goes on trial. Raises NotStored, else as `installed`."""
    ref = (
        slots.find(version)
        if version
        else max(slots.stored, key=lambda one: (_order(one.version), one.stored_at), default=None)
    )
    if ref is None:
        have = ", ".join(one.version for one in slots.stored) or "none"
        raise NotStored(
            f"version {version} is not stored here" if version else "no version is stored here",
            evidence={"asked for": version or "the newest", "stored": have},
            fix="name one that is stored, or bring the bundle with 'camagent bundle install' or 'bundle push'",
        )
    return installed(slots, ref, now, force=force)


# -- on trial ---------------------------------------------------------------------------------------------------------


def attempted(slots: Slots, digest: str, attempt: Attempt) -> Slots:
    """A process is about to load the bundle on trial. No change where another one, or none, is on trial."""
    trial = slots.trial
    if trial is None or trial.digest != digest:
        return slots
    return _with(slots, trial=msgspec.structs.replace(trial, attempts=(*trial.attempts, attempt)))


def stopped_cleanly(slots: Slots, attempt: Attempt) -> Slots:
    """The process that made this attempt has ended as it should: that is no death."""
    if slots.trial is None or attempt not in slots.trial.attempts:
        return slots
    left = list(slots.trial.attempts)
    left.remove(attempt)
    return _with(slots, trial=msgspec.structs.replace(slots.trial, attempts=tuple(left)))


def judged_at_start(slots: Slots, now: float) -> Slots:
    """Every attempt that still stands when a process starts is a death; too many of them end the trial."""
    if slots.trial is None:
        return slots
    boots = Counter(attempt.boot_id for attempt in slots.trial.attempts)
    most, total = max(boots.values(), default=0), boots.total()
    if most < DEATHS_IN_ONE_BOOT and total < DEATHS_IN_ALL:
        return slots
    ref, safe = slots.running, slots.safe
    version = ref.version if ref else "?"
    refusal = TrialFailed(
        f"version {version} was on trial when the agent died, {total} times",
        evidence={
            "deaths": total,
            "in one boot": most,
            "allowed": f"{DEATHS_IN_ONE_BOOT - 1} in one boot, {DEATHS_IN_ALL - 1} in all",
            "runs now": safe.version if safe else "nothing",
        },
        fix="look for the crash in the journal ('journalctl -u camagent'), mend the model, install it as a new version",
    )
    return failed(slots, slots.trial.digest, Refusal.of(refusal, version, now))


def tested(slots: Slots, digest: str) -> Slots:
    """The bundle on trial has passed its golden check."""
    if slots.trial is None or slots.trial.digest != digest or slots.trial.tested:
        return slots
    return _with(slots, trial=msgspec.structs.replace(slots.trial, tested=True))


def shelved(slots: Slots, digest: str) -> Slots:
    """Nobody is there to try it: it stays stored, and the confirmed one in force. Late news changes nothing."""
    if slots.trial is None or slots.trial.digest != digest:
        return slots
    return _with(slots, trial=None)


def failed(slots: Slots, digest: str, refusal: Refusal) -> Slots:
    """The bundle on trial has failed: the confirmed one runs, this one is refused from now on. Late news changes nothing."""
    if slots.trial is None or slots.trial.digest != digest:
        return slots
    refused = {**{key: value for key, value in slots.refused.items() if key != digest}, digest: refusal}
    newest = dict(sorted(refused.items(), key=lambda item: item[1].time)[-REFUSED_KEPT:])
    return _with(slots, trial=None, refused=newest, last_refusal=refusal)


def confirmed(slots: Slots, digest: str) -> Slots:
    """The bundle on trial has proved itself; the index rises with it. Late news changes nothing."""
    ref = slots.ref(digest)
    if ref is None or slots.trial is None or slots.trial.digest != digest:
        return slots
    kept = (digest, *(other for other in slots.confirmed if other != digest))[:KEPT_CONFIRMED]
    return _with(slots, trial=None, confirmed=kept, rollback_index=max(slots.rollback_index, ref.rollback_index))


# -- out --------------------------------------------------------------------------------------------------------------


def rolled_back(slots: Slots) -> Slots:
    """The last confirmed bundle before the one that runs takes its place; that one stays stored.

    Raises:
        NotStored: there is none.
        RollbackRefused: there is one, and its index was retired since.
    """
    running, back = slots.running, slots.previous
    if back is None:
        raise NotStored(
            "there is no earlier confirmed bundle to go back to",
            evidence={"runs now": running.version if running else "nothing", "confirmed before": "nothing"},
            fix="name a stored version with 'camagent bundle activate NAME VERSION', or install one",
        )
    if back.rollback_index < slots.rollback_index:
        raise RollbackRefused(
            f"version {back.version} was retired: its rollback index is below the one of this device",
            evidence={f"rollback index of {back.version}": back.rollback_index, "of this device": slots.rollback_index},
            fix=f"build the model of {back.version} again with --rollback-index {slots.rollback_index} and a new version, "
            "sign it, and install that",
        )
    if slots.trial:
        return _with(slots, trial=None)
    return _with(slots, confirmed=slots.confirmed[1:])


def dropped(slots: Slots, digest: str, refusal: Refusal) -> Slots:
    """This bundle may not run any more (its signer was revoked); it stays stored, for whoever activates it after all.

    The confirmed one before it runs, where its index was not retired; otherwise nothing does.
    """
    return _with(_without(slots, {digest}), last_refusal=refusal)


def lost(slots: Slots, digests: Collection[str]) -> Slots:
    """The files of these bundles are gone."""
    slots = _without(slots, digests)
    return _with(slots, stored=tuple(ref for ref in slots.stored if ref.digest not in digests))


def noted(slots: Slots, refusal: Refusal) -> Slots:
    """A bundle of this name was turned away at the door."""
    return _with(slots, last_refusal=refusal)


def prunable(slots: Slots, keep: int = SPARE) -> tuple[Ref, ...]:
    """What may go, oldest first: neither on trial nor confirmed, and not among the `keep` others that were stored last."""
    used = {*slots.confirmed, *([slots.trial.digest] if slots.trial else [])}
    spare = sorted((ref for ref in slots.stored if ref.digest not in used), key=lambda ref: ref.stored_at)
    return tuple(spare[: max(0, len(spare) - keep)])


def pruned(slots: Slots, digests: Collection[str]) -> Slots:
    """These are no longer stored; nothing that is in use is touched."""
    gone = {ref.digest for ref in prunable(slots, 0)} & set(digests)
    return _with(slots, stored=tuple(ref for ref in slots.stored if ref.digest not in gone))


# -- plumbing ---------------------------------------------------------------------------------------------------------


def _without(slots: Slots, digests: Collection[str]) -> Slots:
    trial = None if slots.trial and slots.trial.digest in digests else slots.trial
    kept = tuple(digest for digest in slots.confirmed if digest not in digests)
    if kept and kept != slots.confirmed:
        safe = slots.ref(kept[0])
        kept = kept if safe and safe.rollback_index >= slots.rollback_index else ()
    return _with(slots, trial=trial, confirmed=kept)


def _with(slots: Slots, **changes: Any) -> Slots:
    changed = msgspec.structs.replace(slots, **changes)
    return slots if changed == slots else changed


def _order(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:  # no manifest has one; a person may type it, and then it finds nothing
        return Version("0.dev0")
