"""What the documents point at is there, and the commands they show exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from camagent.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text("utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), f"{document.name} points at {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_that_are_shown_exist(document: Path) -> None:
    for command in re.findall(r"^(?:\$ )?camagent ([a-z]+)", document.read_text("utf-8"), re.MULTILINE):
        assert command in COMMANDS, f"{document.name} shows camagent {command}"
