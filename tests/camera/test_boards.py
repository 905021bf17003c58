"""Other boards, shown through CAMAGENT_SYSROOT: which of Rockchip's own files a camera takes, and where it then stops."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.camera.site import Site
from tests.support.board import RK3568, Board
from tests.support.bundles import make_signed
from tests.support.data import shared

pytestmark = pytest.mark.box

RK3588S = ("xunlong,orangepi-5", "rockchip,rk3588s")
PLACE = "/opt/board"
FOR_RK3588, FOR_RK3566 = "pp_human_segv2_RK3588.rknn", "pp_human_segv2_RK3566_RK3568.rknn"


@pytest.fixture
def show(running: Site) -> Iterator[Callable[[tuple[str, ...]], None]]:
    """Puts another board's device tree, thermal and NPU files under the service, and takes them away."""

    def put(compatible: tuple[str, ...]) -> None:
        with tempfile.TemporaryDirectory() as name:
            board = Board(compatible=compatible, node="", runtime=None).write(Path(name) / "board")
            shutil.copytree(board, running.box.disk / PLACE.lstrip("/"), dirs_exist_ok=True)
        running.set_environment(CAMAGENT_SYSROOT=PLACE)
        running.restart()
        running.detections()

    yield put
    running.set_environment()
    running.restart()
    shutil.rmtree(running.box.disk / PLACE.lstrip("/"))
    running.detections()


def rockchip(folder: Path, name: str, target: str, version: str) -> Path:
    artifacts = [{"path": "model.onnx", "backend": "rknn", "targets": [target]}]
    return make_signed(folder, version=version, model=shared(f"rknn/{name}").read_bytes(), artifacts=artifacts, golden=False)


def test_an_rk3568(running: Site, tmp_path: Path, show: Callable[[tuple[str, ...]], None]) -> None:
    show(RK3568)
    health = running.wait("box-01/health", lambda body: bool(body.get("npu")))
    assert (health["npu"]["soc"], health["npu"]["present"], health["npu"]["temperature"]) == ("rk3568", False, 44.384)
    other = running.push(rockchip(tmp_path, FOR_RK3588, "rk3588", "3.0.0"))
    assert other.returncode == 1
    assert "error[ARTIFACT_TARGET]" in other.stderr
    assert "rk3588" in other.stderr
    assert "rk3568" in other.stderr
    sibling = running.push(rockchip(tmp_path, FOR_RK3566, "rk3566", "3.1.0"))
    assert "ARTIFACT_TARGET" not in sibling.stderr, "rk3566 and rk3568 run the same files"
    assert "error[NPU_ABSENT]" in sibling.stderr
    assert "does not drive it" in sibling.stderr
    running.detections(lambda body: body["model"]["version"] == "1.0.0")


def test_an_rk3588s(running: Site, tmp_path: Path, show: Callable[[tuple[str, ...]], None]) -> None:
    show(RK3588S)
    own = running.push(rockchip(tmp_path, FOR_RK3588, "rk3588", "3.2.0"))
    assert "ARTIFACT_TARGET" not in own.stderr, "an RK3588S is an RK3588"
    assert "error[NPU_ABSENT]" in own.stderr
    other = running.push(rockchip(tmp_path, FOR_RK3566, "*", "3.3.0"))
    assert "error[ARTIFACT_TARGET]" in other.stderr, "whatever the manifest says, the file is for another SoC"
    running.detections(lambda body: body["model"]["version"] == "1.0.0")
