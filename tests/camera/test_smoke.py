"""A bare camera, the package, a first start with nothing, a bundle from the workstation: also a part of .ci/run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.camera import roots
from tests.camera.box import Box
from tests.camera.site import CONFIG, STATE, Site
from tests.camera.times import timed, took
from tests.support.bundles import blob_model, make_signed, make_unsigned
from tests.support.rknn_models import rknn_file

pytestmark = pytest.mark.box


@pytest.fixture(scope="module")
def fresh(bare: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A camera on which nothing was done but `apt install ./camagent_*.deb`."""
    with Box(bare) as box, Site(box, tmp_path_factory.mktemp("fresh")) as site:
        took("boot of a bare box", box.boot())
        took("apt install ./camagent_*.deb, without a network", roots.install(box, package))
        yield site


def test_the_package_brings_everything_and_starts_nothing(fresh: Site) -> None:
    box = fresh.box
    assert box.run("systemctl", "is-enabled", "camagent").stdout.strip() == "enabled"
    assert box.run("systemctl", "is-active", "camagent", check=False).stdout.strip() == "inactive", (
        "a camera has to be named first"
    )
    assert box.run("stat", "-c", "%U:%G %a", CONFIG, STATE).stdout.split("\n")[:2] == [
        "root:camagent 640",
        "camagent:camagent 750",
    ]
    assert "camagent" in box.run("id", "camagent").stdout
    names = "av, cv2, onnxruntime, cryptography, msgspec, starlette, uvicorn, tuf, tomlkit, prometheus_client"
    box.run("/usr/lib/camagent/bin/python3", "-c", f"import {names}", timeout_s=240)
    assert box.run("find", "/usr/lib/camagent", "-newer", "/etc/hostname", "-name", "*.pyc", "-perm", "-o+w").stdout == ""


def test_with_no_root_and_an_empty_state_it_is_active_at_once_and_a_push_makes_it_detect(fresh: Site, tmp_path: Path) -> None:
    fresh.configure()
    assert fresh.box.run("ls", "-A", STATE).stdout == ""
    took("systemctl start, nothing installed, until active", fresh.start())
    assert fresh.unit("ActiveState") == "active"
    pid = fresh.unit("MainPID")
    assert "no trust root" in fresh.unit("StatusText")
    bundle = make_signed(tmp_path)
    refused = fresh.push(bundle)
    assert refused.returncode == 1
    assert "error[TRUST_MISSING]" in refused.stderr
    fresh.trust()
    with timed("bundle push until detections are at the broker"):
        accepted = fresh.push(bundle)
        assert accepted.returncode == 0, accepted.stderr
        fresh.detections(lambda body: {one["label"] for one in body["detections"]} == {"red", "blue"})
    assert fresh.unit("MainPID") == pid
    assert fresh.unit("NRestarts") == "0"
    assert fresh.unit("ActiveState") == "active"


def test_the_self_test_is_healthy_on_onnx(fresh: Site) -> None:
    with timed("camagent selftest through the running agent"):
        report = fresh.json("selftest", "-c", CONFIG)
    assert report["verdict"] == "healthy"
    assert {one["status"] for one in report["steps"]} <= {"pass", "skip"}
    (backend,) = [one for one in report["steps"] if one["id"] == "backend"]
    assert (backend["status"], backend["measured"]["backend"]) == ("pass", "onnx")


def test_a_model_for_an_npu_names_what_is_missing(fresh: Site, tmp_path: Path) -> None:
    artifacts = [{"path": "model.onnx", "backend": "rknn", "targets": ["rk3568"]}]
    path = make_unsigned(tmp_path, model=rknn_file(blob_model(), targets=("rk3566",)), artifacts=artifacts)
    fresh.box.put("/root/npu.cambundle", path.read_bytes())
    report = fresh.json("selftest", "--bundle", "/root/npu.cambundle", codes=(1,))
    (cause,) = report["causes"]
    assert cause["id"] == "npu-absent"
    assert cause["evidence"]["what"] == "no NPU on this device"
    assert cause["evidence"]["device tree"] == "none"
    assert cause["fix"]
