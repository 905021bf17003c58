from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from signing import envelope, limits
from signing.errors import CodedError
from signing.keys import PublicKey
from tests.signing.support import FILES, changed, key, payload, private_pem, refused, resigned, sig, with_value


def read_and_verify(data: bytes, public: PublicKey | None = None) -> object:
    return envelope.verify(envelope.read(data), public or key().public)


def test_what_is_signed_is_read_back() -> None:
    signed = envelope.verify(envelope.read(sig()), key().public)
    assert signed.names == set(FILES)
    assert list(signed.files) == sorted(FILES)
    assert signed.ignore_paths == ("signatures",)


def test_the_wire_format_is_the_published_one() -> None:
    found = json.loads(sig())
    assert found["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert found["verificationMaterial"] == {"publicKey": {"hint": key().public.id}, "tlogEntries": []}
    assert found["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(found["dsseEnvelope"]["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert set(statement["predicate"]) == {"serialization", "resources"}
    assert statement["predicate"]["serialization"]["ignore_paths"] == ["signatures"]


def test_openssl_verifies_the_raw_signature(tmp_path: Path) -> None:
    found = envelope.read(sig())
    (tmp_path / "sig").write_bytes(found.value)
    (tmp_path / "pae").write_bytes(envelope.pae(found.payload))
    (tmp_path / "pub.pem").write_bytes(key().public.pem)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "pae"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.strip() == b"Verified OK"


def test_dsse_hello_world() -> None:
    assert envelope.pae(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_every_single_bit_of_a_signature_file_counts() -> None:
    good = sig()
    for index in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[index] ^= 1 << bit
            with pytest.raises(CodedError):
                read_and_verify(bytes(bad))


def test_every_shorter_file_is_refused_as_cut_off() -> None:
    good = sig()
    for end in range(1, len(good)):
        refused("SIGNATURE_FORMAT", partial(envelope.read, good[:end]), "expected")


def envelope_part(found: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = found["dsseEnvelope"]
    return part


MALFORMED: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "media type of a later version": (
        "FORMAT_UNSUPPORTED",
        lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"),
    ),
    "media type in the other spelling": (
        "FORMAT_UNSUPPORTED",
        lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.3"),
    ),
    "media type of something else": ("SIGNATURE_FORMAT", lambda d: d.update(mediaType="text/plain")),
    "no media type": ("SIGNATURE_FORMAT", lambda d: d.pop("mediaType")),
    "no envelope": ("SIGNATURE_FORMAT", lambda d: d.pop("dsseEnvelope")),
    "no material": ("SIGNATURE_FORMAT", lambda d: d.pop("verificationMaterial")),
    "material is null": ("SIGNATURE_FORMAT", lambda d: d.update(verificationMaterial=None)),
    "no key": ("SIGNATURE_FORMAT", lambda d: d["verificationMaterial"].pop("publicKey")),
    "certificate": ("FORMAT_UNSUPPORTED", lambda d: d.update(verificationMaterial={"certificate": {"rawBytes": ""}})),
    "chain": ("FORMAT_UNSUPPORTED", lambda d: d.update(verificationMaterial={"x509CertificateChain": {}})),
    "tlog is no list": ("SIGNATURE_FORMAT", lambda d: d["verificationMaterial"].update(tlogEntries={})),
    "hint is a number": ("SIGNATURE_FORMAT", lambda d: d["verificationMaterial"]["publicKey"].update(hint=1)),
    "raw key is no key": ("SIGNATURE_FORMAT", lambda d: d["verificationMaterial"]["publicKey"].update(rawBytes="AAAA")),
    "raw key is no base64": ("SIGNATURE_ENCODING", lambda d: d["verificationMaterial"]["publicKey"].update(rawBytes="A")),
    "unknown key outside": ("SIGNATURE_FORMAT", lambda d: d.update(extra=1)),
    "unknown key in the envelope": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(extra=1)),
    "other payload type": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(payloadType="application/json")),
    "no signature": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(signatures=[])),
    "two signatures": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(signatures=envelope_part(d)["signatures"] * 2)),
    "signature is text": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(signatures=["x"])),
    "sig is null": ("SIGNATURE_FORMAT", lambda d: envelope_part(d)["signatures"][0].update(sig=None)),
    "keyid is a number": ("SIGNATURE_FORMAT", lambda d: envelope_part(d)["signatures"][0].update(keyid=7)),
    "sig is no base64": ("SIGNATURE_ENCODING", lambda d: envelope_part(d)["signatures"][0].update(sig="%%%")),
    "sig lacks padding": ("SIGNATURE_ENCODING", lambda d: envelope_part(d)["signatures"][0].update(sig="MEQ")),
    "sig has stray bits": (
        "SIGNATURE_ENCODING",
        lambda d: envelope_part(d)["signatures"][0].update(sig="MEQCIEY3MEQCIEY3MB=="),
    ),
    "sig is not ASCII": ("SIGNATURE_ENCODING", lambda d: envelope_part(d)["signatures"][0].update(sig="Ä===")),
    "sig is empty": ("SIGNATURE_ENCODING", lambda d: envelope_part(d)["signatures"][0].update(sig="")),
    "sig is huge": ("SIZE_LIMIT", lambda d: envelope_part(d)["signatures"][0].update(sig="AAAA" * 400)),
    "payload is no base64": ("SIGNATURE_ENCODING", lambda d: envelope_part(d).update(payload="{}")),
    "payload is no JSON": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(payload="AAAA")),
    "payload is empty": ("SIGNATURE_FORMAT", lambda d: envelope_part(d).update(payload="")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_documents(name: str) -> None:
    code, change = MALFORMED[name]
    refused(code, lambda: read_and_verify(changed(sig(), change)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"a":1}x',
        b"[" * 100000,
        b'{"a":' * 100000,
        b'{"a":' + b"1" * 5000 + b"}",
    ],
)
def test_bytes_that_are_no_document(data: bytes) -> None:
    refused("SIGNATURE_FORMAT", lambda: envelope.read(data))


def test_doubled_keys_are_refused_and_cheap() -> None:
    good = sig()
    doubled = good.replace(b'"hint":', b'"hint":"' + b"0" * 64 + b'","hint":')
    assert doubled != good
    refused("SIGNATURE_FORMAT", lambda: envelope.read(doubled), "twice")
    many = b"{" + b",".join(b'"%d":0' % number for number in range(80_000)) + b',"1":0}'
    refused("SIGNATURE_FORMAT", lambda: envelope.read(many), "'1' twice")


def test_sizes_at_the_limit() -> None:
    padded = sig() + b" " * (limits.SIGNATURE_BYTES - len(sig()))
    read_and_verify(padded)
    refused("SIZE_LIMIT", lambda: envelope.read(padded + b" "), f"{limits.SIGNATURE_BYTES + 1}", f"{limits.SIGNATURE_BYTES}")


def test_another_key_is_refused_with_both_ids() -> None:
    bob = key("bob").public
    refused("UNTRUSTED_SIGNER", lambda: read_and_verify(sig(), bob), key().public.id, bob.id)


def test_a_hint_that_lies_is_no_signature() -> None:
    bob = key("bob").public
    lying = changed(sig(), lambda d: d["verificationMaterial"]["publicKey"].update(hint=bob.id))
    refused("SIGNATURE_INVALID", lambda: read_and_verify(lying, bob), bob.id)


def test_a_changed_payload_is_no_signature() -> None:
    def change(found: dict[str, Any]) -> None:
        other = payload(dict(FILES) | {"model.onnx": b"other"})
        envelope_part(found)["payload"] = base64.b64encode(other).decode()

    refused("SIGNATURE_INVALID", lambda: read_and_verify(changed(sig(), change)), key().public.id)


def test_raw_r_s_is_refused_with_the_way_out() -> None:
    good = envelope.read(sig())
    raw = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(good.value))
    error = refused("SIGNATURE_ENCODING", lambda: envelope.read(with_value(sig(), raw)), "raw r||s", "DER")
    assert "must write DER" in error.fix


def older(found: dict[str, Any], public: PublicKey) -> None:
    raw = base64.b64encode(public.pem).decode()
    found["verificationMaterial"] = {"publicKey": {"rawBytes": raw, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}
    envelope_part(found)["signatures"][0]["keyid"] = None


def test_files_of_older_tools_carry_the_key_itself() -> None:
    read_and_verify(changed(sig(), lambda d: older(d, key().public)))
    strange = changed(sig(), lambda d: older(d, key("bob").public))
    refused("UNTRUSTED_SIGNER", lambda: read_and_verify(strange), key("bob").public.id, key().public.id)
    nobody = changed(sig(), lambda d: d["verificationMaterial"].update(publicKey={}))
    read_and_verify(nobody)


def test_url_safe_base64_is_read_as_dsse_says() -> None:
    value = base64.urlsafe_b64encode(envelope.read(sig()).value).decode()
    read_and_verify(changed(sig(), lambda d: envelope_part(d)["signatures"][0].update(sig=value)))


def test_json_may_be_indented() -> None:
    read_and_verify(json.dumps(json.loads(sig()), indent=2).encode())


def test_a_signer_that_signs_badly_is_found_out_at_once() -> None:
    class Broken:
        public = key().public

        def sign(self, data: bytes) -> bytes:
            return key().sign(data + b"!")

    refused("SIGNATURE_INVALID", lambda: envelope.sign(payload(), Broken()))


def test_no_private_key_is_in_what_is_written() -> None:
    assert private_pem(key()).splitlines()[1][:40] not in sig()


def test_signed_nonsense_is_refused_too() -> None:
    refused("SIGNATURE_FORMAT", lambda: read_and_verify(resigned(lambda d: d.update(subject=[]))), "0", "1")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_refusal(data: bytes) -> None:
    with pytest.raises(CodedError):
        envelope.read(data)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
OUTER = ("mediaType", "verificationMaterial", "dsseEnvelope")
PLACES: list[tuple[str | int, ...]] = [
    *[(name,) for name in OUTER],
    ("verificationMaterial", "publicKey"), ("verificationMaterial", "publicKey", "hint"),
    ("verificationMaterial", "publicKey", "rawBytes"),
    ("dsseEnvelope", "payload"), ("dsseEnvelope", "payloadType"), ("dsseEnvelope", "signatures"),
    ("dsseEnvelope", "signatures", 0), ("dsseEnvelope", "signatures", 0, "sig"),
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_json_in_any_place_gives_a_refusal_or_the_same_content(place: tuple[str | int, ...], value: object) -> None:
    document: Any = json.loads(sig())
    at = document
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    try:
        found = envelope.verify(envelope.read(json.dumps(document).encode()), key().public)
    except CodedError as exc:
        exc.render()
    else:  # only what is not signed may differ: no hint, say
        assert found.names == set(FILES)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | st.integers(0, 70).map(lambda at: envelope.read(sig()).value[:at] + b"\x00" + envelope.read(sig()).value[at:])
)
def test_any_signature_value_gives_a_refusal(value: bytes) -> None:
    with pytest.raises(CodedError):
        read_and_verify(with_value(sig(), value))
