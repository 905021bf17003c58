"""Rockchip's real converter and simulator, where an environment has them: CAMAGENT_RKNN_ENV, or the one in the cache.

Tests never install it: the first `camagent model convert` does.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from camagent.cli import run
from camagent.rockchip import environment, recipe
from camagent.rockchip.complaints import explained
from firmware_pkg.rknn_file import read_rknn
from tests.support.data import shared

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.full(seconds=90)
FACES = ("--mean", "127,127,127", "--std", "128,128,128", "--resize", "stretch")
# the distance from the float model that docs/quantization.md states
WORST_IOU, SCORE = 0.6, 0.05


@pytest.fixture(autouse=True)
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    python = environment.find()
    if python is None:
        pytest.skip(
            f"rknn-toolkit2 is not here: {environment.VARIABLE} is not set, and {environment.default_folder()} is not made"
        )
    monkeypatch.setenv(environment.VARIABLE, str(python.parent.parent))
    return python


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("face\n")
    return float_bundle(tmp_path)


def float_bundle(folder: Path, *models: str, name: str = "ultraface") -> Path:
    made = folder / f"{name}.cambundle"
    command = ["bundle", "create", str(shared("models/ultraface-RFB-320.onnx")), *models, "--name", name, "--version", "1.0.0",
               "--head", "ultraface", "--labels", str(folder / "labels.txt"), *FACES, "--min-score", "0.7", "--golden",
               f"{shared('images/faces.jpg')}=face:20", "-o", str(made)]  # fmt: skip
    assert run(command) == 0
    return made


def converted(bundle: Path, folder: Path, *more: str) -> Path:
    sim = folder / "m.rknnsim"
    command = [
        "model",
        "convert",
        str(bundle),
        "--target",
        "rk3568",
        "-o",
        str(folder / "m.rknn"),
        "--simulator",
        str(sim),
        *more,
    ]
    assert run(command) == 0
    return sim


def int8(algorithm: str = "normal") -> tuple[str, ...]:
    return ("--quantize", "int8", "--calibration", str(shared("images")), "--algorithm", algorithm)


@pytest.mark.parametrize("algorithm", ["normal", "kl_divergence"])
def test_int8_faces_through_infer_lie_within_the_stated_distance(
    faces: Path, tmp_path: Path, capsys: Capture, algorithm: str
) -> None:
    sim = converted(faces, tmp_path, *int8(algorithm))
    facts = read_rknn((tmp_path / "m.rknn").read_bytes())
    assert (facts.targets, facts.toolkit[:5]) == (("rk3568",), "2.5.0")
    both = float_bundle(tmp_path, str(sim), name="both")
    seen: dict[str, list[dict[str, Any]]] = {}
    for backend in ("onnx", "rknn-sim"):
        capsys.readouterr()
        assert run(["infer", str(both), str(shared("images/faces.jpg")), "--backend", backend, "--json"]) == 0
        seen[backend] = json.loads(capsys.readouterr().out)["detections"]
    assert abs(len(seen["onnx"]) - len(seen["rknn-sim"])) <= 1
    assert run(["model", "compare", str(faces), str(sim), "--images", str(shared("images")), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["models"]
    assert (one["lost"], one["map50"]) == (0, 1.0)
    assert one["lowest_iou"] >= WORST_IOU
    assert one["score_change"] <= SCORE
    assert all(output["cosine"] > 0.999 for output in one["outputs"])


def test_float16_is_the_float_model(faces: Path, tmp_path: Path, capsys: Capture) -> None:
    sim = converted(faces, tmp_path)
    capsys.readouterr()
    assert run(["model", "compare", str(faces), str(sim), "--images", str(shared("images")), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["models"]
    assert (one["lost"], one["gained"], one["faded"]) == (0, 0, 0)
    assert one["lowest_iou"] > 0.95


@pytest.mark.parametrize("algorithm", ["normal", "kl_divergence", "mmse"])
def test_the_two_halves_are_build_bit_for_bit(faces: Path, tmp_path: Path, real: Path, algorithm: str) -> None:
    sim = converted(faces, tmp_path, *int8(algorithm), "--pictures", "2")
    made = recipe.parse(sim.read_bytes())
    work = tmp_path / "work"
    work.mkdir()
    tensor = np.random.default_rng(3).standard_normal(made.input.shape).astype(np.float32) / 2
    np.save(work / "x.npy", tensor)
    (work / "model.onnx").write_bytes(shared("models/ultraface-RFB-320.onnx").read_bytes())
    from camagent.cli.convert_subject import calibration
    from camagent.rockchip.convert import lay_out_calibration
    from firmware_pkg.manifest import InputSpec

    spec = InputSpec(width=320, height=240, mean=(127, 127, 127), std=(128, 128, 128), resize="stretch")
    tensors = calibration(shared("images"), spec, "tensor", 2, lambda name: None)
    lay_out_calibration(work, [_saved(one, work / "c.npy") for one in tensors])
    script = (
        "import numpy as np\nfrom rknn.api import RKNN\n"
        f"r = RKNN()\nr.config(target_platform='rk3568', quantized_algorithm='{algorithm}')\n"
        "r.load_onnx(model='model.onnx')\nassert r.build(do_quantization=True, dataset='dataset.txt') == 0\n"
        "r.init_runtime()\n"
        "np.savez('y.npz', *r.inference(inputs=[np.load('x.npy')], data_format=['nchw']))\n"
    )
    subprocess.run([str(real), "-I", "-c", script], cwd=work, check=True, capture_output=True, timeout=600)
    from camagent.backends import BackendOptions, open_backend

    backend = open_backend("rknn-sim", sim.read_bytes(), BackendOptions())
    try:
        outputs = backend.infer(tensor)
    finally:
        backend.close()
    with np.load(work / "y.npz") as theirs:
        for name, own in zip(theirs.files, outputs, strict=True):
            np.testing.assert_array_equal(theirs[name], own)


def _saved(tensor: Any, path: Path) -> bytes:
    np.save(path, tensor)
    return path.read_bytes()


def test_pixels_and_tensors_are_one_model(faces: Path, tmp_path: Path, capsys: Capture) -> None:
    tensors = converted(faces, tmp_path, *int8())
    tensors = tensors.rename(tmp_path / "tensors.rknnsim")
    pixels = converted(faces, tmp_path, *int8(), "--input", "pixels")
    capsys.readouterr()
    assert run(["model", "compare", str(faces), str(tensors), str(pixels), "--images", str(shared("images")), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["models"]
    assert first["map50"] == second["map50"] == 1.0
    assert abs(first["outputs"][0]["cosine"] - second["outputs"][0]["cosine"]) < 1e-4


def test_the_pad_that_it_cannot_fold_is_explained_and_the_way_round_works(tmp_path: Path, capsys: Capture) -> None:
    model = shared("models/FastestDet.onnx")
    told = ("--color", "bgr", "--scale", "0.00392157", "--resize", "stretch")
    out = ("-o", str(tmp_path / "m.rknn"))
    assert run(["model", "convert", str(model), *told, "--target", "rk3568", *int8(), *out]) == 1
    err = capsys.readouterr().err
    assert "it cannot fold a Pad with constant sizes" in err
    assert "--passes fold-pad" in err
    folded = tmp_path / "folded.onnx"
    assert run(["model", "optimize", str(model), "-o", str(folded), "--passes", "fold-pad", "--rounds", "0"]) == 0
    assert run(["model", "convert", str(folded), *told, "--target", "rk3568", *int8(), *out]) == 0
    assert read_rknn((tmp_path / "m.rknn").read_bytes()).inputs[0].shape == (1, 3, 352, 352)


@pytest.mark.parametrize(
    ("opset", "kind", "cause"),
    [(20, "Relu", "the model has opset 20"), (13, "NonZero", "what NonZero (y) gives depends on the picture")],
)
def test_its_own_words_are_understood(tmp_path: Path, capsys: Capture, opset: int, kind: str, cause: str) -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node(kind, ["z"], ["y"]),
    ]
    result = TensorProto.INT64 if kind == "NonZero" else TensorProto.FLOAT
    sides = [4, None] if kind == "NonZero" else [1, 4, 32, 32]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", result, sides)], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), str(tmp_path / "m.onnx"))
    assert run(["model", "convert", str(tmp_path / "m.onnx"), "--target", "rk3568", "-o", str(tmp_path / "m.rknn")]) == 1
    assert cause in capsys.readouterr().err
    assert explained((tmp_path / "m.rknn.log").read_text("utf-8")) is not None
