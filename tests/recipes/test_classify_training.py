"""Training. Without torch (the extra `train`), these are skipped; what the commands then say is in test_classify_failures."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from recipes.classify import dataset, weights
from recipes.classify.classes import NINE, TWO
from recipes.classify.cli import run

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not here: pip install -e '.[dev,train]'")


def drawn(folder: Path, kinds: str, count: int) -> Path:
    assert run(["generate", kinds, "--train", str(count), "--val", "2", "-o", str(folder)]) == 0
    return folder


@needs_torch
def test_a_strict_load_is_a_wall_of_text_and_ours_fills_the_backbone(tmp_path: Path) -> None:
    import torch

    from recipes.classify import train

    nine, two = train.fresh(9, 1), train.fresh(2, 2)
    with pytest.raises(RuntimeError, match="size mismatch for head"):
        two.load_state_dict(nine.state_dict())
    weights.write(tmp_path / "nine.npz", NINE, train.arrays(nine))
    before = two.head.weight.detach().clone()
    fit = train.fill(two, weights.read(tmp_path / "nine.npz"))
    assert set(fit.skipped) == {"head.weight", "head.bias"}
    assert torch.equal(two.head.weight, before)
    theirs = nine.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in two.state_dict().items() if not name.startswith("head."))


@needs_torch
def test_from_nine_to_two_and_to_onnx(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from recipes.classify import train

    nine, two = drawn(tmp_path / "nine", "nine", 3), drawn(tmp_path / "two", "two", 6)
    assert run(["train", str(nine), "--steps", "3", "-o", str(tmp_path / "nine.npz")]) == 0
    capfd.readouterr()
    arguments = ["train", str(two), "--steps", "40", "--few", "5", "--weights", str(tmp_path / "nine.npz")]
    assert run([*arguments, "-o", str(tmp_path / "two.npz")]) == 0
    assert "the head begins anew, skipped: head.weight (9 x 64 there, 2 x 64 here)" in capfd.readouterr().err
    record = json.loads((tmp_path / "two.json").read_text())
    assert record["pictures"] == 10
    assert record["loss"][-1] < record["loss"][0]
    assert run(["train", str(two), "--steps", "2", "--resume", str(tmp_path / "two.npz"), "-o", str(tmp_path / "on.npz")]) == 0
    assert "loaded all" in capfd.readouterr().err
    assert run(["export", str(tmp_path / "two.npz"), "-o", str(tmp_path / "two.onnx")]) == 0
    assert run(["evaluate", str(tmp_path / "two.onnx"), "--data", str(two), "--json"]) == 0
    shown = capfd.readouterr().out
    found = json.loads(shown[shown.index("{") :])
    network = train.fresh(2, 0)
    train.fill(network, weights.read(tmp_path / "two.npz"))
    held = dataset.read(dataset.open_dataset(two), "val")
    assert found["accuracy"] == pytest.approx(train.share_right(network, held), abs=0.26), "the agent scales in its own way"


@needs_torch
def test_a_look_keeps_size_and_range(tmp_path: Path) -> None:
    import torch

    from recipes.classify import train

    pictures = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, 64, 64), np.uint8))
    shown = train.look(pictures, np.random.default_rng(1))
    assert shown.shape == pictures.shape
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    assert torch.equal(shown, train.look(pictures, np.random.default_rng(1)))


@needs_torch
@pytest.mark.full(seconds=300)
def test_a_smoke_run_goes_from_nothing_to_a_bundle(tmp_path: Path) -> None:
    assert run(["all", "--smoke", "-o", str(tmp_path / "work")]) in {0, 1}
    made = {path.name for path in (tmp_path / "work").iterdir()}
    assert {"nine", "two", "nine.npz", "two.npz", "nine.onnx", "two.onnx", "classify.json", "waste-1.0.0.cambundle"} <= made
    assert weights.read(tmp_path / "work" / "two.npz").classes == TWO
