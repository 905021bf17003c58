"""Making trust roots: the first one, and every next one. What comes out went through the same checks that a camera makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key, Signature, SSlibKey  # type: ignore[attr-defined]  # public, but not re-exported in mypy's sense
from securesystemslib.signer import Signer as TufSigner  # type: ignore[attr-defined]
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from signing import trust
from signing.keys import BUNDLE_KINDS, ROOT_KINDS, PublicKey, Signer
from signing.refusals import Refused, ThresholdNotMet, TrustRotation, UntrustedSigner
from signing.trust import TrustRoot

_ONLINE = (Snapshot.type, Timestamp.type)
_KINDS = {
    Root.type: (ROOT_KINDS, "as a root key"),
    Targets.type: (BUNDLE_KINDS, "to sign bundles"),
    **dict.fromkeys(_ONLINE, (ROOT_KINDS, "as a repository's online key")),
}


class ForTuf(TufSigner):
    """Our Signer (key file or token) in tuf's clothes."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> TufSigner:
        """Not used: our keys are opened by signing.key_files and signing.pkcs11."""
        raise NotImplementedError

    @property
    def public_key(self) -> Key:
        """The key under our id."""
        return _tuf_key(self._signer.public)

    def sign(self, payload: bytes) -> Signature:
        """The signature under our id."""
        return Signature(self._signer.public.id, self._signer.sign(payload).hex())


def _tuf_key(key: PublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(key.key, keyid=key.id)


def init(
    root_keys: Sequence[Signer],
    signers: Sequence[PublicKey],
    *,
    expires: datetime,
    threshold: int = 1,
    root_threshold: int = 1,
    online_keys: Sequence[PublicKey] = (),
) -> bytes:
    """The first root.json, signed by all root keys given.

    Args:
        root_keys: who may make the next root; ECDSA P-256 or Ed25519.
        signers: who may sign bundles; ECDSA P-256.
        expires: new installs stop then, until a newer root arrives; a whole second, UTC.
        threshold: how many signers a bundle needs.
        root_threshold: how many root keys the next root needs.
        online_keys: who may renew a repository's snapshot and timestamp, one of them each time; ECDSA P-256 or Ed25519.

    Raises:
        KeyTypeUnsupported: a key of another kind.
        ThresholdNotMet: a threshold that the keys could never reach (a key given twice is one key).
    """
    root = Root(version=1, expires=expires.replace(microsecond=0), consistent_snapshot=False)
    _set_role(root, Root.type, [signer.public for signer in root_keys], root_threshold)
    _set_role(root, Targets.type, signers, threshold)
    for unused in _ONLINE:  # TUF wants all four roles; these two belong to repositories
        root.roles[unused] = Role([], 1)
    _set_online(root, online_keys)
    data = _signed(root, root_keys)
    trust.read_root(data)
    return data


def _set_online(root: Root, keys: Sequence[PublicKey]) -> None:
    """Both roles of a repository that a machine renews; with them its files are named by version and digest."""
    if keys:
        for role in _ONLINE:
            _set_role(root, role, keys, 1)
        root.consistent_snapshot = True


def _set_role(root: Root, role: str, keys: Iterable[PublicKey], threshold: int) -> None:
    kinds, purpose = _KINDS[role]
    for key_id in list(root.roles[role].keyids):
        root.revoke_key(key_id, role)
    for key in keys:
        key.require(kinds, purpose)
        root.add_key(_tuf_key(key), role)
    count = len(root.roles[role].keyids)
    if not 1 <= threshold <= count:
        evidence = {"keys": str(count), "threshold": str(threshold)}
        fix = "name more keys, or lower the threshold"
        text = f"the role {role} would need {threshold} of {count} keys, which nobody could ever reach"
        raise ThresholdNotMet(text, evidence=evidence, fix=fix)
    root.roles[role].threshold = threshold


def _signed(root: Root, signers: Iterable[Signer]) -> bytes:
    metadata = Metadata(root)
    for signer in signers:
        _add_signature(metadata, signer)
    return metadata.to_bytes(JSONSerializer(compact=False))


def _add_signature(metadata: Metadata[Root], signer: Signer) -> None:
    try:
        metadata.sign(ForTuf(signer), append=True)
    except UnsignedMetadataError as exc:
        if isinstance(exc.__cause__, Refused):  # tuf wraps what a token says; our users want the token's words
            raise exc.__cause__ from exc
        raise


def successor(
    current: TrustRoot,
    by: Sequence[Signer],
    *,
    expires: datetime,
    root_keys: Sequence[PublicKey] | None = None,
    root_threshold: int | None = None,
    signers: Sequence[PublicKey] | None = None,
    threshold: int | None = None,
    online_keys: Sequence[PublicKey] | None = None,
    draft: bool = False,
) -> bytes:
    """Root N+1: what is not given stays as it is.

    Args:
        current: root N.
        by: who signs: a threshold of N's root keys, and of the new ones where they change.
        expires: of the new root.
        root_keys: the new root keys.
        root_threshold: how many of them the root after this one needs.
        signers: who may sign bundles from now on.
        threshold: how many of them a bundle needs.
        online_keys: who may renew a repository's snapshot and timestamp from now on.
        draft: leave it to `cosign` on other machines to complete the signatures.

    Raises:
        KeyTypeUnsupported: a key of another kind.
        ThresholdNotMet: a threshold that the keys could never reach.
        TrustRotation: not draft, and those who sign are too few.
        UntrustedSigner: somebody in `by` has no say in this root.
    """
    _require_say(by, {*current.root_keys, *(root_keys or ())})
    root = Metadata[Root].from_bytes(current.data).signed  # from the bytes: tuf's to_dict() shares its lists with the original
    root.version = current.version + 1
    root.expires = expires.replace(microsecond=0)
    keys = current.root_keys if root_keys is None else root_keys
    _set_role(root, Root.type, keys, current.root_threshold if root_threshold is None else root_threshold)
    keys = current.signers if signers is None else signers
    _set_role(root, Targets.type, keys, current.threshold if threshold is None else threshold)
    _set_online(root, online_keys or ())
    data = _signed(root, by)
    if not draft:
        check_successor(current, data)
    return data


def add_signer(
    current: TrustRoot, key: PublicKey, by: Sequence[Signer], *, expires: datetime, threshold: int | None = None
) -> bytes:
    """Root N+1 in which this key may sign bundles too. Raises as `successor`, and TrustRotation where it may already."""
    if key in current.signers:
        evidence = {"key": key.id, "found": f"a signer of root {current.version}"}
        raise TrustRotation("this key may sign already", evidence=evidence, fix="nothing needs to be done")
    return successor(current, by, expires=expires, signers=[*current.signers, key], threshold=threshold)


def remove_signer(
    current: TrustRoot, key_id: str, by: Sequence[Signer], *, expires: datetime, threshold: int | None = None
) -> bytes:
    """Root N+1 in which this key may not sign any more. Raises as `successor`, and UntrustedSigner where it may not now."""
    left = [key for key in current.signers if key.id != key_id]
    if len(left) == len(current.signers):
        evidence = {"asked for": key_id, "signers": " ".join(key.id for key in current.signers)}
        raise UntrustedSigner(
            f"root {current.version} names no such signer", evidence=evidence, fix="see 'camagent trust show'"
        )
    return successor(current, by, expires=expires, signers=left, threshold=threshold)


def rotate(
    current: TrustRoot,
    by: Sequence[Signer],
    *,
    expires: datetime,
    root_keys: Sequence[PublicKey] | None = None,
    root_threshold: int | None = None,
    online_keys: Sequence[PublicKey] | None = None,
) -> bytes:
    """Root N+1 with a new expiry and, where they are given, new root or online keys. Raises as `successor`."""
    return successor(current, by, expires=expires, root_keys=root_keys, root_threshold=root_threshold, online_keys=online_keys)


def cosign(draft: bytes, current: TrustRoot, signer: Signer) -> bytes:
    """A draft of root N+1 with one more signature; signing twice changes nothing.

    Raises:
        UntrustedSigner: this key has no say in it.
        TrustRotation: it is not the root that follows `current`.
        Refused: the draft is no root.json (see trust.read_draft).
    """
    root = trust.read_draft(draft)
    if root.version != current.version + 1:
        evidence = {"in force": f"root {current.version}", "offered": f"root {root.version}"}
        raise TrustRotation(
            "this draft is not the next root", evidence=evidence, fix="sign the draft made from the root in force"
        )
    _require_say([signer], {*current.root_keys, *root.root_keys})
    _add_signature(root.metadata, signer)
    return root.metadata.to_bytes(JSONSerializer(compact=False))


def check_successor(current: TrustRoot, data: bytes) -> TrustRoot:
    """The new root, checked as a camera that has `current` will check it.

    Raises:
        TrustRotation: too few signatures, or not the next number.
        Refused: it is no root.json.
    """
    new = trust.read_draft(data)
    trust.chain([current], [new])
    if new.version <= current.version:
        evidence = {"in force": f"root {current.version}", "offered": f"root {new.version}"}
        raise TrustRotation("this is not the next root", evidence=evidence, fix="make it from the root that is in force")
    return new


def _require_say(by: Sequence[Signer], allowed: set[PublicKey]) -> None:
    for signer in by:
        if signer.public not in allowed:
            raise _no_say(signer.public, allowed)


def _no_say(key: PublicKey, allowed: set[PublicKey]) -> Refused:
    evidence = {"found": key.id, "root keys": " ".join(sorted(other.id for other in allowed))}
    fix = "sign with a root key (R.pem of 'camagent trust init'), not with the key that signs bundles"
    return UntrustedSigner("this key is no root key, old or new", evidence=evidence, fix=fix)
