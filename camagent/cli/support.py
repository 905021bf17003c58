"""camagent support: everything that a helper needs to see, without secrets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camagent import config_file
from camagent.cli.options import config_option
from camagent.errors import CodedError, printable

if TYPE_CHECKING:
    from camagent.config_file import Loaded

_FILE = click.Path(dir_okay=False, path_type=Path)
CREDENTIALS = ("/etc/camagent/credentials", "/run/credentials/camagent.service")
_README = """What 'camagent support' has packed on {when}, for whoever helps with this agent.

versions.json       camagent, Python, every library
machine.json        kernel, SoC, memory, disk, device nodes
config.json         every key in force and where it comes from; of a file that is not sound, what stands in it
status.json         what the running agent says: health, cameras, bundles, trust
service.json        what systemd says of camagent.service
audit.jsonl         the last {lines} lines of what was installed, taken back and refused here
selftest.json       the last self-test's report
{pictures}
Passwords, tokens, keys and the users in addresses were replaced by ***. Names of cameras and zones, addresses of cameras and
brokers, and labels are in here.
"""
_WITH = "selftest.html       a self-test that was made for this file. IT SHOWS THE SCENE: pictures were asked for.\n"
_WITHOUT = "No pictures: they come with --pictures alone.\n"


@click.command(epilog="Example: sudo camagent support -o support.tar")
@config_option
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="F.tar", help="The file."
)
@click.option("--pictures", is_flag=True, help="Make a self-test and pack its page: it shows what the cameras see.")
@click.option("--json", "as_json", is_flag=True, help="Print what was packed as JSON.")
def command(path: Path, output: Path, pictures: bool, as_json: bool) -> None:
    """Pack versions, configuration, health, audit log and the last self-test into one file that can be sent to somebody.

    Secrets are taken out; pictures come only with --pictures. It works with a running agent, without one, and with a
    configuration that is not sound; what could not be had is said in its place.
    """
    from camagent.support import archive, facts, secrets

    loaded, document, problem = _configuration(path)
    scrubber = secrets.Scrubber(_secrets(document))
    state_dir = loaded.config.agent.state_dir if loaded else facts.state_dir_of(document)
    values: dict[str, Any] = {
        "versions.json": facts.versions(_ffmpeg()),
        "machine.json": facts.machine(),
        "config.json": facts.configuration(loaded, document, problem),
        "status.json": facts.agent(state_dir),
        "service.json": _service(),
        "audit.jsonl": _audit(state_dir),
    }
    values["selftest.json"] = values["status.json"].pop("selftest", None) or {"problem": "none is known"}
    if pictures:
        values["selftest.html"] = _page(loaded)
    now = time.time()
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    readme = _README.format(when=when, lines=facts.AUDIT_LINES, pictures=_WITH if pictures else _WITHOUT)
    members = {name: archive.member(name, value, scrubber) for name, value in {"README.txt": readme, **values}.items()}
    archive.write(output, members, now)
    _tell(output, members, as_json=as_json)


def _configuration(path: Path) -> tuple[Loaded | None, dict[str, Any], str]:
    from camagent.support import facts

    document, problem = facts.document_of(path)
    try:
        return config_file.load(path), document, ""
    except CodedError as exc:  # that may be what help is wanted with
        return None, document, problem or exc.render()


def _secrets(document: Mapping[str, Any]) -> Iterator[str]:
    from camagent.support import secrets

    folders = [*map(Path, CREDENTIALS)]
    if os.environ.get("CREDENTIALS_DIRECTORY"):
        folders.append(Path(os.environ["CREDENTIALS_DIRECTORY"]))
    files = [file for folder in folders if os.access(folder, os.R_OK | os.X_OK) for file in folder.glob("*") if file.is_file()]
    yield from secrets.of_document(document)
    yield from secrets.of_environment(os.environ, document)
    yield from secrets.of_files([*secrets.files_of(document), *files])


def _ffmpeg() -> Mapping[str, str]:
    try:
        from camagent.pipeline import ffmpeg_versions

        return ffmpeg_versions()
    except (ImportError, OSError) as exc:  # a library that does not load may be what help is wanted with
        return {"problem": printable(exc)}


def _service() -> dict[str, Any]:
    from camagent.cli.service_view import unit_facts

    return dict(unit_facts() or {"problem": "systemd does not run here"})


def _audit(state_dir: Path) -> list[dict[str, Any]]:
    from camagent.support import facts

    try:
        return facts.audit(state_dir)
    except OSError as exc:
        return [{"problem": f"{printable(exc.filename or state_dir)}: {exc.strerror}"}]


def _page(loaded: Loaded | None) -> str:
    """A self-test's page with its pictures; a sentence where none can be made."""
    if loaded is None:
        return "no self-test: the configuration is not sound"
    from camagent.cli.selftest import test_of
    from camagent.selftest.html import page

    try:
        return page(test_of(loaded), pictures=True)
    except CodedError as exc:
        return f"no self-test: {exc.render()}"


def _tell(output: Path, members: Mapping[str, bytes], *, as_json: bool) -> None:
    sizes = {name: len(data) for name, data in members.items()}
    if as_json:
        click.echo(json.dumps({"schema": "camagent.support/1", "file": str(output), "members": sizes}))
        return
    for name, size in sizes.items():
        click.echo(f"{name:<16} {size:>9} bytes")
    click.echo(f"{printable(output)}: look into it before you send it; secrets were taken out, names and addresses were not")
