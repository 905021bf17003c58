"""Memory over time: a day with Rockchip's runtime, which leaks, and half an hour with ONNX Runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.agent import FASTESTDET, make_bundle
from tests.support.board import FAKE_RKNNLITE, Board
from tests.support.bundles import blob_model, make_unsigned
from tests.support.data import shared
from tests.support.rknn_models import rknn_file

LIMIT = 1.0  # MiB per hour


def slope(bundle: Path, hours: float, pace: str, warm_up: float, **environment: str) -> float:
    """MiB per hour of the process's own resident memory, by least squares over what was measured after `warm_up` hours.

    Pages of mapped files are printed and not judged: the kernel takes them away and gives them back.
    """
    command = [sys.executable, "-m", "tests.support.long_day", str(bundle), str(hours), pace]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    samples: Any = np.array(json.loads(done.stdout.splitlines()[-1]))
    late = samples[samples[:, 0] > warm_up]
    slopes = {}
    for name, column in (("resident", 1), ("its own", 2)):
        mib = late[:, column] / 2**20
        slopes[name] = float(np.polyfit(late[:, 0], mib, 1)[0])
        print(f"{name}: {len(late)} samples, {mib.min():.1f} to {mib.max():.1f} MiB, {slopes[name]:+.3f} MiB/h")
    return slopes["its own"]


def rockchip(folder: Path) -> Path:
    artifacts = [{"path": "model.onnx", "backend": "rknn", "targets": ["rk3588"]}]
    return make_unsigned(folder, model=rknn_file(blob_model()), artifacts=artifacts)


def day_on_the_npu(tmp_path: Path, hours: float, warm_up: float, **habits: Any) -> float:
    shown = {"CAMAGENT_SYSROOT": str(Board().write(tmp_path / "board")), "PYTHONPATH": f"{Path.cwd()}:{FAKE_RKNNLITE}"}
    return slope(rockchip(tmp_path), hours, "simulated", warm_up, FAKE_RKNN=json.dumps(habits), **shown)


@pytest.mark.full(seconds=1200)
@pytest.mark.timeout(3000)
def test_a_simulated_day_on_the_npu_does_not_grow(tmp_path: Path) -> None:
    assert day_on_the_npu(tmp_path, 24, 1) < LIMIT


@pytest.mark.full(seconds=240)
@pytest.mark.timeout(900)
def test_nor_with_an_older_rknnlite(tmp_path: Path) -> None:
    assert day_on_the_npu(tmp_path, 6, 1, reuses=False) < LIMIT


@pytest.mark.full(seconds=1830)
@pytest.mark.timeout(2400)
def test_half_an_hour_of_onnx_runtime_does_not_grow(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, options=(*FASTESTDET, "--golden", f"{shared('images/bus.jpg')}=person"))
    assert slope(bundle, 0.5, "real", 1 / 6) < LIMIT
