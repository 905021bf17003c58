"""camagent selftest: why is nothing seen?"""

from __future__ import annotations

import difflib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from camagent import config_file, language
from camagent.cli import EXIT_DONE, EXIT_FINDING, EXIT_UNDECIDED, telling
from camagent.config import Camera, Config
from camagent.errors import CodedError, InputError, UsageError, printable

if TYPE_CHECKING:
    from camagent.config_file import Loaded
    from camagent.selftest.report import Report

_EXITS = {"healthy": EXIT_DONE, "fault": EXIT_FINDING, "inconclusive": EXIT_UNDECIDED}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXAMPLES = """\b
Examples:
  camagent selftest -c camagent.toml
  camagent selftest -c camagent.toml --camera front --json
  camagent selftest --bundle fastestdet-1.0.0.cambundle --html report.html
  camagent selftest --bundle fastestdet-1.0.0.cambundle --apply"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "-c", "--config", "config_path", type=click.Path(path_type=Path),
    help=f"The configuration.  [default: {config_file.DEFAULT_PATH}, and none with --bundle]",
)  # fmt: skip
@click.option("--camera", "name", default="", metavar="NAME", help="Only this camera.  [default: every one]")
@click.option("--bundle", type=_FILE, metavar="F", help="Test this bundle alone, on a workstation: no camera, no broker.")
@click.option("--trust", type=_FILE, multiple=True, metavar="root.json", help="With --bundle: verify it; repeat for a chain.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (camagent.selftest/1) and nothing else.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="F", help="Write one page with pictures.")
@click.option("--no-pictures", is_flag=True, help="No pictures in the page: it then does not show the scene.")
@click.option("--apply", "apply_it", is_flag=True, help="Write the verified fix into new files beside the old ones.")
def command(
    config_path: Path | None, name: str, bundle: Path | None, trust: tuple[Path, ...], as_json: bool, html: Path | None,
    no_pictures: bool, apply_it: bool,
) -> int:  # fmt: skip
    """Say why nothing is seen: from the configuration over the model to the broker, each step with its numbers.

    A running agent tests itself without stopping its stream; where none runs, this command owns the state directory for that
    time, connects to the broker as the agent would and publishes one health message marked as a probe.

    Exit code 0: healthy. 1: at least one fault is named. 2: wrong usage or configuration. 3: it could not be decided here; the
    report says what to send.
    """
    if trust and not bundle:
        raise UsageError("--trust belongs to --bundle", fix="without --bundle the configuration says what is trusted")
    _quiet()
    target = _target(html)
    try:
        with _progress() as tell:
            report = _of_bundle(bundle, trust, config_path, name, tell) if bundle else _of_machine(config_path, name, tell)
    except UsageError:
        raise
    except CodedError as exc:  # an agent that does not answer, a state directory that cannot be owned: nothing was tested
        telling.tell(exc)
        return EXIT_UNDECIDED
    _show(report, as_json=as_json)
    if target is not None:
        _write(target, report, pictures=not no_pictures)
    if apply_it:
        _apply(report, bundle, config_path, name)
    return _EXITS[report.verdict]


def _of_bundle(path: Path, trust: tuple[Path, ...], config_path: Path | None, name: str, tell: Callable[[str], None]) -> Report:
    config = config_file.load(config_path).config if config_path else None
    from camagent.cli.tool_bundle import load_bundle
    from camagent.pipeline import BackendOptions
    from camagent.selftest import run

    camera = _lender(config, name)
    try:
        made = load_bundle(path, trust, config, golden=True)
    except UsageError:
        raise
    except CodedError as exc:
        return run.refused_report(exc, time.monotonic)
    return run.bundle_report(made, BackendOptions.of(config or Config()), camera, tell, time.monotonic)


def test_of(loaded: Loaded) -> Report:
    """A self-test of every camera of a configuration, through the running agent or alone, with progress on a terminal.

    Raises CodedError where none can be made.
    """
    _quiet()
    with _progress() as tell:
        return _of_loaded(loaded, "", tell)


def _of_machine(config_path: Path | None, name: str, tell: Callable[[str], None]) -> Report:
    return _of_loaded(config_file.load(config_path or config_file.DEFAULT_PATH), name, tell)


def _of_loaded(loaded: Loaded, name: str, tell: Callable[[str], None]) -> Report:
    if not loaded.config.camera:
        raise UsageError("the configuration has no camera", fix="add a [[camera]] section, or test a bundle with --bundle F")
    cameras = [_camera(loaded.config, name)] if name else list(loaded.config.camera)
    from camagent.control import connect

    client = connect(loaded.config.agent.state_dir)
    if client is not None:
        return _of_agent(client.selftest, loaded, name, tell)
    from camagent.pipeline import check
    from camagent.selftest import alone

    check(loaded.config)
    return alone.report(loaded, cameras, tell)


def _of_agent(ask: Callable[..., object], loaded: Loaded, name: str, tell: Callable[[str], None]) -> Report:
    from camagent.selftest.wire import Receiver
    from camagent.service import Event, Origin, SelfTestWish

    receiver = Receiver()

    def take(event: Event) -> None:
        if not receiver.take(event) and "state" in event:
            tell(str(event["state"]))

    wish = SelfTestWish(
        name, whole=True, config_path=str(loaded.path.resolve() if loaded.path else ""), config_digest=loaded.digest
    )
    ask(wish, Origin("local", f"uid {os.getuid()}, pid {os.getpid()}"), take)
    return receiver.report()


def _camera(config: Config, name: str) -> Camera:
    for camera in config.camera:
        if camera.name == name:
            return camera
    known = [camera.name for camera in config.camera]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    raise UsageError(
        f"there is no camera {printable(name)!r} in the configuration",
        evidence={"cameras": ", ".join(known) or "none"},
        fix=f"did you mean {near[0]!r}?" if near else "name one of them",
    )


def _lender(config: Config | None, name: str) -> Camera | None:
    """The camera whose filters and masks apply to a bundle: the one named, or the only one."""
    if config is None or (not name and len(config.camera) != 1):
        if name:
            raise UsageError("--camera needs a configuration", fix="name it with -c FILE")
        return None
    return _camera(config, name) if name else config.camera[0]


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.body()))
        return
    from rich.console import Console

    from camagent.selftest.terminal import render

    console = Console(highlight=False)
    render(report, console, language.of(console))


def _target(path: Path | None) -> int | None:
    """The page's file, opened before anything runs: a wrong name is told at once, and not after a minute."""
    if path is None:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)  # it shows the scene
    except OSError as exc:
        raise InputError(f"{printable(path)} cannot be written: {exc.strerror}", fix="name another file with --html") from exc


def _write(target: int, report: Report, *, pictures: bool) -> None:
    from camagent.selftest.html import page

    with os.fdopen(target, "wb") as file:
        file.write(page(report, pictures=pictures, tongue=language.chosen()).encode())
        file.truncate()


def _apply(report: Report, bundle: Path | None, config_path: Path | None, name: str) -> None:
    from camagent.probing import is_path
    from camagent.selftest.apply import apply

    path = config_path if bundle else config_path or config_file.DEFAULT_PATH
    if bundle is None and path is not None:
        config = config_file.load(path).config
        camera = _camera(config, name) if name or len(config.camera) != 1 else config.camera[0]
        bundle = Path(camera.bundle) if is_path(camera.bundle) else None
    for line in apply(report, bundle, path):
        click.echo(line, err=True)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("self-test")) as status:
        yield lambda words: status.update(Text(printable(words)))


def _quiet() -> None:
    """What the stages would log stands in the report; a defect is logged where somebody looks for one."""
    if not os.environ.get("CAMAGENT_DEBUG"):
        logging.getLogger("camagent").addHandler(logging.NullHandler())
        logging.getLogger("camagent").propagate = False
