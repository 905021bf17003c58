"""What a bundle is judged against, and the judging of all that is known before its payload. Pure: values in, refusals out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from packaging.specifiers import SpecifierSet

from firmware_pkg import soc
from firmware_pkg.archive import Front
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import (
    ArtifactTarget,
    BundleExpired,
    DeviceMismatch,
    RollbackRefused,
    RuntimeTooOld,
    UnsignedNotAllowed,
)
from firmware_pkg.manifest import Artifact, Manifest
from signing import trust, trust_time
from signing.refusals import SignatureMissing, SignerRevoked, ThresholdNotMet, TrustMissing, TrustRotation, UntrustedSigner
from signing.trust import TrustRoot
from signing.trust_time import Clock, Judgement
from signing.verify import TrustedKeys, verify_signatures

# what becomes of a bundle without a signature that counts: `missing` on a workstation, `not-allowed` on a camera, and
# `allowed` on a development machine (no signature, unknown signer or no root are then a warning; a broken one is not)
Unsigned: TypeAlias = Literal["missing", "not-allowed", "allowed"]

_SIGN = "sign it: 'camagent bundle sign F.cambundle --key S.pem'"
_NOBODY = TrustedKeys((), source="nobody: there is no trust root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a bundle is judged against. None or empty: not asked, and the checklist says so."""

    trusted: TrustedKeys | None  # None: no trust root and no key. Where there are roots, these say who is trusted
    roots: tuple[TrustRoot, ...] = ()  # all that are known; roots inside the bundle are taken on top of these
    unsigned: Unsigned = "missing"
    clock: Clock | None = None  # None: expiry is not judged (a confirmed bundle runs on for ever)
    require_clock: bool = False
    device: str | None = None
    backends: Collection[str] | None = None  # with `device`: an artifact for both must be there
    runtime: str | None = None  # camagent's version
    stored_index: Callable[[str], int] | None = None  # bundle name -> the rollback index confirmed here


@dataclass(frozen=True, slots=True, eq=False)
class Signed:
    """Who signed what. `files` is None where nobody did and that was allowed."""

    files: Mapping[str, str] | None
    signers: tuple[str, ...] = ()
    roots: tuple[TrustRoot, ...] = ()  # from the bundle, newer than the known ones


def judge_signers(front: Front, policy: Policy, checklist: Checklist) -> Signed:
    """Who signed, as far as the policy trusts them.

    Raises:
        SignatureMissing: no signature (policy `missing`).
        UnsignedNotAllowed: no signature (policy `not-allowed`).
        TrustMissing: signatures, and nobody to trust; or a root in the bundle that is none.
        TrustRotation: a root in the bundle does not follow the known ones.
        Refused: whatever signing.verify.verify_signatures raises.
    """
    added = _added_roots(front, policy)
    trusted = trust.trusted_keys((*policy.roots, *added)) if policy.roots else policy.trusted
    if not front.signatures:
        return _without_signature(policy, checklist, added)
    try:
        verified = verify_signatures(front.signatures, trusted or _NOBODY)
    except UntrustedSigner as exc:
        refusal = exc if trusted else _no_trust(exc)
        if policy.unsigned != "allowed":
            checklist.passed("signature", signatures=len(front.signatures))
            raise refusal from exc
        checklist.warned("signature", signatures=len(front.signatures), verdict="unsigned is allowed here")
        checklist.warned("signer", code=refusal.code, what=refusal.what, **refusal.evidence)
        checklist.skipped("threshold", "no signature counts")
        return Signed(None, roots=added)
    except (SignerRevoked, ThresholdNotMet) as exc:  # they are signatures, and of that key: so far it came
        checklist.passed("signature", signatures=len(front.signatures))
        if isinstance(exc, ThresholdNotMet):
            checklist.passed("signer", good=exc.evidence.get("good signatures", "of different files"))
        raise
    assert trusted is not None
    signers = tuple(key.id for key in verified.signers)
    not_counted = {f"not counted {name[:16]}": f"{why.code}: {why.what}" for name, why in verified.not_counted.items()}
    checklist.passed("signature", signatures=len(front.signatures), files=len(verified.files), **not_counted)
    learned = {"roots in the bundle": " ".join(root.name for root in added)} if added else {}
    checklist.passed("signer", keys=" ".join(signers), trusted_by=trusted.source, **learned)
    checklist.passed("threshold", signers=len(signers), needed=trusted.threshold, of=len(trusted.keys))
    return Signed(verified.files, signers, added)


def _added_roots(front: Front, policy: Policy) -> tuple[TrustRoot, ...]:
    if not policy.roots:
        return ()
    offered = []
    for name in sorted(front.roots):
        root = trust.read_root(front.roots[name], name)
        if root.name != name:
            evidence = {"found": f"root {root.version}", "expected": f"root {name.partition('.')[0]}"}
            fix = "put it in again: 'camagent bundle sign F --key S.pem --root N.root.json'"
            raise TrustRotation(f"{name} in the bundle is another root than its name says", evidence=evidence, fix=fix)
        offered.append(root)
    return trust.chain(policy.roots, offered)


def _without_signature(policy: Policy, checklist: Checklist, added: tuple[TrustRoot, ...]) -> Signed:
    evidence = {"found": "0 signatures", "expected": "at least 1 by a trusted key"}
    if policy.unsigned == "missing":
        raise SignatureMissing("nobody has signed this bundle", evidence=evidence, fix=_SIGN)
    if policy.unsigned == "not-allowed":
        fix = _SIGN + "; agent.allow_unsigned = true is for files on a development machine"
        raise UnsignedNotAllowed("nobody has signed this bundle, and only signed ones may run here", evidence=evidence, fix=fix)
    checklist.warned("signature", signatures=0, verdict="unsigned is allowed here")
    for step in ("signer", "threshold"):
        checklist.skipped(step, "nobody has signed this")
    return Signed(None, roots=added)


def _no_trust(exc: UntrustedSigner) -> TrustMissing:
    evidence = {"signed by": exc.evidence["signed by"], "trusted": "nobody: there is no trust root here"}
    fix = "on the device: 'camagent trust install root.json -c camagent.toml'"
    return TrustMissing("the bundle is signed, but this device trusts nobody yet", evidence=evidence, fix=fix)


def judge_circumstances(manifest: Manifest, signed: Signed, policy: Policy, checklist: Checklist) -> None:
    """Time, device, runtime and rollback index, in DESIGN's order; the first that does not fit refuses.

    Raises:
        TrustExpired: the root in force has expired.
        BundleExpired: the bundle has.
        ClockUntrusted: one of them looks expired to a clock that is not synchronised, or `require_clock` and a wrong clock.
        DeviceMismatch: `compatible` does not name this device.
        ArtifactTarget: no artifact is for it.
        RuntimeTooOld: another camagent is asked for.
        RollbackRefused: the index is below the stored one.
    """
    _judge_time(manifest, signed, policy, checklist)
    _judge_device(manifest, policy, checklist)
    _judge_runtime(manifest, policy, checklist)
    _judge_index(manifest, policy, checklist)


def _judge_time(manifest: Manifest, signed: Signed, policy: Policy, checklist: Checklist) -> None:
    if policy.clock is None:
        checklist.skipped("trust-expiry", "what is confirmed runs on for ever")
        checklist.skipped("clock", "nothing is judged by it")
        return
    if signed.files is None:
        checklist.skipped("trust-expiry", "no signature counts")
    elif not policy.roots:
        checklist.skipped("trust-expiry", "a key has no expiry")
    else:
        root = trust.in_force((*policy.roots, *signed.roots))
        judged = trust_time.judge(f"root {root.version}", root.expires, policy.clock, require_clock=policy.require_clock)
        tell = checklist.warned if judged.expires_soon else checklist.passed
        tell("trust-expiry", root=root.version, expires=_day(root.expires), days_left=_days(judged))
    fix = "build and sign it again with a later 'expires', or without one"
    expires = datetime.fromisoformat(manifest.expires) if manifest.expires else None
    what = f"bundle {manifest.name} {manifest.version}"
    judged = trust_time.judge(what, expires, policy.clock, refusal=BundleExpired, fix=fix, require_clock=policy.require_clock)
    clock = {key.replace(" ", "_"): value for key, value in policy.clock.evidence().items()}
    if judged.warnings:
        doubt = judged.warnings[0]
        checklist.warned("clock", code=doubt.code, what=doubt.what, **clock, judged_at=_second(judged.judged_at), fix=doubt.fix)
    else:
        checklist.passed("clock", **clock, bundle_expires=manifest.expires or "never")


def _judge_device(manifest: Manifest, policy: Policy, checklist: Checklist) -> None:
    if policy.device is None:
        checklist.skipped("device", "no device was named")
        return
    shown = policy.device or "unknown device"
    if not soc.fits(policy.device, manifest.compatible):
        raise DeviceMismatch(
            f"bundle {manifest.name} {manifest.version} is not made for this device",
            evidence={"device": shown, "compatible": ", ".join(manifest.compatible)},
            fix="get the bundle for this device, or build it with '--compatible " + (policy.device or "ID") + "'",
        )
    artifact = next((item for item in manifest.artifacts if _runs(item, policy)), None)
    if artifact is None:
        offered = ", ".join(f"{item.backend} for {'/'.join(item.targets)}" for item in manifest.artifacts)
        backends = "" if policy.backends is None else f" with {', '.join(sorted(policy.backends)) or 'no backend'}"
        raise ArtifactTarget(
            f"bundle {manifest.name} {manifest.version} has no model for this machine",
            evidence={"bundle has": offered, "this machine": shown + backends},
            fix="build the bundle with a model for it: 'camagent bundle create MODEL:BACKEND:TARGET ..'",
        )
    compatible = ", ".join(manifest.compatible)
    checklist.passed("device", device=shown, compatible=compatible, artifact=artifact.path, backend=artifact.backend)


def _runs(artifact: Artifact, policy: Policy) -> bool:
    here = policy.backends is None or artifact.backend in policy.backends
    return here and soc.fits(policy.device or "", artifact.targets)


def _judge_runtime(manifest: Manifest, policy: Policy, checklist: Checklist) -> None:
    if policy.runtime is None:
        checklist.skipped("runtime", "no camagent was named")
        return
    wanted = manifest.requires.camagent
    if not SpecifierSet(wanted).contains(policy.runtime, prereleases=True):
        raise RuntimeTooOld(
            f"bundle {manifest.name} {manifest.version} needs another camagent",
            evidence={"camagent here": policy.runtime, "bundle requires": wanted},
            fix="update camagent on this device, or build the bundle for this version",
        )
    checklist.passed("runtime", camagent=policy.runtime, requires=wanted)


def _judge_index(manifest: Manifest, policy: Policy, checklist: Checklist) -> None:
    if policy.stored_index is None:
        checklist.skipped("rollback-index", "it is asked where the bundle is installed")
        return
    stored = policy.stored_index(manifest.name)
    if manifest.rollback_index < stored:
        raise RollbackRefused(
            f"bundle {manifest.name} {manifest.version} is older than what this device has confirmed",
            evidence={"bundle's index": manifest.rollback_index, "stored index": stored},
            fix=f"build and sign it again with '--rollback-index {stored}' or higher, if it is really to run",
        )
    checklist.passed("rollback-index", bundle=manifest.rollback_index, stored=stored)


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def _second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _days(judged: Judgement) -> int:
    return judged.remaining.days if judged.remaining else 0
