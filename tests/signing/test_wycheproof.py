from __future__ import annotations

import json

import pytest

from signing import keys
from signing.refusals import KeyTypeUnsupported, SignatureEncoding, SignatureInvalid
from tests.support.data import shared

FILES = {
    "ecdsa_secp256r1_sha256_test.json": 484,
    "ecdsa_secp384r1_sha384_test.json": 504,
    "ecdsa_secp521r1_sha512_test.json": 542,
    "ed25519_test.json": 151,
}


@pytest.mark.parametrize("file", FILES)
def test_all_vectors_agree(file: str) -> None:
    vectors = json.loads((shared("wycheproof") / file).read_text("utf-8"))
    count, wrong = 0, []
    for group in vectors["testGroups"]:
        public = keys.parse_public(group["publicKeyPem"].encode())
        for test in group["tests"]:
            count += 1
            try:
                public.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
                answer = "valid"
            except (SignatureInvalid, SignatureEncoding):
                answer = "invalid"
            if answer != test["result"]:
                wrong.append((test["tcId"], test["comment"], answer))
    assert not wrong
    assert count == FILES[file]


@pytest.mark.parametrize("file", [file for file in FILES if "256r1" not in file])
def test_keys_of_the_other_curves_verify_no_bundle(file: str) -> None:
    group = json.loads((shared("wycheproof") / file).read_text("utf-8"))["testGroups"][0]
    with pytest.raises(KeyTypeUnsupported):
        keys.parse_public(group["publicKeyPem"].encode()).require(keys.BUNDLE_KINDS, "to verify a bundle")
