"""A model under any contract; runtimes that hang, raise or give nothing are answered for, and end no test."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from camagent.backends import BackendOptions
from camagent.errors import BackendError
from camagent.workbench import BackendHung, Workbench

_CODE = """
import threading

from camagent.errors import BackendError
from camagent.frame import TensorSpec


class Odd:
    inputs = (TensorSpec("in", (1, 3, 4, 4), "float32"),)
    outputs = (TensorSpec("out", (1, 5), "float32"),)

    def __init__(self, model, options):
        self.kind = model.decode()
        if self.kind == "closed":
            raise BackendError("invalid RKNN_MAGIC", evidence={"returned": -1}, fix="transfer it again")

    def infer(self, tensor):
        if self.kind == "hang":
            threading.Event().wait()
        if self.kind == "raise":
            raise ZeroDivisionError("a defect in a binding")
        return None if self.kind == "none" else [None]

    def close(self):
        pass
"""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[None]:
    """A stranger's package with a backend that fails in the ways that runtimes do."""
    info = tmp_path / "odd_backend-1.0.dist-info"
    info.mkdir()
    (tmp_path / "odd_backend.py").write_text(_CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[camagent.backends]\nodd = odd_backend:Odd\n")
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("odd_backend", None)


TENSOR = np.zeros((1, 3, 4, 4), np.float32)


@pytest.mark.usefixtures("odd")
def test_a_runtime_that_hangs_is_waited_for_once() -> None:
    bench = Workbench("odd", b"hang", BackendOptions(), infer_s=0.2)
    with pytest.raises(BackendHung):
        bench.infer(TENSOR)
    began = time.monotonic()
    with pytest.raises(BackendHung):
        bench.infer(TENSOR)
    assert time.monotonic() - began < 60
    bench.close()


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(("kind", "words"), [("none", "no outputs"), ("empty", "no outputs"), ("raise", "a way of its own")])
def test_what_a_runtime_does_wrong_is_a_backend_error(kind: str, words: str) -> None:
    bench = Workbench("odd", kind.encode(), BackendOptions())
    with pytest.raises(BackendError, match=words):
        bench.infer(TENSOR)
    bench.close()


@pytest.mark.usefixtures("odd")
def test_a_model_that_does_not_open_says_why() -> None:
    with pytest.raises(BackendError, match="RKNN_MAGIC"):
        Workbench("odd", b"closed", BackendOptions())
