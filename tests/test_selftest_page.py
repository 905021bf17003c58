"""The report page as a browser reads it: one file, balanced, no script, nothing from elsewhere, foreign text is text."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from camagent.errors import printable
from camagent.selftest.elements import document, tag
from camagent.selftest.html import page
from camagent.selftest.report import Exhibit, Histogram, Mark
from tests.support import reports
from tests.test_errors import NASTY

VOID = {"meta", "img", "br", "hr", "link", "input"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "article", "p", "h1", "h2", "h3", "ul", "li", "dl",
    "dt", "dd", "div", "span", "b", "small", "code", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img",
    "svg", "g", "rect", "line", "text",
}  # fmt: skip
JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
PICTURES = (Exhibit("golden/bus.jpg", JPEG, "4 found"), Exhibit("input", PNG))


class Read(HTMLParser):
    """What a page consists of; raises where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.css = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.css += data
        else:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def test_it_is_one_file_without_scripts_and_asks_nobody() -> None:
    read = Read(page(reports.faulty(exhibits=PICTURES)))
    assert read.tags <= TAGS
    names = {name for _, name, _ in read.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"href", "srcset", "action", "style", "xlink:href"}
    assert [value[:23] for value in read.values("src")] == ["data:image/jpeg;base64,", "data:image/png;base64,i"]
    assert not re.search(r"url\(|@import|https?:|//", read.css)


def test_its_policy_allows_its_own_style_sheet_and_pictures_in_it_only() -> None:
    read = Read(page(reports.healthy()))
    (policy,) = [value for value in read.values("content") if "default-src" in value]
    assert ("meta", "http-equiv", "Content-Security-Policy") in read.attributes
    digest = base64.b64encode(hashlib.sha256(read.css.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": f"'sha256-{digest}'", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip


def test_everything_that_was_found_stands_in_it() -> None:
    text = Read(page(reports.faulty(reports.SWAPPED, reports.WEIGHTS, exhibits=PICTURES))).text
    for part in (
        "fastestdet-coco 1.0.0, camera front", "Fault found: channel-order-swapped", "Red and blue are exchanged",
        "Or: chroma-order-wrong.", "best score 0.31, 0 of 4 objects", "best score 0.88, 4 of 4 objects",
        "Fix: build the bundle with the other --color", "input.color: rgb -> bgr", "✓ fix verified", "– fix not verified",
        "the training log", "golden/bus.jpg", "4 found", "scores on bus.jpg", "min_score 0.65", "V:rgb-bgr", "+0.91",
        "1×85×22×22", "25.0%", "onnxruntime", "1.32.0", "no broker is configured", "31 inferences, 12.4 s",
        *(f"n{i}" for i in range(9)),
    ):  # fmt: skip
        assert part in text
    assert text.index("V:rgb-bgr") < text.index("V:letterbox") < text.index("V:div255")


def test_it_says_at_the_top_that_it_shows_the_scene_and_without_pictures_it_does_not() -> None:
    report = reports.faulty(exhibits=PICTURES)
    assert Read(page(report)).text.index("shows the scene") < 400
    bare = Read(page(report, pictures=False))
    assert "Pictures of the scene were left out" in bare.text
    assert "img" not in bare.tags
    assert not bare.values("src")
    assert "golden/bus.jpg" not in bare.text
    assert "shows the scene" not in Read(page(reports.healthy())).text


def test_empty_parts_leave_no_heading() -> None:
    text = Read(page(reports.healthy())).text
    assert "What was checked" in text
    assert not [part for part in ("Causes", "Pictures", "Scores", "Variants", "Tensors") if part in text.split("Healthy")[1]]


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg onload=alert(1)>", b"\xff\xd8"])
def test_what_is_no_jpeg_or_png_is_not_shown(data: bytes) -> None:
    read = Read(page(reports.faulty(exhibits=(Exhibit("odd", data),))))
    assert "img" not in read.tags
    assert "no picture" in read.text


@pytest.mark.parametrize(
    "chart",
    [
        Histogram("x", (), ()),
        Histogram("x", (0.0, 1.0), ()),
        Histogram("x", (1.0, 1.0), (3,)),
        Histogram("x", (0.0, 1.0, 2.0), (3,)),
    ],
)
def test_a_histogram_without_bars_says_so(chart: Histogram) -> None:
    read = Read(page(replace(reports.healthy(), histograms=(chart,))))
    assert "no values" in read.text
    assert "rect" not in read.tags


def test_charts_stay_in_their_box() -> None:
    marks = (Mark("far", 99.0), Mark("low", -5.0), Mark("none", float("inf")))
    chart = Histogram("x", tuple(i / 40 for i in range(41)), (1, *[0] * 38, 10**9), marks)
    html = page(replace(reports.healthy(), histograms=(chart,)))
    (box,) = re.findall(r'viewBox="0 0 640 (\d+)"', html)
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="column"', html)
    assert len(bars) == 2
    for x, y, width, height in (map(float, bar) for bar in bars):
        assert 0 <= x <= x + width <= 640
        assert 0 <= y <= y + height <= float(box)
    assert float(bars[1][3]) > float(bars[0][3]) > 0
    assert "far 99" in html
    assert ">none" not in html


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("pictures", [True, False])
def test_hostile_strings_are_text_in_the_page(text: str, pictures: bool) -> None:
    html = page(reports.hostile(text, (Exhibit(text, JPEG, text),)), pictures=pictures)
    html.encode("utf-8")
    read = Read(html)
    assert read.tags <= TAGS
    assert printable(text, 60).rstrip("…") in read.text
    assert all(char == "\n" or char.isprintable() for char in html)
    assert not {name for _, name, _ in read.attributes if name.startswith("on")}


@pytest.mark.parametrize(
    "text", ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style>", "&lt;b&gt;", "{{7*7}}"]
)
def test_markup_in_a_name_comes_out_as_it_went_in(text: str) -> None:
    read = Read(page(reports.hostile(text, (Exhibit(text, JPEG, text),))))
    assert read.tags <= TAGS
    assert text in read.text
    assert text in read.values("alt")


def test_an_element_keeps_the_order_of_text_and_children() -> None:
    made = document(tag("p", "a", tag("b", "1 < 2"), "c", None, "d", [tag("i"), "e"], class_="x & y"))
    assert made == '<!DOCTYPE html>\n<p class="x &amp; y">a<b>1 &lt; 2</b>cd<i></i>e</p>\n'


def test_a_browser_reads_it_and_its_policy_lets_the_style_sheet_pass(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or pytest.skip("no Chromium")
    (tmp_path / "page.html").write_text(page(reports.faulty(exhibits=PICTURES)), "utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=800,600",
            "--enable-logging=stderr", f"--screenshot={tmp_path / 'page.png'}", (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Content Security Policy" not in done.stderr
    shown = cv2.imread(str(tmp_path / "page.png"))
    assert shown is not None
    assert [int(v) for v in shown[599, 2]] == [0xF9, 0xF7, 0xF6]  # the style sheet's paper, not a browser's white
