"""What `model optimize` did, as a table for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from camagent.cli.head_param import as_options
from camagent.cli.optimize_trial import Trial
from camagent.errors import printable
from firmware_pkg.graph.optimize import Optimised, PassReport
from firmware_pkg.graph.proof import Verdict

_STATUS = {"kept": ("kept", "green"), "nothing": ("-", "bright_black"), "refused": ("UNDONE", "red")}
_COUNTED = 40  # operator types that are shown


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All there is to tell. `times`: medians in ms by pass name, "" for the model as it came; empty where none were taken."""

    done: Optimised
    trial: Trial
    times: Mapping[str, float]
    rounds: int

    @property
    def ratio(self) -> float | None:
        """Time after to time before."""
        found = list(self.times.values())
        return found[-1] / found[0] if found else None


def document(result: Result, source: Path, output: Path) -> dict[str, Any]:
    """`camagent.optimize/1`."""
    done, trial, times = result.done, result.trial, result.times
    return {
        "schema": "camagent.optimize/1", "input": str(source), "output": str(output), "proved": done.proved,
        "pictures": {"kind": trial.kind, "count": len(trial.tensors), "low": trial.low, "high": trial.high},
        "passes": [_pass(one, times.get(one.name)) for one in done.passes],
        "whole": _verdict(done.whole), "settings": done.settings,
        "operators": {"before": dict(done.before), "after": dict(done.after)},
        "ms": {"before": times[""], "after": list(times.values())[-1], "ratio": result.ratio, "rounds": result.rounds}
        if times else None,
    }  # fmt: skip


def _pass(one: PassReport, ms: float | None) -> dict[str, Any]:
    return {
        "name": one.name, "status": one.status, "places": one.places, "why": printable(one.why, 1000), "nodes": one.nodes,
        "proof": _verdict(one.verdict), "notes": list(map(printable, one.notes)), "settings": dict(one.settings), "ms": ms,
    }  # fmt: skip


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    return None if verdict is None else {"holds": verdict.holds, "kind": verdict.kind, "measured": dict(verdict.measured)}


def show(result: Result, source: Path, output: Path) -> None:
    """Tables and sentences on stdout."""
    done = result.done
    console = Console(highlight=False)
    click.echo(f"proved on {result.trial.words}")
    console.print(_passes(result))
    if any(one.status == "kept" for one in done.passes):
        console.print(_operators(done))
    for one in done.passes:
        for note in one.notes if one.status != "refused" else ():
            _line(one.name, note)
        if one.status == "refused":
            _line(one.name, f"undone: {one.why}")
    if done.settings:
        _line("manifest", "set " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in done.settings.items()))
        _line("bundle create", " ".join(_options(done.settings)))
    if done.whole is None:
        _line("result", f"nothing to do: {output} is {source.name} as it was")
        return
    _line("together", done.whole.words)
    nodes = f"{sum(done.before.values())} -> {sum(done.after.values())} nodes"
    times = list(result.times.values())
    took = f", {times[0]:.1f} -> {times[-1]:.1f} ms = {result.ratio:.2f} of the time" if times else ""
    _line("result", f"wrote {output}: {nodes}{took}")


def _line(what: str, said: str) -> None:
    click.echo(f"{what:<21}{printable(said, 600)}")


def _passes(result: Result) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, right in (("pass", False), ("", False), ("places", True), ("nodes", True), ("ms", True), ("ratio", True)):
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    table.add_column("proof", overflow="fold")
    first = result.times.get("")
    nodes = sum(result.done.before.values())
    table.add_row("as it came", "", "", str(nodes), _number(first, ".1f"), _number(first and 1.0, ".2f"), "")
    for one in result.done.passes:
        word, colour = _STATUS[one.status]
        taken = result.times.get(one.name)
        cells = [one.name, "", str(one.places or ""), str(one.nodes), _number(taken, ".1f"),
                 _number(taken / first if taken and first else None, ".2f")]  # fmt: skip
        proof = Text(printable(one.why, 300) if one.status != "nothing" else "nothing to do")
        row: list[str | Text] = [*cells, proof]
        row[1] = Text(word, style=colour)
        table.add_row(*row)
    return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _operators(done: Optimised) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("operator", no_wrap=True)
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    names = sorted({*done.before, *done.after}, key=lambda name: (-done.before[name], name))
    for name in names[:_COUNTED]:
        table.add_row(Text(printable(name, 60)), str(done.before[name]), str(done.after[name]))
    return table


def _options(settings: Mapping[str, Any]) -> list[str]:
    """The manifest's settings as options of `bundle create`."""
    usual = {"head.name": "--head", "thresholds.min_score": "--min-score"}
    params = {key.removeprefix("head.params."): value for key, value in settings.items() if key.startswith("head.params.")}
    return [f"{usual[key]} {value}" for key, value in settings.items() if key in usual] + as_options(params)
