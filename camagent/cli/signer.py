"""Whose key signs: a file, or a token named by a PKCS#11 URI (RFC 7512)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from camagent.errors import InputError, UsageError

if TYPE_CHECKING:
    from signing.keys import Signer

SCHEME = "pkcs11:"
EXAMPLE = "pkcs11:token=cameras;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so"


@contextmanager
def open_signer(key: str, passphrase: bytes | None, *, if_encrypted: bool = False) -> Iterator[Signer]:
    """The signer that `key` names: NAME.pem, or `pkcs11:token=T;object=K?module-path=LIBRARY`, whose PIN is the passphrase.

    `if_encrypted`: of several keys, the passphrase is for those that are encrypted.

    Raises:
        UsageError: the URI lacks something, or a token is named and no PIN given.
        InputError: the key file is not there.
        Refused: as signing.key_files.load_private and signing.pkcs11.Pkcs11Signer.
    """
    if not key.startswith(SCHEME):
        from signing import key_files

        if not Path(key).exists():
            raise InputError(f"the key {key} is not there", evidence={"file": key}, fix="give NAME.pem, or " + EXAMPLE)
        yield key_files.load_private(Path(key), passphrase, if_encrypted=if_encrypted)
        return
    from signing.pkcs11 import Pkcs11Signer

    token, label, module = _parts(key)
    if passphrase is None:
        raise UsageError("a token opens with its PIN", fix="give it with --passphrase-file F or --ask-passphrase")
    with Pkcs11Signer(module, token, label, passphrase.decode("utf-8", "replace")) as signer:
        yield signer


def _parts(uri: str) -> tuple[str, str, str]:
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    named = {name: unquote(value) for name, _, value in (part.partition("=") for part in path.split(";"))}
    named |= dict(parse_qsl(query))
    missing = [name for name in ("token", "object", "module-path") if not named.get(name)]
    if missing:
        evidence = {"missing": ", ".join(missing), "given": uri}
        raise UsageError("this PKCS#11 URI does not name a key", evidence=evidence, fix=f"such as '{EXAMPLE}'")
    return named["token"], named["object"], named["module-path"]
