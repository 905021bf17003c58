from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recipes.od_seg import labelme, pictures
from recipes.od_seg.classes import ROADS, Classes, write_classes
from recipes.od_seg.cli import run
from recipes.od_seg.lint import CODES, lint
from recipes.od_seg.scene import Sample
from tests.recipes.support import ROOT, plain

TWO = Classes(("car", "person"), ("road",))


def sample(number: int) -> Sample:
    one = plain()
    one.picture[number, number] = (number, 255, 0)
    return one


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A data set with nothing to mend."""
    folder = tmp_path / "set"
    write_classes(folder, TWO)
    for number, split in enumerate(("train", "train", "val")):
        path = folder / split / f"{number}.png"
        pictures.write(path, sample(number + 1).picture)
        path.with_suffix(".json").write_bytes(labelme.document(sample(number + 1), ROADS, path.name))
    return folder


def change(path: Path, key: str, value: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {key: value}))


def relabel(folder: Path, old: str, new: str, where: str = "*/*.json") -> None:
    for path in folder.glob(where):
        path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))


def stray_folder(folder: Path) -> None:
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "train" / "0.png", folder / "train" / ".ipynb_checkpoints" / "0-checkpoint.png")


def empty(folder: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(folder / split)


FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "notebook": (stray_folder, "STRAY_FOLDER", "counted as a class"),
    "checkpoint folder": (lambda f: (f / ".checkpoint").mkdir(), "STRAY_FOLDER", "0 files"),
    "checkpoint file": (lambda f: (f / "train" / ".checkpoint").write_text(""), "STRAY_FILE", ".checkpoint"),
    "thumbs": (lambda f: (f / "val" / "Thumbs.db").write_bytes(b"x"), "STRAY_FILE", "Thumbs.db"),
    "labels.txt": (lambda f: (f / "labels.txt").write_text("car\nperson\n"), "CLASS_COUNT", "2 classes, dataset.toml has 3"),
    "order": (lambda f: (f / "labels.txt").write_text("person\ncar\nroad\n"), "CLASS_COUNT", "another order"),
    "split": (lambda f: change(f / "val" / "2.json", "shapes", json.loads((f / "val" / "2.json").read_text())["shapes"][:2]),
              "CLASS_COUNT", "val has 2 classes of 3: 'person' missing"),
    "typo": (lambda f: relabel(f, "person", "preson", "train/1.json"), "LABEL_UNKNOWN", "is 'person' meant?"),
    "never used": (lambda f: relabel(f, "person", "car"), "LABEL_UNUSED", "'person'"),
    "config": (lambda f: (f / "dataset.toml").write_text("boxes = ["), "CONFIG_INVALID", "no list of classes"),
    "empty list": (lambda f: (f / "labels.txt").write_text(""), "CONFIG_INVALID", "is empty"),
    "truncated": (lambda f: (f / "train" / "0.png").write_bytes((f / "train" / "0.png").read_bytes()[:30]),
                  "PICTURE_UNREADABLE", "cannot be decoded"),
    "leak": (lambda f: shutil.copy(f / "train" / "0.png", f / "val" / "2.png"), "PICTURE_DUPLICATE", "tested on what"),
    "twice": (lambda f: shutil.copy(f / "train" / "0.png", f / "train" / "1.png"), "PICTURE_DUPLICATE", "counts twice"),
    "scaled": (lambda f: change(f / "train" / "0.json", "imageWidth", 640), "PICTURE_SIZE", "640"),
    "unlabelled": (lambda f: (f / "train" / "0.json").unlink(), "PICTURE_UNLABELLED", "no annotation"),
    "orphan": (lambda f: (f / "train" / "0.png").unlink(), "ANNOTATION_ORPHAN", "no picture"),
    "empty": (lambda f: change(f / "train" / "0.json", "shapes", []), "ANNOTATION_EMPTY", "no shapes"),
    "no json": (lambda f: (f / "train" / "0.json").write_text("{"), "ANNOTATION_INVALID", "no Labelme file"),
    "point": (lambda f: change(f / "train" / "0.json", "shapes", [{"label": "car", "points": [[1, 1]], "shape_type": "point"}]),
              "ANNOTATION_INVALID", "no inside"),
    "outside": (lambda f: change(f / "train" / "0.json", "shapes",
                                 [{"label": "car", "points": [[900, 900], [950, 950]], "shape_type": "rectangle"}]),
                "ANNOTATION_INVALID", "outside"),
    "nothing": (empty, "NOTHING", "no pictures"),
}  # fmt: skip


def test_a_good_data_set_has_nothing_to_mend(good: Path) -> None:
    assert lint(good) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_in_a_sentence(fault: str, good: Path) -> None:
    spoil, code, words = FAULTS[fault]
    spoil(good)
    found = [one for one in lint(good) if one.code == code]
    assert any(words in one.sentence for one in found), lint(good)


def test_every_code_has_a_fault_that_shows_it_and_a_line_in_the_manual() -> None:
    assert {code for _, code, _ in FAULTS.values()} == set(CODES)
    text = (ROOT / "recipes" / "od_seg" / "README.md").read_text("utf-8")
    assert not [code for code in CODES if f"`{code}`" not in text]


def test_lint_changes_nothing(good: Path) -> None:
    FAULTS["notebook"][0](good)
    before = {path: path.read_bytes() for path in good.rglob("*") if path.is_file()}
    lint(good)
    assert {path: path.read_bytes() for path in good.rglob("*") if path.is_file()} == before


def test_folders_named_for_their_class_are_looked_at_too(tmp_path: Path) -> None:
    for number, place in enumerate(("train/paper", "train/glass", "val/paper", "val/glass")):
        pictures.write(tmp_path / place / f"{number}.png", sample(number + 1).picture)
    assert lint(tmp_path) == []
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    shutil.rmtree(tmp_path / "val" / "glass")
    (tmp_path / "labels.txt").write_text("paper\nglass\nmetal\n")
    found = lint(tmp_path)
    assert [one.code for one in found] == ["CLASS_COUNT", "CLASS_COUNT", "CLASS_COUNT", "STRAY_FOLDER"]
    assert any(one.sentence == "val has 1 classes of 2: 'glass' missing" for one in found)
    assert any("the folders of train are 2; only in one of them: 'metal'" in one.sentence for one in found)
    assert any("'metal'" in one.sentence for one in found)


def test_a_picture_in_two_classes_is_asked_about(tmp_path: Path) -> None:
    for number, place in enumerate(("paper", "glass")):
        pictures.write(tmp_path / place / f"{number}.png", sample(number + 1).picture)
    shutil.copy(tmp_path / "glass" / "1.png", tmp_path / "paper" / "9.png")
    assert [one.sentence for one in lint(tmp_path)] == [
        "paper/9.png is the same picture as glass/1.png: is it 'glass' or 'paper'?"
    ]


def test_the_command_lists_findings_and_ends_with_1(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", str(good)]) == 0
    assert "nothing to mend" in capsys.readouterr().out
    FAULTS["notebook"][0](good)
    assert run(["lint", str(good)]) == 1
    text = capsys.readouterr()
    assert "STRAY_FOLDER (1)" in text.out
    assert text.err == ""
    assert run(["lint", "--json", str(good)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "camagent.dataset/1"
    assert document["findings"][0]["path"] == "train/.ipynb_checkpoints"


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", str(tmp_path / "nowhere")]) == 2
    assert "error[INPUT_UNREADABLE]" in capsys.readouterr().err


def test_nasty_names_are_escaped(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[31m\u202e[/].txt"
    (good / "train" / nasty.replace("/", "")).write_text("")
    relabel(good, "person", "\\u001b[2Jcar", "train/1.json")
    assert run(["lint", str(good)]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_many_findings_of_a_kind_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(14):
        pictures.write(tmp_path / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "x.json").write_text("{}")
    assert run(["lint", str(tmp_path)]) == 1
    assert "and 4 more" in capsys.readouterr().out
