"""Training. Without torch (the extra `train`), these are skipped, and what the commands then say is tested."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from recipes.od_seg.classes import ROADS, Classes
from recipes.od_seg.cli import run
from recipes.od_seg.pack import Pack, load, pack
from recipes.od_seg.seeds import fitted_scene, seeds_of

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not here: pip install -e '.[dev,train]'")


def packed(folder: Path, count: int) -> Pack:
    return pack((fitted_scene(seed) for seed in seeds_of("train", count)), count, folder)


def test_a_pack_gives_back_every_sample(tmp_path: Path) -> None:
    told: list[int] = []
    samples = [fitted_scene(seed) for seed in seeds_of("train", 3)]
    pack(samples, 3, tmp_path, lambda: told.append(1))
    found = load(tmp_path)
    assert (len(found), len(told)) == (3, 3)
    for index, sample in enumerate(samples):
        for name in ("picture", "boxes", "class_ids", "areas"):
            assert np.array_equal(getattr(found.sample(index), name), getattr(sample, name))
    again = pickle.dumps(found)
    assert len(again) < 1000, "a worker opens the files itself"
    assert np.array_equal(pickle.loads(again).sample(2).picture, samples[2].picture)


@pytest.mark.parametrize("command", [["train", "--scenes", "1", "-o", "x.pt"], ["all", "-o", "x"]])
def test_without_torch_the_extra_is_named(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recipes.od_seg.extras.find_spec", lambda _: None)
    assert run(command) == 2
    text = capsys.readouterr().err
    assert "error[EXTRA_MISSING]: this step needs torch" in text
    assert "camagent[train]" in text
    assert not list(tmp_path.iterdir())


@needs_torch
def test_a_few_steps_make_the_loss_smaller_and_the_export_is_what_was_trained(tmp_path: Path) -> None:
    import torch

    from recipes.od_seg import train
    from recipes.od_seg.export import to_onnx
    from recipes.od_seg.measure import Model
    from recipes.od_seg.network import Activated

    torch.set_num_threads(1)
    samples = packed(tmp_path, 4)
    epochs: list[train.Epoch] = []
    settings = train.Settings(epochs=5, batch=2, device="cpu", clip=1.0)
    network = train.train(samples, ROADS, settings, None, epochs.append)
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[0].clipped == 1.0, "the first gradients are long, and were cut"
    assert train.parameters(network) <= 1_000_000
    train.save(tmp_path / "a.pt", network, ROADS)
    again, classes = train.restore(tmp_path / "a.pt")
    assert classes == ROADS
    model = Model(to_onnx(again), ROADS)
    tensor = model.tensor(samples.sample(0).picture)
    boxes, masks = model._steps.backend.infer(tensor)
    model.close()
    with torch.no_grad():
        wanted = Activated(network)(torch.from_numpy(tensor))
    assert np.abs(boxes - wanted[0].numpy()).max() < 1e-3
    assert np.abs(masks - wanted[1].numpy()).max() < 1e-3


@needs_torch
def test_the_loss_is_smallest_where_the_network_says_what_it_should(tmp_path: Path) -> None:
    import torch

    from recipes.od_seg.losses import Batch, losses
    from recipes.od_seg.targets import as_outputs, encode
    from recipes.od_seg.train import Looks, collate

    samples = packed(tmp_path, 2)
    batch = Batch(*collate([Looks(samples, 1, plain=True)[0, index] for index in range(2)]))
    outputs = [as_outputs(encode(samples.sample(index)), ROADS) for index in range(2)]
    boxes, masks = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*outputs, strict=True))
    right = losses(torch.logit(boxes, 1e-4), torch.logit(masks, 1e-4), batch, len(ROADS.boxes))
    assert float(right["box"]) < 0.01
    assert float(right["objectness"]) < 0.01
    assert float(right["areas"]) < 0.01
    wrong = losses(torch.logit(boxes.roll(1, 3), 1e-4), torch.logit(masks.flip(3), 1e-4), batch, len(ROADS.boxes))
    assert all(float(wrong[name]) > 10 * float(right[name]) for name in ("box", "objectness", "areas"))


@needs_torch
def test_other_classes_other_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from recipes.od_seg import train
    from recipes.od_seg.network import OdSegNet

    few = Classes(("car",), ("road",))
    train.save(tmp_path / "few.pt", OdSegNet(few), few)
    assert run(["train", "--scenes", "1", "--weights", str(tmp_path / "few.pt"), "-o", str(tmp_path / "x.pt")]) == 2
    assert "trained for other classes" in capsys.readouterr().err
    (tmp_path / "junk.pt").write_bytes(b"junk")
    assert run(["export", str(tmp_path / "junk.pt"), "-o", str(tmp_path / "x.onnx")]) == 2
    assert "no checkpoint" in capsys.readouterr().err


@needs_torch
@pytest.mark.full(seconds=900)
def test_a_smoke_run_goes_from_nothing_to_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["all", "--smoke", "--device", "cpu", "--workers", "1", "-o", str(tmp_path / "work")]) in {0, 1}
    made = {path.name for path in (tmp_path / "work").iterdir()}
    assert {"data", "voc", "od_seg.pt", "od_seg.json", "od_seg.onnx", "od_seg-int8.onnx", "labels.txt"} <= made
    assert "od-seg-roads-1.0.0.cambundle" in made
    record = json.loads((tmp_path / "work" / "od_seg.json").read_text())
    assert record["loss_per_epoch"][-1] < record["loss_per_epoch"][0] * 0.9
    assert "nothing to mend" in capsys.readouterr().out
