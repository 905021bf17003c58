"""camagent bundle install | list | activate | rollback: the store of this machine, through the agent where one runs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from camagent import config_file, language
from camagent.cli import EXIT_DONE, EXIT_UNDECIDED, telling
from camagent.cli.options import config_option
from camagent.cli.steps_view import WorkView
from camagent.errors import CodedError, InputError, UsageError, printable
from camagent.service import Origin, Service, Tell

_IN_WORDS = {
    "trial": "on trial: confirmed after 600 frames and 60 s without a failure, taken back otherwise",
    "current": "runs",
    "stored": "stored; no camera of this configuration uses that name",
    "unchanged": "runs already; the repository lists nothing newer for this device",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_NOT_REACHED = frozenset({"unreachable", "deadline", "broken", "tls"})
_BUNDLE_OR_NAME = "name a bundle's file, or give --repository URL with the name of a bundle"


@click.command(
    epilog="Example: camagent bundle install fastestdet-1.0.0.cambundle -c camagent.toml"
    "    or: camagent bundle install fastestdet --repository https://updates.example.org/cameras/"
)
@click.argument("bundle", metavar="BUNDLE|NAME")
@click.option("--repository", metavar="URL", help="Fetch the best version of NAME from this TUF repository ('bundle publish').")
@config_option
@click.option("--force", is_flag=True, help="Also a bundle that has failed here before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(bundle: str, repository: str | None, path: Path, force: bool, as_json: bool) -> int:
    """Verify a bundle, store it, test it on its golden pictures and put it on trial.

    A running agent does it; the bundle may be readable for you alone. With --repository the agent fetches it: the highest
    version that is listed for this device, where it is newer than what runs.

    Exit code 0: installed, or nothing newer is listed. 1: refused. 3: the repository is not reached, or an agent owns the
    state directory and does not answer.
    """
    if repository is not None:
        return _fetch(bundle, repository, path, force=force, as_json=as_json)
    if not Path(bundle).is_file():
        raise UsageError(f"Invalid value for 'BUNDLE|NAME': File {bundle!r} does not exist.", fix=_BUNDLE_OR_NAME)
    try:
        source = Path(bundle).open("rb")  # noqa: SIM115  below
    except OSError as exc:
        raise InputError(
            f"{printable(bundle)} cannot be read: {exc.strerror}", evidence={"file": bundle}, fix="name a file you may read"
        ) from exc
    with source:
        _work(
            "install", path, lambda service, tell: service.install(source, _me(), tell, force=force),
            words=f"installing {printable(Path(bundle).name, 48)}", as_json=as_json,
        )  # fmt: skip
    return EXIT_DONE


def _fetch(name: str, url: str, path: Path, *, force: bool, as_json: bool) -> int:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{printable(name, 60)} is no name of a bundle", fix="with --repository, give the bundle's name alone")
    try:
        _work(
            "install", path, lambda service, tell: service.fetch(name, url, _me(), tell, force=force),
            words=f"fetching {name}", as_json=as_json,
        )  # fmt: skip
    except CodedError as exc:
        if exc.code == "DOWNLOAD_FAILED" and exc.evidence.get("reason") in _NOT_REACHED:
            telling.tell(exc)
            return EXIT_UNDECIDED
        raise
    return EXIT_DONE


@click.command(epilog="Example: camagent bundle activate fastestdet 1.0.0 -c camagent.toml")
@click.argument("name")
@click.argument("version", required=False)
@config_option
@click.option("--force", is_flag=True, help="Also a version that has failed here before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def activate(name: str, version: str | None, path: Path, force: bool, as_json: bool) -> None:
    """Put a stored version of a bundle on trial; without VERSION the newest one."""
    _work(
        "activate", path, lambda service, tell: service.activate(name, version, _me(), tell, force=force),
        words=f"activating {printable(name, 48)}", as_json=as_json,
    )  # fmt: skip


@click.command(epilog="Example: camagent bundle rollback fastestdet -c camagent.toml")
@click.argument("name")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rollback(name: str, path: Path, as_json: bool) -> None:
    """Go back to the last confirmed version before this one."""
    _work(
        "rollback", path, lambda service, tell: service.rollback(name, _me(), tell),
        words=f"taking back {printable(name, 48)}", as_json=as_json,
    )  # fmt: skip


@click.command("list", epilog="Example: camagent bundle list -c camagent.toml --json")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_bundles(path: Path, as_json: bool) -> None:
    """Show which bundles are stored, which runs, which is on trial, and what was refused last."""
    from camagent.control import with_agent_or_alone

    with with_agent_or_alone(config_file.load(path).config) as service:
        found = service.bundles()
    if as_json:
        click.echo(json.dumps({"schema": "camagent.bundles/1", **found}))
        return
    bundles: Mapping[str, Mapping[str, Any]] = found["bundles"]
    for name in sorted(bundles):
        for line in _rows(name, bundles[name]):
            click.echo(line)
    if not bundles:
        click.echo("no bundle is stored; install one with: camagent bundle install FILE")


def install_body(
    schema: str, steps: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None, refusal: CodedError | None
) -> dict[str, Any]:
    """What `--json` prints of an install, wherever it went on."""
    return {
        "schema": schema,
        "accepted": refusal is None,
        "code": refusal.code if refusal else None,
        "steps": list(steps),
        "result": result,
        "refusal": refusal.report() if refusal else None,
    }


def show_result(result: Mapping[str, Any]) -> None:
    """One line for a person, and the configuration line to add where no camera uses the bundle."""
    outcome = str(result.get("outcome"))
    name, version = (printable(result.get(key) or "?", 64) for key in ("name", "version"))
    words = language.of(sys.stdout).sentence(_IN_WORDS.get(outcome, printable(outcome)))
    click.echo(f"{name} {version}: {words}")
    if result.get("hint"):
        click.echo(f"  {printable(result['hint'], 400)}")


def _work(what: str, path: Path, ask: Callable[[Service, Tell], Mapping[str, Any]], *, words: str, as_json: bool) -> None:
    """Asks the agent, or does it alone; shows what goes on. Raises the refusal, after it was printed as JSON where wanted."""
    config = config_file.load(path).config
    from camagent.control import with_agent_or_alone

    result: Mapping[str, Any] | None = None
    refusal: CodedError | None = None
    with WorkView(words, silent=as_json) as view:
        try:
            with with_agent_or_alone(config) as service:
                result = ask(service, view.tell)
        except CodedError as exc:
            refusal = exc
    if as_json:
        click.echo(json.dumps(install_body(f"camagent.{what}/1", view.steps, result, refusal)))
    if refusal:
        raise refusal
    if not as_json:
        show_result(result or {})


def _rows(name: str, slots: Mapping[str, Any]) -> list[str]:
    shown = [f"{key} {printable(slots[key], 64)}" for key in ("current", "trial", "previous") if slots.get(key)]
    stored = ", ".join(printable(version, 64) for version in slots.get("stored", ())) or "none"
    rows = [
        f"{printable(name, 64)}: {', '.join(shown) or 'none runs'}; stored: {stored}; index {slots.get('rollback_index', 0)}"
    ]
    refusal = slots.get("last_refusal")
    if refusal:
        code, version = printable(refusal.get("code"), 64), printable(refusal.get("version") or "?", 64)
        rows.append(f"  last refusal: {code}, version {version}: {printable(refusal.get('what'), 400)}")
        rows.append(f"  fix: {printable(refusal.get('fix'), 400)}")
    return rows


def _me() -> Origin:
    return Origin("local", f"uid {os.getuid()}, pid {os.getpid()}")
