"""Backends that fail in chosen ways, installed as a stranger's package would be: found by entry point, loaded by the agent."""

from __future__ import annotations

from pathlib import Path

_CODE = """
import ctypes
import os
import signal
import time

from camagent.backends.onnx import OnnxBackend
from camagent.errors import BackendError

LAST_GOOD = 12  # frames: more than a warm-up and a few golden pictures


class Counting(OnnxBackend):
    def __init__(self, model, options):
        super().__init__(model, options)
        self.count = 0

    def infer(self, tensor):
        self.count += 1
        if self.count > LAST_GOOD:
            self.fail()
        return super().infer(tensor)


class Raiser(OnnxBackend):
    def infer(self, tensor):
        raise BackendError("the NPU says no", evidence={"returned": -1, "expected": 0}, fix="ask the NPU")


class Blank(OnnxBackend):
    def infer(self, tensor):
        return [output * float("nan") for output in super().infer(tensor)]


class Killer(Counting):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Stumbler(Counting):
    def fail(self):
        raise BackendError("the NPU says no", evidence={"returned": -1, "expected": 0}, fix="ask the NPU")


class Hanger(Counting):
    # the call does not come back; the interpreter goes on

    def __init__(self, model, options):
        super().__init__(model, options)
        self.count = max(0, LAST_GOOD - int(os.environ.get("GOOD_CALLS", LAST_GOOD)))

    def fail(self):
        time.sleep(3600)


class Freezer(Hanger):
    # .. and holds the interpreter

    def fail(self):
        ctypes.PyDLL(None).sleep(3600)


class Weak(Counting):
    # fails on one device of many

    def fail(self):
        if os.environ.get("WEAK"):
            raise BackendError("the NPU says no", evidence={"returned": -1, "expected": 0}, fix="ask the NPU")


class Defective(Counting):
    def fail(self):
        raise ZeroDivisionError("a defect in a vendor's binding")
"""
_POINTS = """[camagent.backends]
killer = failing_backends:Killer
stumbler = failing_backends:Stumbler
defective = failing_backends:Defective
weak = failing_backends:Weak
raiser = failing_backends:Raiser
blank = failing_backends:Blank
hanger = failing_backends:Hanger
freezer = failing_backends:Freezer
"""


def install_failing_backends(folder: Path) -> str:
    """Writes the package; what PYTHONPATH must hold."""
    info = folder / "failing_backends-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "failing_backends.py").write_text(_CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-backends\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_POINTS)
    return str(folder)
