"""A signer whose key never leaves its token (HSM, smart card, SoftHSM), over PKCS#11. Needs the extra `hsm` (PyKCS11)."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from signing.keys import P256, PublicKey
from signing.refusals import KeyPassphrase, KeyTypeUnsupported, KeyUnavailable

_P256_PARAMS = bytes.fromhex("06082a8648ce3d030107")  # the OID of prime256v1, as CKA_EC_PARAMS holds it
_SIDE = 32


class Pkcs11Signer:
    """An ECDSA P-256 key on a token: a Signer. Use as a context manager; the session is closed at the end."""

    def __init__(self, module: str, token: str, key: str, pin: str) -> None:
        """Opens the token.

        Args:
            module: path of the token's PKCS#11 library.
            token: the token's label.
            key: label (CKA_LABEL) of the key pair.
            pin: the user's PIN.

        Raises:
            KeyUnavailable: PyKCS11, the library, the token or the key is not there.
            KeyPassphrase: the PIN is wrong or locked.
            KeyTypeUnsupported: the key is not ECDSA P-256.
        """
        self._api = _load_api()
        self._session: Any = None
        try:
            self._session = self._open(module, token, pin)
            self._private = self._find(key, "CKO_PRIVATE_KEY")
            self._public = self._read_public(self._find(key, "CKO_PUBLIC_KEY"), key)
        except self._api.PyKCS11Error as exc:
            self.close()
            raise _token_error(exc, token) from exc
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; a second call does nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.closeSession()

    @property
    def public(self) -> PublicKey:
        """The public half, read from the token."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """ECDSA over SHA-256 of the data; tokens give raw r||s, which becomes DER here.

        Raises:
            KeyUnavailable: the token failed, or was taken away.
        """
        if self._session is None:
            evidence = {"found": "a closed session", "expected": "an open one"}
            raise KeyUnavailable("the token's session is closed", evidence=evidence, fix="open the token again")
        mechanism = self._api.Mechanism(self._api.CKM_ECDSA, None)
        try:
            raw = bytes(self._session.sign(self._private, hashlib.sha256(data).digest(), mechanism))
        except self._api.PyKCS11Error as exc:
            raise _token_error(exc, "the token") from exc
        if len(raw) != 2 * _SIDE:
            evidence = {"found": f"{len(raw)} bytes", "expected": f"{2 * _SIDE} bytes (r||s)"}
            raise KeyUnavailable("the token gave no ECDSA P-256 signature", evidence=evidence, fix="check the key's type")
        return encode_dss_signature(int.from_bytes(raw[:_SIDE], "big"), int.from_bytes(raw[_SIDE:], "big"))

    def _open(self, module: str, token: str, pin: str) -> Any:
        library = _load_library(module)
        labels = {}
        for slot in library.getSlotList(tokenPresent=True):
            labels[str(library.getTokenInfo(slot).label).rstrip(" \0")] = slot
        if token not in labels:
            evidence = {"found": ", ".join(sorted(labels)) or "no token", "expected": token}
            raise KeyUnavailable(
                f"there is no token {token!r}", evidence=evidence, fix="plug it in, or give the label of one found"
            )
        session = library.openSession(labels[token])
        try:
            session.login(pin)
        except self._api.PyKCS11Error as exc:
            if "ALREADY_LOGGED_IN" not in str(
                exc
            ):  # by another key of the same token; a login is the process's, not the session's
                session.closeSession()
                raise
        except BaseException:
            session.closeSession()
            raise
        return session

    def _find(self, label: str, kind: str) -> Any:
        template = [(self._api.CKA_CLASS, getattr(self._api, kind)), (self._api.CKA_LABEL, label)]
        found = self._session.findObjects(template)
        if len(found) != 1:
            evidence = {"found": f"{len(found)} objects", "expected": f"one {kind} labelled {label!r}"}
            fix = "give the label of one key pair; 'pkcs11-tool --list-objects' shows them"
            raise KeyUnavailable(f"the token has no single key {label!r}", evidence=evidence, fix=fix)
        return found[0]

    def _read_public(self, handle: Any, label: str) -> PublicKey:
        params, point = self._session.getAttributeValue(handle, [self._api.CKA_EC_PARAMS, self._api.CKA_EC_POINT])
        params, point = bytes(params or ()), bytes(point or ())
        if params != _P256_PARAMS:
            evidence = {"found": params.hex() or "no EC parameters", "expected": f"{P256} ({_P256_PARAMS.hex()})"}
            raise KeyTypeUnsupported(
                f"the token's key {label!r} is not ECDSA {P256}", evidence=evidence, fix="make a P-256 key on it"
            )
        if point[:2] == b"\x04\x41" and len(point) == 2 * _SIDE + 3:
            point = point[2:]  # the standard wraps the point in an OCTET STRING; some tokens do not
        try:
            return PublicKey(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
        except ValueError as exc:
            evidence = {"found": f"{len(point)} bytes", "expected": "an uncompressed point on the curve"}
            fix = "make the key pair on the token again"
            raise KeyTypeUnsupported(f"the token's public key {label!r} cannot be read", evidence=evidence, fix=fix) from exc


def _load_api() -> Any:
    try:
        return import_module("PyKCS11")
    except ImportError as exc:
        evidence = {"found": str(exc), "expected": "PyKCS11"}
        fix = "pip install 'camagent[hsm]' on a workstation (there is no wheel for aarch64), or sign with a key file"
        raise KeyUnavailable("signing with a token needs the module PyKCS11", evidence=evidence, fix=fix) from exc


@cache
def _load_library(module: str) -> Any:
    """Loaded once and kept: the end of one PyKCS11Lib finalizes the library under all others."""
    library = _load_api().PyKCS11Lib()
    library.load(module)
    return library


def _token_error(exc: Exception, token: str) -> KeyPassphrase | KeyUnavailable:
    said = str(exc)
    if "PIN" in said:
        evidence = {"found": said, "expected": f"the user PIN of {token!r}"}
        return KeyPassphrase(
            "the token refuses the PIN", evidence=evidence, fix="give the right PIN; a locked one needs the SO PIN"
        )
    evidence = {"found": said, "expected": f"the token {token!r}, ready"}
    return KeyUnavailable(
        "the token does not answer as it should", evidence=evidence, fix="check the library's path and the token"
    )
