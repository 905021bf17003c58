"""The profile's page: one file, nothing from elsewhere; the picture's boxes lie in their blocks, as wide as their time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from camagent.profiling.findings import findings
from camagent.profiling.flame import flame_svg
from camagent.profiling.page import page
from camagent.profiling.reading import read
from camagent.profiling.recording import Call, Recording
from camagent.profiling.report import Report, shown
from camagent.profiling.summary import summarise
from camagent.profiling.timeline import timeline
from camagent.profiling.tree import boxes
from tests.support.recordings import V2, onnxruntime, statistic, summary
from tests.support.trace_format import events_of, rows, spans
from tests.test_model_profile_advice import NAIVE
from tests.test_selftest_page import TAGS, Read


def report(recording: Recording) -> Report:
    profile = summarise(recording, {})
    return Report("model.onnx", {"measured": "made up"}, profile, findings(profile))


def naive() -> Report:
    return report(Recording("onnxruntime", "made up", NAIVE, 1))


REPORTS = {
    "ordered": naive(), "by type": report(read(statistic("with the device").encode(), "f")),
    "of a device": report(read(V2.encode(), "f")), "of several inferences": report(read(summary("CANN 7 and 8").encode(), "f")),
    "of onnxruntime": report(read(json.dumps(onnxruntime()).encode(), "f")),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_it_is_one_file_that_asks_nobody(name: str) -> None:
    html = page(REPORTS[name])
    found = Read(html)
    assert found.tags <= TAGS | {"b"}
    assert not {"script", "iframe", "object", "img"} & found.tags
    assert all(attribute in ("content", "lang", "role") or "://" not in value for _, attribute, value in found.attributes)
    assert not any(attribute.startswith("on") or attribute in ("href", "src", "style") for _, attribute, _ in found.attributes)
    (policy,) = (value for tag, key, value in found.attributes if key == "content" and "default-src" in value)
    digest = base64.b64encode(hashlib.sha256(found.css.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in found.css


def test_it_says_what_the_terminal_says() -> None:
    text = Read(page(naive())).text
    for one in naive().findings:
        assert one.advice.says in text
        assert all(name in text for name in one.advice.passes)
    assert naive().command() in text
    assert naive().headline() in text


def test_boxes_lie_in_their_blocks_and_are_as_wide_as_their_time() -> None:
    found = boxes("model", naive().profile.operators)
    assert found[0] == found[0].__class__("model", 0.0, naive().profile.total, 0)
    assert sum(one.us for one in found if one.operator) == pytest.approx(naive().profile.total)
    for depth in range(max(one.depth for one in found) + 1):
        level = [one for one in found if one.depth == depth]
        for left, right in pairwise(level):
            assert left.start + left.us <= right.start + 1e-6
        for one in level:
            if depth:
                above = [outer for outer in found if outer.depth == depth - 1 and outer.start <= one.start + 1e-6]
                assert any(one.start + one.us <= outer.start + outer.us + 1e-6 and outer.operator is None for outer in above)
    assert [one.name for one in found if one.depth == 1 and not one.operator] == ["encoder", "head"]


def test_the_picture_is_as_wide_as_the_whole() -> None:
    svg = flame_svg(naive())
    drawn = [one for one in svg.iter("rect") if one.get("class") != "block"]
    assert sum(float(one.get("width", "")) for one in drawn) == pytest.approx(1200, rel=0.01)
    softmax = next(one for one in drawn if "/Softmax: Softmax" in (one.findtext("title") or ""))
    assert float(softmax.get("width", "")) == pytest.approx(1200 * 120 / naive().profile.total, rel=0.01)


def test_ten_thousand_operators_are_still_a_page() -> None:
    calls = tuple(
        Call("Conv", 1.0 if number % 100 else 900.0, f"/net/block.{number % 50}/Conv_{number}") for number in range(10_000)
    )
    made = page(report(Recording("onnxruntime", "made up", calls, 1)))
    assert len(made) < 400_000
    assert "small ones" in made


def test_a_deep_path_stays_a_picture() -> None:
    calls = tuple(Call("Conv", 10.0, f"/{'/'.join(f'a.{step}' for step in range(depth))}/Conv") for depth in range(300))
    svg = flame_svg(report(Recording("onnxruntime", "made up", calls, 1)))
    assert float(svg.get("viewBox", "").split()[3]) <= 300


@pytest.mark.parametrize("name", REPORTS)
def test_every_trace_is_what_the_viewers_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(timeline(REPORTS[name]))
    events = events_of(path)
    timed = name in ("of several inferences", "of onnxruntime")
    assert len(rows(events)) == (2 if timed else 1)
    widest = max(one["dur"] for one in spans(events) if one["tid"] == 1)
    assert widest == pytest.approx(REPORTS[name].profile.total, abs=1)


def test_spans_of_a_real_inference_that_overlap_by_a_tick_are_parted(tmp_path: Path) -> None:
    calls = tuple(Call("Conv", 10.4, f"/a/{number}", start=number * 10.0, row="7") for number in range(5))
    (tmp_path / "t.json").write_text(timeline(report(Recording("ascend", "made up", calls, 1))))
    assert len([one for one in spans(events_of(tmp_path / "t.json")) if one["tid"] == 2]) == 5


def test_times_as_people_read_them() -> None:
    assert [shown(us) for us in (0, 4, 120, 9_500, 12_345, 1_000_000)] == [
        "0 µs",
        "4 µs",
        "0.12 ms",
        "9.50 ms",
        "12.3 ms",
        "1.00 s",
    ]


def test_a_browser_draws_it(tmp_path: Path) -> None:
    """Only where a browser is installed: the policy lets the style sheet in, and the picture has a size."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or pytest.skip("no chromium here")
    (tmp_path / "p.html").write_text(page(naive()), "utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (tmp_path / "p.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Refused" not in done.stderr
    svg = re.search(r"<svg [^>]*class=.flame.*?</svg>", done.stdout, re.DOTALL)
    assert svg
    assert len(ET.fromstring(svg[0]).findall(".//rect")) > 10
