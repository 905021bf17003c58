"""`camagent model profile` on real small networks, through the public command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from camagent.cli import run
from camagent.errors import printable
from camagent.profiling.kinds import KINDS
from firmware_pkg.graph import PASSES
from tests.signing.support import key
from tests.support.bundles import blob_model, make_signed, root_json
from tests.support.data import shared
from tests.support.segmenter import Graph, saved, segmenter
from tests.support.trace_format import events_of, rows, spans
from tests.test_errors import NASTY

Capture = pytest.CaptureFixture[str]
FEW = ("--runs", "3")


def profiled(capsys: Capture, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    code = run(["model", "profile", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def refused(capsys: Capture, code: int, *arguments: object) -> str:
    capsys.readouterr()
    assert run(["model", "profile", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(segmenter(), tmp_path / "segmenter.onnx")


# -- what is measured -------------------------------------------------------------------------------------------------------


def test_the_document_says_what_takes_the_time(model: Path, capsys: Capture) -> None:
    document = profiled(capsys, model, "--runs", "4", "--threads", "2")
    assert (document["schema"], document["subject"], document["runs"]) == ("camagent.profile/1", "segmenter.onnx", 4)
    assert document["source"] == {"tool": "onnxruntime", "form": "ONNX Runtime profile", "skipped_lines": 0}
    assert "4 inferences after 2 to warm up, 2 threads" in document["facts"]["measured"]
    assert document["median_ms"] > 0
    assert sum(one["share"] for one in document["operators"]) == pytest.approx(1, abs=0.01)
    for part in ("kinds", "blocks", "operators"):
        assert sum(one["ms"] for one in document[part]) == pytest.approx(document["operators_ms"], rel=0.01, abs=0.01)
    assert {one["kind"] for one in document["operators"]} <= KINDS
    assert all(one["low_ms"] <= one["ms"] <= one["high_ms"] for one in document["operators"])
    shares = [one["share"] for one in document["kinds"]]
    assert shares == sorted(shares, reverse=True)


def test_operators_are_the_graphs_in_the_order_of_execution(model: Path, capsys: Capture) -> None:
    found = profiled(capsys, model, *FEW)["operators"]
    names = [one["name"] for one in found]
    wanted = ["/encoder/block.0/attn/Softmax", "/encoder/block.1/attn/Softmax", "/head/Concat", "/Softmax", "/ArgMax"]
    assert [name for name in names if name in wanted] == wanted
    softmax = next(one for one in found if one["name"] == "/Softmax")
    assert (softmax["kind"], softmax["block"], softmax["shape"]) == ("Softmax", "top level", [1, 5, 64, 64])
    assert Counter(one["kind"] for one in found)["ArgMax"] == 1


def test_blocks_are_the_modules_and_layout_changes_belong_to_them(model: Path, capsys: Capture) -> None:
    document = profiled(capsys, model, *FEW)
    blocks = {one["name"] for one in document["blocks"]}
    assert {"/encoder/block.0/attn", "/encoder/block.1/attn", "top level"} & blocks
    assert all(name == "top level" or name.startswith(("/encoder", "/head")) for name in blocks), blocks
    assert all(one["block"] != "" for one in document["operators"])


def test_the_advice_is_the_rewrites_of_model_optimize(model: Path, capsys: Capture) -> None:
    document = profiled(capsys, model, *FEW)
    assert set(document["passes"]) <= set(PASSES)
    about = {one["id"]: one for one in document["advice"]}
    assert about["attention"]["passes"] == []
    assert about["attention"]["about"][0].endswith("/attn/Softmax"), "attention's softmax is not the one to remove"
    assert about["batched-product-of-one"]["passes"] == ["rank-2-matmul"]
    assert document["optimize"] == f"camagent model optimize IN.onnx -o OUT.onnx --passes {','.join(document['passes'])}"


def test_modules_come_from_metadata_where_names_have_none(tmp_path: Path, capsys: Capture) -> None:
    """PyTorch's second exporter: flat names, paths in metadata."""
    made = segmenter()
    for index, node in enumerate(made.graph.node):
        steps = [step for step in node.name.split("/") if step][:-1]
        modules = ["", *(".".join(steps[: end + 1]) for end in range(len(steps)))]
        value = str([*modules, f"call_{index}"])
        node.metadata_props.append(onnx.StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value=value))
        node.name = f"node_{node.op_type}_{index}"
    document = profiled(capsys, saved(made, tmp_path / "flat.onnx"), *FEW)
    names = {one["name"] for one in document["blocks"]}
    assert any(name.startswith("/encoder/block.1") for name in names), names
    concat = next(one for one in document["operators"] if one["kind"] == "Concat")
    assert concat["block"] == "/head"


def test_without_any_names_blocks_are_sizes_of_maps(capsys: Capture) -> None:
    document = profiled(capsys, shared("models/FastestDet.onnx"), *FEW)
    names = [one["name"] for one in document["blocks"]]
    assert names[0] == "176x176 maps"
    assert {"88x88 maps", "44x44 maps", "22x22 maps", "11x11 maps"} <= set(names)


@pytest.mark.parametrize("name", ["FastestDet", "SINet", "SINet_Softmax", "ultraface-RFB-320"])
def test_real_networks_are_all_known_kinds(name: str, capsys: Capture) -> None:
    document = profiled(capsys, shared(f"models/{name}.onnx"), *FEW)
    assert {one["kind"] for one in document["operators"]} <= KINDS - {"Other"}
    softmax = [one for one in document["advice"] if one["id"] == "softmax-before-argmax"]
    if name == "SINet_Softmax":
        assert softmax[0]["passes"] == ["argmax-first"]
        assert softmax[0]["about"] == ["Softmax_319"]


def test_a_subgraphs_operators_are_not_counted_twice(tmp_path: Path, capsys: Capture) -> None:
    body = Graph()
    body.add("MatMul", "/inner/MatMul", "x", "w")
    value = helper.make_tensor_value_info
    then = helper.make_graph(body.nodes, "then", [], [value("/inner/MatMul_output_0", TensorProto.FLOAT, [256, 256])])
    other = Graph()
    other.add("Identity", "/inner/Identity", "x")
    otherwise = helper.make_graph(other.nodes, "else", [], [value("/inner/Identity_output_0", TensorProto.FLOAT, [256, 256])])
    made = Graph()
    made.constants.append(onnx.numpy_helper.from_array(np.ones((256, 256), np.float32), "w"))
    mean = made.add("ReduceMean", "/ReduceMean", "x", keepdims=0)
    yes = made.add("Greater", "/Greater", mean, made.constant(np.float32(-1)))
    made.add("If", "/If", yes, then_branch=then, else_branch=otherwise)
    graph = made.model({"x": [256, 256]}, {"/If_output_0": (TensorProto.FLOAT, [256, 256])})
    document = profiled(capsys, saved(graph, tmp_path / "if.onnx"), "--runs", "9")
    took = {one["name"]: one["ms"] for one in document["operators"]}
    assert took["/inner/MatMul"] > took["/If"], "the time of what runs inside is not the If's own"


def test_every_input_is_fed(tmp_path: Path, capsys: Capture) -> None:
    """RT-DETR's and PP-YOLOE's second input, an open batch and open sides."""
    made = Graph()
    made.add("Mul", "/Mul", "image", "scale")
    graph = made.model(
        {"image": ["n", 3, "h", "w"], "scale": [1]}, {"/Mul_output_0": (TensorProto.FLOAT, ["n", 3, "h", "w"])}
    )  # fmt: skip
    path = saved(graph, tmp_path / "two.onnx")
    facts = profiled(capsys, path, *FEW)["facts"]["input"]
    assert "image ?x3x?x? float32, noise, measured at 640x640" in facts
    assert "1 more, made up" in facts
    sized = profiled(capsys, path, *FEW, "--size", "64x32")
    assert sized["operators"][0]["shape"] == [1, 3, 32, 64]


def test_a_picture_is_what_it_runs_on(model: Path, capsys: Capture) -> None:
    picture = shared("images/bus.jpg")
    assert "bus.jpg, letterboxed" in profiled(capsys, model, *FEW, "--image", picture)["facts"]["input"]
    (model.parent / "no.jpg").write_text("no picture")
    assert "JPEG or PNG" in refused(capsys, 2, model, "--image", model.parent / "no.jpg")


def test_the_run_count_is_sensible_by_itself(model: Path, capsys: Capture) -> None:
    assert 5 <= profiled(capsys, model)["runs"] <= 50


def test_nothing_is_left_behind(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.chdir(tmp_path)
    profiled(capsys, model, *FEW)
    made = Graph()
    made.add("Reshape", "/Reshape", "image", made.constant(np.array([7, 7])))
    failing = saved(made.model({"image": [4, 4]}, {"/Reshape_output_0": (TensorProto.FLOAT, [7, 7])}), tmp_path / "f.onnx")
    before = sorted(tmp_path.iterdir())
    assert "error[BACKEND_FAILED]" in refused(capsys, 1, failing)
    assert list(place.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == before


# -- bundles ----------------------------------------------------------------------------------------------------------------


def test_a_bundle_says_that_it_was_not_verified_and_brings_its_picture(tmp_path: Path, capsys: Capture) -> None:
    bundle = make_signed(tmp_path, signers=("release",))
    capsys.readouterr()
    assert run(["model", "profile", str(bundle), *FEW, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.count("warning[UNSIGNED]") == err.count("\n") == 1
    facts = json.loads(out)["facts"]
    assert "(unsigned)" in facts["model"]
    assert "golden" in facts["input"]


def test_a_bundle_is_verified_where_that_is_asked(tmp_path: Path, capsys: Capture) -> None:
    bundle = make_signed(tmp_path, signers=("release",))
    (tmp_path / "root.json").write_bytes(root_json(key("release")))
    (tmp_path / "other.json").write_bytes(root_json(key("other")))
    capsys.readouterr()
    assert run(["model", "profile", str(bundle), *FEW, "--trust", str(tmp_path / "root.json"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "(verified)" in json.loads(out)["facts"]["model"]
    assert "UNTRUSTED_SIGNER" in refused(capsys, 1, bundle, "--trust", tmp_path / "other.json")


def test_a_bundle_for_a_board_alone_is_told_where_it_can_be_measured(tmp_path: Path, capsys: Capture) -> None:
    bundle = make_signed(tmp_path, artifacts=[{"path": "model.onnx", "backend": "rknn", "targets": ["rk3588"]}])
    said = refused(capsys, 2, bundle)
    assert "perf_debug=True" in said
    assert "rknn for rk3588" in said


def test_changed_bytes_never_reach_the_runtime(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_signed(tmp_path, signers=("release",))
    (tmp_path / "root.json").write_bytes(root_json(key("release")))
    whole = bundle.read_bytes()
    at = whole.index(blob_model()[-40:])
    bundle.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    monkeypatch.setattr("camagent.pipeline.OnnxProfiler", lambda *_: pytest.fail("the runtime was given unverified bytes"))
    assert "PAYLOAD_DIGEST_MISMATCH" in refused(capsys, 1, bundle, "--trust", tmp_path / "root.json")


def test_a_configuration_lends_trust_and_threads(tmp_path: Path, capsys: Capture) -> None:
    bundle = make_signed(tmp_path, signers=("release",))
    (tmp_path / "root.json").write_bytes(root_json(key("release")))
    (tmp_path / "c.toml").write_text(
        f'[agent]\nstate_dir = "{tmp_path}/state"\ntrust = "{tmp_path}/root.json"\n[onnx]\nintra_op_threads = 2\n'
    )
    facts = profiled(capsys, bundle, *FEW, "-c", tmp_path / "c.toml")["facts"]
    assert "(verified)" in facts["model"]
    assert "2 threads" in facts["measured"]


# -- what is refused --------------------------------------------------------------------------------------------------------


def test_a_model_that_reaches_for_other_files_is_refused(model: Path, tmp_path: Path, capsys: Capture) -> None:
    onnx.save(onnx.load(str(model)), str(tmp_path / "outside.onnx"), save_as_external_data=True, size_threshold=0)
    assert "keeps tensors in a file beside it" in refused(capsys, 1, tmp_path / "outside.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08\x07nothing", b"x" * 600, b"\x00" * 600])
def test_a_damaged_model_is_a_sentence(content: bytes, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "error[MANIFEST_INVALID]" in refused(capsys, 1, tmp_path / "m.onnx")


def test_an_rknn_file_is_told_where_it_can_be_measured(capsys: Capture) -> None:
    said = refused(capsys, 2, shared("rknn/pp_human_segv2_RK3588.rknn"))
    assert "perf_debug=True" in said
    assert "--read FILE" in said


def test_a_bare_model_cannot_be_verified(model: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "root.json").write_bytes(root_json(key("release")))
    assert "no signature" in refused(capsys, 2, model, "--trust", tmp_path / "root.json")
    (tmp_path / "c.toml").write_text("[onnx]\nintra_op_threads = 2\n")
    assert run(["model", "profile", str(model), *FEW, "-c", str(tmp_path / "c.toml")]) == 0
    assert "warning[UNSIGNED]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(TensorProto.FLOAT, [1, 3, 1 << 20, 1 << 20]), (TensorProto.STRING, [1]), (TensorProto.BFLOAT16, [1, 3, 4, 4])],
)
def test_an_input_that_cannot_be_made_up_is_a_sentence(kind: int, shape: list[int], tmp_path: Path, capsys: Capture) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [value("x", kind, shape)], [value("y", kind, shape)]
    )
    path = saved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    assert "nothing can be made up" in refused(capsys, 2, path)


def test_wrong_usage(model: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f.json").write_text("[]")
    assert "give a model to measure, or a file to read" in refused(capsys, 2)
    assert "give a model to measure, or a file to read" in refused(capsys, 2, model, "--read", tmp_path / "f.json")
    assert "--runs is for a model" in refused(capsys, 2, "--read", tmp_path / "f.json", "--runs", 3)
    assert "No such file" in refused(capsys, 2, model, "--html", tmp_path / "nowhere" / "p.html")
    assert "No such file" in refused(capsys, 2, model, "--trace", tmp_path / "nowhere" / "t.json")


# -- what is shown ----------------------------------------------------------------------------------------------------------


def test_people_read_the_same(model: Path, capsys: Capture) -> None:
    assert run(["model", "profile", str(model), *FEW]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for said in ("profile of segmenter.onnx", "per inference:", "Softmax", "/encoder/block.1", "share", "rewrite: "):
        assert said in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_trace_opens_in_the_viewers(model: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "t.json"
    document = profiled(capsys, model, *FEW, "--trace", path)
    events = events_of(path)
    named = rows(events)
    assert named[1] == "blocks and operators, median times"
    assert len(named) == 2, "one thread ran one inference"
    drawn = [one["name"] for one in spans(events) if one["tid"] == 1]
    assert drawn[0] == "segmenter.onnx"
    titles = {f"{one['type']} {one['name']}" if one["type"] != one["name"] else one["name"] for one in document["operators"]}
    assert titles <= set(drawn)
    real = [one for one in spans(events) if one["tid"] == 2]
    assert len(real) == len(document["operators"])
    assert min(one["ts"] for one in real) == 0


def test_files_are_written_before_a_reader_may_leave(model: Path, tmp_path: Path) -> None:
    """`.. | head -1`"""
    page, trace = tmp_path / "p.html", tmp_path / "t.json"
    words = [sys.executable, "-m", "camagent", "model", "profile", str(model), *FEW, "--html", str(page), "--trace", str(trace)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout
        done.stdout.close()
        assert done.wait(60) == 0
    assert page.stat().st_size
    assert events_of(trace)


@pytest.mark.parametrize("text", NASTY)
def test_names_from_a_model_stay_text_everywhere(text: str, tmp_path: Path, capsys: Capture) -> None:
    text = text.encode("utf-8", "replace").decode()  # a protobuf string is UTF-8
    made = segmenter()
    for node in made.graph.node:
        node.name = f"/{text}{node.name}"
    path, page, trace = saved(made, tmp_path / "m.onnx"), tmp_path / "p.html", tmp_path / "t.json"
    assert run(["model", "profile", str(path), *FEW, "--html", str(page), "--trace", str(trace)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines == [printable(line, 1000) for line in lines]
    html = page.read_text("utf-8")
    assert "<script" not in html
    assert all(line == printable(line, 10**9) for line in html.split("\n"))
    assert events_of(trace)
    assert json.dumps(profiled(capsys, path, *FEW)["operators"]).isascii()
