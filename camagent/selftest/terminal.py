"""The report on a terminal: verdict, causes, the ladder as a checklist, the variants, the cost. Made for 80 columns.

Everything is `Text`, never markup: what a model, a broker or a file name says is printed as it is, escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from camagent.errors import printable
from camagent.language import ENGLISH, Tongue
from camagent.selftest import words
from camagent.selftest.printer import Printer
from camagent.selftest.report import Cause, Report, Status, StepReport, Trial, Value, Verdict

_MARKS: dict[Status, tuple[str, str, str]] = {  # with ticks, without, colour
    "pass": ("✓", "ok", "green"),
    "warn": ("!", "! ", "yellow"),
    "fail": ("✗", "NO", "red"),
    "skip": ("–", "- ", "bright_black"),
}
_COLOURS: dict[Verdict, str] = {"healthy": "green", "fault": "red", "inconclusive": "yellow"}
_VERDICT_STATUS: dict[Verdict, Status] = {"healthy": "pass", "fault": "fail", "inconclusive": "warn"}
_NUMBERS = 6  # of a step's; the page and the JSON have all
_VARIANTS = 12
_BAR = 12  # characters
_DETAILS_FROM = 100  # columns from which the variants' details fit beside them
_MUTED = "bright_black"


def render(report: Report, console: Console, tongue: Tongue = ENGLISH) -> None:
    """Prints the whole report. Needs no colour and, where the console's encoding is not UTF, no more than ASCII of its own."""
    view = _View(console, tongue)
    view.verdict(report)
    for number, cause in enumerate(report.causes, 1):
        view.cause(number, cause)
    view.steps(report)
    view.variants(words.ranked(report.trials))
    view.line()
    view.line(Text(tongue.say("cost: {cost}", cost=words.cost(report, tongue)), style=_MUTED))


class _View(Printer):
    def __init__(self, console: Console, tongue: Tongue) -> None:
        super().__init__(console)
        self._tongue = tongue

    def verdict(self, report: Report) -> None:
        say = self._tongue.say
        tested, around = words.subject(report, self._tongue)
        self.line(Text(say("self-test of {subject}", subject=tested) if tested else say("self-test"), style="bold"))
        if around:
            self.line(Text(around, style=_MUTED))
        self.line()
        mark = self._mark(_VERDICT_STATUS[report.verdict])
        self.line(_beside(mark, Text(words.headline(report, self._tongue), style=f"bold {_COLOURS[report.verdict]}")))

    def cause(self, number: int, cause: Cause) -> None:
        title = Text(f"{number}. ", style="bold")
        title.append(printable(cause.id, 64), style="bold red")
        title.append(f"  ({words.layer(cause, self._tongue)})", style=_MUTED)
        self.line()
        self.line(title)
        self.line(Padding(_named(self._facts(cause)), (0, 0, 0, 3), expand=False))

    def _facts(self, cause: Cause) -> list[tuple[str, Text]]:
        tongue = self._tongue
        facts: list[tuple[str, Text]] = [("", Text(words.means(cause, tongue)))]
        if cause.alternatives:
            either = tongue.say("{causes}: these measurements cannot tell them apart", causes=words.alternatives(cause, tongue))
            facts.append((tongue.say("or"), Text(either)))
        evidence = cause.report()["evidence"]
        for index, (key, value) in enumerate(evidence.items()):
            facts.append(("" if index else tongue.say("evidence"), _pair(key, value)))
        fix, original = words.fix(cause, tongue)
        facts.append((tongue.say("fix"), Text(fix, style="bold")))
        if original:
            facts.append((tongue.say("original"), Text(original)))
        if changed := words.change(cause):
            facts.append((tongue.say("change"), Text(changed)))
        facts.append(("", self._fix_state(cause)))
        send = words.send(cause, tongue)
        return facts + [("" if index else tongue.say("send"), Text(printable(item, 400))) for index, item in enumerate(send)]

    def _fix_state(self, cause: Cause) -> Text:
        status: Status = "pass" if cause.fix_verified else "skip" if cause.fix_verified is None else "warn"
        return Text.assemble(self._mark(status), " ", (words.fix_state(cause, self._tongue), _MARKS[status][2]))

    def steps(self, report: Report) -> None:
        tongue = self._tongue
        self._heading(tongue.say("Steps") if report.verdict != "healthy" else tongue.say("What was checked"))
        table = Table.grid(padding=(0, 1, 0, 0))
        for _ in ("mark", "id"):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        for step in report.steps:
            seconds = Text(f"{step.seconds:.1f} s", style=_MUTED)
            table.add_row(self._mark(step.status), Text(printable(step.id, 64)), _numbers(step, tongue), seconds)
        self.line(table)

    def variants(self, trials: list[Trial]) -> None:
        if not trials:
            return
        say = self._tongue.say
        self._heading(say("Variants: one assumption changed, 1 = the whole known answer came back"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(max_width=28, no_wrap=True, overflow="ellipsis")
        table.add_column(max_width=28, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, min_width=5)
        table.add_column(no_wrap=True, min_width=_BAR)
        wide = self._width >= _DETAILS_FROM
        if wide:
            table.add_column(no_wrap=True, overflow="ellipsis")
        for trial in trials[:_VARIANTS]:
            cells = [Text(printable(trial.axis, 64)), Text(printable(trial.cause, 64))]
            cells += [Text(f"{trial.margin:+.2f}"), self._bar(trial.margin)]
            table.add_row(*cells, *([Text(printable(trial.detail), style=_MUTED)] if wide else []))
        self.line(table)
        if len(trials) > _VARIANTS:
            rest = say(".. and {more} more, in --json and --html", more=len(trials) - _VARIANTS)
            self.line(Text(rest, style=_MUTED))

    def _heading(self, text: str) -> None:
        self.line()
        self.line(Text(text, style="bold"))

    def _mark(self, status: Status) -> Text:
        tick, plain, colour = _MARKS[status]
        return Text(plain if self._ascii else tick, style=colour)

    def _bar(self, margin: float) -> Text:
        """Full at 1, empty at 0 and below: nothing came back."""
        share = 0.0 if math.isnan(margin) else min(1.0, max(0.0, margin))
        filled, empty = ("#", ".") if self._ascii else ("━", "─")
        cells = round(share * _BAR)
        return Text.assemble((filled * cells, "green"), (empty * (_BAR - cells), _MUTED))


def _beside(mark: Text, text: Text) -> Table:
    """A mark, and text that wraps under itself."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(mark, text)
    return table


def _named(facts: Iterable[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style=_MUTED, min_width=8)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(Text(name), text)
    return table


def _numbers(step: StepReport, tongue: Tongue) -> Text:
    numbers = words.measured(step)
    if step.status == "fail" and "code" in numbers:
        refused = tongue.refused(words.shown(numbers["code"]), words.shown(numbers.get("what")))
        return Text(refused, style=_MARKS["fail"][2])
    if set(numbers) == {"why"}:
        return Text(tongue.sentence(words.shown(numbers["why"])), style=_MUTED)
    text = Text()
    for index, (key, value) in enumerate(list(numbers.items())[:_NUMBERS]):
        text.append(", " if index else "").append_text(_pair(key, value))
    if len(numbers) > _NUMBERS:
        text.append(tongue.say(", .. {more} more", more=len(numbers) - _NUMBERS), style=_MUTED)
    return text


def _pair(key: str, value: Value) -> Text:
    whole = words.pair(key, value)
    text = Text(whole)
    text.stylize(_MUTED, 0, len(key) + 2)
    return text
