"""docs/self-test.md has a paragraph for every cause that can be named, and says what to send where a device cannot know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from camagent.selftest.causes import CAUSES
from camagent.selftest.meanings import MEANINGS
from camagent.selftest.report import LAYERS
from camagent.selftest.words import RUNG_WORDS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "self-test.md").read_text("utf-8")
INTRODUCTION, CATALOGUE = PAGE.split("\n## The causes\n")
PARTS = ("You see", "Proof", "Do", "Easily taken for")


def sections() -> dict[str, str]:
    """Paragraph by id."""
    found = re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", CATALOGUE, re.MULTILINE | re.DOTALL)
    assert len(found) == len(dict(found)), "an id stands twice"
    return dict(found)


def anchors() -> set[str]:
    """What GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_causes_stand_in_the_order_of_the_registry() -> None:
    assert list(sections()) == list(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_its_paragraph(cause: str) -> None:
    text = " ".join(sections()[cause].split())
    assert text.startswith(MEANINGS[cause])
    said = re.findall(r"- \*\*([^*]+):\*\* (.+?)(?= - \*\*|$)", text)
    assert [part for part, _ in said] == list(PARTS)
    assert all(len(words) > 5 and words.endswith(".") for _, words in said)
    alike = re.findall(r"\[([a-z0-9-]+)\]\(#\1\) \(([^)]+)\)", said[-1][1])
    assert alike, "what it is taken for"
    assert {name for name, _ in alike} <= set(CAUSES) - {cause}


def test_links_within_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert target in anchors(), target


def test_what_a_device_cannot_decide_names_what_to_send() -> None:
    (table,) = re.findall(r"^## What a device cannot decide\n(.*)", INTRODUCTION, re.MULTILINE | re.DOTALL)
    for cause, known in CAUSES.items():
        assert not known.ask or f"(#{cause})" in table, f"{cause}: {known.ask}"


def test_rungs_and_layers_are_explained() -> None:
    for name, words in RUNG_WORDS.items():
        assert f"| `{name}` | {words} |" in INTRODUCTION
    assert all(f"`{layer}`" in INTRODUCTION for layer in LAYERS)


def test_the_page_says_which_causes_this_agent_never_names() -> None:
    root = Path(__file__).resolve().parents[1] / "camagent"
    words = {"causes.py", "meanings.py", "words.py"}  # these have every id
    code = "".join(path.read_text("utf-8") for path in root.rglob("*.py") if path.name not in words)
    never = {cause for cause in CAUSES if f'"{cause}"' not in code}
    (table,) = re.findall(r"^## What is never named here\n(.*)", INTRODUCTION, re.MULTILINE | re.DOTALL)
    listed = {
        name
        for line in table.splitlines()
        if line.startswith("| [")
        for name in re.findall(r"\(#([^)]+)\)", line.split("|")[1])
    }
    assert listed == never
