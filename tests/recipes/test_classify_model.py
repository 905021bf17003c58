"""The shipped classifier, its bundle with label groups, and the pictures it is judged on. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from camagent.cli import run as camagent
from recipes.classify.classes import NINE, SETS, TWO, write_classes
from recipes.classify.cli import COMMANDS, run
from recipes.classify.draw import SPLITS, picture
from recipes.classify.things import THINGS
from tests.recipes.support import ROOT

SHIPPED = ROOT / "recipes" / "classify"
MODEL = SHIPPED / "classify.onnx"
RECORD = json.loads((SHIPPED / "classify.json").read_text())
README = (SHIPPED / "README.md").read_text("utf-8")


@pytest.mark.parametrize("label", THINGS)
def test_a_seed_draws_the_same_for_ever_and_splits_share_nothing(label: str) -> None:
    first = picture(label, "train", 0)
    assert first.shape == (128, 128, 3)
    assert np.array_equal(first, picture(label, "train", 0))
    others = [picture(label, "train", 1), picture(label, "train", 0, 1), *(picture(label, split, 0) for split in SPLITS[1:])]
    assert all(np.abs(first.astype(int) - other).mean() > 1 for other in others)


def test_every_class_can_be_drawn_and_is_in_one_set() -> None:
    assert sorted((*NINE.classes, *TWO.classes)) == sorted(THINGS)
    assert (len(NINE.classes), len(TWO.classes)) == (9, 2)
    assert TWO.groups["disposable box"] == "other waste"


def test_the_record_is_of_this_model() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == RECORD["sha256"]
    assert MODEL.stat().st_size < 500_000
    assert RECORD["command"].startswith("python -m recipes.classify all ")


def test_it_is_about_as_often_right_as_recorded_on_pictures_that_nothing_was_tuned_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["evaluate", str(MODEL), "--pictures", "60", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["schema"], found["pictures"], set(found["by_class"])) == ("camagent.accuracy/1", 120, set(TWO.classes))
    assert found["accuracy"] == pytest.approx(RECORD["two"]["accuracy"], abs=0.1)


def test_the_table_is_what_was_measured() -> None:
    for row in RECORD["compared"]:
        cells = [f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"
                 for values in (row["scratch"], row["transferred"])]  # fmt: skip
        assert f"| {row['pictures']} | {' | '.join(cells)} |" in README
        assert sum(row["transferred"]) > sum(row["scratch"])


def test_the_bundle_has_its_groups_and_agrees_with_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "out" / "waste.cambundle"
    assert run(["bundle", str(MODEL), "-o", str(bundle)]) == 0
    assert camagent(["bundle", "inspect", str(bundle), "--json"]) == 0
    shown = capfd.readouterr().out
    manifest = json.loads(shown[shown.index("{") :])["manifest"]
    assert (manifest["task"], manifest["head"]["name"]) == ("classify", "classify")
    assert manifest["labels"] == [{"name": name, "group": TWO.groups[name]} for name in TWO.classes]
    assert [one["declared"] for one in manifest["golden"]] == [{name: 1} for name in TWO.classes]


def test_a_bundle_of_ones_own_pictures_takes_labels_and_groups_from_their_config(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", "two", "--train", "1", "--val", "2", "--seed", "3", "-o", str(tmp_path / "two")]) == 0
    groups = {"disposable box": "burnt"}
    write_classes(tmp_path / "two", type(TWO)(TWO.classes, groups))
    assert run(["bundle", str(MODEL), "--data", str(tmp_path / "two"), "-o", str(tmp_path / "b.cambundle")]) in {0, 1}
    capfd.readouterr()
    assert camagent(["bundle", "inspect", str(tmp_path / "b.cambundle"), "--json"]) == 0
    labels = json.loads(capfd.readouterr().out)["manifest"]["labels"]
    assert labels == ["cardboard box", {"name": "disposable box", "group": "burnt"}]


@pytest.mark.parametrize("command", [["evaluate", "--kinds", "nine"], ["evaluate", "--data"], ["bundle", "--data"]])
def test_a_model_with_another_number_of_scores_than_classes_is_a_sentence(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [command[0], str(MODEL), *command[1:]]
    if command[-1] == "--data":
        assert run(["generate", "nine", "--train", "1", "--val", "1", "-o", str(tmp_path / "nine")]) == 0
        arguments.append(str(tmp_path / "nine"))
    arguments += ["-o", str(tmp_path / "x.cambundle")] if command[0] == "bundle" else []
    assert run(arguments) == 1
    shown = capfd.readouterr().err
    assert "error[CLASS_COUNT_MISMATCH]: the model gives 2 scores, and 9 classes are named" in shown
    assert not (tmp_path / "x.cambundle").exists()


def test_a_folder_with_something_in_it_is_not_drawn_into(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert run(["generate", "two", "-o", str(tmp_path)]) == 2
    assert "is not empty" in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_a_line_in_the_manual(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert f"Example: python -m recipes.classify {command}" in " ".join(capfd.readouterr().out.split())
    assert f"`{command}`" in README


def test_the_manual_shows_commands_that_are_there_and_every_code() -> None:
    for name in re.findall(r"^python -m recipes\.classify (\w+)", README, re.MULTILINE):
        assert name in COMMANDS
    assert all(code in README for code in ("STRAY_CLASS", "CLASS_COUNT_MISMATCH", "WEIGHTS_MISFIT"))
    assert set(SETS) == {"nine", "two"}
