from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from signing import envelope, folder, trust, trust_edit
from signing.pkcs11 import Pkcs11Signer
from tests.signing.support import LATER, key, refused
from tests.signing.test_folder import SOME, fill

LIBRARIES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]
PIN = "1234"


@pytest.mark.skipif(importlib.util.find_spec("PyKCS11") is not None, reason="PyKCS11 is installed here")
def test_a_sentence_where_the_module_is_missing() -> None:
    error = refused("KEY_UNAVAILABLE", lambda: Pkcs11Signer("x.so", "cameras", "release", PIN), "PyKCS11")
    assert "camagent[hsm]" in error.fix


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SoftHSM token `cameras` with a P-256 key `release` and a P-384 key `large`; the answer is the library's path."""
    pytest.importorskip("PyKCS11")
    candidates = [os.environ.get("SOFTHSM2_MODULE", ""), *LIBRARIES]
    library = next((path for path in candidates if path and Path(path).exists()), None) or pytest.skip(
        "SoftHSM2 is not installed"
    )
    tool = os.environ.get("SOFTHSM2_UTIL") or shutil.which("softhsm2-util") or pytest.skip("softhsm2-util is not installed")
    place = tmp_path_factory.mktemp("hsm")
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")  # read by the library when it is loaded, for the whole process
    init = [tool, "--module", library, "--init-token", "--free", "--label", "cameras", "--pin", PIN, "--so-pin", "5678"]
    subprocess.run(init, check=True, capture_output=True)
    for label, kind in (("release", "P-256"), ("large", "P-384")):
        generate_on(library, label, kind)
    return library


def generate_on(library: str, label: str, kind: str) -> None:
    import PyKCS11  # type: ignore[import-not-found,unused-ignore]

    oid = {"P-256": "06082a8648ce3d030107", "P-384": "06052b81040022"}[kind]
    api = PyKCS11.PyKCS11Lib()
    api.load(library)
    slot = next(slot for slot in api.getSlotList(tokenPresent=True) if api.getTokenInfo(slot).label.strip(" \0") == "cameras")
    session = api.openSession(slot, PyKCS11.CKF_SERIAL_SESSION | PyKCS11.CKF_RW_SESSION)
    session.login(PIN)
    common = [(PyKCS11.CKA_LABEL, label), (PyKCS11.CKA_TOKEN, True)]
    public = [*common, (PyKCS11.CKA_EC_PARAMS, bytes.fromhex(oid)), (PyKCS11.CKA_VERIFY, True)]
    private = [*common, (PyKCS11.CKA_SIGN, True), (PyKCS11.CKA_SENSITIVE, True), (PyKCS11.CKA_PRIVATE, True)]
    session.generateKeyPair(public, private, mecha=PyKCS11.Mechanism(PyKCS11.CKM_EC_KEY_PAIR_GEN, None))
    session.logout()
    session.closeSession()


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
