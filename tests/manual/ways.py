"""Ways to play a block. `full` is not 0 where one takes so many seconds that it is left to the full tier."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from camagent import config_file
from tests.manual import desk
from tests.manual.blocks import ROOT, Block, blocks, commands, printed, typed
from tests.manual.desk import Desk
from tests.support.agent import SCHEMAS

Swaps = Mapping[str, str]
Stage = Callable[[Path], AbstractContextManager[Desk]]


class Way(Protocol):
    @property
    def full(self) -> float: ...

    def play(self, block: Block, desk: Desk) -> None:
        """Fails, naming the block, where it is not as the page says."""
        ...


@dataclass(frozen=True)
class Page:
    """The ways of a page's blocks: below each heading, in their order. `codes`: of every heading that is a code."""

    ways: Mapping[str, tuple[Way, ...]]
    stage: Stage = desk.bare
    codes: Way | None = None

    def way(self, block: Block) -> Way | None:
        """How it is played; None: nobody has said so."""
        if self.codes and re.fullmatch(r"[A-Z_]+", block.heading):
            return self.codes
        alike = [other for other in blocks(block.page) if other.heading == block.heading]
        known = self.ways.get(block.heading, ())
        place = alike.index(block)
        return known[place] if place < len(known) else None


@dataclass(frozen=True)
class Run:
    """Its commands are run; `code`: what the last one ends with. `before`: commands that make what the page takes as given."""

    swaps: Swaps = field(default_factory=dict)
    code: int = 0
    says: tuple[str, ...] = ()
    before: str = ""
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        if self.before:
            done = desk.run(desk.ours(self.before, self.swaps))
            assert done.returncode == 0, f"before {block}: {done.stdout}"
        out = desk.play(block, self.swaps, code=self.code)
        for words in self.says:
            assert words in out, f"{block} does not say {words!r}:\n{out}"


@dataclass(frozen=True)
class Session:
    """Its commands are run and print what is shown, whatever the order; decimals, times and long numbers may differ."""

    swaps: Swaps = field(default_factory=dict)
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        done = desk.run(desk.ours(typed(block.text), self.swaps), strict=False)
        compare(block, printed(block.text), done.stdout)


def compare(block: Block, shown: list[str], out: str) -> None:
    """Every line shown was printed, and without a `..` line nothing else."""
    wanted, got = Counter(map(plain, shown)), Counter(plain(line) for line in out.splitlines() if line.strip())
    omitted = wanted.pop("..", 0)
    missing = [line for line in (wanted - got) if not any(re.fullmatch(pattern(line), other) for other in got)]
    assert not missing, f"{block} shows what is not printed: {missing}\nprinted:\n{out}"
    assert omitted or wanted.total() >= got.total(), f"{block} does not show all that is printed:\n{out}"


def plain(line: str) -> str:
    """Without what differs from run to run: decimals, times, sizes; counts below a thousand stay."""
    line = re.sub(r"\d+[-:]\d+[-:][\d:.TZ-]+|\d+\.\d+(e-?\d+)?|\d+(,\d{3})+|\d{4,}", "#", line)
    return " ".join(re.sub(r"[█▁▂▃▄▅▆▇━─]+", "", line).split())


def pattern(line: str) -> str:
    """`..` within a line stands for anything."""
    return ".*".join(re.escape(part.strip()) for part in re.split(r"\.\.", line))


@dataclass(frozen=True)
class Play:
    """A function of its own."""

    does: Callable[[Block, Desk], None]
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        self.does(block, desk)


@dataclass(frozen=True)
class Config:
    """A part of a configuration, sound once `rest` completes it: section -> keys."""

    rest: Mapping[str, object] = field(default_factory=dict)
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        shown = tomllib.loads(block.text)
        camera = {"name": "front", "url": "x.mp4", "bundle": "x"} | shown.get("camera", [{}])[0]
        config_file.parse({**self.rest, **shown, "camera": [camera]})


@dataclass(frozen=True)
class Body:
    """A message, held against its published schema."""

    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        body = msgspec.json.decode(block.text)
        errors = [error.message for error in SCHEMAS[body["schema"]].iter_errors(body)]
        assert not errors, f"{block}: {errors}"


@dataclass(frozen=True)
class Drawing:
    """No commands: the files that it names are there."""

    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        for name in names(block.text):
            found = [*ROOT.glob(f"camagent/**/{name}"), *ROOT.glob(f"firmware_pkg/**/{name}")]
            assert found or (ROOT / name).exists(), f"{block} draws {name}, which is not there"


def names(text: str) -> Iterator[str]:
    for name in re.findall(r"[a-z_/]+(?:\.py\b|/(?=[\s)]))", text):
        yield name.lstrip("/").removesuffix("/")


@dataclass(frozen=True)
class Same:
    """The block of another page, comments aside; it is played there."""

    page: str
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        others = [other for other in blocks(self.page) if commands(other.text) == commands(block.text)]
        assert others, f"{block}: {self.page} has no such commands"


@dataclass(frozen=True)
class Untried:
    """Nobody here can run it, `why`; the page has to say as much just before it."""

    why: str
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        before = (ROOT / block.page).read_text("utf-8").split("\n")[: block.line - 1]
        said = " ".join("\n".join(before).rstrip().split("\n\n")[-1].split())
        assert "not tested" in said or "not tried" in said, f"{block}: {self.why}, and the page does not say so: {said}"


@dataclass(frozen=True)
class Elsewhere:
    """Not run here: `why`, and the tests that do it. Their files name the page, or were looked at with these `commands`."""

    why: str
    tests: tuple[str, ...]
    commands: tuple[str, ...] = ()
    full: float = 0

    def play(self, block: Block, desk: Desk) -> None:
        reads = False
        for test in self.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text("utf-8")
            reads = reads or Path(block.page).name in text
            assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{block}: {file} has no test {name}"
        assert reads or self.commands, f"{block}: none of {self.tests} reads {block.page}: say which commands they run"
        known = list(self.commands) or commands(block.text)
        assert commands(block.text) == known, f"{block} has changed: do {self.tests} still show it?"
