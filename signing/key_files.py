"""Private keys in files: made once and never overwritten, optionally under a passphrase."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing.keys import PublicKey, pem_label, public_of, read_key_file
from signing.refusals import KeyPassphrase, KeyTypeUnsupported, KeyUnavailable

PRIVATE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
PUBLIC_MODE = 0o644
PASSPHRASE_BYTES = 1023  # OpenSSL's own limit
_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


@dataclass(frozen=True, slots=True, repr=False)
class SoftwareKey:
    """A private key in memory: a Signer. Its repr shows nothing of it."""

    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""
        return public_of(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        """ECDSA in DER with the curve's hash, or Ed25519."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        return self.private.sign(data, ec.ECDSA(_HASHES[self.private.key_size]))


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """What `generate` wrote."""

    private_path: Path
    public_path: Path
    public: PublicKey


def generate(stem: Path, passphrase: bytes | None = None) -> KeyFiles:
    """A new ECDSA P-256 key pair: `stem`.pem (0600, encrypted under the passphrase if there is one) and `stem`.pub.pem.

    A folder that is not there is made, for this user alone.

    Raises:
        KeyUnavailable: one of the files exists (nothing is ever overwritten), or the folder cannot be written.
        KeyPassphrase: an empty or over-long passphrase.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    if passphrase is None:
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    else:
        _require_passphrase(passphrase)
        protection = serialization.BestAvailableEncryption(passphrase)
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    files = KeyFiles(
        stem.with_name(stem.name + ".pem"), stem.with_name(stem.name + ".pub.pem"), public_of(private.public_key())
    )
    _make_folder(stem.parent)
    for path in (files.private_path, files.public_path):
        if path.is_symlink() or path.exists():  # looked at first, so that no half of a pair is left behind
            raise _exists(path)
    _write_new(files.private_path, pem, PRIVATE_MODE)
    _write_new(files.public_path, files.public.pem, PUBLIC_MODE)
    return files


def load_private(path: Path, passphrase: bytes | None = None, *, if_encrypted: bool = False) -> SoftwareKey:
    """The private key in a PEM file (PKCS#8 or the older EC form).

    `if_encrypted`: the passphrase is for this key only where that is encrypted; else one too many is a mistake that is told.

    Raises:
        KeyUnavailable: the file cannot be read.
        KeyPassphrase: it is encrypted and the passphrase is missing or wrong, or it is not and one was given.
        KeyTypeUnsupported: it holds something else.
    """
    data = read_key_file(path)
    return parse_private(data, None if if_encrypted and not _encrypted(data) else passphrase, path.name)


def parse_private(data: bytes, passphrase: bytes | None = None, where: str = "the file") -> SoftwareKey:
    """As load_private, from bytes. Raises KeyPassphrase, KeyTypeUnsupported."""
    if passphrase is not None:
        _require_passphrase(passphrase)
    try:
        private = serialization.load_pem_private_key(data, passphrase)
    except TypeError as exc:  # cryptography's word for a passphrase too many or too few
        raise _passphrase(where, data, given=passphrase is not None) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        if passphrase is not None and _encrypted(data):
            raise _passphrase(where, data, given=True) from exc
        evidence = {"found": pem_label(data), "expected": "-----BEGIN PRIVATE KEY----- (PKCS#8)"}
        fix = "give the NAME.pem file; convert others with 'openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW.pem'"
        raise KeyTypeUnsupported(f"{where} holds no private key", evidence=evidence, fix=fix) from exc
    public_of(private.public_key(), where)
    assert isinstance(private, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)
    return SoftwareKey(private)


def _encrypted(data: bytes) -> bool:
    return b"ENCRYPTED" in data[:400]


def _passphrase(where: str, data: bytes, *, given: bool) -> KeyPassphrase:
    if not _encrypted(data):
        evidence = {"found": f"{pem_label(data)}, not encrypted", "expected": "an encrypted key, since a passphrase was given"}
        return KeyPassphrase(f"{where} has no passphrase, but one was given", evidence=evidence, fix="leave the passphrase out")
    if not given:
        evidence = {"found": f"{pem_label(data)}, encrypted", "expected": "its passphrase"}
        return KeyPassphrase(
            f"{where} is encrypted and no passphrase was given",
            evidence=evidence,
            fix="give it with --passphrase-file F or --ask-passphrase",
        )
    evidence = {"found": "a passphrase that does not decrypt it", "expected": f"the one that {where} was made with"}
    fix = (
        "check for a final newline or another keyboard layout; a lost passphrase cannot be recovered: make a new key and rotate"
    )
    return KeyPassphrase(f"the passphrase of {where} is wrong", evidence=evidence, fix=fix)


def _require_passphrase(passphrase: bytes) -> None:
    if not 0 < len(passphrase) <= PASSPHRASE_BYTES:
        evidence = {"found": f"{len(passphrase)} bytes", "expected": f"1 to {PASSPHRASE_BYTES} bytes"}
        raise KeyPassphrase("the passphrase is empty or too long", evidence=evidence, fix="check the passphrase file")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as exc:
        evidence = {"found": exc.strerror or type(exc).__name__, "expected": "a folder that can be made"}
        raise KeyUnavailable(
            f"cannot make the folder {str(folder)!r}", evidence=evidence, fix="name another with --out"
        ) from exc


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(handle, "wb") as stream:  # noqa: PTH123  a descriptor, not a path: the mode is right from the first moment
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as exc:
        raise _exists(path) from exc
    except OSError as exc:
        evidence = {"found": exc.strerror or type(exc).__name__, "expected": "a folder that can be written"}
        raise KeyUnavailable(f"cannot write {str(path)!r}", evidence=evidence, fix="choose another folder with --out") from exc


def _exists(path: Path) -> KeyUnavailable:
    evidence = {"found": f"a file {str(path)!r}", "expected": "no file of that name"}
    fix = "choose another name; a key is never overwritten, because what it signed could not be signed again"
    return KeyUnavailable("this key exists already", evidence=evidence, fix=fix)
