"""The report as one page: pictures and charts lie in it, it needs no script and asks nobody for anything.

Built as a tree of the standard library (elements.py), not from templates: text in a tree cannot become markup.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from camagent.errors import printable
from camagent.language import ENGLISH, Tongue
from camagent.selftest import words
from camagent.selftest.charts import histogram_svg, margin_svg
from camagent.selftest.elements import document, image, style, tag
from camagent.selftest.page_style import CSS, DIGEST
from camagent.selftest.report import Cause, Exhibit, Histogram, Report, Status, StepReport, TensorFacts, Trial, Value, Verdict

POLICY = f"default-src 'none'; img-src data:; style-src '{DIGEST}'; base-uri 'none'; form-action 'none'"
_MARKS: Mapping[Status, str] = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "–"}
_STATUS: Mapping[Verdict, Status] = {"healthy": "pass", "fault": "fail", "inconclusive": "warn"}
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
_ALL = 10_000  # items of a list or mapping: the page leaves nothing out
_SHOWS = (
    "This page shows the scene: pictures of this camera and of its model's golden pictures lie in it. "
    "Give it only to people who may see them."
)
_SHOWS_NOT = "Pictures of the scene were left out of this page. Names of cameras, zones and labels are in it."


def page(report: Report, *, pictures: bool = True, tongue: Tongue = ENGLISH) -> str:
    """The whole report as HTML, UTF-8. Without `pictures` nothing of the scene is in it."""
    say = tongue.say
    exhibits = report.exhibits if pictures else ()
    tested, _ = words.subject(report, tongue)
    title = say("{verdict}: {subject}, self-test", verdict=say(report.verdict), subject=tested or "camagent")
    checked = say("What was checked") if report.verdict == "healthy" else say("Steps")
    steps = _section(checked, report.steps, partial(_steps, tongue))
    head = tag(
        "head", tag("meta", charset="utf-8"), _policy(), tag("meta", name="viewport", content="width=device-width"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title), style(CSS),
    )  # fmt: skip
    main = tag(
        "main", tag("p", say("camagent self-test"), class_="soft top"), tag("h1", tested or say("self-test")),
        tag("p", say(_SHOWS) if exhibits else say(_SHOWS_NOT), class_="notice"), _verdict(report, tongue),
        _ladder(report.steps), steps if report.verdict == "healthy" else [],
        _section(say("Causes"), report.causes, partial(_causes, tongue)),
        _section(say("Pictures"), exhibits, partial(_pictures, tongue)),
        _section(say("Scores"), report.histograms, partial(_histograms, tongue)),
        _section(say("Variants"), report.trials, partial(_variants, tongue)),
        _section(say("Tensors"), report.tensors, partial(_tensors, tongue)),
        steps if report.verdict != "healthy" else [],
        tag("h2", say("Software and settings")), tag("div", _facts(report.body()["subject"]), class_="card"),
        tag("p", say("Cost: {cost}.", cost=words.cost(report, tongue)), class_="soft"),
    )  # fmt: skip
    return document(tag("html", head, tag("body", main), lang=tongue.tag))


def _verdict(report: Report, tongue: Tongue) -> ET.Element:
    status = _STATUS[report.verdict]
    return tag("p", f"{_MARKS[status]} {words.headline(report, tongue)}", class_=f"verdict {status}")


def _policy() -> ET.Element:
    made = tag("meta", content=POLICY)
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


def _causes(tongue: Tongue, causes: tuple[Cause, ...]) -> ET.Element:
    return tag("div", (_cause(tongue, cause) for cause in causes))


def _cause(tongue: Tongue, cause: Cause) -> ET.Element:
    say = tongue.say
    status: Status = "pass" if cause.fix_verified else "skip" if cause.fix_verified is None else "warn"
    either = words.alternatives(cause, tongue)
    changed, (fix, original) = words.change(cause), words.fix(cause, tongue)
    unlike = say("Or: {causes}. These measurements cannot tell them apart.", causes=either)
    items = (tag("li", item) for item in words.send(cause, tongue))
    return tag(
        "article",
        tag("header", tag("h3", printable(cause.id, 64)), tag("span", words.layer(cause, tongue), class_="tag skip")),
        tag("p", words.means(cause, tongue)),
        tag("p", unlike, class_="soft") if either else None,
        _facts(cause.report()["evidence"]),
        tag("p", say("Fix: "), fix, class_="fix"),
        tag("p", f"{say('original')}：{original}", class_="soft", lang="en") if original else None,
        tag("p", tag("code", changed)) if changed else None,
        tag("p", tag("span", f"{_MARKS[status]} {words.fix_state(cause, tongue)}", class_=f"tag long {status}")),
        [tag("p", say("To decide it, send:")), tag("ul", items)] if cause.send else [],
        class_="card cause",
    )


def _pictures(tongue: Tongue, exhibits: tuple[Exhibit, ...]) -> ET.Element:
    shows = tongue.say("Boxes in colour: what was found. White corners: what should have been found.")
    legend = tag("p", shows, class_="soft legend")
    return tag("div", legend, tag("div", (_figure(tongue, exhibit) for exhibit in exhibits), class_="pictures"))


def _figure(tongue: Tongue, exhibit: Exhibit) -> ET.Element:
    mime = next((mime for magic, mime in _MAGIC.items() if exhibit.image.startswith(magic)), None)
    shown = tag("div", tongue.say("no picture"), class_="nothing")
    if mime:
        shown = image(mime, base64.b64encode(exhibit.image).decode("ascii"), printable(exhibit.title))
    caption = tag("figcaption", tag("b", printable(exhibit.title)), tag("small", printable(exhibit.caption, 1000)))
    return tag("figure", shown, caption)


def _histograms(tongue: Tongue, histograms: tuple[Histogram, ...]) -> ET.Element:
    return tag("div", (_chart(tongue, histogram) for histogram in histograms), class_="charts")


def _chart(tongue: Tongue, histogram: Histogram) -> ET.Element:
    drawn = histogram_svg(histogram)
    nothing = tag("div", tongue.say("no values"), class_="nothing")
    return tag("div", tag("b", printable(histogram.title)), nothing if drawn is None else drawn, class_="chartbox")


def _variants(tongue: Tongue, trials: tuple[Trial, ...]) -> ET.Element:
    say = tongue.say
    best_first = words.ranked(trials)
    rows = (
        (tag("td", tag("code", printable(t.axis, 64)), class_="name"), tag("td", printable(t.cause, 64), class_="name"),
         tag("td", f"{t.margin:+.2f}", class_="number"), tag("td", margin_svg(t.margin)), tag("td", printable(t.detail)))
        for t in best_first
    )  # fmt: skip
    meaning = say("How well the known answer came back when this alone was changed: 1 is wholly.")
    heads = (say("changed"), say("would be"), say("margin"), "", say("seen"))
    return tag("div", tag("p", meaning, class_="soft legend"), _table(heads, rows))


def _tensors(tongue: Tongue, tensors: tuple[TensorFacts, ...]) -> ET.Element:
    say = tongue.say
    numbers = (say("min"), say("max"), say("mean"), say("std"), say("different"), say("exactly 0"), "NaN", "Inf")
    names = (say("tensor"), say("shape"), say("type"), *numbers)
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


def _steps(tongue: Tongue, steps: tuple[StepReport, ...]) -> ET.Element:
    return tag("div", (_step(tongue, step) for step in steps))


def _step(tongue: Tongue, step: StepReport) -> ET.Element:
    name, state = printable(step.id, 64), tongue.name("states", step.status, step.status)
    asks = tongue.name("rungs", step.id, words.RUNG_WORDS.get(step.id, ""))
    header = tag(
        "header", tag("span", f"{_MARKS[step.status]} {state}", class_=f"tag {step.status}"), tag("b", name),
        tag("small", asks), tag("small", f"{step.seconds:.2f} s"),
    )  # fmt: skip
    numbers = words.measured(step)
    refused = tongue.code(str(numbers.get("code"))) if step.status == "fail" else None
    means = tag("p", refused.means) if refused else None
    if set(numbers) == {"why"}:
        numbers["why"] = tongue.sentence(str(numbers["why"]))
    return tag("article", header, means, _facts(numbers) if numbers else None, class_="card step")


def _facts(values: Mapping[str, Value]) -> ET.Element:
    """Names and values, all of them, nested as they are."""
    items: list[ET.Element] = []
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        items += [tag("dt", printable(key, 64)), tag("dd", _facts(value) if nested else words.shown(value, _ALL))]
    return tag("dl", items)
