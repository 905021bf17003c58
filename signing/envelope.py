"""One `.sig` file: a Sigstore bundle in JSON around a DSSE envelope around the statement. Sign, read, verify."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from signing import limits
from signing import statement as statements
from signing.encoding import JsonObject, member, only_keys, read_base64, read_json_object
from signing.keys import PublicKey, Signer, parse_public, require_der
from signing.refusals import (
    FormatUnsupported,
    KeyTypeUnsupported,
    SignatureFormat,
    SignatureInvalid,
    SizeLimit,
    UntrustedSigner,
)
from signing.statement import Statement

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MEDIA_FAMILY = "application/vnd.dev.sigstore.bundle"
_RESIGN = "sign with camagent, or with 'model_signing sign key' 1.0 and newer"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A `.sig` file that is well formed. Nothing in it is believed: `verify` says whose it is."""

    payload: bytes
    value: bytes
    hint: str | None  # the id of the key that is said to have signed
    stated_key: PublicKey | None  # files of older tools carry the key itself in place of the hint

    @property
    def said_signer(self) -> str:
        """Whom the file names as its signer."""
        return self.hint or (self.stated_key.id if self.stated_key else "nobody")


def pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that the signature is over."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode("ascii"), len(payload), payload)


def sign(payload: bytes, signer: Signer) -> bytes:
    """The `.sig` file of `payload` (statement.build) by this signer; it is verified once before it is given out.

    Raises:
        SignatureInvalid: the signer's token gave a signature that its own public key refuses.
        KeyUnavailable: the token failed.
    """
    key = signer.public
    value = signer.sign(pae(payload))
    key.verify(value, pae(payload))
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(value).decode("ascii"), "keyid": ""}],
        },
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def read(data: bytes, *, limit: int = limits.SIGNATURE_BYTES, name: str = "the signature file") -> Envelope:
    """A `.sig` file, strictly.

    Raises:
        SizeLimit: more than `limit` bytes.
        SignatureFormat: no OpenSSF Model Signing document, or not exactly one signature in it.
        FormatUnsupported: one of a version or method that is unknown here.
        SignatureEncoding: payload or signature is not base64, or the signature is not DER.
    """
    if len(data) > limit:
        evidence = {"found": f"{len(data)} bytes or more", "allowed": f"{limit} bytes"}
        raise SizeLimit(f"{name} is too large", evidence=evidence, fix="check that it is the .sig file and not the model")
    found = read_json_object(data, name)
    _check_media_type(member(found, "mediaType", str, name), name)
    only_keys(found, {"mediaType", "verificationMaterial", "dsseEnvelope"}, name)
    hint, stated = _read_key(member(found, "verificationMaterial", dict, name), name)
    envelope = member(found, "dsseEnvelope", dict, name)
    only_keys(envelope, {"payload", "payloadType", "signatures"}, f"{name}: dsseEnvelope")
    payload_type = member(envelope, "payloadType", str, name)
    if payload_type != PAYLOAD_TYPE:
        evidence = {"found": payload_type, "expected": PAYLOAD_TYPE}
        raise SignatureFormat(f"{name} signs something else than a model", evidence=evidence, fix=_RESIGN)
    value = _only_value(member(envelope, "signatures", list, name), name)
    text = member(envelope, "payload", str, name)
    payload = read_base64(text, f"{name}: payload")
    statements.check_version(payload)
    raw = _bounded(read_base64(value, f"{name}: sig"), name)
    require_der(raw)
    return Envelope(payload, raw, hint, stated)


def _check_media_type(found: str, name: str) -> None:
    if found == MEDIA_TYPE:
        return
    evidence = {"found": found, "known here": MEDIA_TYPE}
    if found.startswith(_MEDIA_FAMILY):
        raise FormatUnsupported(f"{name} is a Sigstore bundle of a version unknown here", evidence=evidence, fix=_RESIGN)
    raise SignatureFormat(f"{name} is no Sigstore bundle", evidence=evidence, fix=_RESIGN)


def _read_key(material: JsonObject, name: str) -> tuple[str | None, PublicKey | None]:
    where = f"{name}: verificationMaterial"
    for method in ("certificate", "x509CertificateChain"):
        if method in material:
            evidence = {"found": f"method {method}", "known here": "method key (publicKey)"}
            raise FormatUnsupported(f"{name} is signed with a certificate", evidence=evidence, fix="sign with --method key")
    only_keys(material, {"publicKey", "tlogEntries", "timestampVerificationData"}, where)
    if not isinstance(material.get("tlogEntries", []), list):
        member(material, "tlogEntries", list, where)
    key = member(material, "publicKey", dict, where)
    only_keys(key, {"hint", "rawBytes", "keyDetails", "validFor"}, where)
    hint = member(key, "hint", str, where) if key.get("hint") is not None else None
    if key.get("rawBytes") is None:
        return hint or None, None
    raw = read_base64(member(key, "rawBytes", str, where), f"{where}: rawBytes")
    try:
        return hint or None, parse_public(raw, where)
    except KeyTypeUnsupported as exc:
        evidence = dict(exc.evidence)
        raise SignatureFormat(f"{where}: rawBytes is no key that can sign a model", evidence=evidence, fix=_RESIGN) from exc


def _only_value(signatures: list[object], name: str) -> str:
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        evidence = {
            "found": f"{len(signatures)} signatures",
            "expected": "exactly 1; further signers have .sig files of their own",
        }
        raise SignatureFormat(f"{name} must hold one signature", evidence=evidence, fix=_RESIGN)
    only = signatures[0]
    only_keys(only, {"sig", "keyid"}, f"{name}: signature")
    if only.get("keyid") is not None:
        member(only, "keyid", str, name)  # Go writes null, Python "", and nobody may rely on either
    value: str = member(only, "sig", str, name)
    return value


def _bounded(value: bytes, name: str) -> bytes:
    if len(value) > limits.VALUE_BYTES:
        evidence = {"found": f"{len(value)} bytes", "allowed": f"{limits.VALUE_BYTES} bytes"}
        raise SizeLimit(f"{name}: the signature value is too large", evidence=evidence, fix=_RESIGN)
    return value


def verify(envelope: Envelope, key: PublicKey) -> Statement:
    """What this key signed; returns only when it did.

    Raises:
        UntrustedSigner: the file says that another key signed it.
        SignatureInvalid: the value is not this key's over this payload.
        SignatureFormat: the key signed a statement that contradicts itself.
        UnsafePath: the key signed a name that is never allowed.
    """
    named = envelope.hint == key.id if envelope.hint else envelope.stated_key in {None, key}
    if not named:
        evidence = {"signed by": envelope.said_signer, "expected": key.id}
        fix = "verify with the public key of the signer, or have it signed with the key that you trust"
        raise UntrustedSigner("this signature was made with another key", evidence=evidence, fix=fix)
    try:
        key.verify(envelope.value, pae(envelope.payload))
    except SignatureInvalid as exc:
        what = (
            "the signature does not fit the list of files that it is said to sign: the .sig file was changed, or signed wrongly"
        )
        raise SignatureInvalid(
            what, evidence=exc.evidence, fix="get the .sig file again; if it is the same there, sign again"
        ) from exc
    return statements.parse(envelope.payload)
