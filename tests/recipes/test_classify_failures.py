"""The three failures of the field report: what they are elsewhere, and the sentence here. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from camagent.errors import CodedError, InputError
from recipes.classify import dataset, weights
from recipes.classify.classes import CONFIG, NINE, TWO, Classes, read_classes, write_classes
from recipes.classify.cli import run
from recipes.classify.errors import CountMismatch, StrayClass, WeightsMisfit
from recipes.classify.lint import lint
from recipes.od_seg import pictures

SHAPES = {"backbone.0.0.weight": (8, 3, 3, 3), "backbone.0.1.num_batches_tracked": ()}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Two classes, three pictures of each."""
    dataset.generate(tmp_path / "two", TWO, {"train": 3, "val": 2}, 0, lambda: None)
    return tmp_path / "two"


def arrays(classes: int) -> dict[str, NDArray[np.generic]]:
    made: dict[str, NDArray[np.generic]] = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    return made | {"head.weight": np.ones((classes, 64), np.float32), "head.bias": np.zeros(classes, np.float32)}


def shapes(of: Mapping[str, NDArray[np.generic]]) -> weights.Shapes:
    return {name: value.shape for name, value in of.items()}


def stored(path: Path, classes: Classes) -> weights.Checkpoint:
    weights.write(path, classes, arrays(len(classes.classes)))
    return weights.read(path)


def image_folder_counts(split: Path) -> int:
    """As torchvision's ImageFolder finds classes: every folder is one."""
    return len([path for path in split.iterdir() if path.is_dir()])


@pytest.mark.parametrize("name", [".ipynb_checkpoints", ".checkpoint", "checkpoints"])
def test_a_folder_that_a_notebook_left_is_named_and_not_counted(
    name: str, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image_folder_counts(good / "train") == 2
    (good / "train" / name).mkdir()
    assert image_folder_counts(good / "train") == 3, "which is the failure"
    with pytest.raises(StrayClass) as caught:
        dataset.open_dataset(good)
    assert caught.value.evidence == {
        "folders": f"3: {', '.join(sorted((name, *TWO.classes)))}",
        "classes": f"2: {', '.join(TWO.classes)}",
    }
    assert f"rm -r {good / 'train' / name}" in (caught.value.fix or "")
    assert [one.code for one in lint(good)] == ["STRAY_FOLDER"]
    assert run(["train", str(good), "-o", str(good.parent / "x.npz")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"error[STRAY_CLASS]: train/{name} was left by a tool")
    assert "Traceback" not in shown


def test_copies_inside_a_class_are_found_too(good: Path) -> None:
    inner = good / "train" / "disposable box" / ".ipynb_checkpoints"
    inner.mkdir()
    (inner / "00000-checkpoint.jpg").write_bytes((good / "train" / "disposable box" / "00000.jpg").read_bytes())
    with pytest.raises(StrayClass, match="its pictures for samples"):
        dataset.open_dataset(good)


def test_what_lies_beside_the_splits_is_no_loaders_business_and_a_folder_without_config_no_data_set(good: Path) -> None:
    (good / ".git").mkdir()
    assert len(dataset.open_dataset(good).files["train"]) == 6
    (good / "train" / ".ipynb_checkpoints").mkdir()
    (good / CONFIG).unlink()
    with pytest.raises(InputError, match="cannot be read"):  # and not how to delete something in it
        dataset.open_dataset(good)


@pytest.mark.parametrize("place", ["train/loose.jpg", "loose.jpg"])
def test_a_picture_in_no_classs_folder_is_told(place: str, good: Path) -> None:
    (good / place).write_bytes((good / "train" / "disposable box" / "00000.jpg").read_bytes())
    with pytest.raises(InputError, match="lies in no class's folder"):
        dataset.open_dataset(good)


def test_folders_and_config_must_agree_in_each_split(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classes(good, NINE)
    with pytest.raises(CountMismatch) as caught:
        dataset.open_dataset(good)
    assert caught.value.evidence["folders of train"] == "2: cardboard box, disposable box"
    assert str(caught.value.evidence[CONFIG]).startswith("9: apple core")
    assert [one.code for one in lint(good)] == ["CLASS_COUNT", "CLASS_COUNT"]
    assert run(["train", str(good), "-o", str(good.parent / "x.npz")]) == 1
    assert "error[CLASS_COUNT_MISMATCH]" in capsys.readouterr().err
    write_classes(good, TWO)
    (good / "val" / "spare").mkdir()
    with pytest.raises(CountMismatch, match="val/"):
        dataset.open_dataset(good)
    assert any("a folder 'spare' that is no class" in one.sentence for one in lint(good))


def test_a_head_and_its_list_must_agree(tmp_path: Path) -> None:
    weights.write(tmp_path / "odd.npz", TWO, arrays(9))
    with pytest.raises(CountMismatch) as caught:
        weights.read(tmp_path / "odd.npz")
    assert "gives 9 scores, and 2 classes are named" in caught.value.what
    assert "9" in caught.value.evidence.values()


def test_the_backbone_of_nine_is_loaded_for_two_and_the_head_is_named(tmp_path: Path) -> None:
    fit = weights.backbone(stored(tmp_path / "nine.npz", NINE), shapes(arrays(2)))
    assert set(fit.taken) == set(SHAPES)
    assert fit.skipped == {"head.weight": ((9, 64), (2, 64)), "head.bias": ((9,), (2,))}
    assert fit.sentence == (
        "loaded 2 of 4 arrays, the whole backbone; the head begins anew, skipped: "
        "head.weight (9 x 64 there, 2 x 64 here), head.bias (9 there, 2 here)"
    )
    whole = weights.backbone(stored(tmp_path / "two.npz", TWO), shapes(arrays(2)))
    assert (whole.skipped, whole.sentence) == ({}, "loaded all 4 arrays")


@pytest.mark.parametrize("change", ["other", "missing", "more"])
def test_a_backbone_of_another_network_is_refused(change: str, tmp_path: Path) -> None:
    network = dict(shapes(arrays(2)))
    if change == "other":
        network["backbone.0.0.weight"] = (16, 3, 3, 3)
    elif change == "missing":
        network["backbone.9.weight"] = (1,)
    else:
        del network["backbone.0.0.weight"]
    with pytest.raises(WeightsMisfit, match="of another network") as caught:
        weights.backbone(stored(tmp_path / "nine.npz", NINE), network)
    assert set(caught.value.evidence) == {"checkpoint", "network"}


def test_going_on_with_a_head_for_other_classes_is_a_sentence(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path / "nine.npz", NINE)
    assert run(["train", str(good), "--resume", str(tmp_path / "nine.npz"), "-o", str(tmp_path / "x.npz")]) == 1
    shown = capsys.readouterr().err
    assert "error[WEIGHTS_MISFIT]: the head in" in shown
    assert "is for 9 classes, the data set has 2" in shown
    assert "--weights instead of --resume" in shown
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04junk", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_checkpoint_is_refused(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(junk)
    with pytest.raises(InputError, match="no checkpoint of this recipe") as caught:
        weights.read(tmp_path / "x.npz")
    assert "unsafe" not in caught.value.what


def test_a_pickle_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", classes=np.array([print], dtype=object))
    with pytest.raises(InputError, match="no checkpoint"):
        weights.read(tmp_path / "x.npz")


@pytest.mark.parametrize("text", ["", "classes = [", 'classes = ["a"]', 'classes = ["a", "a"]', "number = 2",
                                  'classes = ["a", "b"]\n[groups]\nc = "d"'])  # fmt: skip
def test_a_config_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(CodedError):
        read_classes(tmp_path)
    assert "CONFIG_INVALID" in [one.code for one in lint(tmp_path)]


def test_without_torch_the_extra_is_named(
    good: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recipes.od_seg.extras.find_spec", lambda _: None)
    stored(good.parent / "two.npz", TWO)
    for command in (["train", str(good), "-o", str(good.parent / "x.npz")], ["all", "-o", str(good.parent / "all")],
                    ["export", str(good.parent / "two.npz"), "-o", str(good.parent / "x.onnx")]):  # fmt: skip
        assert run(command) == 2
        text = capsys.readouterr().err
        assert "error[EXTRA_MISSING]: this step needs torch" in text
        assert "camagent[train]" in text
    assert {path.name for path in good.parent.iterdir()} == {"two", "two.npz"}


def test_a_good_set_has_nothing_to_mend_and_is_read_in_the_order_of_its_config(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lint", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    write_classes(good, Classes(TWO.classes[::-1], TWO.groups))
    samples = dataset.read(dataset.open_dataset(good), "train")
    assert samples.pictures.shape == (6, 64, 64, 3)
    first = good / "train" / TWO.classes[1] / "00000.jpg"
    (place,) = [i for i in range(6) if np.array_equal(samples.pictures[i], dataset.fitted(pictures.read(first)))]
    assert samples.class_ids[place] == 0
    few = samples.few(2, 1)
    assert sorted(few.class_ids.tolist()) == [0, 0, 1, 1]
