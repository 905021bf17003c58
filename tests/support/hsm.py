"""A SoftHSM token: a real PKCS#11 library. One per process, since the library reads where its tokens lie once."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

LIBRARIES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]
PIN = "1234"


@cache
def soft_token() -> str:
    """The library of a token `cameras` with a P-256 key `release` and a P-384 key `large`; skips where there is no SoftHSM."""
    pytest.importorskip("PyKCS11")
    candidates = [os.environ.get("SOFTHSM2_MODULE", ""), *LIBRARIES]
    library = next((path for path in candidates if path and Path(path).exists()), None) or pytest.skip(
        "SoftHSM2 is not installed"
    )
    tool = os.environ.get("SOFTHSM2_UTIL") or shutil.which("softhsm2-util") or pytest.skip("softhsm2-util is not installed")
    place = Path(tempfile.mkdtemp(prefix="camagent-hsm-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")  # read by the library when it is loaded, for the whole process
    init = [tool, "--module", library, "--init-token", "--free", "--label", "cameras", "--pin", PIN, "--so-pin", "5678"]
    subprocess.run(init, check=True, capture_output=True)
    for label, kind in (("release", "P-256"), ("large", "P-384")):
        _generate(library, label, kind)
    return library


def _generate(library: str, label: str, kind: str) -> None:
    import PyKCS11  # type: ignore[import-not-found,import-untyped,unused-ignore]

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
