from __future__ import annotations

import base64

import pytest

from signing import envelope, limits, statement
from signing.digests import check_table
from signing.verify import TrustedKeys, Verified, trust_key, verify_signatures
from tests.signing.support import FILES, changed, key, refused, resigned, sig, table, with_value
from tests.signing.test_statement import listing

ALICE, BOB, CAROL, EVE = (key(name) for name in ("alice", "bob", "carol", "eve"))
OTHER = dict(FILES) | {"model.onnx": b"an older build"}


def trusted(threshold: int = 1, revoked: dict[str, int] | None = None) -> TrustedKeys:
    return TrustedKeys((ALICE.public, BOB.public, CAROL.public), threshold, revoked or {}, "root 7")


def verify(threshold: int, *files: bytes, revoked: dict[str, int] | None = None) -> Verified:
    return verify_signatures(
        {f"signatures/{number}.sig": data for number, data in enumerate(files)}, trusted(threshold, revoked)
    )


def broken(data: bytes) -> bytes:
    value = EVE.sign(b"something else")
    return with_value(data, value)


def test_k_of_n() -> None:
    assert verify(1, sig(ALICE)).signers == (ALICE.public,)
    assert set(verify(2, sig(ALICE), sig(BOB)).signers) == {ALICE.public, BOB.public}
    assert verify(3, sig(CAROL), sig(ALICE), sig(BOB)).files == {name: found.sha256 for name, found in table().items()}


def test_one_key_counts_once_however_often_it_signs() -> None:
    again = changed(sig(ALICE), lambda d: d["verificationMaterial"].update(publicKey={}))
    error = refused(
        "THRESHOLD_NOT_MET", lambda: verify(2, sig(ALICE), sig(ALICE), again), f"1: {ALICE.public.id}", "2 of 3 distinct keys"
    )
    assert "OTHER.pem" in error.fix


def test_strangers_and_broken_ones_do_not_count_and_do_no_harm() -> None:
    assert len(verify(2, sig(EVE), b"junk", sig(ALICE), broken(sig(CAROL)), sig(BOB)).not_counted) == 3
    error = refused("THRESHOLD_NOT_MET", lambda: verify(2, sig(EVE), sig(ALICE), broken(sig(CAROL))))
    assert error.evidence["not counted signatures/0.sig"].startswith("UNTRUSTED_SIGNER")
    assert error.evidence["not counted signatures/2.sig"].startswith("SIGNATURE_INVALID")


def test_all_counted_signatures_list_the_same() -> None:
    error = refused("THRESHOLD_NOT_MET", lambda: verify(2, sig(ALICE), sig(BOB, OTHER)), "model.onnx")
    assert "left over" in error.fix
    refused("THRESHOLD_NOT_MET", lambda: verify(1, sig(ALICE), sig(BOB, OTHER)), "model.onnx")  # which of the two would it be?
    assert len(verify(2, sig(ALICE), sig(BOB), sig(CAROL, OTHER)).signers) == 2


def test_order_and_subject_are_taste() -> None:
    entries = [(name, found.sha256) for name, found in table().items()]
    other = envelope.sign(listing(*reversed(entries)), BOB)
    assert len(verify(2, sig(ALICE), other).signers) == 2
    assert len(verify(2, sig(ALICE), resigned(lambda d: d["subject"][0].update(name="elsewhere"), BOB)).signers) == 2


@pytest.mark.parametrize("code, files", [
    ("SIGNATURE_MISSING", []),
    ("SIGNATURE_FORMAT", [sig(EVE), b"{}", sig(ALICE)[:-2]]),
    ("FORMAT_UNSUPPORTED", [sig(EVE), changed(sig(), lambda d: d.update(mediaType=d["mediaType"] + ";v=9"))]),
    ("SIGNATURE_ENCODING", [sig(EVE), with_value(sig(ALICE), b"\1" * 64)]),
    ("UNTRUSTED_SIGNER", [sig(EVE)]),
    ("SIGNATURE_INVALID", [sig(EVE), broken(sig(ALICE))]),
    ("UNSAFE_PATH", [envelope.sign(listing(("../x", "0" * 64)), ALICE), b"junk"]),
    ("FORMAT_UNSUPPORTED", [envelope.sign(listing(("a:0:9", "0" * 64), method="shards", shard_size=10), ALICE)]),
    ("SIZE_LIMIT", [b" " * (limits.SIGNATURE_BYTES + 1), b"junk"]),
    ("SIZE_LIMIT", [b""] * (limits.SIGNATURES + 1)),
])  # fmt: skip
def test_the_first_of_designs_order_speaks(code: str, files: list[bytes]) -> None:
    refused(code, lambda: verify(1, *files))


def test_sixteen_signatures_are_read() -> None:
    assert verify(1, *[sig(EVE)] * (limits.SIGNATURES - 1), sig(ALICE)).signers == (ALICE.public,)


def test_a_revoked_signer_is_told_from_a_stranger() -> None:
    refused("SIGNER_REVOKED", lambda: verify(1, sig(EVE), revoked={EVE.public.id: 6}), EVE.public.id, "root 7", "root 6")
    refused("UNTRUSTED_SIGNER", lambda: verify(1, sig(EVE)), EVE.public.id, ALICE.public.id, "root 7")


def test_older_files_count_by_the_key_they_carry() -> None:
    raw = base64.b64encode(BOB.public.pem).decode()
    older = changed(sig(BOB), lambda d: d["verificationMaterial"].update(publicKey={"rawBytes": raw}))
    assert len(verify(2, older, sig(ALICE)).signers) == 2


def test_trust_in_nobody() -> None:
    refused("UNTRUSTED_SIGNER", lambda: verify_signatures({"a": sig()}, TrustedKeys(())), "no key at all")
    nameless = changed(sig(), lambda d: d["verificationMaterial"].update(publicKey={}))
    refused("UNTRUSTED_SIGNER", lambda: verify_signatures({"a": nameless}, TrustedKeys(())), "nobody")


def test_one_key_without_a_root() -> None:
    assert verify_signatures({"a": sig()}, trust_key(key().public)).signers == (key().public,)
    refused("KEY_TYPE_UNSUPPORTED", lambda: trust_key(key("x", "P-384").public), "P-384", "P-256")


def test_a_signature_moved_from_another_bundle_changes_the_table() -> None:
    found = verify(1, envelope.sign(statement.build("m", {"x": "0" * 64}), ALICE))
    assert set(found.files) == {"x"}
    refused("FILE_MISSING", lambda: check_table(found.files, table()), "x")
