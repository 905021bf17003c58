"""The real SegFormer-B0, exported by torch as a beginner would. Runs where a Python with torch and transformers is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from camagent.cli import run
from tests.support.graphs import types

ROOT = Path(__file__).resolve().parents[2]
CLASSES, SIZE = 19, 512


def torch_python() -> str:
    """CAMAGENT_TORCH_PYTHON, or this one."""
    found = os.environ.get("CAMAGENT_TORCH_PYTHON", sys.executable)
    probe = [found, "-c", "import torch, transformers, onnx"]
    if not Path(found).exists() or subprocess.run(probe, capture_output=True, timeout=300, check=False).returncode:
        pytest.skip("torch and transformers are not here: set CAMAGENT_TORCH_PYTHON to a Python that has them and onnxscript")
    return found


@pytest.mark.full(seconds=150)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
def test_segformer_b0(exporter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    naive, fast = tmp_path / "naive.onnx", tmp_path / "fast.onnx"
    maker = [torch_python(), str(ROOT / "bench" / "make_segformer.py"), str(naive), "--classes", str(CLASSES)]
    subprocess.run([*maker, "--exporter", exporter], capture_output=True, timeout=600, check=True)
    capsys.readouterr()
    assert run(["model", "optimize", str(naive), "-o", str(fast), "--json", "--rounds", "3"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    kept = {one["name"] for one in told["passes"] if one["status"] == "kept"}
    assert kept == {"fold-constants", "argmax-first", "low-resolution-head", "cancel-transposes", "rank-2-matmul"}
    before, after = types(onnx.load(str(naive))), types(onnx.load(str(fast)))
    assert (before["ArgMax"], after["ArgMax"]) == (1, 0)
    assert (before["Softmax"], after["Softmax"]) == (9, 8), "those of the attention are left"
    assert after["Transpose"] <= 62 < before["Transpose"]
    assert after["Resize"] == 3
    measured = told["whole"]["measured"]
    assert measured["differ_off_boundary"] == 0
    assert measured["pixels"] == 3 * SIZE * SIZE
    error = next(one["proof"]["measured"]["error"] for one in told["passes"] if one["name"] == "low-resolution-head")
    assert error < 1e-5
    output = onnx.load(str(fast)).graph.output[0].type.tensor_type
    assert [side.dim_value for side in output.shape.dim] == [1, CLASSES, SIZE // 4, SIZE // 4]
    assert fast.stat().st_size < naive.stat().st_size
    print(f"{exporter}: {told['ms']}, {measured}")
