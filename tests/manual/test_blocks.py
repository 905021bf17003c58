"""Every block of every page is played, each page on a stage of its own; a block that nobody has thought of is a failure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from camagent.cli import app
from tests.manual.blocks import PAGES, Block, blocks, commands
from tests.manual.pages import WAYS
from tests.manual.ways import Page, Way

WITH_BLOCKS = [page for page in PAGES if blocks(page)]
LONG = [page for page in WITH_BLOCKS if page in WAYS and any(way.full for ways in WAYS[page].ways.values() for way in ways)]
TO_WRITE = "say in tests/manual/pages.py how it is played, or why it is not"


def ways(page: str) -> Iterator[tuple[Block, Way]]:
    for block in blocks(page):
        way = WAYS.get(page, Page({})).way(block)
        if way is not None:
            yield block, way


def forgotten(page: str, known: Page | None) -> list[str]:
    """A sentence for every block that nobody has classified."""
    missing = [block for block in blocks(page) if known is None or known.way(block) is None]
    return [f"{block}: no test plays the block {block.text.strip().splitlines()[0]!r}; {TO_WRITE}" for block in missing]


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_somebody_has_said_how_each_block_is_played(page: str) -> None:
    assert not forgotten(page, WAYS.get(page))


@pytest.mark.parametrize("page", WAYS)
def test_nothing_is_said_of_blocks_that_are_gone(page: str) -> None:
    headings = [block.heading for block in blocks(page)]
    for heading, known in WAYS[page].ways.items():
        assert headings.count(heading) == len(known), f"{page}: {heading!r} has {headings.count(heading)} blocks"


def test_a_new_block_is_named_with_its_line() -> None:
    known = WAYS["docs/http-api.md"]
    fewer = Page({"Routes": known.ways["Routes"][:1]}, known.stage)
    (sentence,) = forgotten("docs/http-api.md", fewer)
    assert re.match(r"docs/http-api\.md:\d+: no test plays the block \"curl ", sentence)
    assert len(forgotten("docs/http-api.md", None)) == 2


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_a_page_is_played(page: str, tmp_path: Path) -> None:
    play(page, tmp_path, long=False)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.full(seconds=sum(way.full for _, way in ways(page)) + 20)) for page in LONG],
)
def test_a_page_is_played_with_what_takes_long(page: str, tmp_path: Path) -> None:
    play(page, tmp_path, long=True)


def play(page: str, folder: Path, *, long: bool) -> None:
    """In order, since a block may need what one before it has made. What cannot be played here is skipped at the end."""
    left_out = []
    wanted = [(block, way) for block, way in ways(page) if long or not way.full]
    if not wanted:
        return
    with WAYS[page].stage(folder) as here:
        for block, way in wanted:
            try:
                way.play(block, here)
            except pytest.skip.Exception as exc:
                left_out.append(f"{block}: {exc}")
    if left_out:
        pytest.skip("; ".join(left_out))


# -- of every block, also of one that is not run here --------------------------------------------------------------------------


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_options_that_are_shown_exist(page: str) -> None:
    for block in blocks(page):
        for line in commands(block.text) if block.language in {"sh", "console", ""} else []:
            for part in re.split(r"\s+(?:&&|\||;)\s+", line):
                words = re.search(r"(?:^|/|sudo )camagent (.+)$", part)
                for wrong in unknown(words[1]) if words else []:
                    pytest.fail(f"{block} shows {wrong}, which does not exist: {part}")


def unknown(words: str) -> Iterator[str]:
    """Commands and options in a camagent command line that there are none of."""
    command: click.Command = app
    context = click.Context(app)
    for word in shlex.split(words):
        if isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                yield word
                return
            command = found
        elif word.startswith("--"):
            known = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
            if word.partition("=")[0] not in known:
                yield word


def test_what_does_not_exist_is_found() -> None:
    assert list(unknown("bundle push F.cambundle --too http://x")) == ["--too"]
    assert list(unknown("bundle shove F.cambundle")) == ["shove"]
    assert list(unknown("bundle push F.cambundle --to http://x")) == []
