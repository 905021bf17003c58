"""The table of `camagent fleet status`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from camagent import language
from camagent.errors import printable
from camagent.fleet import AgentView, CameraView
from camagent.language import Tongue

_STYLES = {"online": "green", "silent": "yellow", "offline": "red", "stopped": "dim", "unknown": "dim"}
_WIDE = 200  # columns of a pipe or a file: nothing is cut there
_COLUMNS = ("agent", "state", "camagent", "camera", "sees", "fps", "model", "why not, and what was refused")


def print_table(views: Sequence[AgentView], counts: Mapping[str, Any]) -> None:
    """One row per camera; the summary below it."""
    tongue = language.of(sys.stdout)
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if name == "fps" else "left", no_wrap=index < 3, overflow="fold")
    for view in views:
        for row in _rows(view, tongue):
            table.add_row(*row)
    console.print(table)
    for line in lines_of(counts):
        console.print(Text(line))


def lines_of(counts: Mapping[str, Any]) -> Iterator[str]:
    """The summary: how many of what."""
    states = ", ".join(f"{number} {state}" for state, number in counts["states"].items())
    yield ""
    agents, cameras = _number(counts["agents"], "agent"), _number(counts["cameras"], "camera")
    yield f"{agents}: {states or 'none'}; {cameras}: {counts['seeing']} see"
    for title, key in (("running", "models"), ("seeing nothing", "reasons"), ("refused", "refused")):
        if counts[key]:
            yield f"{title}: " + ", ".join(f"{printable(name, 80)} ({number})" for name, number in counts[key].items())


def _rows(view: AgentView, tongue: Tongue) -> Iterator[tuple[Text, ...]]:
    state = Text(view.state + _age(view), style=_STYLES[view.state])
    head = (Text(view.name), state, Text(printable(view.version or "-", 40)))
    if not view.cameras:
        yield (*head, Text("-"), Text("-"), Text("-"), Text("-"), Text(_of_agent(view)))
    for index, camera in enumerate(view.cameras):
        first = head if not index else (Text(""), Text(""), Text(""))
        why = "; ".join(filter(None, (_why(camera, tongue), _of_agent(view) if not index else "")))
        yield (
            *first, Text(camera.name), Text("yes", style="green") if camera.sees else Text("no", style="red"),
            Text("-" if camera.fps is None else f"{camera.fps:.1f}"), Text(_model(camera)), Text(why),
        )  # fmt: skip


def _age(view: AgentView) -> str:
    if view.state == "online" or view.age_s is None:
        return ""
    age = view.age_s
    return f" {age:.0f} s" if age < 120 else f" {age / 60:.0f} min" if age < 7200 else f" {age / 3600:.0f} h"


def _model(camera: CameraView) -> str:
    unsigned = ", unsigned" if camera.signature == "unsigned" else ""
    return printable(camera.model or "-", 80) + unsigned


def _why(camera: CameraView, tongue: Tongue) -> str:
    if camera.reason:
        return tongue.because(printable(camera.reason, 80), printable(camera.detail or "", 300))
    return "" if camera.sees else printable(camera.state or "has told nothing", 80)


def _of_agent(view: AgentView) -> str:
    refused = [f"{bundle.name} {bundle.refused}" for bundle in view.bundles if bundle.refused]
    trials = [f"{bundle.name} {bundle.current} on trial" for bundle in view.bundles if bundle.on_trial]
    unsigned = ["allow_unsigned"] if view.allow_unsigned else []
    return "; ".join(printable(word, 160) for word in (*(f"refused {one}" for one in refused), *trials, *unsigned))


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
