"""The comparison on a terminal: a line per model, a histogram of scores, warnings. 100 columns do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from camagent.comparing.report import Report, Row
from camagent.errors import printable

_BLOCKS = " ▁▂▃▄▅▆▇█"
NONE = "–"


def render(report: Report, console: Console) -> None:
    """Prints the whole report. Everything is `Text`, never markup: names come from strangers."""
    headings, lines = table_of(report)
    console.print(Text(summary(report), style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)
    if report.reference.histogram.any():
        console.print(Text("scores 0 .. 1", style="bright_black"))
        for tally in (report.reference, *report.tallies):
            console.print(Text(f"{printable(tally.name, 32):<32} |{bars(tally.histogram)}| best {tally.score_max:.3f}"))
    for sentence in report.warnings:
        console.print(Text(f"look at  {printable(sentence, 600)}", style="yellow"))


def summary(report: Report) -> str:
    """What was compared, in one line."""
    pictures = f"{report.pictures} picture{'s' * (report.pictures != 1)}"
    objects = f", {report.objects} objects from {report.min_score:g} on" if report.objects is not None else ""
    return f"against {printable(report.reference.name, 64)} on {pictures}{objects}"


def table_of(report: Report) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Headings and cells: only columns that some model has numbers for."""
    rows = report.rows
    columns = [(heading, [cell(row) for row in rows]) for heading, cell in _COLUMNS]
    kept = [(heading, cells) for heading, cells in columns if any(text != NONE for text in cells)]
    headings = [heading for heading, _ in kept]
    return headings, [[cells[index] for _, cells in kept] for index in range(len(rows))]


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


_COLUMNS = (
    ("model", lambda row: printable(row.name, 40)),
    ("cosine", lambda row: NONE if row.cosine is None else f"{row.cosine:.5f}"),
    ("mAP", lambda row: _share(row.map)),
    ("mAP50", lambda row: _share(row.map50)),
    ("same", lambda row: _of_objects(row, str(row.seen))),
    ("lost", lambda row: _of_objects(row, str(row.lost))),
    ("faded", lambda row: _of_objects(row, str(row.faded))),
    ("gained", lambda row: _of_objects(row, str(row.gained))),
    ("IoU (worst)", _iou),
    ("score", lambda row: NONE if row.score_change is None else f"±{row.score_change:.3f}"),
    ("same pixels", lambda row: _share(row.same_pixels)),
    ("mIoU", lambda row: _share(row.mean_iou)),
    ("same class", lambda row: _share(row.same_first)),
)
