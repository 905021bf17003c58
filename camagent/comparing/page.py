"""The comparison as one page: the table, the picture, the warnings. It needs no script and asks nobody for anything."""

from __future__ import annotations

import base64

from camagent.comparing.report import Report
from camagent.comparing.terminal import summary, table_of
from camagent.selftest.elements import document, image, style, tag
from camagent.selftest.page_style import CSS, digest

_STYLE = CSS + "\nmain { max-width: 1240px; } .sheet { width: 100%; height: auto; border-radius: 10px; }\n"
_POLICY = f"default-src 'none'; style-src '{digest(_STYLE)}'; img-src data:; base-uri 'none'; form-action 'none'"


def page(report: Report, png: bytes) -> str:
    """The whole report as HTML, UTF-8; `png` is the picture that lies in it."""
    policy = tag("meta", content=_POLICY)
    policy.set("http-equiv", "Content-Security-Policy")
    head = tag(
        "head", tag("meta", charset="utf-8"), policy, tag("meta", name="viewport", content="width=device-width"),
        tag("meta", name="referrer", content="no-referrer"), tag("title", "models compared"), style(_STYLE),
    )  # fmt: skip
    headings, lines = table_of(report)
    table = tag(
        "table", tag("thead", tag("tr", (tag("th", one) for one in headings))),
        tag("tbody", (tag("tr", (tag("td", cell) for cell in line)) for line in lines)),
    )  # fmt: skip
    sheet = image("image/png", base64.b64encode(png).decode(), "scores of every model, and where they disagree most")
    sheet.set("class", "sheet")
    main = tag(
        "main", tag("p", "camagent model compare", class_="soft top"), tag("h1", summary(report)),
        (tag("p", sentence, class_="verdict warn") for sentence in report.warnings), tag("div", table, class_="wide"),
        tag("h2", "Scores, and where they disagree most"),
        tag("p", "The pictures show the scene that the models were compared on.", class_="notice"), sheet,
    )  # fmt: skip
    return document(tag("html", head, tag("body", main), lang="en"))
