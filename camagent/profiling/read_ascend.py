"""What Ascend's msprof exports: op_summary_*.csv (one line a call) and op_statistic_*.csv (one line an operator type).

CANN 5 to 9 differ in which columns there are, in their order, and in whether a name has its unit; so columns are found by name.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from types import MappingProxyType

from camagent.profiling.columns import number, sides
from camagent.profiling.recording import Call, Recording, Shape

_UNIT = re.compile(r"\s*\((?:us|ns|%)\)$")
# field -> what CANN and the Ascend PyTorch profiler (kernel_details.csv) call its column, without the unit
_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "name": ("op name", "name", "kernel name"),
    "type": ("op type", "type"),
    "duration": ("task duration", "duration"),
    "start": ("task start time", "start time"),
    "place": ("task type", "core type", "accelerator core"),
    "row": ("stream id",),
    "outputs": ("output shapes",),
    "inputs": ("input shapes",),
    "count": ("count",),
    "total": ("total time", "total duration"),
})  # fmt: skip
_SUMMARY, _STATISTIC = ("name", "type", "duration"), ("type", "count", "total")
_HEAD_LINES = 20  # a table may stand below a title


@dataclass(frozen=True, slots=True)
class _Head:
    """Where the columns are; `at` counts lines."""

    at: int
    columns: Mapping[str, int]
    unitless: bool  # the start time's column: then whole numbers are nanoseconds, others microseconds


def looks_like(text: str) -> bool:
    """Has it a line with the columns of one of the two files?"""
    return _head(text) is not None


def read(text: str) -> Recording:
    """The calls of op_summary, or the totals of op_statistic."""
    head = _head(text)
    assert head is not None, "looks_like was asked before"
    rows = _rows(text, head)
    return _statistic(rows, head) if "total" in head.columns and "duration" not in head.columns else _summary(rows, head)


def _head(text: str) -> _Head | None:
    for at, line in enumerate(text[:100_000].splitlines()[:_HEAD_LINES]):
        names = [cell.strip().lower() for cell in next(csv.reader([line]), [])]
        bare = [_UNIT.sub("", name) for name in names]
        columns = {
            field: bare.index(found)
            for field, aliases in _COLUMNS.items()
            if (found := next((alias for alias in aliases if alias in bare), None)) is not None
        }
        if any(all(field in columns for field in wanted) for wanted in (_SUMMARY, _STATISTIC)):
            return _Head(at, columns, unitless="task start time" in names)
    return None


def _rows(text: str, head: _Head) -> list[Sequence[str]]:
    """Lines below the head; one that the csv module refuses is a line without columns."""
    source = csv.reader(io.StringIO(text))
    found: list[Sequence[str]] = []
    while True:
        try:
            row = next(source, None)
        except csv.Error:
            found.append(())
            continue
        if row is None:
            return found[head.at + 1 :]
        found.append(row)


def _summary(rows: Iterable[Sequence[str]], head: _Head) -> Recording:
    parsed = [_call(row, head) for row in rows if any(row)]
    calls = [call for call in parsed if call is not None]
    if all(call.start is not None for call in calls):
        calls.sort(key=lambda call: call.start or 0.0)
    counts = Counter((call.name, call.type) for call in calls)
    runs = max(1, median_low(counts.values())) if counts else 1
    seen, placed = Counter[tuple[str, str]](), []
    for call in calls:
        key = (call.name, call.type)
        placed.append(replace(call, run=min(runs - 1, seen[key] * runs // counts[key])))
        seen[key] += 1
    return Recording("ascend", "Ascend op_summary", tuple(placed), runs, skipped=len(parsed) - len(calls))


def _call(row: Sequence[str], head: _Head) -> Call | None:
    cell = _cells(row, head)
    us, kind = number(cell("duration")), cell("type")
    if us is None or not kind or (kind == "N/A" and cell("name") in ("", "N/A")):
        return None
    start = number(cell("start"))
    if start is not None and head.unitless and "." not in cell("start"):
        start /= 1000
    return Call(
        kind if kind != "N/A" else cell("name"), us, cell("name"), start=start, place=cell("place"), row=cell("row"),
        shape=_shape(cell("outputs"), 0), weights=_shape(cell("inputs"), 1),
    )  # fmt: skip


def _statistic(rows: Iterable[Sequence[str]], head: _Head) -> Recording:
    calls, skipped = list[Call](), 0
    for row in rows:
        if not any(row):
            continue
        cell = _cells(row, head)
        us, count = number(cell("total")), number(cell("count"))
        if us is None or not cell("type"):
            skipped += 1
        else:
            calls.append(Call(cell("type"), us, place=cell("place"), count=max(1, round(count or 1))))
    return Recording("ascend", "Ascend op_statistic", tuple(calls), None, ordered=False, skipped=skipped)


def _cells(row: Sequence[str], head: _Head) -> Callable[[str], str]:
    """A line's cell by field; empty where the file or the line has none. Some versions put a tab behind numbers."""

    def cell(field: str) -> str:
        at = head.columns.get(field, len(row))
        return row[at].strip() if at < len(row) else ""

    return cell


def _shape(cell: str, index: int) -> Shape:
    """`1,32,176,176;32` -> the shape at `index`. Some versions put it in quotation marks of its own."""
    shapes = cell.strip('"').split(";")
    return sides(shapes[index].strip()) if len(shapes) > index else ()
