"""Real networks that normalise in their graph, or want 0..255: which of the causes with one cure is named first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from camagent.cli import run
from camagent.selftest.graph_evidence import weighed
from firmware_pkg.graph_facts import GraphFacts, Step
from firmware_pkg.manifest import InputSpec
from tests.support.data import shared
from tests.support.exports import prepended

Capture = pytest.CaptureFixture[str]
FASTESTDET = "--head fastestdet --labels coco80 --color bgr --resize stretch --min-score 0.65"
ULTRAFACE = "--head ultraface --resize stretch --min-score 0.7"


def first_cause(model: Path, golden: str, options: str, folder: Path, capsys: Capture) -> dict[str, Any]:
    bundle = folder / "made.cambundle"
    run(
        [
            "bundle",
            "create",
            str(model),
            "--name",
            "n",
            "--version",
            "1",
            "--golden",
            golden,
            *options.split(),
            "-o",
            str(bundle),
        ]
    )
    capsys.readouterr()
    assert run(["selftest", "--bundle", str(bundle), "--json"]) == 1
    cause: dict[str, Any] = json.loads(capsys.readouterr().out)["causes"][0]
    assert cause["fix_verified"] is True
    assert len(cause["alternatives"]) <= 2
    return cause


def bus() -> str:
    return f"{shared('images/bus.jpg')}=person:2,bus"


@pytest.mark.parametrize(("kind", "constant", "words"), [("Mul", 1 / 255, "Mul 0.00392157"), ("Div", 255, "Div 255")])
def test_a_scale_in_the_graph_is_seen(kind: str, constant: float, words: str, tmp_path: Path, capsys: Capture) -> None:
    model = prepended(shared("models/FastestDet.onnx"), [(kind, np.float32(constant))], tmp_path / "m.onnx")
    cause = first_cause(model, bus(), f"{FASTESTDET} --scale 0.00392157", tmp_path, capsys)
    assert cause["id"] == "scale-doubled"
    assert "preprocess-also-in-graph" in cause["alternatives"]
    assert cause["evidence"]["the graph begins with"] == words


def test_mean_and_deviation_in_the_graph_are_seen(tmp_path: Path, capsys: Capture) -> None:
    operators = [("Sub", np.float32(127)), ("Div", np.float32(128))]
    model = prepended(shared("models/ultraface-RFB-320.onnx"), operators, tmp_path / "m.onnx")
    (tmp_path / "labels.txt").write_text("face\n")
    options = f"{ULTRAFACE} --labels {tmp_path}/labels.txt --mean 127,127,127 --std 128,128,128"
    cause = first_cause(model, f"{shared('images/faces.jpg')}=face:30", options, tmp_path, capsys)
    assert cause["id"] == "preprocess-also-in-graph"
    assert cause["evidence"]["the graph begins with"] == "Sub 127, Div 128"


def test_a_network_that_wants_bytes_is_no_graph_that_divides(tmp_path: Path, capsys: Capture) -> None:
    made = onnx.load(str(shared("models/FastestDet.onnx")))
    layer = next(node for node in made.graph.node if node.op_type == "Conv")
    weights = next(tensor for tensor in made.graph.initializer if tensor.name == layer.input[1])
    weights.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(weights) / 255).astype(np.float32), weights.name))
    onnx.save(made, tmp_path / "m.onnx")
    cause = first_cause(tmp_path / "m.onnx", bus(), f"{FASTESTDET} --scale 0.00392157", tmp_path, capsys)
    assert cause["id"] == "scale-not-wanted"
    assert cause["evidence"]["the graph begins with"] == "Conv"


def test_a_scale_that_the_manifest_says_twice_is_doubled(tmp_path: Path, capsys: Capture) -> None:
    cause = first_cause(shared("models/FastestDet.onnx"), bus(), f"{FASTESTDET} --scale 0.0000153", tmp_path, capsys)
    assert cause["id"] == "scale-doubled"


def graph(*steps: Step) -> GraphFacts:
    return GraphFacts("", 17, (), (), {}, (*steps, Step("Conv")), {})


def spec(scale: float = 1.0, mean: float = 0.0, std: float = 1.0) -> InputSpec:
    return InputSpec(width=8, height=8, scale=scale, mean=(mean,) * 3, std=(std,) * 3)


def test_standardising_twice_is_told_from_wrong_numbers() -> None:
    standardises = graph(Step("Sub", (0.5,)), Step("Div", (0.25,), 4.0))
    before, after = spec(1 / 255, 0.5, 0.25), spec(1 / 255)
    found, evidence = weighed(("mean-std-wrong",), standardises, before, after)
    assert found == ("preprocess-also-in-graph", "mean-std-wrong")
    assert evidence == {"the graph begins with": "Sub 0.5, Div 0.25"}
    for other, then in ((graph(), after), (standardises, spec(1 / 255, 0.4, 0.2)), (None, after)):
        assert weighed(("mean-std-wrong",), other, before, then) == (("mean-std-wrong",), {})
    assert weighed(("channel-order-swapped",), standardises, before, after) == (("channel-order-swapped",), {})
