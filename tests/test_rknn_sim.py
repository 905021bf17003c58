"""The backend rknn-sim behind the Backend protocol, with a stand-in for Rockchip's simulator in a process of its own."""

from __future__ import annotations

import json
import os
import pickletools
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camagent.backends import BackendOptions, open_backend
from camagent.backends.rknn_sim import RknnSimBackend
from camagent.cli import run
from camagent.errors import BackendError
from camagent.inputs import one_picture
from camagent.models import choose_artifact
from camagent.rockchip import recipe
from camagent.rockchip.recipe import Port, Recipe
from camagent.workbench import prepare
from firmware_pkg.errors import ArtifactTarget
from firmware_pkg.manifest import Artifact, Manifest
from tests.support.networks import HEIGHT, WIDTH, detect_network, save
from tests.support.things import INPUT, bundle, folder_of
from tests.support.toolkit import fake_environment
from tests.test_model_convert import AS_CAMERA, alive, within

Capture = pytest.CaptureFixture[str]
IN = Port(name="images", shape=(1, 3, HEIGHT, WIDTH))
CELLS = 16 * 24 + 8 * 12 + 4 * 6
DARK, BRIGHT = (np.full(IN.shape, value, np.float32) for value in (0.0, 1.0))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_environment(tmp_path_factory.mktemp("toolkit") / "env")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("CAMAGENT_RKNN_ENV", str(environment))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert not list(folder.glob("camagent*"))


def simulated(folder: Path, name: str = "fine") -> Recipe:
    """A float model for the simulator."""
    graph = save(folder / "sim.onnx", detect_network, name).read_bytes()
    outputs = (Port(name="cells", shape=(1, 6, CELLS)),)
    return Recipe(toolkit="2.5.0", target="rk3568", algorithm="none", input=IN, outputs=outputs, graph=graph)


def opened(made: Recipe, **extra: str) -> RknnSimBackend:
    backend = open_backend("rknn-sim", recipe.dump(made), BackendOptions(extra=extra))
    assert isinstance(backend, RknnSimBackend)
    return backend


def converted(folder: Path, *more: str) -> Path:
    """A quantised model for the simulator, made by the command."""
    made = folder / "m.rknnsim"
    command = ["model", "convert", str(bundle(folder)), "--target", "rk3568", "--quantize", "int8", "--calibration",
               str(folder_of(folder / "pictures")), "-o", str(folder / "m.rknn"), "--simulator", str(made), *more]  # fmt: skip
    assert run(command) == 0
    return made


# -- the whole way ----------------------------------------------------------------------------------------------------------


def test_infer_sees_through_the_simulator_what_the_float_model_sees(tmp_path: Path, capsys: Capture) -> None:
    both = bundle(tmp_path, str(converted(tmp_path)), name="both")
    seen = {}
    for backend in ("onnx", "rknn-sim", "auto"):
        capsys.readouterr()
        assert run(["infer", str(both), str(tmp_path / "pictures" / "1.png"), "--backend", backend, "--json"]) == 0
        seen[backend] = json.loads(capsys.readouterr().out)["detections"]
    assert seen["auto"] == seen["onnx"] != seen["rknn-sim"], "a simulator is asked for by name"
    assert [item["label"] for item in seen["rknn-sim"]] == ["ball", "box"]
    for float_one, eight_bits in zip(seen["onnx"], seen["rknn-sim"], strict=True):
        assert float_one["label"] == eight_bits["label"]
        assert np.abs(np.subtract(float_one["box"], eight_bits["box"])).max() <= 1.0  # 8 bits over some 160 pixels
    assert run(["bundle", "inspect", str(both), "--json"]) == 0
    (_, artifact) = json.loads(capsys.readouterr().out)["manifest"]["artifacts"]
    assert (artifact["backend"], artifact["quantization"], artifact["toolkit"]) == ("rknn-sim", "int8", "2.5.0")


@pytest.mark.parametrize("algorithm", ["normal", "mmse", "kl_divergence"])
def test_the_file_holds_all_that_the_simulator_needs_and_no_code(tmp_path: Path, algorithm: str) -> None:
    data = converted(tmp_path, "--algorithm", algorithm).read_bytes()
    made = recipe.parse(data)
    assert (made.algorithm, made.quantised, made.target) == (algorithm, True, "rk3568")
    assert len(made.calibration) == (4 if algorithm == "mmse" else 0), "pictures travel only where weights need them"
    assert json.loads(made.parts)["data"]["args"] == {"<namespace>": {"mean_values": None, "sides": {"<tuple>": [1, 2]}}}
    for at in range(len(data)):
        if data[at : at + 1] == b"\x80" and data[at + 1 : at + 2] in (b"\x03", b"\x04", b"\x05"):
            with pytest.raises(Exception, match=r"."):
                list(pickletools.genops(data[at:]))
    backend = opened(made)
    try:
        tensor = prepare(one_picture(tmp_path / "pictures" / "0.png"), AS_CAMERA).tensor
        (output,) = backend.infer(tensor)
    finally:
        backend.close()
    assert output.shape == (1, 6, CELLS)
    assert len(np.unique(output)) <= 256


def test_bytes_go_in_where_the_file_normalises(tmp_path: Path) -> None:
    command = ["model", "convert", str(save(tmp_path / "m.onnx", detect_network)), *INPUT, "--input", "pixels", "--target",
               "rk3568", "-o", str(tmp_path / "m.rknn"), "--simulator", str(tmp_path / "m.rknnsim")]  # fmt: skip
    assert run(command) == 0
    tensor = prepare(one_picture(folder_of(tmp_path / "p", 1) / "0.png"), AS_CAMERA)
    backend = opened(recipe.parse((tmp_path / "m.rknnsim").read_bytes()))
    plain = opened(simulated(tmp_path))
    try:
        assert (backend.inputs[0].shape, backend.inputs[0].dtype) == ((1, HEIGHT, WIDTH, 3), "uint8")
        (by_bytes,), (by_floats,) = backend.infer(np.ascontiguousarray(tensor.pixels[None])), plain.infer(tensor.tensor)
        np.testing.assert_allclose(by_bytes.astype(np.float64), by_floats.astype(np.float64), atol=1e-3)
    finally:
        backend.close()
        plain.close()


# -- the protocol -----------------------------------------------------------------------------------------------------------


def test_specs_inference_and_close(tmp_path: Path, scratch: Path) -> None:
    backend = opened(simulated(tmp_path))
    assert [(one.name, one.shape, one.dtype) for one in backend.inputs] == [("images", IN.shape, "float32")]
    assert [(one.name, one.shape, one.dtype) for one in backend.outputs] == [("cells", (1, 6, CELLS), "float32")]
    first, again = backend.infer(DARK), backend.infer(DARK)
    np.testing.assert_array_equal(first[0], again[0])
    with pytest.raises(BackendError, match="takes another input") as caught:
        backend.infer(DARK.astype(np.uint8))
    assert set(caught.value.evidence) == {"given", "expected"}
    backend.close()
    backend.close()
    assert not list(scratch.glob("camagent*"))


@pytest.mark.parametrize(
    ("name", "said"),
    [("hang at infer", "does not come back from 'infer'"), ("die at infer", "process ended at 'infer'"),
     ("none at infer", "fails at 'infer'")],
)  # fmt: skip
def test_a_simulator_that_fails_is_an_error_and_the_next_picture_is_tried_again(tmp_path: Path, name: str, said: str) -> None:
    backend = opened(simulated(tmp_path, name), rknn_sim_infer_s="20")
    try:
        backend._infer_s = 1.0 if name.startswith("hang") else 20.0
        with pytest.raises(BackendError, match=said) as caught:
            backend.infer(BRIGHT)
        if name.startswith("die"):
            assert caught.value.evidence["ended by"] == "SIGABRT"
            assert "the simulator has an accident" in caught.value.evidence["its log ends"]
        backend._infer_s = 20.0
        assert backend.infer(DARK)[0].shape == (1, 6, CELLS)
    finally:
        backend.close()


def test_a_process_that_somebody_killed_is_told_and_replaced(tmp_path: Path) -> None:
    backend = opened(simulated(tmp_path))
    try:
        assert backend._toolkit is not None
        os.kill(backend._toolkit._process.pid, signal.SIGKILL)
        with pytest.raises(BackendError, match="ended") as caught:
            backend.infer(DARK)
        assert caught.value.evidence["ended by"] == "SIGKILL"
        assert backend.infer(DARK)
    finally:
        backend.close()


def test_the_process_goes_when_its_parent_is_gone(tmp_path: Path, scratch: Path) -> None:
    made = recipe.dump(simulated(tmp_path))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # a parent that is killed: nothing of its own is tidied up
        toolkit = RknnSimBackend(made, BackendOptions())._toolkit
        assert toolkit is not None
        os.write(writer, str(toolkit._process.pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        worker = int(pipe.read())
    os.waitpid(child, 0)
    within(30, lambda: not alive(worker))
    within(30, lambda: not list(scratch.glob("camagent*")))


def test_another_version_of_the_toolkit_is_refused(tmp_path: Path) -> None:
    import msgspec

    with pytest.raises(BackendError, match="another version of rknn-toolkit2") as caught:
        opened(msgspec.structs.replace(simulated(tmp_path), toolkit="2.3.2"))
    assert caught.value.evidence == {"made with": "2.3.2", "installed": "2.5.0"}


def test_where_the_simulator_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMAGENT_RKNN_ENV")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    with pytest.raises(BackendError, match="not installed here") as caught:
        opened(simulated(tmp_path))
    assert "model convert" in caught.value.fix
    assert not (tmp_path / "nothing").exists(), "nothing is installed behind somebody's back"


# -- the file ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"RKSIM", b"RKNN" + bytes(64), recipe.MAGIC, recipe.MAGIC + b"\xc1", recipe.MAGIC + b"\x80"]
)
def test_a_damaged_file_is_a_sentence(data: bytes) -> None:
    with pytest.raises(BackendError):
        recipe.parse(data)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_changed_bytes_are_refused_or_are_a_recipe(tmp_path: Path, data: Any) -> None:
    good = recipe.dump(Recipe(toolkit="2.5.0", target="rk3568", algorithm="none", input=IN, outputs=(IN,), graph=b"graph"))
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(0, 4)) :]
    try:
        made = recipe.parse(changed)
    except BackendError:  # and nothing else
        return
    assert made.target.isalnum()


def test_no_strange_settings_reach_the_toolkit() -> None:
    with pytest.raises(BackendError):
        recipe.parse(recipe.dump(Recipe(toolkit="", target="rk3568; rm", algorithm="none", input=IN, outputs=(IN,), graph=b"")))


def test_a_simulator_is_the_last_choice() -> None:
    artifacts = [Artifact(path="s", backend="rknn-sim"), Artifact(path="m", backend="onnx")]
    manifest = _manifest(artifacts)
    both = frozenset({"onnx", "rknn-sim"})

    def chosen(backends: frozenset[str], backend: str = "auto") -> str:
        return choose_artifact(manifest, backends=backends, backend=backend, device="").backend

    assert (chosen(both), chosen(both, "rknn-sim"), chosen(frozenset({"rknn-sim"}))) == ("onnx", "rknn-sim", "rknn-sim")
    with pytest.raises(ArtifactTarget):
        chosen(frozenset({"onnx"}), "rknn-sim")


def _manifest(artifacts: list[Artifact]) -> Manifest:
    from firmware_pkg.manifest import HeadSpec, InputSpec

    return Manifest(
        name="m", version="1", created="2026-01-01T00:00:00Z", task="detect", input=InputSpec(width=8, height=8),
        head=HeadSpec(name="yolov8"), labels=("a",), artifacts=tuple(artifacts), files={"m": 1, "s": 1},
    )  # fmt: skip
