"""Progress on a terminal: a bar on stderr that leaves stdout alone and takes foreign text as text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from camagent.errors import printable

_SAID = 60  # characters beside a bar


def work_bar(*, stays_clear: bool) -> Progress:
    """A bar that shows nothing unless stderr is a terminal.

    Lines of stdout go past it only where both are the same terminal: everywhere else they would land on stderr. With
    `stays_clear` there is no bar there either, so that what scripts read is never wrapped or mixed.
    """
    shared = sys.stdout.isatty()
    on_terminal = sys.stderr.isatty() and not (stays_clear and shared)
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False), transient=True, disable=not on_terminal,
        redirect_stdout=on_terminal and shared, redirect_stderr=on_terminal,
    )  # fmt: skip


def follower(bar: Progress, task: TaskID) -> Callable[[str], None]:
    """Shows what somebody else says it is at; the bar fills where that ends with a percentage, and swings where it does not."""

    def follow(said: str) -> None:
        share = re.search(r"(\d{1,3})%$", said)
        bar.update(
            task, description=printable(said, _SAID), total=100 if share else None, completed=int(share[1]) if share else 0
        )

    return follow
