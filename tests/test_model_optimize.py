"""`camagent model optimize` through the public command: what it writes, says and refuses, and that the agent sees the same."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from camagent.cli import run
from camagent.cli.tool_bundle import load_bundle
from camagent.pipeline import BackendOptions, FilterRule, Steps, one_picture
from firmware_pkg.graph import PASSES, optimize
from firmware_pkg.graph.network import Network
from firmware_pkg.graph.passes import Change
from firmware_pkg.graph.proof import enlarged
from firmware_pkg.graph.registry import Wishes
from tests.support.graphs import Graph, types
from tests.support.segformer import segformer
from tests.test_errors import NASTY

Capture = pytest.CaptureFixture[str]
SIZE, CLASSES = 64, 5
ZERO, ONE = pytest.approx(0, abs=0.2), pytest.approx(1, abs=0.2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(segformer(size=SIZE, classes=CLASSES), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    random = np.random.default_rng(4)
    areas = cv2.resize(random.integers(0, 256, (3, 4, 3)).astype(np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "street.png"), areas)
    return tmp_path / "street.png"


def optimised(capsys: Capture, source: Path, *more: object, code: int = 0, rounds: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    out = source.with_name("out.onnx")
    arguments = ["model", "optimize", str(source), "-o", str(out), "--json", "--rounds", str(rounds), *map(str, more)]
    assert run(arguments) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: Capture, *arguments: object) -> str:
    """What it says on stderr; stdout stays empty."""
    capsys.readouterr()
    assert run(["model", "optimize", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


# -- what it does -----------------------------------------------------------------------------------------------------------


def test_a_small_segformer_becomes_what_is_promised(model: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    told = optimised(capsys, model, rounds=2)
    made = onnx.load(str(model.with_name("out.onnx")))
    onnx.checker.check_model(made, full_check=True)
    assert model.read_bytes() == before
    assert (told["schema"], told["proved"]) == ("camagent.optimize/1", True)
    assert told["pictures"] == {"kind": "random", "count": 3, "low": ZERO, "high": ONE}
    assert [one["name"] for one in told["passes"]] == [name for name, place in PASSES.items() if place.usual]
    kept = {one["name"]: one for one in told["passes"] if one["status"] == "kept"}
    assert {"argmax-first", "low-resolution-head", "cancel-transposes"} <= set(kept)
    assert all(one["ms"] > 0 and one["proof"]["holds"] for one in kept.values())
    assert told["operators"]["after"] == types(made)
    assert told["operators"]["before"]["Transpose"] > told["operators"]["after"]["Transpose"]
    assert not {"Softmax", "ArgMax", "Concat"} & set(told["operators"]["after"])
    assert told["settings"] == {"head.name": "semantic", "head.params.activation": "softmax"}
    assert told["ms"]["ratio"] == pytest.approx(told["ms"]["after"] / told["ms"]["before"])
    assert told["whole"]["measured"]["differ_off_boundary"] == 0
    assert [side.dim_value for side in made.graph.output[0].type.tensor_type.shape.dim] == [1, CLASSES, SIZE // 4, SIZE // 4]


def test_people_read_the_same(model: Path, capsys: Capture) -> None:
    out = model.with_name("out.onnx")
    assert run(["model", "optimize", str(model), "-o", str(out), "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    for words in (
        "3 random pictures (seed 20; give --image F), values", "low-resolution-head", "kept", "as it came", "Transpose",
        'set head.name = "semantic", head.params.activation = "softmax"',
        "--head semantic --head-param activation=softmax", "together", "of the time", "boundaries",
    ):  # fmt: skip
        assert words in said


def test_passes_may_be_chosen_and_run_in_their_own_order(model: Path, capsys: Capture) -> None:
    told = optimised(capsys, model, "--passes", "low-resolution-head, fold-pad")
    assert [one["name"] for one in told["passes"]] == ["fold-pad", "low-resolution-head"]
    assert [one["status"] for one in told["passes"]] == ["nothing", "kept"]
    assert told["operators"]["after"]["ArgMax"] == 1
    assert told["ms"] is None


@pytest.mark.parametrize(("ending", "shape"), [("labels", (1, 16, 16)), ("full", (1, 64, 64)), ("logits", (1, 5, 16, 16))])
def test_the_ending_may_be_chosen(ending: str, shape: tuple[int, ...], model: Path, capsys: Capture) -> None:
    told = optimised(capsys, model, "--class-map", ending)
    output = onnx.load(str(model.with_name("out.onnx"))).graph.output[0]
    assert tuple(side.dim_value for side in output.type.tensor_type.shape.dim) == shape
    assert told["proved"]


def test_pictures_are_used_where_they_are_given(model: Path, picture: Path, capsys: Capture) -> None:
    told = optimised(capsys, model, "--image", picture, "--image", picture)
    assert told["pictures"]["kind"] == "images"
    assert told["pictures"]["count"] == 2
    assert 0 <= told["pictures"]["low"] < told["pictures"]["high"] <= 1


def test_a_graph_that_divides_by_255_is_shown_0_to_255(tmp_path: Path, picture: Path, capsys: Capture) -> None:
    graph = Graph()
    scaled = graph.op("Div", graph.input([1, 3, 32, 32]), graph.constant(np.float32(255)))
    onnx.save(graph.model(graph.op("Relu", graph.conv(scaled, 3, 4, 3))), tmp_path / "in.onnx")
    for more in ((), ("--image", picture)):
        assert optimised(capsys, tmp_path / "in.onnx", *more)["pictures"]["high"] > 200


def test_nothing_to_do_is_said_and_the_file_is_there_all_the_same(tmp_path: Path, capsys: Capture) -> None:
    graph = Graph()
    path = tmp_path / "in.onnx"
    onnx.save(graph.model(graph.op("Relu", graph.conv(graph.input([1, 3, 8, 8]), 3, 4, 3))), path)
    assert run(["model", "optimize", str(path), "-o", str(tmp_path / "out.onnx")]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()
    assert optimised(capsys, path)["whole"] is None


def test_open_sizes_are_fixed_where_a_size_is_given(tmp_path: Path, capsys: Capture) -> None:
    graph = Graph()
    value = graph.resize(graph.op("Relu", graph.conv(graph.input(["n", 3, "h", "w"]), 3, 8, 3, pads=[1] * 4)), (1, 8, 32, 48))
    path = tmp_path / "in.onnx"
    onnx.save(graph.model(graph.conv(value, 8, 4)), path)
    assert "give --size WxH" in refused(capsys, path, "-o", tmp_path / "out.onnx")
    told = optimised(capsys, path, "--size", "24x16")
    assert next(one for one in told["passes"] if one["name"] == "low-resolution-head")["status"] == "kept"
    made = onnx.load(str(tmp_path / "out.onnx"))
    assert [side.dim_value for side in made.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 16, 24]


def test_numbers_that_are_no_picture_are_tried_with_noise(tmp_path: Path, picture: Path, capsys: Capture) -> None:
    graph = Graph()
    path = tmp_path / "in.onnx"
    onnx.save(graph.model(graph.op("MatMul", graph.op("Relu", graph.input([1, 7, 4])), graph.weights(4, 3))), path)
    told = optimised(capsys, path)
    assert next(one for one in told["passes"] if one["name"] == "rank-2-matmul")["status"] == "kept"
    assert "is no picture" in refused(capsys, path, "-o", tmp_path / "out.onnx", "--image", picture)


# -- proofs that fail -------------------------------------------------------------------------------------------------------


def test_a_failed_proof_is_exit_1_and_what_was_proved_is_written(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = optimize.pass_of

    def wrong(network: Network, wishes: Wishes) -> Change:
        del wishes
        conv = next(node for node in network.nodes if node.type == "Conv")
        weight = network.constant(conv.inputs[1])
        assert weight is not None
        conv.inputs[1] = network.keep(weight * np.float32(1.01), "other")
        return Change(1)

    monkeypatch.setattr(optimize, "pass_of", lambda name: wrong if name == "fold-pad" else real(name))
    told = optimised(capsys, model, "--class-map", "full", "--passes", "fold-pad,low-resolution-head", code=1)
    assert told["proved"] is False
    assert [one["status"] for one in told["passes"]] == ["refused", "kept"]
    assert "identical" in told["passes"][0]["why"]
    assert told["whole"]["holds"] is True
    assert "Concat" not in types(onnx.load(str(model.with_name("out.onnx"))))
    assert run(["model", "optimize", str(model), "-o", str(model.with_name("o.onnx")), "--passes", "fold-pad"]) == 1
    said = capsys.readouterr().out
    assert "UNDONE" in said
    assert "undone: " in said


# -- what it refuses --------------------------------------------------------------------------------------------------------


def test_the_output_never_overwrites_the_input(model: Path, capsys: Capture) -> None:
    before = model.read_bytes()
    link = model.with_name("link.onnx")
    link.symlink_to(model)
    other = model.with_name("hard.onnx")
    os.link(model, other)
    for path in (model, link, other):
        assert "would overwrite the input" in refused(capsys, model, "-o", path)
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "IN.onnx and -o OUT.onnx"),
        (["in.onnx"], "IN.onnx and -o OUT.onnx"),
        (["missing.onnx", "-o", "out.onnx"], "does not exist"),
        (["in.onnx", "-o", "out.onnx", "--passes", "fold-all"], "there is no pass 'fold-all'; there are fold-constants"),
        (["in.onnx", "-o", "out.onnx", "--passes", ","], "there is no pass"),
        (["in.onnx", "-o", "out.onnx", "--size", "24"], "is not WIDTHxHEIGHT"),
        (["in.onnx", "-o", "no/such/folder/out.onnx"], "cannot be used"),
        (["in.onnx", "-o", "out.onnx", "--image", "text.jpg"], "INPUT_UNREADABLE"),
    ],
)
def test_wrong_usage_gets_a_sentence(
    arguments: list[str], words: str, model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    Path("text.jpg").write_text("no picture")
    assert words in refused(capsys, *arguments, "--rounds", "0")


@pytest.mark.parametrize("missing", ["onnx", "onnxslim"])
def test_a_camera_is_told_which_extra_it_lacks(
    missing: str, model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("camagent.cli.model_optimize.find_spec", lambda name: None if name == missing else find(name))
    said = refused(capsys, model, "-o", model.with_name("out.onnx"))
    assert said.startswith(f"error[EXTRA_MISSING]: working on ONNX graphs needs {missing}\n")
    assert "pip install 'camagent[build]'" in said
    assert run(["model", "optimize", "--list"]) == 0


def test_a_damaged_model_is_exit_1(tmp_path: Path, model: Path, capsys: Capture) -> None:
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-500])
    for path in ("cut.onnx",):
        assert run(["model", "optimize", str(tmp_path / path), "-o", str(tmp_path / "out.onnx")]) == 1
        assert capsys.readouterr().err.startswith("error[")
    assert not (tmp_path / "out.onnx").exists()


def test_a_model_with_two_inputs_is_turned_away(tmp_path: Path, capsys: Capture) -> None:
    graph = Graph()
    made = graph.op("Add", graph.input([1, 3, 8, 8]), graph.input([1, 3, 8, 8], name="y"))
    onnx.save(graph.model(made), tmp_path / "in.onnx")
    assert "the model has 2 inputs" in refused(capsys, tmp_path / "in.onnx", "-o", tmp_path / "out.onnx")


def test_nasty_names_are_tamed(tmp_path: Path, capsys: Capture) -> None:
    graph = Graph()
    source = graph.input([1, 3, 8, 8], name="\x1b[31m[/]\u202e")
    value = graph.op("Softmax", graph.conv(source, 3, 4), axis=1)
    made = graph.model(value)
    for node in made.graph.node:
        node.output[:] = [name.replace("v", NASTY[0] + NASTY[1]) for name in node.output]
        node.input[:] = [name.replace("v", NASTY[0] + NASTY[1]) for name in node.input]
    made.graph.output[0].name = made.graph.output[0].name.replace("v", NASTY[0] + NASTY[1])
    path = tmp_path / "in[bold].onnx"
    onnx.save(made, path)
    out_path = tmp_path / "out.onnx"
    assert run(["model", "optimize", str(path), "-o", str(out_path), "--rounds", "1", "--passes", "argmax-first"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err


# -- the list ---------------------------------------------------------------------------------------------------------------


def test_the_list_names_every_pass(capsys: Capture) -> None:
    assert run(["model", "optimize", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PASSES)
    assert run(["model", "optimize", "--list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["passes"]] == list(PASSES)
    assert [one["name"] for one in document["passes"] if not one["usual"]] == ["split-heads"]


# -- the agent sees the same ------------------------------------------------------------------------------------------------


def bundled(model: Path, picture: Path, name: str) -> Path:
    labels = model.with_name("labels.txt")
    labels.write_text("".join(f"class{number}\n" for number in range(CLASSES)))
    path = model.with_name(f"{name}.cambundle")
    assert run(["bundle", "create", str(model), "--name", name, "--version", "1", "--head", "semantic", "--labels", str(labels),
                "--scale", "0.00392157", "--golden", str(picture), "-o", str(path)]) == 0  # fmt: skip
    return path


def class_map(bundle: Path, picture: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The map on its own grid, and in pixels of the picture."""
    steps = Steps(load_bundle(bundle, (), None), FilterRule(0.4, 0.45), BackendOptions())
    try:
        found: Any = steps.run(one_picture(picture)).outcome
    finally:
        steps.close()
    return found.ids, found.ids[found.rows[:, None], found.columns]


@pytest.mark.parametrize("ending", ["logits", "labels", "full"])
def test_a_bundle_of_the_optimised_model_gives_the_same_class_map(
    ending: str, model: Path, picture: Path, capsys: Capture
) -> None:
    first = bundled(model, picture, "first")
    told = optimised(capsys, first, "--class-map", ending)
    assert told["pictures"] == {"kind": "golden", "count": 1, "low": ZERO, "high": ONE}
    assert told["proved"]
    second = bundled(first.with_name("out.onnx"), picture, "second")
    (_, old), (small, new) = class_map(first, picture), class_map(second, picture)
    assert old.shape == new.shape
    assert len(np.unique(old)) > 1
    if ending == "full":
        small = small[2::4, 2::4]
    inside = enlarged(small, (SIZE, SIZE), "half_pixel")[1]
    letterbox = (np.arange(120) + 0.5) * 0.4 + 8, (np.arange(160) + 0.5) * 0.4
    rows, columns = (np.floor(at).astype(int) for at in letterbox)
    off = inside[rows[:, None], columns]
    assert off.mean() > 0.5
    assert np.mean(old[off] == new[off]) >= 0.999
    assert np.mean(old == new) > 0.95
