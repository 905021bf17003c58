"""One inference as Chrome trace events, to be opened in ui.perfetto.dev: blocks over their operators.

The first row has the blocks with each operator's median time, end to end. Where the tool knows when each operator began, the
rows below show the one inference that took the median time as it really was, thread by thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from statistics import median_low
from typing import Any

from camagent.errors import printable
from camagent.profiling.blocks import title
from camagent.profiling.families import FAMILY_OF
from camagent.profiling.kinds import kind_of
from camagent.profiling.recording import Call, Recording
from camagent.profiling.report import Report
from camagent.profiling.tree import Box, boxes

_PID = 1
_NAME = 200
Event = dict[str, Any]


def timeline(report: Report) -> str:
    """The file: the trace format's object form."""
    recording = report.profile.recording
    drawn = boxes(report.subject, report.profile.operators)
    events = [*_names(report), *map(_of_box, drawn), *_as_it_was(recording)]
    facts = {printable(key, 64): printable(value, 400) for key, value in report.facts.items()}
    lines = ",\n".join(json.dumps(event) for event in events)
    return f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(facts)},\n"traceEvents": [\n{lines}\n]}}\n'


def _names(report: Report) -> Iterator[Event]:
    yield _named("process_name", 0, printable(report.subject, _NAME))
    yield _named("thread_name", 1, "blocks and operators, median times")
    rows = _rows(report.profile.recording)
    for row, number in rows.items():
        yield _named("thread_name", number, f"one inference as it was, {printable(row, 64) or 'all'}")
    for number in (1, *rows.values()):
        yield {"name": "thread_sort_index", "ph": "M", "pid": _PID, "tid": number, "args": {"sort_index": number}}


def _named(what: str, row: int, name: str) -> Event:
    return {"name": what, "ph": "M", "pid": _PID, "tid": row, "args": {"name": name}}


def _of_box(box: Box) -> Event:
    one = box.operator
    args: dict[str, Any] = {"ms": round(box.us / 1e3, 4)}
    if one is not None:
        args |= {"type": printable(one.type, 64), "kind": one.kind, "block": printable(title(one.block), _NAME)}
        args |= {"low_ms": round(one.low / 1e3, 4), "high_ms": round(one.high / 1e3, 4), "output": list(one.shape)}
    name = _title(one.type, one.label) if one else printable(box.name, _NAME)
    span = {"name": name, "cat": FAMILY_OF[one.kind].id if one else "block", "tid": 1, "args": args}
    return span | _length(box.start, box.us)


def _as_it_was(recording: Recording) -> Iterator[Event]:
    rows = _rows(recording)
    if not rows:
        return
    run = _median_run(recording)
    calls = [(call.start, call) for call in recording.calls if call.start is not None and call.run == run]
    first = min(start for start, _ in calls)
    for start, length, call in _apart(calls):
        args = {"type": printable(call.type, 64), "on": printable(call.place, 32), "output": list(call.shape)}
        span = {"name": _title(call.type, call.name), "cat": FAMILY_OF[kind_of(call.type)].id, "args": args}
        yield span | {"tid": rows[call.row]} | _length(start - first, length)


def _apart(calls: Sequence[tuple[float, Call]]) -> Iterator[tuple[float, float, Call]]:
    """Start, length and call. One that reaches into the next of its row by a clock's tick ends where that one begins."""
    for _, row in groupby(sorted(calls, key=lambda pair: (pair[1].row, pair[0])), key=lambda pair: pair[1].row):
        found = list(row)
        for (start, call), after in zip_longest(found, found[1:]):
            end = start + (call.us if call.span is None else call.span)
            if after is not None and after[0] < end < after[0] + (after[1].us if after[1].span is None else after[1].span):
                end = after[0]
            yield start, end - start, call


def _rows(recording: Recording) -> dict[str, int]:
    """Threads or streams of one inference, numbered; none where the tool does not say when a call began."""
    if not recording.ordered or any(call.start is None for call in recording.calls):
        return {}
    run = _median_run(recording)
    found: dict[str, Call] = {call.row: call for call in recording.calls if call.run == run}
    return {row: number for number, row in enumerate(found, 2)}


def _median_run(recording: Recording) -> int:
    """The inference that took the median time."""
    runs = range(recording.runs or 1)
    times = dict.fromkeys(runs, 0.0)
    if recording.wall:
        times = dict(enumerate(recording.wall))
    else:
        for call in recording.calls:
            times[call.run] += call.us
    middle = median_low(times.values())
    return next(run for run, us in times.items() if us == middle)


def _title(kind: str, name: str) -> str:
    """`Conv /encoder/Conv`: narrow boxes show the beginning."""
    return printable(f"{kind} {name}" if name and name != kind else kind, _NAME)


def _length(start: float, length: float) -> Event:
    """What makes an event a complete one: whole microseconds from edge to edge, so that neighbours never overlap."""
    begin, end = round(start), round(start + length)
    return {"ph": "X", "ts": begin, "dur": end - begin, "pid": _PID}
