"""camagent bundle sign: who vouches for this content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from camagent.cli.passphrase import ask_or_read, passphrase_options
from camagent.cli.signer import EXAMPLE, open_signer
from camagent.errors import InputError

if TYPE_CHECKING:
    from firmware_pkg.signed import Signing

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: camagent bundle sign fastestdet-1.0.0.cambundle --key keys/release.pem")
@click.argument("bundle", type=_FILE)
@click.option("--key", required=True, metavar="S.pem|URI", help=f"Private key (ECDSA P-256), or a token: {EXAMPLE}.")
@passphrase_options
@click.option(
    "--root", "roots", type=_FILE, multiple=True, metavar="N.root.json",
    help="Root to put in, for cameras that slept through a rotation; repeat.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sign(
    bundle: Path, key: str, passphrase_file: Path | None, ask_passphrase: bool, roots: tuple[Path, ...], as_json: bool
) -> None:
    """Add signatures/<key id>.sig to a bundle; again with another key for a threshold.

    A former signature by the same key is replaced. The file changes at once or not at all.
    """
    from firmware_pkg import signed

    root_data = [_read(path) for path in roots]
    with open_signer(key, ask_or_read(passphrase_file, ask=ask_passphrase)) as signer:
        try:
            done = signed.add(bundle, signer, root_data)
        except OSError as exc:
            raise InputError(
                f"the bundle {bundle} cannot be read, or its folder not be written: {exc.strerror}",
                evidence={"file": bundle, "found": exc.strerror or type(exc).__name__},
                fix="check the permissions; the bundle is as it was",
            ) from exc
    click.echo(json.dumps(_shown(bundle, done)) if as_json else _sentence(bundle, done))


def _read(path: Path) -> bytes:
    from signing import limits

    try:
        with path.open("rb") as file:
            return file.read(limits.ROOT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}", fix="check the path") from exc


def _shown(bundle: Path, done: Signing) -> dict[str, object]:
    return {
        "file": str(bundle), "key": done.key.id, "replaced": done.replaced, "digest": done.digest,
        "signatures": list(done.signatures), "roots": list(done.roots),
    }  # fmt: skip


def _sentence(bundle: Path, done: Signing) -> str:
    lines = [f"signed {bundle} with key {done.key.id}" + (" (again)" if done.replaced else "")]
    if len(done.signatures) > 1:
        lines.append(f"it has {len(done.signatures)} signatures now: {' '.join(key_id[:16] for key_id in done.signatures)}")
    if done.roots:
        lines.append(f"it carries root {', '.join(map(str, done.roots))}")
    return "\n".join(lines)
