"""Commands on a board with an NPU, or with something wrong with it: what they refuse, name, print and publish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from camagent.backends import BackendOptions
from camagent.selftest.rung_backend import of_error
from camagent.workbench import BackendHung, Workbench
from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.board import FAKE_RKNNLITE, RK3568, RK3588, Board
from tests.support.broker import running
from tests.support.bundles import blob_model, blob_picture, make_signed, make_unsigned, root_json, write_root
from tests.support.other_user import UID, as_other_user, open_folder
from tests.support.rknn_models import rknn_file
from tests.test_selftest_command import SCHEMA

MODEL = rknn_file(blob_model())


def rockchip(folder: Path, model: bytes = MODEL, targets: tuple[str, ...] = ("rk3588",), **options: Any) -> Path:
    artifacts = [{"path": "model.onnx", "backend": "rknn", "targets": list(targets)}]
    return make_unsigned(folder, model=model, artifacts=artifacts, **options)


def on(board: Path, habits: dict[str, Any] | None = None, *, installed: bool = True) -> dict[str, Any]:
    """The environment that shows a board."""
    shown = {"CAMAGENT_SYSROOT": str(board), "FAKE_RKNN": json.dumps(habits or {})}
    return shown | ({"PYTHONPATH": FAKE_RKNNLITE} if installed else {})


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return Board().write(tmp_path / "board")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "blobs.png"
    path.write_bytes(blob_picture(2, 1))
    return path


# -- infer --------------------------------------------------------------------------------------------------------------------


def test_infer_runs_on_the_npu_and_stdout_is_json_alone(tmp_path: Path, board: Path, picture: Path) -> None:
    done = camagent("infer", str(rockchip(tmp_path)), str(picture), "--json", **on(board))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert sorted(one["label"] for one in json.loads(line)["detections"]) == ["blue", "red", "red"]
    assert "librknnrt version: 2.3.2" in done.stderr


def test_what_the_npu_prints_between_two_frames_is_no_json(tmp_path: Path, board: Path, picture: Path) -> None:
    says = "E RKNN: [1] failed to submit!, op id: 1"
    habits = {"fails": "inference", "after": 2, "says": [says]}
    done = camagent("infer", str(rockchip(tmp_path)), *[str(picture)] * 3, "--json", **on(board, habits))
    assert done.returncode == 1
    assert [json.loads(line)["schema"] for line in done.stdout.splitlines()] == ["camagent.detections/1"] * 2
    assert "error[NPU_SUBMIT_FAILED]" in done.stderr
    assert says in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr


def test_bytes_by_pixel_are_what_an_npu_likes_best(tmp_path: Path, board: Path, picture: Path) -> None:
    scaled = blob_model(1 / 255)  # the model that wants 0..255
    spec = {"width": 64, "height": 64, "layout": "nhwc", "dtype": "uint8", "resize": "stretch"}
    path = rockchip(tmp_path, rknn_file(scaled), golden=False, input=spec)
    done = camagent("infer", str(path), str(picture), "--json", **on(board))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "camagent.detections/1"


# -- which board --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compatible", "built_for", "manifest_says", "code"),
    [
        (RK3588, "rk3588", "rk3588", None), (("xunlong,orangepi-5", "rockchip,rk3588s"), "rk3588", "rk3588", None),
        (RK3568, "rk3588", "rk3588", "ARTIFACT_TARGET"), (RK3568, "rk3566", "rk3568", None),
        (RK3568, "rk3566", "rk3566", None), (RK3568, "rk3588", "*", "ARTIFACT_TARGET"),
        (RK3588, "rk3566", "*", "ARTIFACT_TARGET"),
    ],
)  # fmt: skip
def test_a_bundle_is_installed_where_its_model_runs(
    tmp_path: Path, compatible: tuple[str, ...], built_for: str, manifest_says: str, code: str | None
) -> None:
    from tests.signing.support import key

    shown = Board(compatible=compatible).write(tmp_path / "board")
    artifacts = [{"path": "model.onnx", "backend": "rknn", "targets": [manifest_says]}]
    path = make_signed(tmp_path, model=rknn_file(blob_model(), targets=(built_for,)), artifacts=artifacts)
    root = write_root(tmp_path, root_json(key("release")))
    config = tmp_path / "camagent.toml"
    config.write_text(
        f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\ntrust = "{root}"\n'
        f'[[camera]]\nname = "front"\nurl = "{tmp_path}"\nbundle = "blobs"\n'
    )
    habits = {"soc": built_for, "cores": 1 if built_for == "rk3566" else 3}
    done = camagent("bundle", "install", str(path), "-c", str(config), **on(shown, habits))
    assert done.returncode == (1 if code else 0), done.stderr
    if code:
        assert f"error[{code}]" in done.stderr
        assert built_for in done.stderr
        assert compatible[-1].partition(",")[2] in done.stderr


def create(folder: Path, *models: str, **environment: Any) -> subprocess.CompletedProcess[str]:
    words = ["--name", "x", "--version", "1", "--head", "fastestdet", "--labels", str(folder / "labels.txt")]
    (folder / "labels.txt").write_text("red\nblue\n")
    return camagent("bundle", "create", *models, *words, "-o", str(folder / "x.cambundle"), **environment)


def test_a_bundle_takes_targets_toolkit_and_size_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.rknn").write_bytes(rknn_file(blob_model(), targets=("rk3566",), toolkit="2.3.2"))
    assert create(tmp_path, str(tmp_path / "m.rknn")).returncode == 0
    manifest = json.loads(camagent("bundle", "inspect", str(tmp_path / "x.cambundle"), "--json").stdout)["manifest"]
    (artifact,) = manifest["artifacts"]
    assert (artifact["targets"], artifact["toolkit"], artifact["quantization"]) == (["rk3566"], "2.3.2", "int8")
    spec = manifest["input"]
    assert (spec["width"], spec["height"], spec["layout"], spec["dtype"]) == (64, 64, "nhwc", "uint8")


@pytest.mark.parametrize(("target", "code"), [("rk3588", 1), ("rk3568", 0), ("rk3566", 0)])
def test_a_target_that_a_file_was_not_built_for_is_refused_on_the_workstation(tmp_path: Path, target: str, code: int) -> None:
    (tmp_path / "m.rknn").write_bytes(rknn_file(blob_model(), targets=("rk3566",)))
    done = create(tmp_path, f"{tmp_path / 'm.rknn'}:rknn:{target}")
    assert done.returncode == code
    assert ("error[ARTIFACT_TARGET]" in done.stderr) == bool(code)


# -- self-test ----------------------------------------------------------------------------------------------------------------


def selftest(bundle: Path, **environment: Any) -> tuple[int, dict[str, Any]]:
    done = camagent("selftest", "--bundle", str(bundle), "--json", **environment)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    SCHEMA.validate(report)
    return done.returncode, report


def test_a_healthy_npu(tmp_path: Path, board: Path) -> None:
    code, report = selftest(rockchip(tmp_path), **on(board))
    steps = {one["id"]: one["status"] for one in report["steps"]}
    assert (report["causes"], steps["backend"], steps["golden-picture"]) == ([], "pass", "pass")
    assert code == 0


SUBMIT = {"fails": "inference", "says": ["E RKNN: [1] failed to submit!"]}


@pytest.mark.parametrize(
    ("facts", "habits", "cause", "evidence"),
    [
        ({"node": ""}, {}, "npu-absent", "neither /dev/rknpu nor a DRM node"),
        ({"node": "", "status": "disabled"}, {}, "npu-absent", "disabled"),
        ({"runtime": None}, {}, "npu-runtime-missing", "/usr/lib"),
        ({"runtime": "1.4.0"}, {}, "runtime-version-mismatch", "1.4.0"),
        ({}, {"runtime": "1.4.0"}, "runtime-version-mismatch", "Invalid RKNN model version 6"),
        ({}, {"fails": "init_runtime", "says": ["E RKNN: [1] parseRKNN: invalid RKNN_MAGIC!"]}, "model-file-bad", "RKNN_MAGIC"),
        ({}, SUBMIT, "npu-submit-failed", "None"),
        ({}, {"fails": "init_runtime", "code": -2}, "npu-hung", "RKNN_ERR_TIMEOUT"),
        ({}, {"fails": "init_runtime", "code": -4}, "memory-exhausted", "RKNN_ERR_MALLOC_FAIL"),
    ],
)  # fmt: skip
def test_the_cause_is_named_with_the_evidence(
    tmp_path: Path, facts: dict[str, Any], habits: dict[str, Any], cause: str, evidence: str
) -> None:
    shown = Board(**facts).write(tmp_path / "board")
    code, report = selftest(rockchip(tmp_path), **on(shown, habits))
    assert code == 1
    assert report["causes"][0]["id"] == cause
    assert evidence in json.dumps(report["causes"][0]["evidence"])
    assert report["causes"][0]["fix"]


def test_a_damaged_model_is_named(tmp_path: Path, board: Path) -> None:
    code, report = selftest(rockchip(tmp_path, MODEL[:-40], targets=("*",)), **on(board))
    assert (code, report["causes"][0]["id"]) == (1, "bundle-refused")
    assert "damaged" in json.dumps(report["causes"][0])


def test_without_the_python_package(tmp_path: Path, board: Path) -> None:
    _, report = selftest(rockchip(tmp_path), **on(board, installed=False))
    assert report["causes"][0]["id"] == "npu-runtime-missing"
    assert "rknn-toolkit-lite2" in json.dumps(report["causes"][0])


def test_this_workstation_has_no_npu(tmp_path: Path) -> None:
    code, report = selftest(rockchip(tmp_path, targets=("*",)), CAMAGENT_SYSROOT=str(tmp_path))
    (cause,) = report["causes"]
    assert (code, cause["id"]) == (1, "npu-absent")
    assert cause["evidence"]["what"] == "no NPU on this device"
    assert cause["evidence"]["device tree"] == "none"


@pytest.mark.parametrize("backend", ["rknn", "auto"])
def test_a_model_for_npus_only_on_a_machine_without_one(tmp_path: Path, backend: str) -> None:
    onnx = [{"path": "model.onnx", "backend": "onnx"}] if backend == "rknn" else []
    path = make_unsigned(tmp_path, artifacts=[*onnx, {"path": "model.onnx", "backend": "rknn", "targets": ["rk3568"]}])
    (tmp_path / "agent").mkdir()
    agent = Agent(tmp_path / "agent", 1, camera(tmp_path, path, backend=backend))
    done = camagent("selftest", "-c", str(agent.path), "--json", CAMAGENT_SYSROOT=str(tmp_path))
    causes = {one["id"]: one for one in json.loads(done.stdout)["causes"]}
    assert causes["npu-absent"]["evidence"]["what"] == "no NPU on this device"
    assert causes["npu-absent"]["evidence"]["device tree"] == "none"
    assert "rknn for rk3568" in causes["npu-absent"]["evidence"]["bundle has"]


def test_a_model_for_another_board_is_the_bundles_fault(tmp_path: Path, board: Path) -> None:
    _, report = selftest(rockchip(tmp_path, targets=("rk3568",)), **on(board))
    assert report["causes"][0]["id"] == "bundle-refused"


def test_a_file_that_is_there_and_closed_is_no_absent_npu() -> None:
    prefix = as_other_user()
    with open_folder() as place:
        shown, bundle = Board().write(place / "board"), rockchip(place)
        (shown / "dev/dri/renderD129").chmod(0o600)
        command = [*prefix, sys.executable, "-m", "camagent", "selftest", "--bundle", str(bundle), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **on(shown)})
    (cause,) = json.loads(done.stdout)["causes"]
    assert cause["id"] == "npu-permission-denied", done.stderr
    assert cause["evidence"]["closed"] == "/dev/dri/renderD129 -rw------- 0:0"
    assert f"uid {UID}" in cause["evidence"]["user"]
    assert "70-camagent.rules" in cause["fix"]


def test_an_npu_that_does_not_come_back_is_hung(tmp_path: Path, board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    for name, value in on(board, {"seconds": 3}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(FAKE_RKNNLITE)
    bench = Workbench("rknn", MODEL, BackendOptions(), infer_s=0.2)
    with pytest.raises(BackendHung) as caught:
        bench.infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert of_error(caught.value).id == "npu-hung"
    bench.close()


# -- the agent ----------------------------------------------------------------------------------------------------------------


def test_the_agent_tells_of_its_npu_and_of_versions_that_do_not_go_together(tmp_path: Path) -> None:
    shown = Board(runtime="2.0.0").write(tmp_path / "board")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "0.png").write_bytes(blob_picture())
    environment = on(shown, {"runtime": "2.0.0"})
    with running(tmp_path) as broker, Listener(broker.port) as listener:
        (tmp_path / "agent").mkdir()
        settings = camera(pictures, rockchip(tmp_path))
        with Agent(tmp_path / "agent", broker.port, settings, **environment):
            body = listener.wait("front/health", lambda body: body["model"] is not None, timeout_s=40)
            assert body["model"]["backend"] == "rknn"
            assert any("librknnrt is 2.0.0" in sentence for sentence in body["model"]["warnings"])
            health = listener.wait("cam-01/health", lambda body: bool(body.get("npu")))
            assert (health["npu"]["soc"], health["npu"]["load"], health["npu"]["temperature"]) == ("rk3588", [12, 0, 3], 44.384)
            assert health["temperature"] == 51.5
            listener.wait("front/detections")
