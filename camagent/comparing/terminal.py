"""The comparison on a terminal: a line per model, a histogram of scores, warnings. 100 columns do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from camagent.comparing.report import Report, Row
from camagent.errors import printable

_BLOCKS = " ▁▂▃▄▅▆▇█"
NONE = "–"


def render(report: Report, console: Console) -> None:
    """Prints the whole report. Everything is `Text`, never markup: names come from strangers."""
    console.print(Text(summary(report), style="bold"))
    headings, lines = table_of(report)
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    for cells in (headings, *lines):  # never cut: what does not fit is wrapped by the terminal
        name, *numbers = zip(cells, widths, strict=True)
        line = [name[0].ljust(name[1]), *(cell.rjust(width) for cell, width in numbers)]
        console.print(Text("  ".join(line)), soft_wrap=True)
    if report.reference.histogram.any():
        console.print(Text("candidates by score, 0 .. 1, logarithmic", style="bright_black"))
        for tally in (report.reference, *report.tallies):
            console.print(Text(f"{printable(tally.name, 32):<32} |{bars(tally.histogram)}| best {tally.score_max:.3f}"))
    for sentence in report.warnings:
        console.print(Text(f"look at  {printable(sentence, 600)}", style="yellow"), soft_wrap=True)


def summary(report: Report) -> str:
    """What was compared, in one line."""
    pictures = f"{report.pictures} picture{'s' * (report.pictures != 1)}"
    objects = f", {report.objects} objects from {report.min_score:g} on" if report.objects is not None else ""
    return f"against {printable(report.reference.name, 64)} on {pictures}{objects}"


def table_of(report: Report) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Headings, a model each, and a line per number that some model has."""
    rows = report.rows
    lines = [[name, *(cell(row) for row in rows)] for name, cell in _LINES]
    return ["", *(printable(row.name, 32) for row in rows)], [line for line in lines if set(line[1:]) != {NONE}]


def bars(histogram: NDArray[np.int64]) -> str:
    """One character per bin, on a logarithmic scale: a hundred weak candidates stand beside one good one."""
    heights = np.log1p(histogram)
    top = heights.max(initial=0.0) or 1.0
    return "".join(_BLOCKS[int(np.ceil(height / top * (len(_BLOCKS) - 1)))] for height in heights)


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _of_objects(row: Row, text: str) -> str:
    return text if row.map is not None else NONE


def _iou(row: Row) -> str:
    return NONE if row.iou is None or row.lowest_iou is None else f"{row.iou:.3f} ({row.lowest_iou:.2f})"


_LINES: Sequence[tuple[str, Callable[[Row], str]]] = (
    ("cosine of outputs, lowest", lambda row: NONE if row.cosine is None else f"{row.cosine:.5f}"),
    ("mAP, IoU 0.50 to 0.95", lambda row: _share(row.map)),
    ("mAP, IoU 0.50", lambda row: _share(row.map50)),
    ("objects both see", lambda row: _of_objects(row, str(row.seen))),
    ("lost", lambda row: _of_objects(row, str(row.lost))),
    ("faded below the threshold", lambda row: _of_objects(row, str(row.faded))),
    ("gained", lambda row: _of_objects(row, str(row.gained))),
    ("IoU of boxes, mean (lowest)", _iou),
    ("score, largest change", lambda row: NONE if row.score_change is None else f"{row.score_change:.3f}"),
    ("pixels of the same class", lambda row: _share(row.same_pixels)),
    ("mIoU of classes", lambda row: _share(row.mean_iou)),
    ("pictures of the same class", lambda row: _share(row.same_first)),
)
