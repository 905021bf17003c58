"""The profile on a terminal: the time, what kinds and blocks take of it, the slowest operators, what to do. 80 columns do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from camagent.errors import printable
from camagent.profiling.blocks import title
from camagent.profiling.report import Report, named
from camagent.profiling.summary import Row
from camagent.selftest.printer import Printer

_BAR = 16  # characters of 100 %
_COLUMN = 7
_SIZE = 14
_KINDS, _SLOWEST = 12, 8
_MUTED = "bright_black"


def render(report: Report, console: Console) -> None:
    """Prints the whole report. Everything is `Text`, never markup: names come from strangers."""
    view = _View(console)
    view.head(report)
    view.kinds(report)
    view.blocks(report)
    view.slowest(report)
    view.advice(report)


class PipeConsole(Console):
    """A reader that leaves early is no failure: by itself rich ends the process with 1."""

    def on_broken_pipe(self) -> None:
        """Leaves it to the command line."""
        raise BrokenPipeError


class _View(Printer):
    def head(self, report: Report) -> None:
        self.line(Text(f"profile of {printable(report.subject)}", style="bold"))
        facts = Table.grid(padding=(0, 2, 0, 0))
        facts.add_column(no_wrap=True)
        facts.add_column(overflow="fold")
        for key, value in report.facts.items():
            facts.add_row(Text(printable(key, 32), style=_MUTED), Text(printable(value, 400)))
        self.line(facts)
        self.line()
        self.line(Text(report.headline(), style="bold"))

    def kinds(self, report: Report) -> None:
        rows = report.profile.by_kind()
        table = self._table("operators", "calls", "ms")
        for row in rows[:_KINDS]:
            table.add_row(Text(_kind(row), overflow="ellipsis"), *self._numbers(row))
        self._rest(table, rows[_KINDS:])
        self.line()
        self.line(table)

    def blocks(self, report: Report) -> None:
        rows = report.profile.by_block()
        if len(rows) < 2:
            return
        table = self._table("blocks", "calls", "ms")
        for path, row in rows:
            table.add_row(Text(printable(title(path), 60), overflow="ellipsis"), *self._numbers(row))
        self.line()
        self.line(table)

    def slowest(self, report: Report) -> None:
        if not report.profile.recording.ordered:
            return
        table = self._table("slowest operators", "", "ms")
        for one in report.profile.slowest(_SLOWEST):
            size = "x".join(map(str, one.shape))
            name = Text(named(one), overflow="ellipsis")
            share = report.profile.share(one.us)
            table.add_row(name, Text(size, style=_MUTED, overflow="ellipsis"), _ms(one.us), _percent(share), self._bar(share))
        self.line()
        self.line(table)

    def advice(self, report: Report) -> None:
        self.line()
        if not report.findings:
            self.line(Text("nothing stands out that a rewrite would change"))
        for number, one in enumerate(report.findings, 1):
            head = Text(f"{number}. ", style="bold")
            head.append(f"{one.share:.0%} {printable(', '.join(one.types[:4]), 80)}", style="bold yellow")
            head.append(f"  {one.advice.id}", style=_MUTED)
            self.line(head)
            body = [Text(one.advice.says)]
            if one.about and one.about != one.types:
                body.append(Text(f"most in {printable(', '.join(one.about), 240)}", style=_MUTED))
            if one.advice.passes:
                body.append(Text.assemble("rewrite: ", (", ".join(one.advice.passes), "bold")))
            for text in body:
                self.line(Padding(text, (0, 0, 0, 3), expand=False))
        if report.command():
            self.line()
            self.line(Text(report.command(), style="bold", overflow="fold"))

    def _table(self, *heads: str) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        muted = [Text(head, style=_MUTED) for head in heads]
        table.add_column(no_wrap=True, max_width=self._width - 3 * _COLUMN - _BAR - 8)
        for _ in range(3):
            table.add_column(no_wrap=True, justify="right", min_width=_COLUMN)
        table.add_column(no_wrap=True, min_width=_BAR)
        table.add_row(*muted, Text("share", style=_MUTED), Text())
        return table

    def _numbers(self, row: Row) -> tuple[Text, Text, Text, Text]:
        return Text(str(row.calls)), _ms(row.us), _percent(row.share), self._bar(row.share)

    def _rest(self, table: Table, rows: Iterable[Row]) -> None:
        rest = list(rows)
        if rest:
            whole = Row("", sum(r.us for r in rest), sum(r.share for r in rest), sum(r.calls for r in rest))
            name = "1 other" if len(rest) == 1 else f"{len(rest)} others"
            table.add_row(Text(name, style=_MUTED), *self._numbers(whole))

    def _bar(self, share: float) -> Text:
        return Text(("#" if self._ascii else "█") * round(share * _BAR), style="blue")


def _kind(row: Row) -> str:
    """`Transpose (TransposeD)`: the kind, and what the tool calls it where that is something else."""
    others = [printable(name, 40) for name in row.types if name != row.name]
    return f"{row.name} ({', '.join(others[:3])}{', ..' if len(others) > 3 else ''})" if others else row.name


def _ms(us: float) -> Text:
    return Text(f"{us / 1e3:.2f}")


def _percent(share: float) -> Text:
    return Text(f"{share:.1%}")
