from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.manifest import dump, parse, safe_path
from firmware_pkg.model_file import model_format, require_self_contained
from tests.support.data import shared

MODEL = b"model bytes"


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "schema": 1, "name": "fastestdet", "version": "1.0.0", "rollback_index": 0, "created": "2026-11-23T00:00:00Z",
        "expires": None, "compatible": ["*"], "requires": {"camagent": ">=0.1"}, "task": "detect",
        "input": {"width": 352, "height": 352, "color": "bgr", "scale": 0.00392157, "resize": "stretch"},
        "head": {"name": "fastestdet", "params": {}}, "thresholds": {"min_score": 0.65, "nms_iou": 0.45},
        "labels": ["person", {"name": "disposable box", "group": "other waste"}],
        "artifacts": [{"path": "model.onnx", "backend": "onnx", "targets": ["*"], "quantization": "none", "toolkit": None}],
        "golden": [], "files": {"model.onnx": len(MODEL)},
    }  # fmt: skip
    return {**made, **changes}


def encoded(**changes: Any) -> bytes:
    return json.dumps(document(**changes)).encode()


def test_a_manifest_survives_a_round_trip() -> None:
    first = parse(encoded())
    assert parse(dump(first)) == first
    assert first.label_names == ("person", "disposable box")
    assert first.label_groups == (None, "other waste")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": "one"}, "PEP 440"),
        ({"compatible": [""]}, "compatible"),
        ({"name": "a/b"}, "name"),
        ({"created": "yesterday"}, "created"),
        ({"unknown": 1}, "unknown"),
        ({"labels": []}, "labels"),
        ({"labels": ["a\x1b[31m"]}, "label"),
        ({"input": {"width": 0, "height": 10}}, "width"),
        ({"input": {"width": 9, "height": 9, "std": [1, 0, 1]}}, "std"),
        ({"files": {}}, "model.onnx"),
        ({"files": {"model.onnx": 1, "../x": 1}}, "../x"),
        ({"files": {"model.onnx": 1, "/etc/passwd": 1}}, "/etc/passwd"),
        ({"files": {"model.onnx": 1, "bundle.json": 1}}, "bundle.json"),
        ({"files": {"model.onnx": 1, "signatures/a.sig": 1}}, "signatures/a.sig"),
        ({"files": {"model.onnx": 1, "model.onnx/a": 1}}, "model.onnx/a"),
        ({"requires": {"camagent": "newest"}}, "PEP 440 specifier"),
        ({"requires": {"camagent": ">=" + "9" * 1000}}, "camagent"),
        ({"version": "9" * 5000}, "version"),
        ({"golden": [{"image": "g.jpg"}]}, "g.jpg"),
        ({"schema": 2}, "schema"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_key(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(encoded(**changes))
    assert word in caught.value.what


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse(data)


@given(st.text(max_size=30))
def test_a_safe_path_stays_inside(path: str) -> None:
    if safe_path(path):
        resolved = (Path("/bundle") / path).resolve()
        assert resolved.is_relative_to("/bundle")
        assert resolved == Path("/bundle") / path


@pytest.mark.parametrize("name", ["FastestDet.onnx", "ultraface-RFB-320.onnx", "SINet.onnx"])
def test_real_models_are_self_contained(name: str) -> None:
    data = shared(f"models/{name}").read_bytes()
    assert model_format(data) == "onnx"
    require_self_contained(data)


def test_rknn_and_other_files_are_told_apart() -> None:
    assert model_format(shared("rknn/multiple_input_RK3588.rknn").read_bytes()) == "rknn"
    assert model_format(shared("images/bus.jpg").read_bytes()) == "unknown"
    with pytest.raises(ManifestInvalid, match="not ONNX"):
        require_self_contained(shared("images/bus.jpg").read_bytes())


def onnx_model(*, external: str = "", domain: str = "", nested: bool = False) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if external:
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=external)
    node = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])], initializer=[weight]
    )
    if nested:
        condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
        branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=weight)], "b", [], graph.output)
        both = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        graph = helper.make_graph([both], "g", [], graph.output, initializer=[condition])
    model: onnx.ModelProto = helper.make_model(graph)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("nested", [False, True])
def test_tensors_kept_in_another_file_are_refused_in_subgraphs_too(nested: bool) -> None:
    require_self_contained(onnx_model(nested=nested))
    with pytest.raises(ManifestInvalid, match="file beside it"):
        require_self_contained(onnx_model(external="/etc/passwd", nested=nested))


def test_foreign_operator_domains_are_refused() -> None:
    require_self_contained(onnx_model(domain="com.microsoft"))
    with pytest.raises(ManifestInvalid, match="not standard") as caught:
        require_self_contained(onnx_model(domain="org.evil"))
    assert caught.value.evidence["domain"] == "org.evil"


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_walk(data: bytes) -> None:
    model_format(data)
    try:
        require_self_contained(data)
    except ManifestInvalid:
        return
