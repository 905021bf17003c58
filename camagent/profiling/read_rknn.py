"""Rockchip's tables of layers: what eval_perf prints with perf_debug, and RKNN_QUERY_PERF_DETAIL of the C API.

rknn-toolkit2 1.x has three columns of cycles, 2.x has one (`DDR/NPU/Total`); a log puts a time stamp before each line. Cells
are told by blanks, not by place: long ones push the rest to the right, and a cell may be missing behind the time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from camagent.errors import InputError
from camagent.profiling.columns import number, sides
from camagent.profiling.recording import Call, Recording, Shape

_STAMP = re.compile(r"^\s*[DIWE] RKNN: \[[\d:. ]+\]:?\s?")
_HEAD = re.compile(r"^\s*ID\s+OpType\s+DataType\s+Target\b")
_RANKING = re.compile(r"^\s*OpType\s+Call ?Number\b")
_TWO_WORDS = re.compile(r"\b(DDR|NPU|CPU|GPU|Total|Task|Regcmd|Call|Time) (Cycles|Number|Size|Time|Ratio)\b")
_NAME = re.compile(r"\s(?!Up:)([A-Za-z]\w*:\S.*?)\s*$")  # `Conv:/model.0/conv/Conv`; `Up:` is a part of a workload
_SHAPES = re.compile(r"\(([\d,]*)\)")


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's columns and the lines below them."""

    columns: Sequence[str]
    lines: Sequence[str]


def looks_like(text: str) -> bool:
    """Has it a line with the columns of a table of layers, or of the ranking below it?"""
    return any(_HEAD.match(line) or _RANKING.match(line) for line in _lines(text))


def read(text: str) -> Recording:
    """One inference's layers; the ranking of types where that is all there is. Raises InputError for a table without times."""
    lines = _lines(text)
    layers = _table(lines, _HEAD)
    if layers is None:
        return _ranking(_table(lines, _RANKING))
    if "Time(us)" not in layers.columns:
        raise InputError(
            "this table of layers has no times: it is the converter's own",
            evidence={"columns": " ".join(layers.columns), "missing": "Time(us)"},
            fix="measure on the board: rknn.init_runtime(target=.., perf_debug=True), then rknn.eval_perf()",
        )
    calls, skipped = list[Call](), 0
    for line in layers.lines:
        if not line.strip() or not line.lstrip()[:1].isdigit():
            continue
        call = _layer(line, layers.columns)
        if call is None:
            skipped += 1
        else:
            calls.append(call)
    return Recording("rknn", "Rockchip table of layers", tuple(calls), 1, skipped=skipped)


def _layer(line: str, columns: Sequence[str]) -> Call | None:
    cells = dict(zip(columns, line.split(), strict=False))  # right as far as the time; behind it a cell may be missing
    us = number(cells.get("Time(us)", ""))
    if us is None or not cells["ID"].isdigit():
        return None
    found = _NAME.search(line)
    name = found[1].partition(":")[2] if found else ""
    return Call(
        cells["OpType"], us, name, place=cells["Target"], shape=_shape(cells.get("OutputShape", ""), 0),
        weights=_shape(cells.get("InputShape", ""), 1),
    )  # fmt: skip


def _ranking(table: _Table | None) -> Recording:
    """`ConvRelu  36  0  13166  13166  64.94`: type, calls, time on each processor, total, share."""
    assert table is not None, "looks_like was asked before"
    names = list(table.columns)
    calls, skipped = list[Call](), 0
    at = names.index("TotalTime(us)") if "TotalTime(us)" in names else len(names)
    for line in table.lines:
        cells = line.split()
        if not cells or cells[0] == "Total" or not cells[0][0].isalpha():
            continue
        us = number(cells[at]) if len(cells) > at else None
        if us is None:
            skipped += 1
        else:
            calls.append(Call(cells[0], us, count=max(1, round(number(cells[1]) or 1))))
    return Recording("rknn", "Rockchip ranking of types", tuple(calls), 1, ordered=False, skipped=skipped)


def _lines(text: str) -> list[str]:
    return [_STAMP.sub("", line) for line in text.splitlines()]


def _table(lines: Sequence[str], head: re.Pattern[str]) -> _Table | None:
    """The first such table, up to its sum or the next title."""
    at = next((index for index, line in enumerate(lines) if head.match(line)), None)
    if at is None:
        return None
    columns = _TWO_WORDS.sub(r"\1\2", _TWO_WORDS.sub(r"\1\2", lines[at])).split()
    below = lines[at + 1 :]
    end = next((index for index, line in enumerate(below) if line.lstrip().startswith(("Total Operator", "=="))), len(below))
    return _Table(columns, below[:end])


def _shape(cell: str, index: int) -> Shape:
    """`(1,3,224,224),(32,3,3,3)` -> the shape at `index`."""
    shapes = _SHAPES.findall(cell)
    return sides(shapes[index]) if len(shapes) > index else ()
