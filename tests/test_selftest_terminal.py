from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from camagent.selftest import words
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import RUNGS
from camagent.selftest.meanings import MEANINGS
from camagent.selftest.report import Report, Trial
from camagent.selftest.terminal import render
from tests.support import reports
from tests.test_errors import NASTY


def printed(report: Report, *, width: int = 80, colour: bool = False, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as file:
        render(report, Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None))
        return raw.getvalue().decode(encoding)


def test_every_cause_has_a_sentence_and_every_rung_its_words() -> None:
    assert list(MEANINGS) == list(CAUSES)
    assert all(text.endswith(".") and text[0].isupper() for text in MEANINGS.values())
    assert set(words.RUNG_WORDS) == set(RUNGS)


def test_a_fault_is_told_from_verdict_to_what_to_send() -> None:
    shown = printed(reports.faulty(reports.SWAPPED, reports.WEIGHTS))
    for part in (
        "self-test of fastestdet-coco 1.0.0, camera front", "Fault found: channel-order-swapped, and 1 more behind it.",
        "1. channel-order-swapped  (preprocess)", "Red and blue are exchanged before the model sees the picture.",
        "or        chroma-order-wrong", "as configured = best score 0.31, 0 of 4 objects",
        "red and blue exchanged = best score 0.88, 4 of 4 objects", "fix       build the bundle with the other --color",
        "change    input.color: rgb -> bgr", "✓ fix verified: golden and held-back pictures came back",
        "2. wrong-or-untrained-weights  (backend)", "– fix not verified: it could not be tried here",
        "send      the training log", "✗ source         STREAM_UNREACHABLE: the camera refuses", ".. 4 more",
        "bus.jpg (seen = none, recall = 0)", "cost: 31 inferences, 12.4 s",
    ):  # fmt: skip
        assert part in shown


def test_a_fix_that_was_tried_in_vain_says_so() -> None:
    shown = printed(reports.faulty(replace(reports.SWAPPED, fix_verified=False)))
    assert "! fix not verified: it was tried, and not every picture came back" in shown


def test_healthy_says_what_was_checked_and_what_was_not() -> None:
    shown = printed(reports.healthy())
    assert "✓ Healthy: no fault found." in shown
    assert "Not checked: delivery." in shown
    assert "What was checked\n✓ configuration cameras = 1" in shown
    assert "Variants" not in shown


def test_inconclusive_names_the_open_steps_or_what_to_send() -> None:
    assert "not everything could be checked: source," in printed(reports.undecided())
    assert "What to send stands" in printed(reports.undecided(reports.WEIGHTS))


def test_variants_are_ranked_and_drawn() -> None:
    rows = [line for line in printed(reports.faulty()).splitlines() if line.startswith("V:")]
    assert [row.split()[0] for row in rows] == ["V:rgb-bgr", "V:letterbox", "V:div255"]
    assert [row.split()[2] for row in rows] == ["+0.91", "+0.17", "-0.30"]
    assert [row.count("━") for row in rows] == [11, 2, 0]
    many = replace(reports.healthy(), trials=tuple(Trial(f"V:{i}", "x", i / 100) for i in range(30)))
    assert ".. and 18 more" in printed(many)


def test_odd_numbers_draw_bars_within_their_place() -> None:
    odd = replace(reports.healthy(), trials=(Trial("V:a", "x", float("nan")), Trial("V:b", "y", 7.0), Trial("V:c", "z", -9.0)))
    rows = [line for line in printed(odd).splitlines() if line.startswith("V:")]
    assert [(row[2], row.count("━") + row.count("─")) for row in rows] == [("b", 12), ("c", 12), ("a", 12)]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("report", [reports.faulty(), reports.healthy(), reports.undecided(reports.WEIGHTS)])
def test_lines_stay_within_the_terminal_and_end_in_no_blanks(report: Report, width: int) -> None:
    for line in printed(report, width=width).splitlines():
        assert len(line) <= min(width, 110)
        assert line == line.rstrip()


def test_without_colour_there_is_no_escape_and_with_colour_the_words_are_the_same() -> None:
    plain, coloured = printed(reports.faulty()), printed(reports.faulty(), colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_terminal_without_unicode_gets_ascii() -> None:
    shown = printed(reports.faulty(replace(reports.SWAPPED, fix="Größe 汉字")), encoding="ascii")
    assert shown.isascii()
    assert "NO source" in shown
    assert "Gr\\xf6\\xdfe \\u6c49\\u5b57" in shown


@pytest.mark.parametrize("text", NASTY)
def test_hostile_strings_reach_the_terminal_tamed(text: str) -> None:
    shown = printed(reports.hostile(text))
    assert "label-offset" in shown
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert "\nerror[FAKE]" not in shown
    if text.isprintable() and len(text) < 50:
        assert text in shown  # markup is text
