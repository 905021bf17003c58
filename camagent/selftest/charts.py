"""Score histograms and margin bars as SVG. Colours come from the page's style sheet, so they follow its scheme."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from camagent.selftest.elements import tag
from camagent.selftest.report import Histogram, Mark

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 26  # room for labels around the plot
_MARK_LINE = 15  # height of a mark's label
_TICKS = 5
_BAR_WIDTH, _BAR_HEIGHT = 120, 12


def histogram_svg(histogram: Histogram) -> ET.Element | None:
    """Bars on a logarithmic height, since thousands of cells see nothing and three see something. None where it has no bars."""
    edges, counts = histogram.edges, histogram.counts
    if len(edges) != len(counts) + 1 or not counts or not edges[-1] > edges[0]:
        return None
    top = max(1, math.ceil(math.log10(max(1, *counts, 10))))  # decades
    marks = [mark for mark in histogram.marks if math.isfinite(mark.at)]
    head = _TOP + _MARK_LINE * len(marks)
    axes = _Axes(edges[0], edges[-1], top, head, head + _HEIGHT - _TOP - _BOTTOM)
    height = axes.floor + _BOTTOM
    return tag(
        "svg", tag("title", f"{histogram.title}: {sum(counts)} values from {edges[0]:.4g} to {edges[-1]:.4g}"),
        axes.grid(),
        (axes.column(left, right, count) for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True) if count),
        axes.labels(), (axes.mark(mark, _TOP + _MARK_LINE * row) for row, mark in enumerate(marks)),
        viewBox=f"0 0 {_WIDTH} {height}", class_="chart", role="img",
    )  # fmt: skip


def margin_svg(margin: float) -> ET.Element:
    """A bar from the middle: to the right what the known answer gained, to the left what is worse than no answer at all."""
    middle = _BAR_WIDTH / 2
    share = 0.0 if math.isnan(margin) else max(-1.0, min(1.0, margin))
    length = abs(share) * middle
    return tag(
        "svg", tag("rect", x=0, y=_BAR_HEIGHT / 2 - 1, width=_BAR_WIDTH, height=2, class_="track"),
        tag("rect", x=round(middle - length if share < 0 else middle, 1), y=1, width=round(length, 1),
            height=_BAR_HEIGHT - 2, rx=2, class_="gain" if share > 0 else "loss"),
        tag("rect", x=middle - 0.5, y=0, width=1, height=_BAR_HEIGHT, class_="zero"),
        viewBox=f"0 0 {_BAR_WIDTH} {_BAR_HEIGHT}", class_="margin", aria_hidden="true",
    )  # fmt: skip


class _Axes:
    """From values to places: x linear from `low` to `high`, height logarithmic over `decades`."""

    def __init__(self, low: float, high: float, decades: int, ceiling: int, floor: int) -> None:
        self.low, self.high, self.decades, self.ceiling, self.floor = low, high, decades, ceiling, floor

    def x(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, count: int) -> float:
        """One value is a tenth of a decade high, so that it is seen."""
        share = (math.log10(count) + 0.1) / (self.decades + 0.1) if count > 0 else 0.0
        return round(self.floor - share * (self.floor - self.ceiling), 1)

    def column(self, left: float, right: float, count: int) -> ET.Element:
        x, y = self.x(left), self.y(count)
        hint = tag("title", f"{left:.4g} to {right:.4g}: {count}")
        width, height = max(1.0, round(self.x(right) - x - 1, 1)), round(self.floor - y, 1)
        return tag("rect", hint, x=x, y=y, width=width, height=height, class_="column")

    def grid(self) -> Sequence[ET.Element]:
        lines = []
        for power in range(self.decades + 1):
            y = self.y(10**power)
            lines.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            lines.append(tag("text", _thousands(10**power), x=_LEFT - 6, y=y + 4, text_anchor="end"))
        return lines

    def labels(self) -> Sequence[ET.Element]:
        made = [tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=self.floor, y2=self.floor, class_="axis")]
        for index in range(_TICKS + 1):
            value = self.low + (self.high - self.low) * index / _TICKS
            made.append(tag("text", f"{value:.3g}", x=self.x(value), y=self.floor + 17, text_anchor=_anchor(index, _TICKS)))
        return made

    def mark(self, mark: Mark, y: int) -> ET.Element:
        x = self.x(mark.at)
        on_left = x > (_LEFT + _WIDTH) / 2
        return tag(
            "g", tag("line", x1=x, x2=x, y1=y - 4, y2=self.floor, class_="mark"),
            tag("text", f"{mark.name} {mark.at:.4g}", x=x - 5 if on_left else x + 5, y=y + 6, class_="mark",
                text_anchor="end" if on_left else "start"),
        )  # fmt: skip


def _anchor(index: int, last: int) -> str:
    return "start" if index == 0 else "end" if index == last else "middle"


def _thousands(count: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count // size}{unit}"
    return str(count)
