"""The checklist on a terminal, line by line as it comes, and a progress bar below it while something is read or sent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.cells import set_cell_size
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.text import Text

from camagent import language
from camagent.errors import printable
from camagent.language import Tongue

_MARKS = {"pass": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("–", "bright_black")}
_PLAIN = {"pass": "ok", "warn": "! ", "fail": "NO", "skip": "- "}  # for terminals that cannot write a tick
_WIDTH = 14
_NAME_CELLS = 13  # of a step's name in another language


class StepsView:
    """Prints one line per step of a verification: `✓ signer  id = 3f.., of = 2`. Foreign text never becomes markup."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._has_ticks = (self._console.encoding or "").lower().startswith("utf")
        self.tongue = language.of(self._console)

    def show(self, step: Mapping[str, Any]) -> None:
        """One step as `Step.report()` gives it: `{"id", "status", "measured"}`."""
        status = str(step.get("status", "skip"))
        mark, colour = _MARKS.get(status, _MARKS["skip"])
        line = Text()
        line.append(mark if self._has_ticks else _PLAIN.get(status, "- "), style=colour)
        line.append(f" {printable(step.get('id', '?'), 64):<{_WIDTH}} ")
        if self.tongue.catalogue:
            line.append(set_cell_size(self.tongue.name("steps", str(step.get("id")), ""), _NAME_CELLS))
        words = _in_words(status, step.get("measured"), self.tongue)
        line.append(words, style=colour if status in ("warn", "fail") else "")
        self._console.print(line, soft_wrap=True)

    def note(self, words: object) -> None:
        """A line that is no step: what is being done now."""
        self._console.print(Text(f"  {printable(words, 400)}", style="bright_black"), soft_wrap=True)

    def close(self) -> None:
        """Ends the output: nothing is left half written."""
        self._console.file.flush()


class WorkView:
    """What an install tells while it goes on: steps on stdout, a bar on stderr where that is a terminal.

    `steps` collects every step for `--json`; with `silent` nothing but the bar is shown.
    """

    def __init__(self, words: str, *, silent: bool) -> None:
        self.steps: list[Mapping[str, Any]] = []
        self._words = words
        on_terminal, terminal = sys.stderr.isatty(), Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            console=terminal, transient=True, disable=not on_terminal, redirect_stdout=False, redirect_stderr=on_terminal,
        )  # fmt: skip
        # where both are the same terminal, lines must go past the bar, which only its own console can do
        shared = terminal if on_terminal and sys.stdout.isatty() else None
        self._view = None if silent else StepsView(shared)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        if self._view:
            self._view.close()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Takes one event as `camagent.service` words them."""
        step, state, progress = event.get("step"), event.get("state"), event.get("progress")
        if isinstance(step, Mapping):
            self.steps.append(step)
            if self._view:
                self._view.show(step)
        if state is not None and self._view:
            self._view.note(state)
        if isinstance(progress, Mapping):
            self._advance(progress)

    def _advance(self, progress: Mapping[str, Any]) -> None:
        done, of = progress.get("done"), progress.get("of")
        if self._task is None:
            self._task = self._bar.add_task(printable(self._words, 60), total=None)
        if isinstance(done, int | float):
            self._bar.update(self._task, completed=done, total=of if isinstance(of, int | float) else None)


def _in_words(status: str, measured: object, tongue: Tongue) -> str:
    if not isinstance(measured, Mapping):
        return ""
    if status == "fail" and "code" in measured:
        return tongue.refused(printable(measured["code"], 64), printable(measured.get("what", ""), 400))
    if set(measured) == {"why"}:
        return printable(tongue.sentence(str(measured["why"])), 200)
    return ", ".join(f"{printable(key, 64)} = {printable(value)}" for key, value in measured.items())


__all__ = ["StepsView", "WorkView"]
