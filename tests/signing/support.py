"""Keys, folders and documents for the tests of `signing`. Keys are made here, once per run."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing import digests, envelope, statement
from signing.errors import CodedError
from signing.key_files import SoftwareKey

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = datetime(2027, 11, 23, tzinfo=UTC)
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
FILES: Mapping[str, bytes] = {
    "bundle.json": b'{"schema": 1}\n',
    "model.onnx": b"\x08\x07weights\x00" * 40,
    "golden/bus.jpg": b"\xff\xd8\xff",
}


@cache
def key(name: str = "alice", kind: str = "P-256") -> SoftwareKey:
    """The same key for the same name within a run."""
    del name
    if kind == "Ed25519":
        return SoftwareKey(ed25519.Ed25519PrivateKey.generate())
    return SoftwareKey(ec.generate_private_key(CURVES[kind]))


def private_pem(signer: SoftwareKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return signer.private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def table(files: Mapping[str, bytes] = FILES) -> dict[str, digests.FileDigest]:
    return {name: digests.digest_bytes(data) for name, data in files.items()}


def payload(files: Mapping[str, bytes] = FILES) -> bytes:
    return statement.build("m", {name: found.sha256 for name, found in table(files).items()}, ["signatures"])


def sig(signer: SoftwareKey | None = None, files: Mapping[str, bytes] = FILES) -> bytes:
    return envelope.sign(payload(files), signer or key())


def changed(document: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A JSON document after `change` has had its way with it."""
    found = json.loads(document)
    change(found)
    return json.dumps(found, separators=(",", ":")).encode()


def resigned(change: Callable[[dict[str, Any]], object], signer: SoftwareKey | None = None) -> bytes:
    """A signature that is good, over a statement that was changed before signing."""
    return envelope.sign(changed(payload(), change), signer or key())


def with_value(document: bytes, value: bytes) -> bytes:
    text = base64.b64encode(value).decode()
    return changed(document, lambda found: found["dsseEnvelope"]["signatures"][0].update(sig=text))


def refused(code: str, call: Callable[[], object], *sides: str) -> CodedError:
    """`call` is refused with that code, with a fix, and with all `sides` shown in its evidence."""
    with pytest.raises(CodedError) as caught:
        call()
    error = caught.value
    assert error.code == code, error.render()
    assert error.fix
    shown = " ".join(f"{name}: {value}" for name, value in error.evidence.items())
    assert len(error.evidence) >= 2, f"both sides of the difference: {error.render()}"
    for side in sides:
        assert side in shown, error.render()
    return error
