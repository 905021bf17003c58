"""`camagent model inspect` and `bundle create --head auto` on real networks, through the public commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from camagent.cli import run
from camagent.errors import printable
from camagent.heads import HEADS
from tests.support.data import shared
from tests.support.exports import EXPORTS, Ending, export, prepended
from tests.test_errors import NASTY

COCO, FACE, PERSON = "coco80", "face\n", "background\nperson\n"
NETWORKS = {  # file, labels, picture, what is on it, head, and what `create` needs besides
    "fastestdet": ("FastestDet.onnx", COCO, "bus.jpg", "person:2,bus", "fastestdet",
                   "--color bgr --scale 0.00392157 --resize stretch --min-score 0.65"),
    "ultraface": ("ultraface-RFB-320.onnx", FACE, "faces.jpg", "face:30", "ultraface",
                  "--mean 127,127,127 --std 128,128,128 --resize stretch --min-score 0.7"),
    "sinet": ("SINet.onnx", PERSON, "portrait.jpg", "person", "semantic",
              "--color bgr --mean 102.890434,111.25247,126.91212 --std 16047.8946,16019.4519,16920.704775 --resize stretch"),
}  # fmt: skip
Capture = pytest.CaptureFixture[str]


def labels(words: str, folder: Path) -> str:
    if "\n" not in words:
        return words
    (folder / "labels.txt").write_text(words)
    return str(folder / "labels.txt")


def inspected(capsys: Capture, *arguments: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["model", "inspect", *map(str, arguments), "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def fitting(document: dict[str, Any]) -> list[str]:
    return [head["name"] for head in document["heads"] if head["fits"]]


def golden(network: str) -> list[str]:
    _, _, picture, declared, _, _ = NETWORKS[network]
    return ["--golden", f"{shared(f'images/{picture}')}={declared}"]


# -- without pictures -------------------------------------------------------------------------------------------------------


def test_the_document_is_the_contracts(capsys: Capture) -> None:
    document = inspected(capsys, shared("models/FastestDet.onnx"))
    assert document["schema"] == "camagent.model/1"
    assert (document["format"], document["targets"], document["toolkit"]) == ("onnx", [], "pytorch 1.11.0")
    assert document["inputs"] == [{"name": "input.1", "shape": [1, 3, 352, 352], "dtype": "float32"}]
    assert document["outputs"] == [{"name": "758", "shape": [1, 85, 22, 22], "dtype": "float32"}]
    assert [head["name"] for head in document["heads"]] == list(HEADS)
    assert all(set(head) == {"name", "fits", "why"} and head["why"] for head in document["heads"])
    assert document["graph"]["opset"] == 11
    assert document["suspicious"] == []
    assert document["explained"] is None


def test_labels_rule_out_heads_and_a_refusal_is_the_heads_own(capsys: Capture) -> None:
    model = shared("models/FastestDet.onnx")
    both = inspected(capsys, model)
    assert {"fastestdet", "semantic"} <= set(fitting(both)), "without labels a map of 85 classes has these shapes too"
    assert "80 labels" in next(head["why"] for head in both["heads"] if head["name"] == "fastestdet")
    known = inspected(capsys, model, "--labels", COCO)
    assert fitting(known) == ["fastestdet"]
    why = {head["name"]: head["why"] for head in known["heads"]}
    assert "85 classes" in why["semantic"]
    assert "80 labels" in why["semantic"]
    assert "1x85x22x22" in why["yolov8"]


@pytest.mark.parametrize("network", ["ultraface", "sinet"])
def test_other_networks_have_their_head(network: str, capsys: Capture) -> None:
    file, _, _, _, head, _ = NETWORKS[network]
    assert fitting(inspected(capsys, shared(f"models/{file}"))) == [head]


@pytest.mark.parametrize(
    ("name", "target", "toolkit", "sizes"),
    [
        ("multiple_input_RK3566_RK3568", "rk3566", "1.6.2", ([1, 1, 128, 128], [1, 3, 128, 128], [1, 8, 128, 128])),
        ("multiple_input_RV1126B", "rv1126b", "2.3.2", ([1, 1, 128, 128], [1, 3, 128, 128], [1, 8, 128, 128])),
        ("pp_human_segv2_RK3588", "rk3588", "2.3.1", ([1, 3, 192, 192], [1, 192, 192])),
    ],
)
def test_rockchip_models_say_for_which_soc(
    name: str, target: str, toolkit: str, sizes: tuple[list[int], ...], capsys: Capture
) -> None:
    document = inspected(capsys, shared(f"rknn/{name}.rknn"))
    assert (document["format"], document["targets"]) == ("rknn", [target])
    assert document["toolkit"].startswith(toolkit)
    assert [one["shape"] for one in (*document["inputs"], *document["outputs"])] == list(sizes)
    assert "semantic" in fitting(document), "a map without a file of labels may be rows, too"
    assert any("2 inputs" in line for line in document["suspicious"]) == name.startswith("multiple")


def test_people_read_the_same(capsys: Capture) -> None:
    assert run(["model", "inspect", str(shared("models/SINet_Softmax.onnx"))]) == 0
    out = capsys.readouterr().out
    assert "1x2x320x320 float32; already in the graph: Softmax" in out
    assert "semantic: the shapes are this head's, with 2 labels" in out


# -- what deserves a word ---------------------------------------------------------------------------------------------------


def test_normalisation_in_the_graph_is_pointed_out(tmp_path: Path, capsys: Capture) -> None:
    path = prepended(shared("models/FastestDet.onnx"), [("Div", np.float32(255))], tmp_path / "m.onnx")
    document = inspected(capsys, path)
    assert document["graph"]["begins"] == ["Div 255", "Conv"]
    assert "begins with Div 255" in document["suspicious"][0]


def _quantised(ending: Ending, outputs: Any) -> None:
    scale, zero = ending.constant("scale", np.float32(2.6)), ending.constant("zero", np.int8(0))
    made = ending.add("QuantizeLinear", [outputs[0], scale, zero], "small")
    ending.outputs[ending.add("DequantizeLinear", [made, scale, zero], "final")] = (1, 85, 22, 22)


def test_boxes_and_scores_in_one_8_bit_tensor_are_pointed_out(tmp_path: Path, capsys: Capture) -> None:
    document = inspected(capsys, export(shared("models/FastestDet.onnx"), _quantised, tmp_path / "m.onnx"))
    assert document["outputs"][0]["scale"] == pytest.approx(2.6)
    assert document["outputs"][0]["zero_point"] == 0
    assert "boxes and scores in one 8-bit tensor" in document["suspicious"][0]


def test_open_sizes_are_pointed_out_and_heads_judged_by_a_run(tmp_path: Path, capsys: Capture) -> None:
    model = onnx.load(str(shared("models/SINet.onnx")))
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim[2].dim_param = "rows"
    shape.dim[3].dim_param = "columns"
    onnx.save(model, tmp_path / "m.onnx")
    assert fitting(inspected(capsys, tmp_path / "m.onnx")) == ["semantic"]
    identity = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])],
    )  # fmt: skip
    made = helper.make_model(identity, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    onnx.save(made, tmp_path / "open.onnx")
    document = inspected(capsys, tmp_path / "open.onnx")
    assert document["inputs"][0]["shape"] == [1, 3, None, None]
    said = " ".join(document["suspicious"])
    assert "1x3x?x? leaves its size open" in said
    assert "640x640" in said
    assert "opset 21 is newer" in said
    assert "640x640" not in " ".join(inspected(capsys, tmp_path / "open.onnx", "--size", "64x32")["suspicious"])


@pytest.mark.parametrize(("content", "code"), [(b"", 1), (b"RKNN", 1), (b"\x08\x07nothing", 1), (b"x" * 600, 1)])
def test_a_damaged_file_is_a_sentence(content: bytes, code: int, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert run(["model", "inspect", str(tmp_path / "m.onnx")]) == code
    assert "error[MANIFEST_INVALID]" in capsys.readouterr().err


@pytest.mark.parametrize("text", NASTY)
def test_names_from_a_model_are_printed_escaped(text: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(["model", "inspect", str(shared("models/SINet.onnx"))]) == 0
    usual = capsys.readouterr().out.splitlines()
    text = text.encode("utf-8", "replace").decode()  # a protobuf string is UTF-8
    model = onnx.load(str(shared("models/SINet.onnx")))
    model.producer_name = text
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    last.output[0] = model.graph.output[0].name = text or "x"
    onnx.save(model, tmp_path / "m.onnx")
    assert run(["model", "inspect", str(tmp_path / "m.onnx")]) == 0
    lines = capsys.readouterr().out.split("\n")[:-1]
    assert len(lines) == len(usual)
    assert lines == [printable(line, 1000) for line in lines]
    assert fitting(inspected(capsys, tmp_path / "m.onnx")) == ["semantic"]


def test_a_rockchip_model_is_shown_no_picture_where_it_cannot_run(tmp_path: Path, capsys: Capture) -> None:
    words = ["--labels", labels(PERSON, tmp_path), *golden("sinet")]
    assert run(["model", "inspect", str(shared("rknn/pp_human_segv2_RK3588.rknn")), *words]) == 2
    assert "inspect the .onnx file" in capsys.readouterr().err


# -- with pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_a_picture_tells_head_and_preparation(network: str, tmp_path: Path, capsys: Capture) -> None:
    file, words, _, _, head, _ = NETWORKS[network]
    known = ["--labels", labels(words, tmp_path), *golden(network)]
    explained = inspected(capsys, shared(f"models/{file}"), *known)["explained"]
    assert explained["head"] == head
    assert run(["bundle", "create", str(shared(f"models/{file}")), "--name", "n", "--version", "1", *known,
                "-o", str(tmp_path / "n.cambundle"), *explained["options"].split()]) == 0  # fmt: skip


def test_a_bundle_brings_its_own_pictures(tmp_path: Path, capsys: Capture) -> None:
    made = create("fastestdet", tmp_path, "fastestdet")
    assert made[0] == 0
    document = inspected(capsys, made[1])
    assert fitting(document) == ["fastestdet"]
    assert document["explained"]["input"]["color"] == "bgr"
    assert document["explained"]["seen"] == {"golden/0-bus.jpg": "2 person, 1 bus"}


def test_what_nothing_explains_is_undecided(tmp_path: Path, capsys: Capture) -> None:
    picture = f"{shared('images/bus.jpg')}=giraffe:2"
    document = inspected(capsys, shared("models/FastestDet.onnx"), "--labels", COCO, "--golden", picture, code=3)
    assert document["explained"] is None
    assert document["undecided"]["code"] == "HEAD_UNDECIDED"
    assert document["undecided"]["evidence"]["declared"] == "bus.jpg: 2 giraffe"


@pytest.mark.parametrize("more", [["--golden", "{}=person"], ["--labels", COCO, "--golden", "{}"]])
def test_half_a_known_answer_is_wrong_usage(more: list[str], capsys: Capture) -> None:
    picture = str(shared("images/bus.jpg"))
    assert run(["model", "inspect", str(shared("models/FastestDet.onnx")), *(word.format(picture) for word in more)]) == 2
    assert "error[USAGE]" in capsys.readouterr().err


# -- create --head auto -----------------------------------------------------------------------------------------------------


def create(network: str, folder: Path, head: str = "auto", *more: str, model: Path | None = None) -> tuple[int, Path]:
    file, words, _, _, _, options = NETWORKS[network]
    output = folder / "made.cambundle"
    code = run(["bundle", "create", str(model or shared(f"models/{file}")), "--name", "n", "--version", "1", "--head", head,
                "--labels", labels(words, folder), *golden(network), *options.split(), *more, "-o", str(output)])  # fmt: skip
    return code, output


def manifest(path: Path, capsys: Capture) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["bundle", "inspect", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["manifest"]
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_auto_keeps_the_head_that_sees(network: str, tmp_path: Path, capsys: Capture) -> None:
    code, made = create(network, tmp_path)
    assert code == 0, capsys.readouterr().err
    found = manifest(made, capsys)
    assert found["head"]["name"] == NETWORKS[network][4]
    assert found["task"] == ("segment" if network == "sinet" else "detect")


@pytest.mark.parametrize(
    ("network", "ending", "params"),
    [
        ("fastestdet", "no softmax", {"classes": "logits"}),
        ("ultraface", "boxes in pixels", {"boxes": "pixels"}),
        ("ultraface", "boxes as centre and size", {"order": "xywh"}),
    ],
)
def test_auto_finds_the_params_of_an_unusual_export(
    network: str, ending: str, params: dict[str, str], tmp_path: Path, capsys: Capture
) -> None:
    model = export(shared(f"models/{NETWORKS[network][0]}"), EXPORTS[network][ending], tmp_path / "m.onnx")
    code, made = create(network, tmp_path, model=model)
    assert code == 0, capsys.readouterr().err
    assert params.items() <= manifest(made, capsys)["head"]["params"].items()


def test_auto_says_what_each_head_saw_where_none_is_right(tmp_path: Path, capsys: Capture) -> None:
    code, made = create("fastestdet", tmp_path, "auto", "--scale", "1")
    assert (code, made.exists()) == (3, False)
    err = capsys.readouterr().err
    assert "error[HEAD_UNDECIDED]" in err
    assert "head fastestdet = sees bus.jpg: " in err
    assert "declared = bus.jpg: 2 person, 1 bus" in err


def test_auto_without_a_known_answer_is_wrong_usage(tmp_path: Path, capsys: Capture) -> None:
    words = ["bundle", "create", str(shared("models/FastestDet.onnx")), "--name", "n", "--version", "1", "--head", "auto",
             "--labels", COCO, "-o", str(tmp_path / "n.cambundle")]  # fmt: skip
    for more in ([], ["--golden", str(shared("images/bus.jpg"))]):
        assert run([*words, *more]) == 2
        assert "--golden IMAGE=label" in capsys.readouterr().err


def test_auto_with_labels_that_no_head_takes_is_a_mismatch(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "three.txt").write_text("person\nbus\ncar\n")
    code, _ = create("fastestdet", tmp_path, "auto", "--labels", str(tmp_path / "three.txt"))
    assert code == 1
    err = capsys.readouterr().err
    assert "error[HEAD_MISMATCH]" in err
    assert "80 classes" in err


def test_a_task_leaves_other_heads_out(tmp_path: Path, capsys: Capture) -> None:
    code, _ = create("sinet", tmp_path, "auto", "--task", "detect")
    assert code == 1
    assert "error[HEAD_MISMATCH]" in capsys.readouterr().err
