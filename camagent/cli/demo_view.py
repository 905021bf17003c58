"""What the demo shows while it runs: a table that lives in a terminal, lines of JSON everywhere else."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from camagent import language
from camagent.errors import printable

_RATE_S = 5.0
_BAR = 20


class View(Protocol):
    """Is told of every message of the demo's agent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None: ...

    def message(self, what: str, body: Mapping[str, Any]) -> None:
        """`what`: the topic below the camera, such as `detections`."""
        ...


class Lines:
    """Each detections message as one line of JSON on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None: ...

    def message(self, what: str, body: Mapping[str, Any]) -> None:
        """Prints it."""
        if what == "detections":
            sys.stdout.write(json.dumps(body) + "\n")
            sys.stdout.flush()


class LiveTable:
    """A table that is drawn anew a few times a second."""

    def __init__(self, console: Console, hints: Mapping[str, str]) -> None:
        """`hints`: what else one may do, and how."""
        self._tongue = language.of(sys.stdout)
        self._hints = hints
        self._arrivals: deque[float] = deque()
        self._detections: Mapping[str, Any] = {}
        self._areas: Mapping[str, Any] = {}
        self._health: Mapping[str, Any] = {}
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def message(self, what: str, body: Mapping[str, Any]) -> None:
        """Takes it into the table."""
        if what == "detections":
            self._arrivals.append(time.monotonic())
            self._detections = body
        elif what == "segmentation":
            self._areas = body
        elif what == "health":
            self._health = body

    def _draw(self) -> Table:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bright_black", no_wrap=True)
        table.add_column()
        for name, text in (
            ("camera", self._state()),
            ("sees", self._seen()),
            ("areas", self._shares()),
            ("pace", self._pace()),
        ):
            table.add_row(name, text)
        for name, hint in self._hints.items():
            table.add_row(name, Text(hint, style="cyan"))
        return table

    def _state(self) -> Text:
        health = self._health
        if not health:
            return Text("starting")
        reason = health.get("reason")
        if not reason:
            return Text(printable(health.get("state"), 40), style="green")
        return Text(self._tongue.because(printable(reason, 64), printable(health.get("detail"), 300)), style="yellow")

    def _seen(self) -> Text:
        counted = Counter(str(one.get("label")) for one in self._detections.get("detections", ()))
        words = ", ".join(f"{number} {printable(label, 40)}" for label, number in sorted(counted.items()))
        return Text(words or "nothing", style="bold" if words else "")

    def _shares(self) -> Text:
        text = Text()
        for one in self._areas.get("classes", ()):
            share = float(one.get("share", 0.0))
            text.append(f"{printable(one.get('label'), 40)} {share:4.0%} ")
            text.append("█" * round(share * _BAR) + "  ", style="blue")
        return text

    def _pace(self) -> Text:
        now = time.monotonic()
        while self._arrivals and now - self._arrivals[0] > _RATE_S:
            self._arrivals.popleft()
        total = self._detections.get("latency_ms", {}).get("total")
        late = f", {float(total):.0f} ms from packet to result" if total is not None else ""
        return Text(f"{len(self._arrivals) / _RATE_S:.1f} messages a second{late}")
