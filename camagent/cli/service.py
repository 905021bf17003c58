"""camagent service install | uninstall | status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from camagent import config_file, language
from camagent.cli import EXIT_FINDING
from camagent.cli.options import config_option
from camagent.cli.telling import warn
from camagent.errors import CodedError, UsageError, printable

if TYPE_CHECKING:
    from camagent.installation import Done, Target

_NEXT = (
    "edit /etc/camagent/camagent.toml; secrets go into files below /etc/camagent/credentials",
    "camagent config check",
    "camagent trust install root.json",
    "systemctl start camagent",
    "camagent service status",
)
root_option = click.option(
    "--root", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Into an image whose root folder this is.  [default: this machine]",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: sudo /opt/camagent/bin/camagent service install")
def command() -> None:
    """Put the agent onto this machine as a systemd service, take it away, or ask how it is."""


@command.command(epilog="Example: sudo /opt/camagent/bin/camagent service install --now")
@root_option
@click.option("--enable/--no-enable", default=True, show_default=True, help="Start it whenever the machine starts.")
@click.option("--now", is_flag=True, help="Start it now, too.")
@json_option
def install(root: Path | None, enable: bool, now: bool, as_json: bool) -> None:
    """Write the unit, the user, the device rules, the folders and a first configuration, for the camagent that is called.

    Run it again after the virtual environment was moved. A configuration that is there is never touched.
    """
    from camagent import installation

    target = _target(root)
    if now and not target.is_here:
        raise UsageError("--now starts a service of this machine", fix="leave --now or --root out")
    installation.require_root(target)
    installation.require_ours(target)
    warning = ""
    if target.is_here:
        installation.require_reachable(target)
    else:
        warning = installation.unreachable(target)
    steps: list[Callable[[], Iterator[Done]]] = [
        lambda: installation.write(target), lambda: installation.set_up(target, enable=enable),
    ]  # fmt: skip
    if now:
        steps.append(installation.begin)
    done = _work("install", steps, as_json=as_json)
    if warning:
        fix = "call the camagent that lies in the image"
        warn("SERVICE_UNREACHABLE", printable(warning), fix)
    if not as_json and target.is_here and any(one.outcome == "written" for one in done):
        click.echo("next:")
        for line in _NEXT:
            click.echo(f"  {line}")


@command.command(epilog="Example: sudo /opt/camagent/bin/camagent service uninstall")
@root_option
@json_option
def uninstall(root: Path | None, as_json: bool) -> None:
    """Stop the service and remove what `install` has written. Configuration, state and user stay."""
    from camagent import installation

    target = _target(root)
    installation.require_root(target)
    steps: list[Callable[[], Iterator[Done]]] = [
        lambda: installation.take_down(target), lambda: installation.remove(target),
    ]  # fmt: skip
    if target.is_here:
        steps.append(installation.settle)
    _work("uninstall", steps, as_json=as_json)
    if not as_json:
        click.echo("kept: /etc/camagent, /var/lib/camagent and the user camagent")


@command.command(epilog="Example: camagent service status --json")
@config_option
@json_option
def status(path: Path, as_json: bool) -> int:
    """How the service and each camera are, by systemd's word and the agent's own.

    Exit code 0: the agent answers. 1: none runs. 3: one runs and does not answer.
    """
    from camagent.cli.service_view import body_of, lines_of
    from camagent.control import connect

    client = connect(config_file.load(path).config.agent.state_dir)
    body = body_of(client.status() if client else None, client.pid if client else None)
    if as_json:
        click.echo(json.dumps(body))
    else:
        for line in lines_of(body, language.of(sys.stdout)):
            click.echo(line)
    return 0 if client else EXIT_FINDING


def _target(root: Path | None) -> Target:
    from camagent.installation import Target

    return Target(root.resolve() if root else Path("/"))


def _work(what: str, steps: Sequence[Callable[[], Iterator[Done]]], *, as_json: bool) -> list[Done]:
    """Does and shows one thing after the other. Raises what ended it, after the JSON was printed."""
    done: list[Done] = []
    failure: CodedError | None = None
    try:
        for step in steps:
            for one in step():
                done.append(one)
                if not as_json:
                    click.echo(f"{one.outcome:<9} {printable(one.what)}{f'  ({printable(one.detail)})' if one.detail else ''}")
    except CodedError as exc:
        failure = exc
    if as_json:
        body = {"done": [asdict(one) for one in done], "refusal": failure.report() if failure else None}
        click.echo(json.dumps({"schema": f"camagent.service-{what}/1", **body}))
    if failure:
        raise failure
    return done
