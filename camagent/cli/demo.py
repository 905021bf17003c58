"""camagent demo: the whole chain on a laptop, with nothing to install and nothing left behind."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, Full, Queue
from types import FrameType
from typing import Any

import click

from camagent.demo.faults import FAULTS, Plan
from camagent.errors import BrokerError, printable

_POLL_S = 0.2
_WAITING = 1000
_HELP = "Start it with one thing wrong, for the self-test to find; 'list' names them all."


@click.command(epilog="Example: camagent demo --break scale-missing")
@click.option("--seconds", type=click.FloatRange(0), help="Stop after this time.  [default: at Ctrl-C]")
@click.option("--no-browser", is_flag=True, help="Do not open the camera's page.")
@click.option("--break", "broken", type=click.Choice(["list", *FAULTS]), metavar="CAUSE", help=_HELP)
@click.option("--url", help="A broker of yours instead of the embedded one: mqtt://HOST.")
def command(seconds: float | None, no_browser: bool, broken: str | None, url: str | None) -> None:
    """Run the whole chain: a drawn street as camera, a signed model, a broker, the camera's page. Ctrl-C leaves nothing behind.

    In a terminal a table shows what is seen; into a pipe each detections message goes as one line of JSON.
    """
    if broken == "list":
        for name, fault in FAULTS.items():
            click.echo(f"{name:<24} {fault.words}")
        return
    plan = FAULTS[broken].plan if broken else Plan()
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        stack.enter_context(_quietly())
        _play(stack, plan, broken, url, seconds, browse=not no_browser)


def _play(stack: ExitStack, plan: Plan, broken: str | None, url: str | None, seconds: float | None, *, browse: bool) -> None:
    from camagent.cli.demo_stage import WEB_PORT, build, reserved, running

    # what is entered last ends first: the view, the agent, the broker, the folder
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="camagent-demo-")))
    broker = url or _broker(stack, folder, plan)
    tell = _Steps(sys.stderr.isatty())
    stage = build(folder, plan, broker, stack.enter_context(reserved(WEB_PORT)), tell)
    agent = stack.enter_context(running(stage, tell))
    hints = {"page": stage.page, "broker": f"camagent watch --url {broker}", "why": f"camagent selftest -c {stage.config}"}
    if broken:
        hints = {"broken": f"{FAULTS[broken].words}; ask the self-test what is wrong", **hints}
    for name, hint in hints.items():
        click.echo(f"{name:<8} {hint}", err=True)
    if browse and sys.stdout.isatty():
        webbrowser.open(stage.page)
    _show(stack, agent, broker, hints, seconds, folder)


def _show(
    stack: ExitStack, agent: subprocess.Popen[bytes], broker: str, hints: dict[str, str], seconds: float | None, folder: Path
) -> None:
    from rich.console import Console

    from camagent.cli.demo_stage import ended
    from camagent.cli.demo_view import Lines, LiveTable, View

    inbox = stack.enter_context(_listening(broker))
    view: View = LiveTable(Console(), hints) if sys.stdout.isatty() else Lines()
    stack.enter_context(view)
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        if agent.poll() is not None:
            raise ended(agent, folder)
        try:
            topic, payload = inbox.get(timeout=_POLL_S)
        except Empty:
            continue
        what, body = topic.rpartition("/")[2], _parsed(payload)
        if body is not None:
            view.message(what, body)


class _Steps:
    """Says which command is run, on stderr."""

    def __init__(self, terminal: bool) -> None:
        self._style = {"fg": "bright_black"} if terminal else {}

    def __call__(self, command: str) -> None:
        click.secho(f"$ {command}", err=True, **self._style)  # type: ignore[arg-type]


@contextmanager
def _quietly() -> Iterator[None]:
    """The agent's own words are in its log; the demo's own connection need not be told of."""
    log = logging.getLogger("camagent")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """All is put away, also where a shell's `&` has had Ctrl-C ignored: the agent heeds it in any case."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _broker(stack: ExitStack, folder: Path, plan: Plan) -> str:
    from camagent.cli.demo_stage import reserved
    from camagent.demo.broker import embedded

    return stack.enter_context(embedded(stack.enter_context(reserved()), folder / "broker.log", anonymous=plan.anonymous))


@contextmanager
def _listening(broker: str) -> Iterator[Queue[tuple[str, bytes]]]:
    """What the demo's camera publishes. The demo itself gives a name, which a broker may ask for."""
    from camagent.cli.demo_stage import AGENT, CAMERA
    from camagent.clock import SystemClock
    from camagent.config import Mqtt
    from camagent.pipeline import Observer

    inbox: Queue[tuple[str, bytes]] = Queue(_WAITING)

    def receive(topic: str, payload: bytes, retained: bool) -> None:
        del retained
        try:
            inbox.put_nowait((topic, payload))
        except Full:  # a terminal that is stopped: what is shown is the newest anyhow
            return

    def died(name: str, exc: BaseException) -> None:
        raise BrokerError(f"{name} ended: {printable(repr(exc))}", fix="start the demo again, and report this") from exc

    mqtt = Mqtt(url=broker, username="viewer")
    observer = Observer(mqtt, [f"{mqtt.prefix}/{AGENT}/{CAMERA}/+"], SystemClock(), on_message=receive, died=died)
    observer.start()
    try:
        observer.wait_subscribed(10.0)
        yield inbox
    finally:
        observer.stop()


def _parsed(payload: bytes) -> dict[str, Any] | None:
    """A body; None for a payload that is none, such as `online`."""
    try:
        body = json.loads(payload)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
