"""The profile as one page: the picture, the advice, the tables. It needs no script and asks nobody for anything."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from camagent.errors import printable
from camagent.profiling import flame
from camagent.profiling.blocks import title
from camagent.profiling.findings import Finding
from camagent.profiling.report import Report, named, shown
from camagent.profiling.summary import Operator, Row
from camagent.selftest.elements import document, style, tag
from camagent.selftest.page_style import CSS, digest

_SLOWEST = 60  # the JSON has all
_STYLE = CSS + flame.CSS
_POLICY = f"default-src 'none'; style-src '{digest(_STYLE)}'; base-uri 'none'; form-action 'none'"


def page(report: Report) -> str:
    """The whole report as HTML, UTF-8."""
    policy = tag("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    subject = printable(report.subject)
    head = tag(
        "head", tag("meta", charset="utf-8"), policy, tag("meta", name="viewport", content="width=device-width"),
        tag("meta", name="referrer", content="no-referrer"), tag("title", f"{subject}: profile"), style(_STYLE),
    )  # fmt: skip
    profile = report.profile
    main = tag(
        "main", tag("p", "camagent model profile", class_="soft top"), tag("h1", subject),
        tag("p", report.headline(), class_="verdict skip"), _facts(report),
        tag("h2", "Blocks and operators" if profile.recording.ordered else "Operators"), _picture(report),
        tag("h2", "What to do"), _advice(report),
        tag("h2", "By kind of operator"), _kinds(report), _blocks(report), _operators(report),
    )  # fmt: skip
    return document(tag("html", head, tag("body", main), lang="en"))


def _facts(report: Report) -> ET.Element:
    items: list[ET.Element] = []
    for key, value in report.facts.items():
        items += [tag("dt", printable(key, 64)), tag("dd", printable(value, 400))]
    return tag("div", tag("dl", items), class_="card")


def _picture(report: Report) -> ET.Element:
    order = "Blocks from left to right in the order in which they begin. " if report.profile.recording.ordered else ""
    said = f"{order}Boxes are as wide as their time; rest the pointer on one to read what it is."
    legend = tag("p", said, class_="soft legend")
    return tag("div", legend, flame.keys(), tag("div", flame.flame_svg(report), class_="wide"))


def _advice(report: Report) -> list[ET.Element]:
    if not report.findings:
        return [tag("p", "Nothing stands out that a rewrite would change.", class_="card")]
    made = [_finding(number, one) for number, one in enumerate(report.findings, 1)]
    command = report.command()
    apply = [tag("p", "All of them: ", tag("code", command))] if command else []
    return [*made, *apply]


def _finding(number: int, one: Finding) -> ET.Element:
    types = printable(", ".join(one.types[:6]), 120)
    about = printable(", ".join(one.about), 400)
    return tag(
        "article",
        tag("header", tag("h3", f"{number}. {types}"), tag("span", f"{one.share:.0%}, {shown(one.us)}", class_="tag warn"),
            tag("small", one.advice.id)),
        tag("p", one.advice.says),
        tag("p", f"Most in {about}", class_="soft") if one.about != one.types else None,
        tag("p", "Rewrite: ", (tag("code", name) for name in one.advice.passes), class_="fix") if one.advice.passes else None,
        class_="card cause",
    )  # fmt: skip


def _kinds(report: Report) -> ET.Element:
    rows = ((_name(row.name), _name(", ".join(row.types)), *_numbers(row)) for row in report.profile.by_kind())
    return _table(("kind", "as the tool calls it", "calls", "time", "share", ""), rows)


def _blocks(report: Report) -> list[ET.Element]:
    rows = report.profile.by_block()
    if len(rows) < 2:
        return []
    cells = ((_name(title(path)), *_numbers(row)) for path, row in rows)
    return [tag("h2", "By block"), _table(("block", "calls", "time", "share", ""), cells)]


def _operators(report: Report) -> list[ET.Element]:
    if not report.profile.recording.ordered:
        return []
    found = report.profile.slowest(_SLOWEST)
    many = len(report.profile.operators)
    heading = "Operators, the slowest first" if many <= _SLOWEST else f"The {_SLOWEST} slowest of {many} operators"
    names = ("operator", "type", "output", "on", "time", "from", "to", "share", "")
    return [tag("h2", heading), _table(names, (_operator(one, report) for one in found))]


def _operator(one: Operator, report: Report) -> list[ET.Element]:
    share = report.profile.share(one.us)
    size = "×".join(map(str, one.shape)) or "–"
    return [
        _name(named(one)), tag("td", printable(one.type, 64)), tag("td", size), tag("td", printable(one.place, 32) or "–"),
        *(tag("td", shown(us), class_="number") for us in (one.us, one.low, one.high)),
        tag("td", f"{share:.1%}", class_="number"), tag("td", flame.share_svg(share)),
    ]  # fmt: skip


def _name(text: str) -> ET.Element:
    return tag("td", printable(text), class_="name")


def _numbers(row: Row) -> list[ET.Element]:
    numbers = (str(row.calls), shown(row.us), f"{row.share:.1%}")
    return [*(tag("td", text, class_="number") for text in numbers), tag("td", flame.share_svg(row.share))]


def _table(names: Iterable[str], rows: Iterable[Iterable[ET.Element]]) -> ET.Element:
    numbers = ("calls", "time", "from", "to", "share")
    heads = (tag("th", name, class_="number" if name in numbers else "") for name in names)
    body = tag("tbody", (tag("tr", cells) for cells in rows))
    return tag("div", tag("table", tag("thead", tag("tr", heads)), body), class_="wide")
