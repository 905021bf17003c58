"""What the recipe's README shows is run."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from camagent.cli import run as camagent
from recipes.classify.classes import Classes, write_classes
from recipes.classify.cli import run
from recipes.classify.draw import picture
from recipes.od_seg import pictures
from tests.recipes.support import ROOT

SHIPPED = ROOT / "recipes" / "classify"
TEXT = (SHIPPED / "README.md").read_text("utf-8")
FENCED = re.findall(r"^[ 0-9.]*```(\w*)\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
BLOCKS = [block.strip() for language, block in FENCED if not language]
RECIPE, AGENT = "python -m recipes.classify ", "camagent "


def follow(block: str, changes: dict[str, str]) -> list[int]:
    """Runs a block's lines in this process; what stands for the reader's files is replaced by the test's."""
    codes = []
    for line in block.splitlines():
        words = [changes.get(word, word) for word in shlex.split(line)]
        for old, new in changes.items():
            words = [new + word.removeprefix(old) if old.endswith("/") and word.startswith(old) else word for word in words]
        ours = line.strip().startswith(RECIPE)
        codes.append(run(words[3:]) if ours else camagent(words[1:]))
    return codes


def test_using_the_shipped_model_goes_as_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert follow(BLOCKS[0], {"camagent-out/": f"{tmp_path}/", "recipes/classify/": f"{SHIPPED}/"}) == [0, 0]
    assert "disposable box" in capfd.readouterr().out


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not here: pip install -e '.[dev,train]'")
@pytest.mark.full(seconds=120)
def test_pictures_of_ones_own_go_the_way_that_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = Classes(("glass", "paper", "pizza box"), {"paper": "recyclable", "pizza box": "other waste"})
    write_classes(tmp_path / "my", mine)
    for name, kind in zip(mine.classes, ("glass bottle", "newspaper", "disposable box"), strict=True):
        for split in ("train", "val"):
            for number in range(4):
                pictures.write(tmp_path / "my" / split / name / f"{number}.jpg", picture(kind, split, number))
    names = {"my": f"{tmp_path}/my", "work/": f"{tmp_path}/work/", "300": "2", "3000": "5"}
    (own,) = [block for block in BLOCKS if "lint my" in block]
    codes = follow(own, names)
    assert codes[:-1] == [0] * 6
    assert codes[-1] in {0, 1}, "after so few steps a golden picture may be taken for another"
    assert (tmp_path / "work" / "mine-1.0.0.cambundle").exists()
    assert "skipped: head.weight (9 x 64 there, 3 x 64 here)" in capfd.readouterr().err
