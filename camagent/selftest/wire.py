"""A whole report over the control socket: everything that it has as JSON lines, each picture a line of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from camagent.errors import Unreachable
from camagent.selftest.report import Exhibit, Report
from camagent.service import Event


def events(report: Report) -> Iterator[Event]:
    """{"report": {..}} without pictures, then {"exhibit": {..}} for each."""
    yield {"report": _builtins(replace(report, exhibits=()))}
    for exhibit in report.exhibits:
        yield {"exhibit": _builtins(exhibit)}


class Receiver:
    """Puts a report together again from the events of its other end."""

    def __init__(self) -> None:
        self._report: Report | None = None
        self._exhibits: list[Exhibit] = []

    def take(self, event: Event) -> bool:
        """True for an event that was part of the report. Raises Unreachable where the other end speaks another version."""
        try:
            if "report" in event:
                self._report = msgspec.convert(event["report"], Report)
            elif "exhibit" in event:
                self._exhibits.append(msgspec.convert(event["exhibit"], Exhibit))
            else:
                return False
        except msgspec.ValidationError as exc:
            raise Unreachable(
                f"the agent's report cannot be read: {exc}",
                fix="run the command line of the version that the agent runs, or restart the agent",
            ) from exc
        return True

    def report(self) -> Report:
        """What came. Raises Unreachable where nothing did."""
        if self._report is None:
            raise Unreachable("the agent has sent no report", fix="see the agent's log")
        return replace(self._report, exhibits=tuple(self._exhibits))


def _builtins(value: Report | Exhibit) -> Any:
    return msgspec.to_builtins(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """What msgspec does not know: read-only mappings, numpy's scalars and arrays, and whatever else stands in evidence."""
    if isinstance(value, Mapping):
        return dict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
