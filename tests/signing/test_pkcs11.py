from __future__ import annotations

import sys
from pathlib import Path

import pytest

from signing import envelope, folder, trust, trust_edit
from signing.pkcs11 import Pkcs11Signer
from tests.signing.support import LATER, key, refused
from tests.signing.test_folder import SOME, fill
from tests.support.hsm import PIN, soft_token


def test_a_sentence_where_the_module_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyKCS11", None)  # what Python does with a module that cannot be imported
    error = refused("KEY_UNAVAILABLE", lambda: Pkcs11Signer("x.so", "cameras", "release", PIN), "PyKCS11")
    assert "camagent[hsm]" in error.fix


@pytest.fixture
def token() -> str:
    return soft_token()


def test_a_token_signs_folders_and_roots_like_a_key_file(token: str, tmp_path: Path) -> None:
    model = fill(tmp_path, SOME)
    with Pkcs11Signer(token, "cameras", "release", PIN) as signer:
        signature = folder.sign_model(model, signer)
        root = trust.read_root(trust_edit.init([signer, key()], [signer.public], expires=LATER, root_threshold=2))
    assert folder.verify_model(model, signature, signer.public).names == set(SOME)
    assert envelope.read(signature).hint == signer.public.id == root.signers[0].id
    refused("KEY_UNAVAILABLE", lambda: signer.sign(b""), "a closed session")
    refused("KEY_UNAVAILABLE", lambda: trust_edit.init([signer], [signer.public], expires=LATER), "a closed session")


def test_two_keys_of_one_token_at_once(token: str) -> None:
    with Pkcs11Signer(token, "cameras", "release", PIN) as one:
        with Pkcs11Signer(token, "cameras", "release", PIN) as two:
            one.public.verify(two.sign(b"data"), b"data")
        two.public.verify(one.sign(b"data"), b"data")


def test_what_is_not_there_is_named(token: str) -> None:
    refused("KEY_UNAVAILABLE", lambda: Pkcs11Signer(token, "elsewhere", "release", PIN), "cameras", "elsewhere")
    refused("KEY_UNAVAILABLE", lambda: Pkcs11Signer(token, "cameras", "none", PIN), "0 objects", "none")
    refused("KEY_UNAVAILABLE", lambda: Pkcs11Signer("/nowhere.so", "cameras", "release", PIN), "cameras")
    refused("KEY_PASSPHRASE", lambda: Pkcs11Signer(token, "cameras", "release", "0000"), "PIN", "cameras")
    refused("KEY_TYPE_UNSUPPORTED", lambda: Pkcs11Signer(token, "cameras", "large", PIN), "P-256")
