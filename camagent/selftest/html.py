"""The report as one page: pictures and charts lie in it, it needs no script and asks nobody for anything.

Built as a tree of the standard library (elements.py), not from templates: text in a tree cannot become markup.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping

from camagent.errors import printable
from camagent.selftest import words
from camagent.selftest.charts import histogram_svg, margin_svg
from camagent.selftest.elements import document, image, style, tag
from camagent.selftest.page_style import CSS, DIGEST
from camagent.selftest.report import Cause, Exhibit, Histogram, Report, Status, StepReport, TensorFacts, Trial, Value, Verdict

_POLICY = f"default-src 'none'; img-src data:; style-src '{DIGEST}'; base-uri 'none'; form-action 'none'"
_MARKS: Mapping[Status, str] = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "–"}
_STATUS: Mapping[Verdict, Status] = {"healthy": "pass", "fault": "fail", "inconclusive": "warn"}
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_ALL = 10_000  # items of a list or mapping: the page leaves nothing out
_SHOWS = (
    "This page shows the scene: pictures of this camera and of its model's golden pictures lie in it. "
    "Give it only to people who may see them."
)
_SHOWS_NOT = "Pictures of the scene were left out of this page. Names of cameras, zones and labels are in it."


def page(report: Report, *, pictures: bool = True) -> str:
    """The whole report as HTML, UTF-8. Without `pictures` nothing of the scene is in it."""
    exhibits = report.exhibits if pictures else ()
    tested, _ = words.subject(report)
    checked = _section("What was checked" if report.verdict == "healthy" else "Steps", report.steps, _steps)
    head = tag(
        "head", tag("meta", charset="utf-8"), _policy(), tag("meta", name="viewport", content="width=device-width"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{report.verdict}: {tested or 'camagent'}, self-test"), style(CSS),
    )  # fmt: skip
    main = tag(
        "main", tag("p", "camagent self-test", class_="soft top"), tag("h1", tested or "self-test"),
        tag("p", _SHOWS if exhibits else _SHOWS_NOT, class_="notice"),
        tag("p", f"{_MARKS[_STATUS[report.verdict]]} {words.headline(report)}", class_=f"verdict {_STATUS[report.verdict]}"),
        _ladder(report.steps), checked if report.verdict == "healthy" else [], _section("Causes", report.causes, _causes),
        _section("Pictures", exhibits, _pictures), _section("Scores", report.histograms, _histograms),
        _section("Variants", report.trials, _variants), _section("Tensors", report.tensors, _tensors),
        checked if report.verdict != "healthy" else [],
        tag("h2", "Software and settings"), tag("div", _facts(report.body()["subject"]), class_="card"),
        tag("p", f"Cost: {words.cost(report)}.", class_="soft"),
    )  # fmt: skip
    return document(tag("html", head, tag("body", main), lang="en"))


def _policy() -> ET.Element:
    made = tag("meta", content=_POLICY)
    made.set("http-equiv", "Content-Security-Policy")
    return made


def _section(title: str, items: Iterable[Value], make: Callable[..., ET.Element]) -> list[ET.Element]:
    """A heading and what stands below it; nothing where there is nothing to show."""
    kept = tuple(items)
    return [tag("h2", title), make(kept)] if kept else []


def _ladder(steps: Iterable[StepReport]) -> ET.Element:
    """The whole way at a glance: where it stops is where to look."""
    rungs = (tag("li", f"{_MARKS[step.status]} {printable(step.id, 64)}", class_=f"tag {step.status}") for step in steps)
    return tag("ul", rungs, class_="ladder")


def _causes(causes: tuple[Cause, ...]) -> ET.Element:
    return tag("div", (_cause(cause) for cause in causes))


def _cause(cause: Cause) -> ET.Element:
    status: Status = "pass" if cause.fix_verified else "skip" if cause.fix_verified is None else "warn"
    either = words.alternatives(cause)
    changed = words.change(cause)
    return tag(
        "article",
        tag("header", tag("h3", printable(cause.id, 64)), tag("span", cause.layer, class_="tag skip")),
        tag("p", words.means(cause)),
        tag("p", f"Or: {either}. These measurements cannot tell them apart.", class_="soft") if either else None,
        _facts(cause.report()["evidence"]),
        tag("p", "Fix: ", printable(cause.fix, 1000), class_="fix"),
        tag("p", tag("code", changed)) if changed else None,
        tag("p", tag("span", f"{_MARKS[status]} {words.fix_state(cause)}", class_=f"tag long {status}")),
        [tag("p", "To decide it, send:"), tag("ul", (tag("li", item) for item in cause.send))] if cause.send else [],
        class_="card cause",
    )


def _pictures(exhibits: tuple[Exhibit, ...]) -> ET.Element:
    legend = tag("p", "Boxes in colour: what was found. White corners: what should have been found.", class_="soft legend")
    return tag("div", legend, tag("div", (_figure(exhibit) for exhibit in exhibits), class_="pictures"))


def _figure(exhibit: Exhibit) -> ET.Element:
    mime = next((mime for magic, mime in _MAGIC.items() if exhibit.image.startswith(magic)), None)
    shown = tag("div", "no picture", class_="nothing")
    if mime:
        shown = image(mime, base64.b64encode(exhibit.image).decode("ascii"), printable(exhibit.title))
    caption = tag("figcaption", tag("b", printable(exhibit.title)), tag("small", printable(exhibit.caption, 1000)))
    return tag("figure", shown, caption)


def _histograms(histograms: tuple[Histogram, ...]) -> ET.Element:
    return tag("div", (_chart(histogram) for histogram in histograms), class_="charts")


def _chart(histogram: Histogram) -> ET.Element:
    drawn = histogram_svg(histogram)
    nothing = tag("div", "no values", class_="nothing")
    return tag("div", tag("b", printable(histogram.title)), nothing if drawn is None else drawn, class_="chartbox")


def _variants(trials: tuple[Trial, ...]) -> ET.Element:
    best_first = words.ranked(trials)
    rows = (
        (tag("td", tag("code", printable(t.axis, 64)), class_="name"), tag("td", printable(t.cause, 64), class_="name"),
         tag("td", f"{t.margin:+.2f}", class_="number"), tag("td", margin_svg(t.margin)), tag("td", printable(t.detail)))
        for t in best_first
    )  # fmt: skip
    legend = tag("p", "How well the known answer came back when this alone was changed: 1 is wholly.", class_="soft legend")
    return tag("div", legend, _table(("changed", "would be", "margin", "", "seen"), rows))


def _tensors(tensors: tuple[TensorFacts, ...]) -> ET.Element:
    names = ("tensor", "shape", "type", "min", "max", "mean", "std", "different", "exactly 0", "NaN", "Inf")
    return _table(names, map(_tensor, tensors), numbers_from=3)


def _tensor(facts: TensorFacts) -> list[ET.Element]:
    numbers = [facts.min, facts.max, facts.mean, facts.std]
    return [
        tag("td", printable(facts.name), class_="name"), tag("td", "×".join(map(str, facts.shape))),
        tag("td", printable(facts.dtype, 64)),
        *(tag("td", "–" if number is None else f"{number:.4g}", class_="number") for number in numbers),
        tag("td", str(facts.unique), class_="number"), tag("td", f"{facts.zeros:.1%}", class_="number"),
        *(tag("td", str(count), class_="number odd" if count else "number") for count in (facts.nan, facts.inf)),
    ]  # fmt: skip


def _table(names: Iterable[str], rows: Iterable[Iterable[ET.Element]], numbers_from: int | None = None) -> ET.Element:
    heads = (
        tag("th", name, class_="number" if numbers_from is not None and index >= numbers_from else "")
        for index, name in enumerate(names)
    )
    body = tag("tbody", (tag("tr", cells) for cells in rows))
    return tag("div", tag("table", tag("thead", tag("tr", heads)), body), class_="wide")


def _steps(steps: tuple[StepReport, ...]) -> ET.Element:
    return tag("div", (_step(step) for step in steps))


def _step(step: StepReport) -> ET.Element:
    name = printable(step.id, 64)
    header = tag(
        "header", tag("span", f"{_MARKS[step.status]} {step.status}", class_=f"tag {step.status}"), tag("b", name),
        tag("small", words.RUNG_WORDS.get(step.id, "")), tag("small", f"{step.seconds:.2f} s"),
    )  # fmt: skip
    numbers = words.measured(step)
    return tag("article", header, _facts(numbers) if numbers else None, class_="card step")


def _facts(values: Mapping[str, Value]) -> ET.Element:
    """Names and values, all of them, nested as they are."""
    items: list[ET.Element] = []
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        items += [tag("dt", printable(key, 64)), tag("dd", _facts(value) if nested else words.shown(value, _ALL))]
    return tag("dl", items)
