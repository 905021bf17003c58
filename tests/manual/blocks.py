"""The fenced blocks of the pages, with the line they begin in and the heading they stand below."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = ("*.md", "docs/**/*.md", "recipes/**/*.md", "bench/**/*.md", "tests/**/*.md", "camagent/**/*.md", "debian/**/*.md")
PAGES = sorted({path.relative_to(ROOT).as_posix() for pattern in SUFFIXES for path in ROOT.glob(pattern)})

_FENCE = re.compile(r"^(?P<indent> *(?:\d+\. )?)(?P<fence>`{3,}|~{3,})(?P<language>[\w-]*)\s*$")
_HEADING = re.compile(r"^#+ (.+)$")


@dataclass(frozen=True, slots=True)
class Block:
    page: str  # docs/signing.md
    heading: str
    line: int  # of the fence, from 1
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks(page: str) -> tuple[Block, ...]:
    return tuple(_blocks(page, (ROOT / page).read_text("utf-8").split("\n")))


def _blocks(page: str, lines: Sequence[str]) -> Iterator[Block]:
    heading, number = "", 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        if not opened:
            title = _HEADING.match(lines[number])
            heading = title[1] if title else heading
            number += 1
            continue
        end = number + 1
        while lines[end].strip() != opened["fence"]:
            end += 1
        text = textwrap.dedent("\n".join(lines[number + 1 : end]))
        yield Block(page, heading, number + 1, opened["language"], text + "\n")
        number = end + 1


def commands(text: str) -> list[str]:
    """The commands that a reader types: `$ ` lines of a session, or every line; continued ones joined, without comments."""
    joined = text.replace("\\\n", " ")
    session = any(line.startswith("$ ") for line in joined.split("\n"))
    lines = [line.removeprefix("$ ") for line in joined.split("\n") if line.startswith("$ ") or not session]
    bare = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in lines)
    return [" ".join(line.split()) for line in bare if line]


def typed(text: str) -> str:
    """The script that a session's `$ ` lines are, as they stand."""
    lines = text.replace("\\\n", " ").split("\n")
    return "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))


def printed(text: str) -> list[str]:
    """What a session shows between its commands."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.split("\n") if line.strip() and not line.startswith("$ ")]
