from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from signing import key_files, keys, limits
from tests.signing.support import CURVES, key, private_pem, refused


def test_a_pair_is_written_once_with_the_private_half_for_its_owner_alone(tmp_path: Path) -> None:
    files = key_files.generate(tmp_path / "S")
    assert (files.private_path.name, files.public_path.name) == ("S.pem", "S.pub.pem")
    assert stat.S_IMODE(files.private_path.stat().st_mode) == 0o600
    assert key_files.load_private(files.private_path).public == keys.load_public(files.public_path) == files.public
    before = files.private_path.read_bytes()
    refused("KEY_UNAVAILABLE", lambda: key_files.generate(tmp_path / "S"), "S.pem", "no file of that name")
    assert files.private_path.read_bytes() == before


def test_no_half_pair_is_left_where_the_public_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "S.pub.pem").symlink_to("nowhere")
    refused("KEY_UNAVAILABLE", lambda: key_files.generate(tmp_path / "S"), "S.pub.pem")
    assert not (tmp_path / "S.pem").exists()


def test_a_name_with_dots_keeps_them(tmp_path: Path) -> None:
    assert key_files.generate(tmp_path / "site.2026").private_path.name == "site.2026.pem"


def test_the_mode_is_right_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert stat.S_IMODE(key_files.generate(tmp_path / "S").private_path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_the_id_is_the_digest_of_the_pem_text_that_openssl_writes(tmp_path: Path) -> None:
    files = key_files.generate(tmp_path / "S")
    text = subprocess.run(["openssl", "pkey", "-in", files.private_path, "-pubout"], capture_output=True, check=True).stdout
    assert files.public.id == hashlib.sha256(text).hexdigest()


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    files = key_files.generate(tmp_path / "S", "pässword ☃".encode())
    assert b"ENCRYPTED PRIVATE KEY" in files.private_path.read_bytes()
    assert key_files.load_private(files.private_path, "pässword ☃".encode()).public == files.public
    refused("KEY_PASSPHRASE", lambda: key_files.load_private(files.private_path), "encrypted", "its passphrase")
    refused("KEY_PASSPHRASE", lambda: key_files.load_private(files.private_path, b"wrong"), "does not decrypt", "S.pem")
    refused("KEY_PASSPHRASE", lambda: key_files.load_private(files.private_path, b""), "0 bytes")
    refused("KEY_PASSPHRASE", lambda: key_files.generate(tmp_path / "T", b"x" * 1024), "1024 bytes", "1023")


def test_a_passphrase_for_a_key_without_one_is_said_so() -> None:
    refused("KEY_PASSPHRASE", lambda: key_files.parse_private(private_pem(key()), b"x"), "not encrypted")


def test_old_ec_pem_files_open_too() -> None:
    old = key().private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert key_files.parse_private(old).public == key().public


def test_keys_of_other_kinds_are_refused_by_name() -> None:
    other_curve = ec.generate_private_key(ec.SECP256K1())
    big = rsa.generate_private_key(65537, 2048)
    for private, found in ((other_curve, "secp256k1"), (big, "RSA")):
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        refused("KEY_TYPE_UNSUPPORTED", partial(key_files.parse_private, pem), found, "P-256")
        public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        refused("KEY_TYPE_UNSUPPORTED", partial(keys.parse_public, public), found, "P-256")


@pytest.mark.parametrize("kind", ["P-384", "P-521", "Ed25519"])
def test_bundles_take_p256_alone(kind: str) -> None:
    public = key("x", kind).public
    refused("KEY_TYPE_UNSUPPORTED", lambda: public.require(keys.BUNDLE_KINDS, "to sign bundles"), kind, "P-256")


def test_files_that_people_mix_up_are_named() -> None:
    refused("KEY_TYPE_UNSUPPORTED", lambda: keys.parse_public(private_pem(key())), "BEGIN PRIVATE KEY", "BEGIN PUBLIC KEY")
    refused("KEY_TYPE_UNSUPPORTED", lambda: key_files.parse_private(key().public.pem), "BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY")
    refused("KEY_TYPE_UNSUPPORTED", lambda: keys.parse_public(b""), "an empty file")
    refused(
        "KEY_TYPE_UNSUPPORTED",
        lambda: keys.parse_public(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "CERT",
    )


def test_files_that_cannot_be_read_or_are_no_key_at_all(tmp_path: Path) -> None:
    refused("KEY_UNAVAILABLE", lambda: keys.load_public(tmp_path / "none"), "No such file")
    refused("KEY_UNAVAILABLE", lambda: keys.load_public(tmp_path), "directory")
    (tmp_path / "big").write_bytes(b"x" * (limits.KEY_BYTES + 1))
    refused("KEY_UNAVAILABLE", lambda: keys.load_public(tmp_path / "big"), f"{limits.KEY_BYTES}")


def test_two_keys_are_the_same_when_their_der_is() -> None:
    crlf = keys.parse_public(key().public.pem.replace(b"\n", b"\r\n"))
    assert crlf == key().public
    assert crlf.id == key().public.id
    assert hash(crlf) == hash(key().public)
    assert key("bob").public != key().public
    assert key().public != "a string"


@pytest.mark.parametrize("kind", [*CURVES, "Ed25519"])
def test_what_a_key_signs_it_verifies_and_nothing_else(kind: str) -> None:
    signer = key("x", kind)
    value = signer.sign(b"data")
    signer.public.verify(value, b"data")
    refused("SIGNATURE_INVALID", lambda: signer.public.verify(value, b"Data"), signer.public.id, "4, SHA-256")
    refused("SIGNATURE_INVALID", lambda: key("y", kind).public.verify(value, b"data"))
    assert "PrivateKey" not in repr(signer)


def test_raw_r_s_is_told_from_der() -> None:
    error = refused("SIGNATURE_ENCODING", lambda: key().public.verify(b"\x01" * 64, b"data"), "raw r||s", "DER")
    assert "r||s" in error.fix
    refused("SIGNATURE_ENCODING", lambda: key().public.verify(b"", b"data"), "0 bytes")
    refused("SIGNATURE_ENCODING", lambda: key("x", "Ed25519").public.verify(b"", b"data"), "0 bytes", "64 bytes")


def test_a_folder_that_is_not_there_is_made_for_this_user_alone(tmp_path: Path) -> None:
    made = key_files.generate(tmp_path / "new" / "keys" / "release")
    assert made.private_path.parent.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    refused("KEY_UNAVAILABLE", lambda: key_files.generate(tmp_path / "file" / "release"), "a folder that can be made")
