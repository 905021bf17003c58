"""The shipped model: what it is, how good it is, and that the agent runs it as it stands. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from camagent.cli import run as camagent
from camagent.errors import InputError
from camagent.labels import read as read_labels
from recipes.od_seg import shape
from recipes.od_seg.classes import ROADS
from recipes.od_seg.cli import COMMANDS, run
from recipes.od_seg.golden import declared
from recipes.od_seg.measure import Model, Quality, Seen, Tally, measure
from recipes.od_seg.quantize import CALIBRATIONS, as_tensor, compared, quantized
from recipes.od_seg.scene import Sample, scene
from recipes.od_seg.seeds import fitted_scene, seeds_of
from tests.recipes.support import SHIPPED, SMALL, plain

FLOAT, INT8 = SHIPPED / "od_seg.onnx", SHIPPED / "od_seg-int8.onnx"
MODELS = {"float": FLOAT, "int8": INT8}
LIMIT = 4_000_000


@cache
def held_out(count: int) -> list[Sample]:
    return [scene(seed, (1280, 720)) for seed in seeds_of("test", count)]


@cache
def quality(path: Path, count: int) -> Quality:
    return measure({"": path.read_bytes()}, ROADS, held_out(count))[""]


@pytest.mark.parametrize("name", MODELS)
def test_one_input_and_two_outputs_in_the_form_of_the_head(name: str) -> None:
    model = onnx.load(MODELS[name])
    onnx.checker.check_model(model)
    sizes = {value.name: [one.dim_value for one in value.type.tensor_type.shape.dim]
             for value in (*model.graph.input, *model.graph.output)}  # fmt: skip
    assert sizes == {
        "image": [1, 3, shape.HEIGHT, shape.WIDTH],
        "boxes": [1, shape.SLOTS * (shape.BOX + len(ROADS.boxes)), *shape.GRID],
        "masks": [1, len(ROADS.areas), *shape.MAP],
    }
    assert MODELS[name].stat().st_size <= LIMIT
    assert read_labels(str(SHIPPED / "labels.txt")) == ROADS.labels
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx", "com.microsoft"}


def test_it_has_fewer_parameters_than_allowed_and_the_layers_it_is_said_to_have() -> None:
    model = onnx.load(FLOAT)
    count = sum(int(np.prod(one.dims)) for one in model.graph.initializer)
    record = json.loads((SHIPPED / "od_seg.json").read_text())
    assert count <= record["parameters"] <= 1_000_000, "batch normalisation is folded into the convolutions"
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Sigmoid") == 2
    assert "LeakyRelu" in kinds
    assert not {"Relu", "BatchNormalization"} & set(kinds)
    assert sum("Quantize" in node.op_type for node in onnx.load(INT8).graph.node) > 50


def test_the_record_is_of_this_model() -> None:
    record = json.loads((SHIPPED / "od_seg.json").read_text())
    for name, path in MODELS.items():
        assert record["sha256"][name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["command"].startswith("python -m recipes.od_seg train ")
    trained_on = range(record["scene_seeds"][0], record["scene_seeds"][1] + 1)
    for split in ("val", "test", "demo"):
        assert not set(seeds_of(split, 100_000)) & set(trained_on)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_as_good_as_said_on_streets_it_has_not_seen(name: str) -> None:
    found = quality(MODELS[name], 24)
    assert found.pictures == 24
    assert found.map50 >= 0.85, "over 500 scenes it is more; 24 say less surely"
    assert found.iou["road"] >= 0.95


@pytest.mark.full(seconds=420)
def test_targets_on_five_hundred_held_out_scenes() -> None:
    plain_, small = (quality(path, 500) for path in MODELS.values())
    for found in (plain_, small):
        assert found.map50 >= 0.75
        assert found.iou["road"] >= 0.95
    assert plain_.map50 - small.map50 <= 0.02
    assert plain_.miou - small.miou <= 0.02
    record = json.loads((SHIPPED / "od_seg-int8.json").read_text())
    assert plain_.map50 == pytest.approx(record["float"]["map50"], abs=0.01)
    assert small.map50 == pytest.approx(record["int8"][record["chosen"]]["map50"], abs=0.01)


def perfect(sample: Sample, score: float = 0.9) -> Seen:
    return Seen(sample.boxes, np.full(len(sample.boxes), score, np.float32), sample.class_ids, sample.areas)


def test_the_measure_of_perfect_blind_and_half_seeing_models() -> None:
    sample = plain()
    nothing = Seen(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.full_like(sample.areas, 255)
    )
    shifted = Seen(sample.boxes + 100, np.ones(2, np.float32), sample.class_ids, np.roll(sample.areas, 45, axis=0))
    expected = {"perfect": (1.0, 1.0), "nothing": (0.0, 0.0), "shifted": (0.0, 1 / 3)}
    for (name, wanted), seen in zip(expected.items(), (perfect(sample), nothing, shifted), strict=True):
        tally = Tally(ROADS)
        tally.add(sample, seen)
        found = tally.quality()
        assert (found.map50, found.miou) == pytest.approx(wanted, abs=1e-6), name
        assert set(found.ap50) == {"car", "person"}
        assert set(found.iou) == {"road"}
    tally = Tally(ROADS)
    for seen in (perfect(sample), nothing):
        tally.add(sample, seen)
    assert tally.quality().ap50["car"] == pytest.approx(0.5, abs=0.01)


def test_a_false_box_that_is_surer_costs_precision() -> None:
    sample = plain()
    false = np.array([[250, 120, 300, 170]], np.float32)
    seen = Seen(
        np.concatenate([false, sample.boxes]), np.array([0.99, 0.9, 0.9], np.float32), np.array([0, 0, 3]), sample.areas
    )
    tally = Tally(ROADS)
    tally.add(sample, seen)
    assert tally.quality().ap50 == pytest.approx({"car": 0.5, "person": 1.0}, abs=0.01)


@pytest.mark.parametrize("calibration", [name for name in CALIBRATIONS if name != "Entropy"])
def test_each_calibration_gives_an_int8_model_that_sees_the_same(calibration: str) -> None:
    tensors = [as_tensor(fitted_scene(seed).picture) for seed in seeds_of("val", 4)]
    made = quantized(FLOAT.read_bytes(), tensors, calibration)
    assert len(made) < LIMIT / 2
    found = measure({"": made}, ROADS, held_out(6))[""]
    assert found.miou > 0.85
    assert found.map50 > 0.75


def test_the_better_calibration_comes_first() -> None:
    tensors = [as_tensor(fitted_scene(seed).picture) for seed in seeds_of("val", 2)]
    merits = {"float": 0.9, "MinMax": 0.3, "Percentile": 0.8}
    judged: dict[str, bytes] = {}

    def judge(models: Mapping[str, bytes]) -> dict[str, Quality]:
        judged.update(models)
        return {name: Quality(1, 1, {"car": merits[name]}, {"road": 0.9}) for name in models}

    unchanged, trials = compared(FLOAT.read_bytes(), tensors, ["MinMax", "Percentile"], judge)
    assert unchanged.map50 == 0.9
    assert [trial.calibration for trial in trials] == ["Percentile", "MinMax"]
    assert judged["Percentile"] == trials[0].model != judged["MinMax"] != judged["float"] == FLOAT.read_bytes()
    with pytest.raises(InputError, match="calibration pictures"):
        quantized(FLOAT.read_bytes(), [], "MinMax")


def test_a_tensor_is_the_agents_tensor() -> None:
    sample = fitted_scene(5)
    model = Model(FLOAT.read_bytes(), ROADS)
    try:
        assert np.abs(model.tensor(sample.picture) - as_tensor(sample.picture)).max() <= 2 / 255
    finally:
        model.close()


def test_golden_pictures_declare_what_a_person_is_sure_of() -> None:
    sample = plain()
    assert declared(sample) == {"car": 1, "person": 1, "road": 1}
    thin = sample.boxes - np.array([[0, 0, 0, 0], [0, 0, 10, 0]], np.float32)
    assert declared(Sample(sample.picture, thin, sample.class_ids, sample.areas)) == {"car": 1, "road": 1}


@pytest.mark.parametrize("name", MODELS)
def test_the_golden_bundle_agrees_with_itself_and_the_agent_runs_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "roads.cambundle"
    assert run(["bundle", str(MODELS[name]), "-o", str(bundle)]) == 0
    assert "disagrees" not in capfd.readouterr().out
    assert camagent(["bundle", "inspect", str(bundle), "--json"]) == 0
    manifest = json.loads(capfd.readouterr().out)["manifest"]
    assert (manifest["head"]["name"], manifest["task"], tuple(manifest["labels"])) == ("od-seg", "detect-segment", ROADS.labels)
    assert len(manifest["golden"]) == 2
    assert camagent(["model", "inspect", str(MODELS[name]), "--json"]) == 0
    heads = {head["name"]: head["fits"] for head in json.loads(capfd.readouterr().out)["heads"]}
    assert heads["od-seg"]


def test_evaluate_prints_the_numbers_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(INT8), "--scenes", "3", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["schema"], document["pictures"]) == ("camagent.quality/1", 3)
    assert set(document["iou"]) == set(ROADS.areas)


def test_a_file_that_is_no_model_is_refused_in_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07junk")
    assert run(["evaluate", str(tmp_path / "m.onnx"), "--scenes", "1"]) == 1
    assert "error[" in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Example: python -m recipes.od_seg {command}" in " ".join(capfd.readouterr().out.split())


def test_generate_voc_and_evaluate_fit_together(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = f"{SMALL[0]}x{SMALL[1]}"
    assert run(["generate", "--train", "8", "--val", "8", "--size", size, "--seed", "4", "-o", str(tmp_path / "data")]) == 0
    assert run(["lint", str(tmp_path / "data")]) == 0
    assert run(["voc", str(tmp_path / "data"), "-o", str(tmp_path / "voc")]) == 0
    capfd.readouterr()
    assert run(["evaluate", str(FLOAT), "--data", str(tmp_path / "voc"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["iou"]["road"] > 0.8
    assert run(["generate", "-o", str(tmp_path / "data")]) == 2
    assert "is not empty" in capfd.readouterr().err
