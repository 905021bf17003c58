"""camagent trust install: a newer trust root for this machine or a camera, and who loses by it, before it happens."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import click

from camagent import config_file
from camagent.cli import EXIT_DONE, EXIT_FINDING, telling
from camagent.cli.options import config_option
from camagent.cli.remote import end_with, proof_options, read_token, warn
from camagent.errors import CodedError, InputError, UsageError, printable
from camagent.service import Origin

Offer: TypeAlias = Callable[[bool], Mapping[str, Any]]  # dry_run -> what it changes


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: camagent trust install 2.root.json 3.root.json -c camagent.toml")
@click.argument(
    "roots", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="ROOT.."
)
@config_option
@click.option("--to", "url", metavar="URL", help="A camera's API, http(s)://camera:8420, instead of this machine.")
@proof_options
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--yes", is_flag=True, help="Do not ask where bundles lose their signers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(
    roots: tuple[Path, ...], path: Path, url: str | None, token_file: Path | None, ca: Path | None, fingerprint: str | None,
    dry_run: bool, yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Put newer trust roots in force, and first say which installed bundles lose their signers.

    Each root must be signed by the one before it. The very first root of a machine is taken only from its own command line.
    On a terminal it asks before a bundle loses its signers; in a script it says so and goes on.
    """
    if url is None and (token_file or ca or fingerprint):
        raise UsageError("--token-file, --ca and --fingerprint speak of a camera", fix="name it with --to URL")
    data = [_read(root) for root in roots]
    result: Mapping[str, Any] | None = None
    refusal: CodedError | None = None
    done = dry_run
    try:
        opened = _here(data, path) if url is None else _there(data, url, read_token(token_file), ca, fingerprint)
        with opened as offer:
            result = offer(True)
            _tell_losses(result)
            if not dry_run:
                done = yes or not _must_ask(result) or click.confirm("Put these roots in force?", err=True)
                result = offer(False) if done else result
    except CodedError as exc:
        result, refusal = None, exc
    if as_json:
        click.echo(json.dumps(_body(result, refusal, dry_run=dry_run or not done)))
    if refusal:
        return end_with(refusal) if url else _raised(refusal)
    if not as_json:
        _show(result or {}, dry_run=dry_run)
    if not done:
        click.echo("nothing was changed", err=True)
    return EXIT_DONE if done else EXIT_FINDING


@contextmanager
def _here(data: list[bytes], path: Path) -> Iterator[Offer]:
    config = config_file.load(path).config
    from camagent.control import with_agent_or_alone

    me = Origin("local", f"uid {os.getuid()}, pid {os.getpid()}")
    with with_agent_or_alone(config) as service:
        yield lambda dry_run: service.install_trust(data, me, dry_run=dry_run)


@contextmanager
def _there(data: list[bytes], url: str, token: str | None, ca: Path | None, fingerprint: str | None) -> Iterator[Offer]:
    from firmware_pkg.push_trust import send_roots

    def offer(dry_run: bool) -> Mapping[str, Any]:
        answer = dict(send_roots(data, url, token=token, ca=ca, fingerprint=fingerprint, dry_run=dry_run))
        warning = answer.pop("warning", None)
        if warning and dry_run:
            warn(warning)
        return answer

    yield offer


def _read(path: Path) -> bytes:
    from signing.limits import ROOT_BYTES

    try:
        with path.open("rb") as file:
            return file.read(ROOT_BYTES + 1)
    except OSError as exc:
        raise InputError(
            f"{printable(path)} cannot be read: {exc.strerror}", evidence={"file": path}, fix="name root.json files"
        ) from exc


def _must_ask(foreseen: Mapping[str, Any]) -> bool:
    return bool(foreseen.get("losing")) and sys.stdin.isatty()


def _tell_losses(foreseen: Mapping[str, Any]) -> None:
    for lost in foreseen.get("losing", ()):
        name, version = printable(lost.get("name"), 64), printable(lost.get("version"), 64)
        telling.warn(
            "SIGNER_REVOKED", f"{name} {version} loses its signers: the newest version that still verifies runs instead"
        )


def _show(result: Mapping[str, Any], *, dry_run: bool) -> None:
    added = ", ".join(str(number) for number in result.get("added", ())) or "none, all are known"
    expires = result.get("expires")
    until = f" until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d}" if isinstance(expires, int | float) else ""
    verb = "would be" if dry_run else "is"
    click.echo(f"root {printable(result.get('in_force'), 20)} {verb} in force{until}; added: {added}")
    for key_id in result.get("revoked", ()):
        click.echo(f"  may not sign any more: {printable(key_id, 80)}")


def _body(result: Mapping[str, Any] | None, refusal: CodedError | None, *, dry_run: bool) -> dict[str, Any]:
    return {
        "schema": "camagent.trust-install/1", "accepted": refusal is None, "code": refusal.code if refusal else None,
        "dry_run": dry_run, "result": result, "refusal": refusal.report() if refusal else None,
    }  # fmt: skip


def _raised(refusal: CodedError) -> int:
    raise refusal
