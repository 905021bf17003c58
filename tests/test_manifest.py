from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_pkg import archive, limits, manifest
from firmware_pkg.errors import Refused, ManifestInvalid, UnsafePath
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


def write_tar(path: Path, members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "x"
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_bundle_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cambundle"
    archive.write(path, parse(encoded()), {"model.onnx": MODEL})
    assert archive.read(path).files == {"model.onnx": MODEL}
    assert archive.read_manifest(path)[0].name == "fastestdet"
    with tarfile.open(path) as tar:
        assert tar.getnames() == [manifest.FILE_NAME, "model.onnx"]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([("bundle.json", encoded()), ("model.onnx", MODEL), ("extra", b"")], "EXTRA_FILE"),
        ([("bundle.json", encoded())], "FILE_MISSING"),
        ([("bundle.json", encoded()), ("model.onnx", MODEL + b"!")], "BUNDLE_TRUNCATED"),
        ([("model.onnx", MODEL), ("bundle.json", encoded())], "MANIFEST_INVALID"),
        ([("bundle.json", encoded()), ("../model.onnx", MODEL)], "UNSAFE_PATH"),
        ([("bundle.json", encoded()), ("model.onnx", MODEL), ("model.onnx", MODEL)], "UNSAFE_PATH"),
        ([], "MANIFEST_INVALID"),
    ],
)
def test_a_container_that_is_not_what_it_declares_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], code: str
) -> None:
    with pytest.raises(Refused) as caught:
        archive.read(write_tar(tmp_path / "b", members))
    assert caught.value.code == code


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_regular_files_are_allowed(tmp_path: Path, kind: bytes) -> None:
    path = write_tar(tmp_path / "b", [("bundle.json", b"")], kind)
    with pytest.raises(UnsafePath):
        archive.read(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "a.cambundle"
    archive.write(whole, parse(encoded()), {"model.onnx": MODEL})
    data = whole.read_bytes()
    end = data.index(MODEL) + len(MODEL)
    for length in (0, 1, 100, 511, 512, 513, 700, 1024, end - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(Refused):
            archive.read(tmp_path / "cut")


def test_a_member_larger_than_the_limit_is_refused_by_its_header(tmp_path: Path) -> None:
    info = tarfile.TarInfo("bundle.json")
    info.size = limits.MANIFEST_BYTES + 1
    (tmp_path / "b").write_bytes(info.tobuf() + b"\0" * 1024)
    with pytest.raises(Refused) as caught:
        archive.read(tmp_path / "b")
    assert caught.value.code == "SIZE_LIMIT"


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
