"""camagent key generate | show."""

from __future__ import annotations

import json
from pathlib import Path

import click

from camagent.cli.passphrase import ask_or_read, passphrase_options


@click.group(epilog="Example: camagent key generate --out keys/release")
def command() -> None:
    """Make and show the keys that sign bundles and trust roots (ECDSA P-256)."""


@command.command(epilog="Example: camagent key generate --out keys/release --ask-passphrase")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR/NAME", help="Without an ending.")
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def generate(out: Path, passphrase_file: Path | None, ask_passphrase: bool, as_json: bool) -> None:
    """Make a key pair: NAME.pem (0600, never overwritten) stays with you, NAME.pub.pem goes to whoever verifies."""
    from signing import key_files

    made = key_files.generate(out, ask_or_read(passphrase_file, ask=ask_passphrase, twice=True))
    if as_json:
        click.echo(json.dumps({"private": str(made.private_path), "public": str(made.public_path), "id": made.public.id}))
        return
    click.echo(f"wrote {made.private_path} (keep it) and {made.public_path} (give it away)\nid {made.public.id}")


@command.command(epilog="Example: camagent key show keys/release.pub.pem")
@click.argument("key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(key: Path, as_json: bool) -> None:
    """Show a public key's kind and id: the id names its signature files and stands in every message about it."""
    from signing import keys

    public = keys.load_public(key)
    if as_json:
        click.echo(json.dumps({"id": public.id, "kind": public.kind}))
        return
    click.echo(f"{public.kind}\nid {public.id}")
