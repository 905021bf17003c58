"""Who is trusted, and whether enough of them signed the same thing. Pure: bytes in, a verified table out, or a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from signing import envelope as envelopes
from signing import limits
from signing.envelope import Envelope
from signing.keys import BUNDLE_KINDS, PublicKey
from signing.refusals import (
    FormatUnsupported,
    Refused,
    SignatureMissing,
    SignerRevoked,
    SizeLimit,
    ThresholdNotMet,
    UntrustedSigner,
    first_to_speak,
)
from signing.statement import Statement


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Whose signatures count, and how many of them it takes. `revoked`: key id -> the last root version that still named it."""

    keys: tuple[PublicKey, ...]
    threshold: int = 1
    revoked: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    source: str = "the public key that was given"

    def find(self, key_id: str) -> PublicKey | None:
        """The trusted key of that id."""
        return next((key for key in self.keys if key.id == key_id), None)


def trust_key(key: PublicKey) -> TrustedKeys:
    """Trust in one key, without a root: `bundle verify --public-key`.

    Raises:
        KeyTypeUnsupported: bundles are signed with ECDSA P-256 alone.
    """
    key.require(BUNDLE_KINDS, "to verify a bundle")
    return TrustedKeys((key,))


@dataclass(frozen=True, slots=True)
class Verified:
    """What enough trusted keys have signed."""

    statement: Statement
    signers: tuple[PublicKey, ...]  # distinct, in order of their ids
    not_counted: Mapping[str, Refused]  # file name -> why that signature did not count

    @property
    def files(self) -> Mapping[str, str]:
        """Name -> lowercase hex SHA-256 of every signed file; the only names that may be opened."""
        return self.statement.files


@dataclass(slots=True)
class _Sorted:
    """Signature files by outcome."""

    good: list[tuple[PublicKey, Statement]] = field(default_factory=list)
    bad: dict[str, Refused] = field(default_factory=dict)
    strangers: dict[str, Refused] = field(default_factory=dict)


def verify_signatures(signatures: Mapping[str, bytes], trusted: TrustedKeys) -> Verified:
    """Counts distinct trusted keys whose signatures list the same names and digests (method `files`).

    Args:
        signatures: file name -> content of every `.sig` file beside the signed tree.
        trusted: whose signatures count.

    Raises:
        SizeLimit: more than limits.SIGNATURES files, or one above limits.SIGNATURE_BYTES.
        SignatureMissing: no file at all.
        SignatureFormat: none is good, and one is no document of this format.
        FormatUnsupported: none is good, and one is of a version or method unknown here.
        SignatureEncoding: none is good, and one is broken base64 or DER.
        SignerRevoked: none is by a trusted key, and one is by a key that an older root named.
        UntrustedSigner: none is by a trusted key.
        SignatureInvalid: a trusted key is named, and the value is not its.
        ThresholdNotMet: at least one is good, fewer than the threshold (or they disagree).
        UnsafePath: a trusted key signed a name that is never allowed.
    """
    _check_amount(signatures)
    outcome = _Sorted()
    for name in sorted(signatures):
        _sort_in(name, signatures[name], trusted, outcome)
    if not outcome.good:
        named_keys = outcome.bad or outcome.strangers
        raise first_to_speak(list(named_keys.values()))
    statement, signers = _agreed(outcome, trusted)
    return Verified(statement, signers, MappingProxyType(outcome.bad | outcome.strangers))


def _check_amount(signatures: Mapping[str, bytes]) -> None:
    if not signatures:
        evidence = {"found": "0 signatures", "expected": "at least 1"}
        raise SignatureMissing("nobody has signed this", evidence=evidence, fix="sign it: 'camagent bundle sign F --key S.pem'")
    if len(signatures) > limits.SIGNATURES:
        evidence = {"found": f"{len(signatures)} signatures", "allowed": str(limits.SIGNATURES)}
        raise SizeLimit("there are too many signature files", evidence=evidence, fix="remove those of keys that are not in use")


def _sort_in(name: str, data: bytes, trusted: TrustedKeys, outcome: _Sorted) -> None:
    try:
        found = envelopes.read(data, name=name)
        key, statement = _verify_by_any(found, trusted, name)
        _require_whole_files(statement, name)
    except (UntrustedSigner, SignerRevoked) as exc:
        outcome.strangers[name] = exc
    except Refused as exc:
        outcome.bad[name] = exc
    else:
        outcome.good.append((key, statement))


def _verify_by_any(found: Envelope, trusted: TrustedKeys, name: str) -> tuple[PublicKey, Statement]:
    """By the key that the file names; a file that names none is tried with all."""
    said = found.said_signer
    candidates: Iterable[PublicKey] = trusted.keys
    if found.hint or found.stated_key:
        key = trusted.find(said)
        if key is None:
            raise _stranger(said, trusted, name)
        candidates = (key,)
    refusals: list[Refused] = []
    for key in candidates:
        try:
            return key, envelopes.verify(found, key)
        except Refused as exc:
            refusals.append(exc)
    raise first_to_speak(refusals) if refusals else _stranger(said, trusted, name)


def _stranger(said: str, trusted: TrustedKeys, name: str) -> Refused:
    known = " ".join(key.id for key in trusted.keys) or "no key at all"
    evidence = {"signed by": said, "trusted": known, "by": trusted.source}
    if said in trusted.revoked:
        evidence["last trusted by"] = f"root {trusted.revoked[said]}"
        fix = "sign it with a key that is still trusted; if the key was removed by mistake, 'camagent trust add-signer'"
        return SignerRevoked(f"{name} is by a signer that is not trusted any more", evidence=evidence, fix=fix)
    fix = "sign it with a trusted key, or add the signer: 'camagent trust add-signer' and install the new root on the camera"
    return UntrustedSigner(f"{name} is by a signer that is not trusted here", evidence=evidence, fix=fix)


def _require_whole_files(statement: Statement, name: str) -> None:
    if statement.shards:
        evidence = {"found": "method shards", "expected": "method files"}
        raise FormatUnsupported(
            f"{name} lists pieces of files; a bundle lists whole files", evidence=evidence, fix="sign with camagent"
        )


def _agreed(outcome: _Sorted, trusted: TrustedKeys) -> tuple[Statement, tuple[PublicKey, ...]]:
    groups: list[tuple[Statement, set[PublicKey]]] = []
    for key, statement in outcome.good:
        for first, keys in groups:
            if first.same_content(statement):
                keys.add(key)
                break
        else:
            groups.append((statement, {key}))
    enough = [group for group in groups if len(group[1]) >= trusted.threshold]
    if len(enough) == 1:
        statement, keys = enough[0]
        return statement, tuple(sorted(keys, key=lambda key: key.id))
    if len(groups) > 1:
        raise _disagreement(groups, trusted)
    raise _too_few(groups[0][1], outcome, trusted)


def _too_few(good: set[PublicKey], outcome: _Sorted, trusted: TrustedKeys) -> ThresholdNotMet:
    evidence = {
        "good signatures": f"{len(good)}: {' '.join(sorted(key.id for key in good))}",
        "needed": f"{trusted.threshold} of {len(trusted.keys)} distinct keys",
    }
    for name, refusal in (outcome.bad | outcome.strangers).items():
        evidence[f"not counted {name}"] = f"{refusal.code}: {refusal.what}"
    fix = "have it signed by further keys of the trust root: 'camagent bundle sign F --key OTHER.pem'"
    return ThresholdNotMet(f"{len(good)} of {trusted.threshold} needed signers have signed this", evidence=evidence, fix=fix)


def _disagreement(groups: list[tuple[Statement, set[PublicKey]]], trusted: TrustedKeys) -> ThresholdNotMet:
    one, other = groups[0], groups[1]
    names = sorted(name for name in one[0].names | other[0].names if one[0].files.get(name) != other[0].files.get(name))
    name = names[0]
    evidence = {
        "needed": f"{trusted.threshold} signers of the same files",
        "differs": name,
        f"signed by {min(key.id for key in one[1])}": one[0].files.get(name, "not in it"),
        f"signed by {min(key.id for key in other[1])}": other[0].files.get(name, "not in it"),
    }
    fix = "remove the signature that is left over from another build, then let every signer sign this one"
    return ThresholdNotMet("the signers have not signed the same files", evidence=evidence, fix=fix)
