"""camagent bundle publish: bundles as a TUF repository, a folder of files for any web server or CDN."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from camagent import BUILD_TIME, vitals
from camagent.cli import EXIT_DONE, EXIT_FINDING
from camagent.cli.bar import work_bar
from camagent.cli.passphrase import ask_or_read, passphrase_options
from camagent.cli.signer import EXAMPLE, open_signer
from camagent.errors import InputError, printable

if TYPE_CHECKING:
    from firmware_pkg.publish import Publication
    from signing.trust import TrustRoot

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=3650)


def _lifetime(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    del ctx
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", value)
    if found is None or (made := int(found[1]) * _UNITS[found[2]]) > _LONGEST:
        raise click.BadParameter(f"{value!r} is none of 12h, 7d, 4w (ten years at most)", param=param)
    return made


def _expires(role: str, default: str, what: str) -> Callable[[F], F]:
    return click.option(
        f"--expires-{role}", metavar="TIME", callback=_lifetime, default=default, show_default=True,
        help=f"How long {what} is believed: 12h, 7d, 4w.",
    )  # fmt: skip


@click.command(
    epilog="Example: camagent bundle publish site fastestdet-1.1.0.cambundle --root root.json --key keys/release.pem "
    "--online-key keys/online.pem"
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.argument("bundles", nargs=-1, type=_FILE, metavar="[BUNDLE]...")
@click.option("--root", "roots", type=_FILE, multiple=True, required=True, metavar="root.json",
              help="The trust root in force; repeat for a chain that the repository does not show yet.")  # fmt: skip
@click.option("--key", "keys", multiple=True, metavar="S.pem|URI",
              help=f"Signs the list: who may sign bundles. A file or a token ({EXAMPLE}); repeat.")  # fmt: skip
@click.option("--online-key", "online", multiple=True, metavar="O.pem|URI", help="Signs snapshot and timestamp; repeat.")
@click.option("--remove", nargs=2, multiple=True, metavar="NAME VERSION", help="Take a bundle out of the list; repeat.")
@_expires("timestamp", "7d", "the newest state")
@_expires("snapshot", "30d", "which list belongs to it")
@_expires("targets", "365d", "the list of bundles")
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def publish(
    folder: Path, bundles: tuple[Path, ...], roots: tuple[Path, ...], keys: tuple[str, ...], online: tuple[str, ...],
    remove: tuple[tuple[str, str], ...], expires_timestamp: timedelta, expires_snapshot: timedelta,
    expires_targets: timedelta, passphrase_file: Path | None, ask_passphrase: bool, as_json: bool,
) -> int:  # fmt: skip
    """Make or update a TUF repository in DIR: metadata/ and targets/, for any web server or CDN.

    Every bundle is verified first. Files are written so that whoever fetches meanwhile sees the old state or the new one.

    Without bundles and --key, snapshot and timestamp are renewed: what cron calls every day. With a threshold of several
    signers the list waits in DIR/draft until each has called 'publish DIR --root root.json --key S.pem'.

    Exit code 0: published. 1: refused, or signatures are still missing. 2: wrong usage.
    """
    from firmware_pkg.publish import Changes, Lifetimes, Signers
    from firmware_pkg.publish import publish as make
    from signing.trust_time import Clock

    clock = Clock(datetime.now(UTC), BUILD_TIME, vitals.clock_synchronised())
    passphrase, several = ask_or_read(passphrase_file, ask=ask_passphrase), len(keys) + len(online) > 1
    with ExitStack() as stack, work_bar(stays_clear=as_json) as bar:
        opened = [
            [stack.enter_context(open_signer(key, passphrase, if_encrypted=several)) for key in named]
            for named in (keys, online)
        ]
        tasks = {path: bar.add_task(f"verifying {printable(path.name, 48)}", total=path.stat().st_size) for path in bundles}

        def progress(path: Path, done: int) -> None:
            if path in tasks:
                bar.update(tasks[path], completed=done)

        made = make(
            folder, [_read(path) for path in roots], Changes(bundles, remove), Signers(*opened), clock=clock,
            lifetimes=Lifetimes(expires_timestamp, expires_snapshot, expires_targets), progress=progress,
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(_body(made)))
    else:
        _show(folder, made)
    return EXIT_FINDING if made.missing else EXIT_DONE


def _read(path: Path) -> TrustRoot:
    from signing import limits, trust

    try:
        with path.open("rb") as file:
            data = file.read(limits.ROOT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}", evidence={"file": path}, fix="check the path") from exc
    return trust.read_root(data, path.name)


def _body(made: Publication) -> dict[str, Any]:
    return {
        "schema": "camagent.publication/1", "published": not made.missing, "missing": list(made.missing),
        "versions": dict(made.versions), "expires": {name: moment.timestamp() for name, moment in made.expires.items()},
        "bundles": [
            {
                "name": one.about.name, "version": one.about.version, "path": one.path, "sha256": one.sha256, "size": one.size,
                "compatible": list(one.about.compatible), "rollback_index": one.about.rollback_index,
            }
            for one in made.listed
        ],
        "warnings": list(made.warnings),
    }  # fmt: skip


def _show(folder: Path, made: Publication) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    if made.missing:
        click.echo(f"not published yet: {'; '.join(made.missing)}. The list waits in {printable(folder)}/draft")
    else:
        click.echo(f"published {printable(folder)}: {versions}")
        click.echo(f"renew it before {made.expires['timestamp']:%Y-%m-%d %H:%M} UTC; cron does so every day")
    for one in made.listed:
        about = one.about
        devices = printable(", ".join(about.compatible), 60)
        click.echo(
            f"  {about.name} {printable(about.version, 64)}: {one.size:,} bytes, for {devices}, index {about.rollback_index}"
        )
    for warning in made.warnings:
        click.echo(f"warning: {printable(warning, 400)}", err=True)
