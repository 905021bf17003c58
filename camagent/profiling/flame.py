"""The picture: blocks over their operators, as wide as their time. SVG without a script; hovering tells what a box is."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from itertools import groupby

from camagent.errors import printable
from camagent.profiling.families import FAMILIES, FAMILY_OF
from camagent.profiling.report import Report, shown
from camagent.profiling.tree import Box, boxes
from camagent.selftest.elements import tag

_WIDTH, _ROW, _GAP = 1200, 24, 1
_CHAR = 6.7  # width of a letter
_THIN = 0.6  # narrower boxes are drawn as one
_DEEPEST = 12  # rows; what lies deeper is in its block
_TITLE = 400

CSS = """
main { max-width: 1240px; }
.flame { display: block; width: 100%; min-width: 860px; height: auto; font: 11px ui-monospace, monospace; }
.flame rect { stroke: var(--card); stroke-width: .7; }
.flame rect:hover { stroke: var(--ink); stroke-width: 1.5; }
.flame text { fill: var(--ink); pointer-events: none; }
rect.block { fill: var(--block); } rect.layer { fill: var(--layer); } rect.point { fill: var(--point); }
rect.move { fill: var(--move); } rect.end { fill: var(--end); } rect.rest { fill: var(--rest); }
.key { width: 12px; height: 12px; vertical-align: -1px; margin-right: 6px; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; margin: 0 0 12px; font-size: .875rem; }
.share { width: 120px; height: 12px; display: block; }
.share .track { fill: var(--code); } .share .part { fill: var(--bar); }
:root { --block: #d9e0ea; --layer: #a9c6ee; --point: #b9dfc4; --move: #f3cf94; --end: #eeb0b4; --rest: #d4cfe6; }
@media screen and (prefers-color-scheme: dark) { :root {
  --block: #2f3947; --layer: #2c4f80; --point: #2a5a3d; --move: #6f5015; --end: #7a343b; --rest: #4a4263; } }
"""


def flame_svg(report: Report) -> ET.Element:
    """The whole inference on top, its blocks below, operators at the ends, in the order of execution."""
    drawn = [box for box in boxes(report.subject, report.profile.operators) if box.depth < _DEEPEST]
    scale = _WIDTH / (report.profile.total or 1.0)
    deepest = max((box.depth for box in drawn), default=0)
    return tag(
        "svg", tag("title", report.headline()), (_box(box, report, scale) for box in _thinned(drawn, scale)),
        viewBox=f"0 0 {_WIDTH} {(deepest + 1) * _ROW}", class_="flame", role="img",
    )  # fmt: skip


def keys() -> ET.Element:
    """What the colours mean."""
    return tag("ul", (tag("li", _key(family.id), family.says) for family in FAMILIES), class_="keys")


def share_svg(share: float) -> ET.Element:
    """A bar of a table: 0..1."""
    part = max(0.0, min(1.0, share))
    return tag(
        "svg", tag("rect", x=0, y=0, width=120, height=12, rx=2, class_="track"),
        tag("rect", x=0, y=0, width=round(120 * part, 1), height=12, rx=2, class_="part"),
        viewBox="0 0 120 12", class_="share", aria_hidden="true",
    )  # fmt: skip


def _key(family: str) -> ET.Element:
    square = tag("rect", x=0, y=0, width=12, height=12, rx=2, class_=family)
    return tag("svg", square, viewBox="0 0 12 12", class_="key", aria_hidden="true")


def _thinned(drawn: Iterable[Box], scale: float) -> Iterator[Box]:
    """Neighbours that are too thin to be seen become one box: a model of ten thousand operators stays a page."""
    by_depth = sorted(drawn, key=lambda box: (box.depth, box.start))
    for (_, thin), group in groupby(by_depth, key=lambda box: (box.depth, box.us * scale < _THIN)):
        if not thin:
            yield from group
            continue
        few = list(group)
        whole = few[-1].start + few[-1].us - few[0].start
        if whole * scale >= _THIN and sum(box.us for box in few) * scale >= _THIN:
            yield Box(f"{len(few)} small ones", few[0].start, sum(box.us for box in few), few[0].depth)


def _box(box: Box, report: Report, scale: float) -> ET.Element:
    x, width = round(box.start * scale, 2), round(box.us * scale, 2)
    y = box.depth * _ROW
    kind = FAMILY_OF[box.operator.kind].id if box.operator else "block"
    rect = tag("rect", tag("title", _says(box, report)), x=x, y=y, width=width, height=_ROW - _GAP, rx=2, class_=kind)
    room = int((width - 8) / _CHAR)
    if room < 3:
        return rect
    name = printable(box.operator.type if box.operator else box.name, _TITLE)
    text = name if len(name) <= room else name[: room - 1] + "…"
    return tag("g", rect, tag("text", text, x=round(x + 4, 2), y=y + 16))


def _says(box: Box, report: Report) -> str:
    took = f"{shown(box.us)}, {report.profile.share(box.us):.1%}"
    one = box.operator
    if one is None:
        return f"{printable(box.name, _TITLE)}: {took}"
    size = " " + "x".join(map(str, one.shape)) if one.shape else ""
    return f"{printable(one.label, _TITLE)}: {printable(one.type, 64)}{size}, {took}"
