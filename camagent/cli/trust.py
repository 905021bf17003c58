"""camagent trust ..: the trust root says who may sign bundles, how many it takes, and until when."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from camagent.cli.passphrase import ask_or_read, passphrase_options
from camagent.cli.trust_install import install
from camagent.errors import InputError, UsageError

if TYPE_CHECKING:
    from signing.key_files import SoftwareKey
    from signing.keys import PublicKey
    from signing.trust import TrustRoot

_ONLINE_HELP = "Who may renew snapshot and timestamp of a repository ('bundle publish'), one of them each time; repeat."
F = TypeVar("F", bound=Callable[..., Any])
DAYS = 365

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXPIRES = click.option("--expires", type=click.IntRange(1, 36500), default=DAYS, show_default=True, metavar="DAYS",
                        help="Days until new installs wait for a newer root; what runs goes on for ever.")  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ONLINE_KEY = click.option("--online-key", "online_keys", type=_FILE, multiple=True, metavar="O.pub.pem", help=_ONLINE_HELP)
_ROOT_KEY = click.option("--root-key", "root_keys", type=_FILE, multiple=True, required=True, metavar="R.pem",
                         help="Private root key; repeat.")  # fmt: skip


@click.group(epilog="Example: camagent trust init --root-key keys/root.pem --signer keys/release.pub.pem -o root.json")
def command() -> None:
    """Make, change and show the trust root that a camera verifies bundles with."""


command.add_command(install)


def _changes(function: F) -> F:
    """What every command that makes root N+1 from root N takes."""
    output = click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
                          help="Default: <N+1>.root.json beside ROOT.")  # fmt: skip
    return click.argument("root", type=_FILE)(_ROOT_KEY(_EXPIRES(passphrase_options(output(_JSON(function))))))


@command.command(
    epilog="Example: camagent trust init --root-key root.pem --signer a.pub.pem --signer b.pub.pem --threshold 2 -o root.json"
)
@_ROOT_KEY
@click.option(
    "--signer", "signers", type=_FILE, multiple=True, required=True, metavar="S.pub.pem", help="Who may sign; repeat."
)
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True, help="Signatures that a bundle needs.")
@click.option(
    "--root-threshold", type=click.IntRange(1), default=1, show_default=True, help="Root keys that the next root needs."
)
@_ONLINE_KEY
@_EXPIRES
@passphrase_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The root.json to write.")
@_JSON
def init(
    root_keys: tuple[Path, ...], signers: tuple[Path, ...], threshold: int, root_threshold: int, online_keys: tuple[Path, ...],
    expires: int, passphrase_file: Path | None, ask_passphrase: bool, output: Path, as_json: bool,
) -> None:  # fmt: skip
    """Make the first root.json."""
    from signing import keys, trust_edit

    public, online = ([keys.load_public(path) for path in paths] for paths in (signers, online_keys))
    private = _load(root_keys, passphrase_file, ask=ask_passphrase)
    _require_apart(online, [*public, *(key.public for key in private)])
    data = trust_edit.init(
        private, public, expires=_after(expires), threshold=threshold, root_threshold=root_threshold, online_keys=online
    )
    _write(output, data, as_json=as_json)


@command.command(epilog="Example: camagent trust show root.json")
@click.argument("root", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(root: Path, as_json: bool) -> None:
    """Show who is trusted, how many signatures it takes, and until when."""
    made = _read(root)
    if as_json:
        click.echo(json.dumps(_body(made)))
        return
    left = (made.expires - datetime.now(UTC)).days
    click.echo(f"root {made.version}, expires {made.expires:%Y-%m-%d} ({f'in {left} days' if left >= 0 else 'expired'})")
    click.echo(f"bundles need {made.threshold} of {len(made.signers)} signers:")
    for key in made.signers:
        click.echo(f"  {key.id}")
    click.echo(f"the next root needs {made.root_threshold} of {len(made.root_keys)} root keys:")
    for key in made.root_keys:
        click.echo(f"  {key.id}")
    if made.online_keys:
        click.echo("a repository's snapshot and timestamp are renewed by:")
    for key in made.online_keys:
        click.echo(f"  {key.id}")


@command.command("add-signer", epilog="Example: camagent trust add-signer root.json --signer new.pub.pem --root-key root.pem")
@_changes
@click.option("--signer", type=_FILE, required=True, metavar="S.pub.pem", help="Who may sign too.")
@click.option("--threshold", type=click.IntRange(1), help="Signatures that a bundle needs from now on.")
def add_signer(
    root: Path, root_keys: tuple[Path, ...], expires: int, passphrase_file: Path | None, ask_passphrase: bool,
    output: Path | None, as_json: bool, signer: Path, threshold: int | None,
) -> None:  # fmt: skip
    """Make the next root, in which one more key may sign."""
    from signing import keys, trust_edit

    key, by = keys.load_public(signer), _load(root_keys, passphrase_file, ask=ask_passphrase)
    current = _read(root)
    data = trust_edit.add_signer(current, key, by, expires=_after(expires), threshold=threshold)
    _write_next(root, output, current, data, as_json=as_json)


@command.command(
    "remove-signer", epilog="Example: camagent trust remove-signer root.json --signer lost.pub.pem --root-key root.pem"
)
@_changes
@click.option("--signer", required=True, metavar="S.pub.pem|ID", help="Key file, or the id that 'trust show' prints.")
@click.option("--threshold", type=click.IntRange(1), help="Signatures that a bundle needs from now on.")
def remove_signer(
    root: Path, root_keys: tuple[Path, ...], expires: int, passphrase_file: Path | None, ask_passphrase: bool,
    output: Path | None, as_json: bool, signer: str, threshold: int | None,
) -> None:  # fmt: skip
    """Make the next root, in which a key may not sign any more: revocation."""
    from signing import keys, trust_edit

    key_id = keys.load_public(Path(signer)).id if Path(signer).exists() else signer
    by, current = _load(root_keys, passphrase_file, ask=ask_passphrase), _read(root)
    data = trust_edit.remove_signer(current, key_id, by, expires=_after(expires), threshold=threshold)
    _write_next(root, output, current, data, as_json=as_json)


@command.command(
    epilog="Example: camagent trust rotate root.json --root-key old.pem --root-key new.pem --new-root-key new.pub.pem"
)
@_changes
@click.option(
    "--new-root-key", "new_keys", type=_FILE, multiple=True, metavar="R.pub.pem", help="All root keys from now on; repeat."
)
@click.option("--root-threshold", type=click.IntRange(1), help="Root keys that the root after this one needs.")
@_ONLINE_KEY
def rotate(
    root: Path, root_keys: tuple[Path, ...], expires: int, passphrase_file: Path | None, ask_passphrase: bool,
    output: Path | None, as_json: bool, new_keys: tuple[Path, ...], root_threshold: int | None, online_keys: tuple[Path, ...],
) -> None:  # fmt: skip
    """Make the next root with a new expiry and, where they are given, new root or online keys; old and new ones sign it.

    Online keys that are given take the place of all former ones.
    """
    from signing import keys, trust_edit

    public, online = ([keys.load_public(path) for path in paths] or None for paths in (new_keys, online_keys))
    by, current = _load(root_keys, passphrase_file, ask=ask_passphrase), _read(root)
    _require_apart(online or [], [*current.signers, *(public or current.root_keys)])
    data = trust_edit.rotate(
        current, by, expires=_after(expires), root_keys=public, root_threshold=root_threshold, online_keys=online
    )
    _write_next(root, output, current, data, as_json=as_json)


def _require_apart(online: Sequence[PublicKey], offline: Sequence[PublicKey]) -> None:
    """Raises UsageError: a key that lies on the machine that renews must not be able to do more."""
    for key in online:
        if key in offline:
            raise UsageError(
                "this key is a signer's or a root key, and cannot be an online key as well",
                evidence={"key": key.id, "expected": "a key that can renew a repository and nothing else"},
                fix="make one for it: 'camagent key generate --out DIR/online'",
            )


def _load(paths: tuple[Path, ...], passphrase_file: Path | None, *, ask: bool) -> list[SoftwareKey]:
    from signing import key_files

    passphrase = ask_or_read(passphrase_file, ask=ask)
    several = len(paths) > 1  # of old and new keys, often one alone is encrypted
    return [key_files.load_private(path, passphrase, if_encrypted=several) for path in paths]


def _read(path: Path) -> TrustRoot:
    from signing import trust

    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}", fix="check the path") from exc
    return trust.read_root(data, path.name)


def _body(root: TrustRoot) -> dict[str, Any]:
    return {
        "schema": "camagent.trust/1", "version": root.version, "expires": root.expires.isoformat(), "threshold": root.threshold,
        "signers": [key.id for key in root.signers], "root_threshold": root.root_threshold,
        "root_keys": [key.id for key in root.root_keys], "online_keys": [key.id for key in root.online_keys],
    }  # fmt: skip


def _after(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _write_next(root: Path, output: Path | None, current: TrustRoot, data: bytes, *, as_json: bool) -> None:
    _write(output or root.with_name(f"{current.version + 1}.root.json"), data, as_json=as_json)


def _write(path: Path, data: bytes, *, as_json: bool) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as exc:
        raise UsageError(f"{path} exists already", fix="every root is kept: name another file with -o") from exc
    except OSError as exc:
        raise InputError(f"{path} cannot be written: {exc.strerror}", fix="check the folder") from exc
    if as_json:
        from signing import trust

        click.echo(json.dumps(_body(trust.read_draft(data, path.name)) | {"file": str(path)}))
        return
    click.echo(f"wrote {path}; see it with: camagent trust show {path}")
