"""The trust root: a TUF `root.json`, read and checked through `tuf`'s Metadata API, and the rules by which N+1 follows N.

No I/O here: bytes and values in, values or refusals out. Which files these are, and writing them, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # public, but not re-exported in mypy's sense
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]  # public, but not re-exported in mypy's sense
from tuf.api.serialization import DeserializationError, SerializationError

from signing import limits
from signing.encoding import read_json_object
from signing.keys import BUNDLE_KINDS, P256, ROOT_KINDS, PublicKey, parse_public
from signing.refusals import KeyTypeUnsupported, SignatureFormat, SizeLimit, TrustMissing, TrustRotation
from signing.verify import TrustedKeys

_SCHEMES = {"ecdsa": "ecdsa-sha2-nistp256", "ed25519": "ed25519"}
_NEW_ROOT = "make one with 'camagent trust init --root-key R.pem --signer S.pub.pem -o root.json'"
_SUPPLY = "give all roots from the one in force on: 'camagent trust install 2.root.json 3.root.json ..'"


@dataclass(frozen=True, slots=True, eq=False)
class TrustRoot:
    """A root.json that is sound in itself and signed by a threshold of its own root keys. Expiry has not been asked.

    `data` is the file as it was read: what is stored and passed on.
    """

    data: bytes
    version: int
    expires: datetime
    root_keys: tuple[PublicKey, ...]
    root_threshold: int
    signers: tuple[PublicKey, ...]  # the `targets` role: who may sign bundles
    threshold: int  # how many of them it takes
    online_keys: tuple[PublicKey, ...]  # the `snapshot` and `timestamp` roles of a repository; () where it may have none
    metadata: Metadata[Root]  # what tuf made of it

    @property
    def name(self) -> str:
        """For messages and file names."""
        return f"{self.version}.root.json"

    @property
    def has_repository(self) -> bool:
        """Whether bundles may also be listed in a TUF repository: somebody may sign snapshot and timestamp of it."""
        root = self.metadata.signed
        named = all(root.roles[role].keyids for role in (Snapshot.type, Timestamp.type))
        return named and bool(root.consistent_snapshot)


def read_root(data: bytes, name: str = "root.json") -> TrustRoot:
    """A trust root from a file's bytes.

    Raises:
        SizeLimit: more than limits.ROOT_BYTES, or limits.ROOT_KEYS keys.
        TrustMissing: no root.json: not JSON, not of TUF, roles without enough keys, one key listed twice.
        KeyTypeUnsupported: a key that is neither ECDSA P-256 nor (root role only) Ed25519.
        TrustRotation: it is not signed by a threshold of its own root keys.
    """
    root = _unsigned_root(data, name)
    _require_signed(root.metadata.signed, root, "its own")
    return root


def read_draft(data: bytes, name: str = "root.json") -> TrustRoot:
    """As read_root, for a root that still lacks signatures. Never trust it. Raises as read_root, but TrustRotation."""
    return _unsigned_root(data, name)


def _unsigned_root(data: bytes, name: str) -> TrustRoot:
    if len(data) > limits.ROOT_BYTES:
        evidence = {"found": f"{len(data)} bytes or more", "allowed": f"{limits.ROOT_BYTES} bytes"}
        raise SizeLimit(f"{name} is too large for a trust root", evidence=evidence, fix="check that it is the right file")
    metadata = _parse(data, name)
    root = metadata.signed
    if len(root.keys) > limits.ROOT_KEYS:
        evidence = {"found": f"{len(root.keys)} keys", "allowed": str(limits.ROOT_KEYS)}
        raise SizeLimit(f"{name} lists too many keys", evidence=evidence, fix="remove those that are not in use")
    keys = {key_id: _public_key(key, key_id, name) for key_id, key in root.keys.items() if isinstance(key, SSlibKey)}
    if len(keys) < len(root.keys):
        other = next(key_id for key_id in root.keys if key_id not in keys)
        raise _no_root(name, f"the key {other} of an unknown form", "ECDSA P-256 or Ed25519 keys")
    _require_distinct(keys, name)
    root_keys, signers = _role(root, Root.type, keys, name), _role(root, Targets.type, keys, name)
    for key in signers:
        key.require(BUNDLE_KINDS, "to sign bundles (role targets)")
    online = [
        key for role in (Snapshot.type, Timestamp.type) if root.roles[role].keyids for key in _role(root, role, keys, name)
    ]
    thresholds = root.roles[Root.type].threshold, root.roles[Targets.type].threshold
    return TrustRoot(
        data,
        root.version,
        root.expires,
        root_keys,
        thresholds[0],
        signers,
        thresholds[1],
        tuple(dict.fromkeys(online)),
        metadata,
    )


def _parse(data: bytes, name: str) -> Metadata[Root]:
    try:
        read_json_object(data, name)  # tuf's own reader takes doubled keys and keeps the last
        metadata = Metadata[Root].from_bytes(data)
        _ = metadata.signed_bytes  # what has no canonical form (a float, say) cannot have been signed
    except SignatureFormat as exc:
        raise TrustMissing(f"{name} is no trust root: {exc.what}", evidence=exc.evidence, fix=_NEW_ROOT) from exc
    except (DeserializationError, SerializationError) as exc:
        found = f"{exc.__cause__ or exc}"
        raise _no_root(name, found or "fields missing", "a TUF root.json") from exc
    except RecursionError as exc:
        raise _no_root(name, "JSON that is nested too deeply", "a TUF root.json") from exc
    if not all(isinstance(key_id, str) and isinstance(given.signature, str) for key_id, given in metadata.signatures.items()):
        raise _no_root(name, "a signature that is no text", "key id and signature as text")
    if not isinstance(metadata.signed, Root):
        raise _no_root(name, f"TUF metadata of type {type(metadata.signed).__name__}", "root")
    return metadata


def _no_root(name: str, found: str, expected: str) -> TrustMissing:
    return TrustMissing(f"{name} is no usable trust root", evidence={"found": found, "expected": expected}, fix=_NEW_ROOT)


def _public_key(key: SSlibKey, key_id: str, name: str) -> PublicKey:
    """The key that tuf will verify with, as ours."""
    where = f"{name}: key {key_id}"
    if _SCHEMES.get(key.keytype) != key.scheme:
        evidence = {"found": f"{key.keytype}, {key.scheme}", "expected": " or ".join(ROOT_KINDS)}
        raise KeyTypeUnsupported(f"{where} is of a kind that cannot be used", evidence=evidence, fix=_NEW_ROOT)
    value = key.keyval["public"]
    if key.keytype == "ed25519":
        try:
            return PublicKey(Ed25519PublicKey.from_public_bytes(bytes.fromhex(value)))
        except ValueError as exc:
            evidence = {"found": value[:80], "expected": "64 hex digits"}
            raise KeyTypeUnsupported(f"{where} is no Ed25519 key", evidence=evidence, fix=_NEW_ROOT) from exc
    public = parse_public(value.encode("utf-8", "backslashreplace"), where)
    public.require((P256,), "with that scheme in a trust root")
    return public


def _require_distinct(keys: Mapping[str, PublicKey], name: str) -> None:
    seen: dict[PublicKey, str] = {}
    for key_id, key in keys.items():
        if key in seen:  # tuf counts ids: one person could fill a threshold alone
            raise _no_root(name, f"one key as {seen[key]} and as {key_id}", "every key once")
        seen[key] = key_id


def _role(root: Root, role: str, keys: Mapping[str, PublicKey], name: str) -> tuple[PublicKey, ...]:
    listed = root.roles[role]
    unknown = [key_id for key_id in listed.keyids if key_id not in keys]
    if unknown:
        raise _no_root(name, f"the role {role} names the key {unknown[0]}", "only keys that the file lists")
    if not 1 <= listed.threshold <= len(listed.keyids):
        raise _no_root(
            name, f"the role {role} needs {listed.threshold} of {len(listed.keyids)} keys", "a threshold it can reach"
        )
    return tuple(keys[key_id] for key_id in listed.keyids)


def _require_signed(by: Root, root: TrustRoot, whose: str) -> None:
    """`root` is signed by a threshold of the root keys of `by`; tuf does the counting. Raises TrustRotation."""
    try:
        by.verify_delegate(Root.type, root.metadata.signed_bytes, root.metadata.signatures)
    except (RepositoryError, ValueError) as exc:
        role = by.roles[Root.type]
        evidence = {
            "found": str(exc),
            "expected": f"{role.threshold} of the root keys {' '.join(_ids(by))}",
            "signatures in the file": " ".join(sorted(root.metadata.signatures)) or "none",
        }
        text = f"{root.name} is not signed by enough of {whose} root keys"
        raise TrustRotation(
            text, evidence=evidence, fix="have it signed by the holders of the root keys that are named"
        ) from exc


def _ids(root: Root) -> list[str]:
    return sorted(root.roles[Root.type].keyids)


def chain(known: Sequence[TrustRoot], offered: Sequence[TrustRoot], *, first: bool = False) -> tuple[TrustRoot, ...]:
    """The offered roots that come next after the known ones, in order; empty where nothing is new. Pure.

    N+1 must be signed by a threshold of N's root keys and of its own, in steps of one. Passed-through roots may have
    expired; the caller judges the last (trust_time.judge).

    Args:
        known: all roots that were ever in force here.
        offered: roots from a bundle, a file or the network, in any order.
        first: take the lowest offered one on faith where none is known. Only a person at the device may say so.

    Raises:
        TrustMissing: none is known, and `first` was not said (or nothing was offered).
        TrustRotation: a step is left out, not signed as it must be, or another root already has that number.
        SizeLimit: more than limits.ROOT_CHAIN roots at once.
    """
    if len(offered) > limits.ROOT_CHAIN:
        evidence = {"found": f"{len(offered)} roots", "allowed": str(limits.ROOT_CHAIN)}
        raise SizeLimit("too many trust roots at once", evidence=evidence, fix="install them in several steps")
    waiting = sorted(offered, key=lambda root: root.version)
    added: list[TrustRoot] = []
    if not known:
        if not (first and waiting):
            evidence = {"found": "no trust root", "expected": "one that a person has put there"}
            raise TrustMissing(
                "this device trusts nobody yet", evidence=evidence, fix="on the device: 'camagent trust install root.json'"
            )
        added.append(waiting.pop(0))
    by_version = {root.version: root for root in (*known, *added)}
    current = max(by_version.values(), key=lambda root: root.version)
    for root in waiting:
        same = by_version.get(root.version)
        if same is not None:
            _require_same(same, root)
        elif root.version > current.version:
            _require_step(current, root)
            added.append(root)
            by_version[root.version] = current = root
    return tuple(added)


def _require_same(known: TrustRoot, offered: TrustRoot) -> None:
    if known.metadata.signed_bytes == offered.metadata.signed_bytes:
        return
    evidence = {"in force": _digest(known), "offered": _digest(offered), "version": known.version}
    fix = "find out who made the second one; the next root must have a number of its own"
    raise TrustRotation(f"there is another root with the number {known.version}", evidence=evidence, fix=fix)


def _digest(root: TrustRoot) -> str:
    return f"root keys {' '.join(key.id[:16] for key in root.root_keys)}, expires {root.expires:%Y-%m-%d}"


def _require_step(current: TrustRoot, offered: TrustRoot) -> None:
    if offered.version != current.version + 1:
        evidence = {
            "in force": f"root {current.version}",
            "offered": f"root {offered.version}",
            "expected": f"root {current.version + 1}",
        }
        raise TrustRotation(f"root {current.version + 1} is missing between the two", evidence=evidence, fix=_SUPPLY)
    _require_signed(current.metadata.signed, offered, f"root {current.version}'s")
    _require_signed(offered.metadata.signed, offered, "its own")


def in_force(known: Sequence[TrustRoot]) -> TrustRoot:
    """The highest root. Raises TrustMissing where there is none."""
    if not known:
        evidence = {"found": "no trust root", "expected": "root.json"}
        raise TrustMissing("there is no trust root", evidence=evidence, fix=_NEW_ROOT)
    return max(known, key=lambda root: root.version)


def trusted_keys(known: Sequence[TrustRoot]) -> TrustedKeys:
    """Who may sign bundles now, and who no longer may: signers of older roots that the root in force does not name.

    Raises:
        TrustMissing: no root is known.
    """
    current = in_force(known)
    revoked: dict[str, int] = {}
    for root in sorted(known, key=lambda root: root.version):
        revoked |= {key.id: root.version for key in root.signers if key not in current.signers}
    return TrustedKeys(current.signers, current.threshold, MappingProxyType(revoked), f"root {current.version}")
