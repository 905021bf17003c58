"""Keys: what they are called, how they are made, read, and what they sign. The arithmetic is `cryptography`'s."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from signing import limits
from signing.refusals import KeyTypeUnsupported, KeyUnavailable, SignatureEncoding, SignatureInvalid

AnyPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
P256, P384, P521, ED25519 = "P-256", "P-384", "P-521", "Ed25519"
BUNDLE_KINDS = (P256,)  # what signs bundles
ROOT_KINDS = (P256, ED25519)  # what signs trust roots
FOLDER_KINDS = (P256, P384, P521)  # what the OpenSSF key method allows for any model
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": (P256, hashes.SHA256()),
    "secp384r1": (P384, hashes.SHA384()),
    "secp521r1": (P521, hashes.SHA512()),
}
_RAW_LENGTHS = {64, 96, 132}  # r||s of the three curves
_MAKE_ONE = "make a key with 'camagent key generate --out DIR/NAME' (ECDSA P-256)"


@dataclass(frozen=True, eq=False)
class PublicKey:
    """A public key. Two are the same when their DER SubjectPublicKeyInfo is, however their files were written."""

    key: AnyPublicKey

    @cached_property
    def der(self) -> bytes:
        """SubjectPublicKeyInfo: what makes two keys the same."""
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def pem(self) -> bytes:
        """The same as text, final newline included."""
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def id(self) -> str:
        """The OpenSSF Model Signing key hint: lowercase hex SHA-256 of the PEM text (not of the DER)."""
        return hashlib.sha256(self.pem).hexdigest()

    @property
    def kind(self) -> str:
        """P-256, P-384, P-521 or Ed25519."""
        return _CURVES[self.key.curve.name][0] if isinstance(self.key, ec.EllipticCurvePublicKey) else ED25519

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def require(self, kinds: tuple[str, ...], purpose: str) -> None:
        """Refuses a key that this purpose does not allow.

        Raises:
            KeyTypeUnsupported: it is of another kind.
        """
        if self.kind not in kinds:
            evidence = {"found": f"{self.kind} key {self.id}", "expected": " or ".join(kinds)}
            raise KeyTypeUnsupported(f"a {self.kind} key cannot be used {purpose}", evidence=evidence, fix=_MAKE_ONE)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Returns when `signature` (ECDSA in DER, or 64 bytes of Ed25519) is this key's over `data`; there is no bool.

        Raises:
            SignatureEncoding: the value has no form that this key's signatures have.
            SignatureInvalid: it has, and is another key's or of other data.
        """
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self._require_length(signature, 64)
                self.key.verify(signature, data)
            else:
                require_der(signature)
                self.key.verify(signature, data, ec.ECDSA(_CURVES[self.key.curve.name][1]))
        except InvalidSignature as exc:
            evidence = {"key": self.id, "signed bytes": f"{len(data)}, SHA-256 {hashlib.sha256(data).hexdigest()}"}
            raise SignatureInvalid(
                "the signature was not made by this key over these bytes: one of the two was changed after signing",
                evidence=evidence,
                fix="get the file again from its maker; if it is the same there, it must be signed again",
            ) from exc

    def _require_length(self, signature: bytes, length: int) -> None:
        if len(signature) != length:
            evidence = {"found": f"{len(signature)} bytes", "expected": f"{length} bytes for {self.kind}"}
            raise SignatureEncoding("the signature value has the wrong length", evidence=evidence, fix="sign again")


def require_der(signature: bytes) -> None:
    """An ECDSA signature has the form SEQUENCE of two integers; what is in them is for `verify`.

    Raises:
        SignatureEncoding: it has not.
    """
    try:
        decode_dss_signature(signature)
    except ValueError as exc:
        raw = len(signature) in _RAW_LENGTHS
        found = f"{len(signature)} bytes starting {signature[:4].hex() or 'nowhere'}" + (" (raw r||s?)" if raw else "")
        fix = "the signing tool must write DER, not raw r||s (tokens and JOSE libraries give raw r||s)" if raw else "sign again"
        evidence = {"found": found, "expected": "an ECDSA signature in ASN.1 DER, starting 30"}
        raise SignatureEncoding("the signature value is not ASN.1 DER", evidence=evidence, fix=fix) from exc


class Signer(Protocol):
    """Somebody who can sign: a key file, or a token that never gives its key away."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this signer signs."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, in the form that `public.verify` takes. Raises KeyUnavailable where a token fails."""
        ...


def parse_public(data: bytes, where: str = "the file") -> PublicKey:
    """A public key in PEM. A private key or a certificate is refused by name, since people mix them up.

    Raises:
        KeyTypeUnsupported: no PEM public key, or one of a kind that nothing here uses.
    """
    try:
        loaded = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as exc:
        evidence = {"found": pem_label(data), "expected": "-----BEGIN PUBLIC KEY-----"}
        fix = "give the NAME.pub.pem file that 'camagent key generate' wrote beside NAME.pem"
        raise KeyTypeUnsupported(f"{where} holds no public key", evidence=evidence, fix=fix) from exc
    return public_of(loaded, where)


def public_of(key: object, where: str = "the file") -> PublicKey:
    """A `cryptography` public key, checked to be of a kind we know.

    Raises:
        KeyTypeUnsupported: RSA, secp256k1, ML-DSA ..
    """
    if isinstance(key, ed25519.Ed25519PublicKey) or (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES):
        return PublicKey(key)
    found = f"EC {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
    evidence = {
        "found": found.removesuffix("PublicKey"),
        "expected": f"{P256} (folders also {P384}, {P521}; roots also {ED25519})",
    }
    raise KeyTypeUnsupported(f"{where} holds a key of a kind that cannot be used", evidence=evidence, fix=_MAKE_ONE)


def load_public(path: Path) -> PublicKey:
    """The public key in a PEM file.

    Raises:
        KeyUnavailable: the file cannot be read.
        KeyTypeUnsupported: it holds no public key that can be used.
    """
    return parse_public(read_key_file(path), path.name)


def read_key_file(path: Path) -> bytes:
    """At most limits.KEY_BYTES of a file.

    Raises:
        KeyUnavailable: it cannot be read, or is far too large for a key.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limits.KEY_BYTES + 1)
    except OSError as exc:
        evidence = {"found": exc.strerror or type(exc).__name__, "expected": "a key in PEM"}
        raise KeyUnavailable(f"cannot read {str(path)!r}", evidence=evidence, fix="check the path and its permissions") from exc
    if len(data) > limits.KEY_BYTES:
        evidence = {"found": f"more than {limits.KEY_BYTES} bytes", "expected": "a key in PEM, below 10 kB"}
        raise KeyUnavailable(f"{str(path)!r} is too large for a key", evidence=evidence, fix="check the path")
    return data


def pem_label(data: bytes) -> str:
    """What a file says it is, for messages."""
    for line in data[:4096].decode("ascii", "replace").splitlines():
        if line.startswith("-----BEGIN "):
            return line[:80]
    return "no PEM text" if data else "an empty file"
