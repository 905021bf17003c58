"""`camagent model convert` through the public command, with a stand-in for Rockchip's toolkit in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from camagent.cli import run
from camagent.inputs import one_picture
from camagent.rockchip import recipe
from camagent.rockchip.complaints import COMPLAINTS, explained, progress, tail
from camagent.workbench import prepare
from firmware_pkg.manifest import InputSpec
from tests.support.interrupt import heeding
from tests.support.networks import HEIGHT, WIDTH, detect_network, save
from tests.support.things import INPUT, bundle, folder_of
from tests.support.toolkit import fake_environment
from tests.test_errors import NASTY

Capture = pytest.CaptureFixture[str]
AS_CAMERA = InputSpec(width=WIDTH, height=HEIGHT, scale=0.00392156862745098, resize="stretch")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_environment(tmp_path_factory.mktemp("toolkit") / "env")


@pytest.fixture(autouse=True)
def private(tmp_path: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary files of this test alone, so that what is left behind is seen."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("CAMAGENT_RKNN_ENV", str(environment))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2")
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield scratch
    assert left_in(scratch) == []


def left_in(scratch: Path) -> list[Path]:
    """ONNX Runtime keeps a file of its own there."""
    return [path for path in scratch.iterdir() if path.name != ".ses"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "m.onnx", detect_network)


def converted(capsys: Capture, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    code = run(["model", "convert", *map(str, arguments), "--target", "rk3568", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def refused(capsys: Capture, code: int, *arguments: object) -> str:
    capsys.readouterr()
    assert run(["model", "convert", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert not any(line.startswith("Traceback") for line in err.splitlines())
    return err


def made(path: Path) -> dict[str, Any]:
    """What the stand-in was told, which it writes into the file."""
    data = path.read_bytes()
    assert data[:4] == b"RKNN"
    told: dict[str, Any] = json.loads(data[4:])
    return told


def digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# -- what is made -----------------------------------------------------------------------------------------------------------


def test_a_float_model(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "m.rknn"
    document = converted(capsys, model, *INPUT, "-o", out, "--simulator", tmp_path / "m.rknnsim")
    assert (document["schema"], document["quantization"], document["toolkit"]) == ("camagent.convert/1", "none", "2.5.0")
    assert (document["file"], document["bytes"]) == (str(out), out.stat().st_size)
    assert made(out) == {"config": {"target_platform": "rk3568"}, "seen": []}
    sim = recipe.parse((tmp_path / "m.rknnsim").read_bytes())
    assert (sim.graph, sim.quantised, sim.calibration) == (model.read_bytes(), False, ())
    assert out.stat().st_mode & 0o777 == 0o644


def test_calibration_sees_the_very_tensors_that_the_camera_makes(tmp_path: Path, capsys: Capture) -> None:
    pictures = folder_of(tmp_path / "pictures", 3)
    cv2.imwrite(str(pictures / "wide.png"), np.random.default_rng(1).integers(0, 256, (90, 400, 3), np.uint8))
    document = converted(
        capsys, bundle(tmp_path), "--quantize", "int8", "--calibration", pictures, "-o", tmp_path / "m.rknn"
    )  # fmt: skip
    told = made(tmp_path / "m.rknn")
    assert told["config"] == {"target_platform": "rk3568", "quantized_algorithm": "normal"}
    expected = [digest(prepare(one_picture(path), AS_CAMERA).tensor) for path in sorted(pictures.iterdir())]
    assert told["seen"] == expected
    assert (document["pictures"], document["quantization"], document["algorithm"]) == (4, "int8", "normal")


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_pixels_bring_scale_mean_and_std_into_the_file(model: Path, tmp_path: Path, capsys: Capture, color: str) -> None:
    pictures = folder_of(tmp_path / "pictures", 2)
    out, sim = tmp_path / "m.rknn", tmp_path / "m.rknnsim"
    converted(
        capsys, model, "--color", color, "--scale", "0.5", "--mean", "1,2,3", "--std", "4,5,6", "--resize", "stretch",
        "--input", "pixels", "--quantize", "int8", "--calibration", pictures, "-o", out, "--simulator", sim,
    )  # fmt: skip
    told = made(out)
    assert told["config"]["mean_values"] == [[2.0, 4.0, 6.0]]
    assert told["config"]["std_values"] == [[8.0, 10.0, 12.0]]
    spec = InputSpec(width=WIDTH, height=HEIGHT, color=color, resize="stretch", dtype="uint8")  # type: ignore[arg-type]
    planes = [prepare(one_picture(path), spec).tensor.astype(np.float32) for path in sorted(pictures.iterdir())]
    assert told["seen"] == [digest(one) for one in planes]
    assert planes[0].max() > 200, "0 .. 255"
    red, blue = planes[0][0, :, 40, 30], planes[0][0, :, 60, 130]
    assert np.argmax(red) == (0 if color == "rgb" else 2), "the colour order is the network's"
    assert np.argmax(blue) == (2 if color == "rgb" else 0)
    port = recipe.parse(sim.read_bytes()).input
    assert (port.shape, port.dtype) == ((1, HEIGHT, WIDTH, 3), "uint8")


def test_sizes_that_the_exporter_left_open_are_filled_in(model: Path, tmp_path: Path, capsys: Capture) -> None:
    opened = onnx.load(str(model))
    for side, name in zip(opened.graph.input[0].type.tensor_type.shape.dim, ("n", "", "h", "w"), strict=True):
        if name:
            side.dim_param = name
    onnx.save(opened, str(model))
    err = refused(capsys, 2, model, *INPUT, "--target", "rk3568", "-o", tmp_path / "m.rknn")
    assert "give --size WxH" in err
    converted(capsys, model, *INPUT, "--size", f"{WIDTH}x{HEIGHT}", "-o", tmp_path / "m.rknn", "--simulator", tmp_path / "s")
    assert recipe.parse((tmp_path / "s").read_bytes()).open_sides


def test_no_more_pictures_than_asked_for_evenly_spread(model: Path, tmp_path: Path, capsys: Capture) -> None:
    pictures = folder_of(tmp_path / "pictures", 5)
    (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:60])
    document = converted(
        capsys, model, *INPUT, "--quantize", "int8", "--calibration", pictures, "--pictures", "2", "-o", tmp_path / "m.rknn"
    )  # fmt: skip
    assert document["pictures"] == 2
    expected = [digest(prepare(one_picture(pictures / f"{index}.png"), AS_CAMERA).tensor) for index in (0, 2)]
    assert made(tmp_path / "m.rknn")["seen"] == expected


def test_what_is_doubtful_is_told(model: Path, tmp_path: Path, capsys: Capture) -> None:
    pictures = folder_of(tmp_path / "pictures", 3)
    (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:60])
    command = ["model", "convert", str(model), *INPUT, "--quantize", "int8", "--calibration", str(pictures), "--pictures", "2",
               "--target", "rk3588s", "-o", str(tmp_path / "m.rknn")]  # fmt: skip
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert "warning[FEW_PICTURES]: 2 pictures" in err
    assert "note: 2 of 3 pictures" in err
    assert "broken.png" in err
    assert "bundle create MODEL.onnx" in out
    assert made(tmp_path / "m.rknn")["config"]["target_platform"] == "rk3588"


# -- what is refused --------------------------------------------------------------------------------------------------------


def test_wrong_usage_is_told_before_anything_is_started(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMAGENT_RKNN_ENV", str(tmp_path / "never made"))
    pictures = folder_of(tmp_path / "pictures", 1)
    out = ("-o", tmp_path / "m.rknn")
    here = ("--target", "rk3568")
    assert "some 20 to 100 pictures" in refused(capsys, 2, model, *here, "--quantize", "int8", *out)
    assert "--quantize int8" in refused(capsys, 2, model, *here, "--calibration", pictures, *out)
    assert "rk3562, rk3566" in refused(capsys, 2, model, "--target", "rk9", *out)
    assert "OUT.rknn" in refused(capsys, 2, model, *here, "-o", tmp_path / "m.onnx")
    assert "--scale" in refused(capsys, 2, bundle(tmp_path), *here, "--scale", "2", *out)
    assert "no signature" in refused(capsys, 2, model, *here, "--trust", model, *out)
    wrong = refused(capsys, 2, model, *here, "--size", "64x64", *out)
    assert "model = images 1x3x128x192, prepared = 1x3x64x64" in wrong
    (tmp_path / "x.rknn").write_bytes(b"RKNN" + bytes(99))
    assert "converted already" in refused(capsys, 2, tmp_path / "x.rknn", *here, *out)
    (tmp_path / "empty").mkdir()
    empty = ("--quantize", "int8", "--calibration", tmp_path / "empty")
    assert "has no pictures" in refused(capsys, 2, model, *here, *INPUT, *empty, *out)
    assert not (tmp_path / "never made").exists()
    assert not (tmp_path / "m.rknn").exists()


@pytest.mark.parametrize(
    ("name", "cause", "fix"),
    [
        ("pad", "it cannot fold a Pad with constant sizes", "--passes fold-pad"),
        ("if", "If (y) chooses its way while it runs", "cut the graph"),
        ("size", "the size of what NonZero (y) gives depends on the picture", "cut the graph"),
        ("thread", "a thread of it failed", "--algorithm normal"),
        ("die", "the toolkit's process ended at 'quantise'", "see what its log says"),
        ("strange", "the toolkit fails at 'quantise'", "see what its log says"),
    ],
)
def test_the_converters_failures_have_a_cause_and_a_way_round(
    tmp_path: Path, capsys: Capture, name: str, cause: str, fix: str
) -> None:
    model, out = save(tmp_path / "m.onnx", detect_network, name), tmp_path / "m.rknn"
    out.write_bytes(b"the former one")
    err = refused(
        capsys, 1, model, *INPUT, "--quantize", "int8", "--calibration", folder_of(tmp_path / "p", 1), "--target", "rk3568",
        "-o", out, "--simulator", tmp_path / "m.rknnsim",
    )  # fmt: skip
    assert f"error[CONVERSION_FAILED]: Rockchip's converter does not take this model: {cause}" in err
    assert fix in err
    assert "step = quantise" in err
    assert "\x1b" not in err
    assert out.read_bytes() == b"the former one"
    assert not (tmp_path / "m.rknnsim").exists()
    log = (tmp_path / "m.rknn.log").read_text("utf-8")
    assert "rknn-toolkit2 version" in log
    assert "hunter2" not in log, "the toolkit is shown none of our surroundings"


def test_a_return_code_is_a_failure(tmp_path: Path, capsys: Capture) -> None:
    err = refused(
        capsys, 1, save(tmp_path / "m.onnx", detect_network, "no"), *INPUT, "--target", "rk3568", "-o", tmp_path / "m.rknn"
    )
    assert "step = build, raised = returned -1" in err


def test_an_opset_that_is_too_new(model: Path, tmp_path: Path, capsys: Capture) -> None:
    newer = onnx.load(str(model))
    newer.opset_import[0].version = 20
    newer.ir_version = 9
    del newer.graph.node[:], newer.graph.output[:]
    newer.graph.node.append(helper.make_node("Relu", ["images"], ["y"]))
    newer.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH]))
    onnx.save(newer, str(model))
    err = refused(capsys, 1, model, *INPUT, "--target", "rk3568", "-o", tmp_path / "m.rknn")
    assert "the model has opset 20, and the converter takes 19 at most" in err
    assert "opset 12 to 19" in err


@pytest.mark.parametrize(("kind", "said"), [("uint8", "the network's input is uint8"), ("two", "wants more than a picture")])
def test_inputs_that_kill_the_converter_are_not_shown_to_it(tmp_path: Path, capsys: Capture, kind: str, said: str) -> None:
    shape = [1, 3, HEIGHT, WIDTH]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8 if kind == "uint8" else TensorProto.FLOAT, shape)]
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    if kind == "two":
        inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, shape))
        nodes = [helper.make_node("Add", ["x", "other"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(tmp_path / "m.onnx"))
    err = refused(capsys, 1, tmp_path / "m.onnx", "--target", "rk3568", "-o", tmp_path / "m.rknn")
    assert "error[CONVERSION_FAILED]" in err
    assert said in err


@pytest.mark.parametrize("text", [text for text in NASTY if "\x00" not in text and "\ud800" not in text and len(text) < 100])
def test_names_of_strangers_do_no_harm(tmp_path: Path, capsys: Capture, text: str) -> None:
    model = tmp_path / (text.replace("/", "-") + ".onnx")
    save(model, detect_network, text)
    out = tmp_path / (text.replace("/", "-") + ".rknn")
    assert run(["model", "convert", str(model), *INPUT, "--target", "rk3568", "-o", str(out)]) == 0
    said = "".join(capsys.readouterr())
    assert all(line.isprintable() for line in said.splitlines())
    assert "\u202e" not in said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cancelled_conversion_leaves_nothing_behind(tmp_path: Path, private: Path, how: signal.Signals) -> None:
    model, out = save(tmp_path / "m.onnx", detect_network, "hang"), tmp_path / "m.rknn"
    command = [sys.executable, "-m", "camagent", "model", "convert", str(model), *INPUT, "--target", "rk3568", "-o", str(out)]
    with subprocess.Popen(
        heeding(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"TMPDIR": str(private)}
    ) as process:
        worker = within(30, partial(worker_of, private))
        process.send_signal(how)
        process.wait(30)
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    within(30, lambda: not alive(worker))
    within(30, lambda: not left_in(private))
    assert not out.exists()


def worker_of(folder: Path) -> int:
    """The process id that the hanging stand-in printed into its log; 0 before it did."""
    for log in folder.glob("camagent-rknn-*/log"):
        for line in log.read_text("utf-8", "replace").splitlines():
            if line.startswith("hanging"):
                return int(line.split()[1])
    return 0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(seconds: float, found: Any) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


# -- what the converter says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("E load_onnx: Unsupport onnx opset 19, need <= 12!", "opset 19, and the converter takes 12"),
        ("E load_onnx: The input shape [1, 3, 'h', 'w'] of 'x' is not support!", "input x leaves sides of its shape open"),
        ("ValueError: No opset: Error No opset import for domain 'my.ops'", "does not know, of domain or name my.ops"),
        ("E build: Unsupport file #!", "cannot be read: #!"),
        ("ValueError: The input num: 0 in ds.txt not match input num: 2 in model !", "the model has 2 inputs"),
        ("ValueError: Invalid target_platform 'rk9999'!", "does not know the target rk9999"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out of memory"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_complaints_of_the_real_converter_are_understood(log: str, cause: str) -> None:
    met = explained(f"I Loading : 100%|██| 4/4\n\x1b[1;31m{log}\x1b[0m\n")
    assert met is not None
    assert cause in met[0]


def test_a_complaint_that_nobody_knows_is_shown_as_it_is() -> None:
    assert explained("E build: something new") is None
    assert (
        tail("I fine\nE build: something new\nW also\nValueError: of no use\n")
        == "E build: something new | ValueError: of no use"
    )
    assert tail("") == "nothing"
    assert all(one.cause and one.fix for one in COMPLAINTS)


def test_progress_is_read_off_the_last_bar() -> None:
    log = "I Loading : 100%|████| 46/46\n\rI OpFusing 0:   5%|▌ | 5/100\rI OpFusing 0:  85%|████▌| 85/100"
    assert progress(log) == "OpFusing 0 85%"
    assert progress("nothing") == ""
