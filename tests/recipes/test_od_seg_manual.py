"""What the recipe's README shows is run."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from camagent.cli import run as camagent
from recipes.od_seg import labelme, pictures
from recipes.od_seg.classes import ROADS, Classes, write_classes
from recipes.od_seg.cli import COMMANDS, run
from recipes.od_seg.scene import scene
from recipes.od_seg.seeds import seeds_of
from tests.recipes.support import SHIPPED

TEXT = (SHIPPED / "README.md").read_text("utf-8")
FENCED = re.findall(r"^[ 0-9.]*```(\w*)\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
BLOCKS = [block.strip() for language, block in FENCED if not language]
RECIPE, AGENT = "python -m recipes.od_seg ", "camagent "


def follow(block: str, changes: dict[str, str]) -> list[int]:
    """Runs a block's lines in this process; what stands for the reader's files is replaced by the test's."""
    codes = []
    for line in block.splitlines():
        for old, new in changes.items():
            line = line.replace(old, new)  # noqa: PLW2901
        name = RECIPE if line.strip().startswith(RECIPE) else AGENT
        arguments = shlex.split(line.strip().removeprefix(name))
        codes.append(run(arguments) if name == RECIPE else camagent(arguments))
    return codes


def test_using_the_shipped_model_goes_as_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures.write(tmp_path / "street.jpg", scene(seeds_of("demo", 100, 1)[5], (1280, 720), light="day").picture)
    out = {
        "camagent-out": str(tmp_path),
        "street.jpg": f"{tmp_path}/street.jpg --out {tmp_path}/seen",
        "recipes/od_seg/od_seg": f"{SHIPPED}/od_seg",
    }
    assert follow(BLOCKS[0], out) == [0, 0]
    text = capfd.readouterr().out
    assert all(re.search(rf"[1-9] {label} \(", text) for label in ("car", "person", "bicycle", "sign")), text
    assert "road" in text


def test_every_command_has_a_line_in_the_table() -> None:
    assert [name for name in COMMANDS if name != "all" and f"| `{name}` |" not in TEXT] == []


def test_the_table_is_what_was_measured() -> None:
    report = json.loads((SHIPPED / "od_seg-int8.json").read_text())
    for name, found in {"float": report["float"], **report["int8"]}.items():
        cells = [found["map50"], *found["ap50"].values(), *found["iou"].values()]
        row = " | ".join(f"{value:.4f}" for value in cells)
        assert row in TEXT, f"{name}: {row}"
    assert report["float"]["pictures"] == 500
    for found in (report["float"], report["int8"][report["chosen"]]):
        assert found["map50"] >= 0.75
        assert found["iou"]["road"] >= 0.95


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not here: pip install -e '.[dev,train]'")
@pytest.mark.full(seconds=300)
def test_pictures_of_ones_own_go_the_way_that_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = Classes(("car", "truck", "bus", "person", "bicycle", "sign"), ("road", "sidewalk"))
    write_classes(tmp_path / "my", mine)
    for split, count in (("train", 12), ("val", 12)):
        for number, seed in enumerate(seeds_of(split, count, 2)):
            sample = scene(seed, (640, 360))
            path = tmp_path / "my" / split / f"{number:04d}.jpg"
            pictures.write(path, sample.picture)
            path.with_suffix(".json").write_bytes(labelme.document(sample, ROADS, path.name))
    names = {
        " my ": f" {tmp_path}/my ", "lint my": f"lint {tmp_path}/my", "my/val": f"{tmp_path}/my/val",
        "work/": f"{tmp_path}/work/",
        "--epochs 60": "--epochs 1 --workers 0 --batch 4 --device cpu", "person:2,lane": "road",
    }  # fmt: skip
    (own,) = [block for block in BLOCKS if "lint my" in block]
    (bundle,) = [block for block in BLOCKS if "my-model" in block]
    assert follow(own, names) == [0] * 6
    assert follow(bundle, names)[0] in {0, 1}, "after one epoch it may see nothing"
    assert (tmp_path / "work" / "my-model-1.0.0.cambundle").exists()
    capfd.readouterr()
