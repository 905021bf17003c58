"""RKNNLite as it behaves in public: return codes, None, words on stdout from C and from Python, and the leak of 42 kB per call.

What it "runs" is the ONNX model that tests/support/rknn_models.py puts where a real file has its compiled network. How it
behaves is said by FAKE_RKNN, a JSON object with the fields of `Habits`; it is read whenever an RKNNLite is made.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort

_LIBC = ctypes.CDLL(None)
_READS = {"1.3": 1, "1.4": 2, "1.5": 4}  # librknnrt -> format versions that it reads; later ones: 6


@dataclass(frozen=True)
class Habits:
    runtime: str = "2.3.2"
    driver: str = "0.9.8"
    soc: str = "rk3588"
    cores: int = 3
    fails: str = ""  # a method's name
    code: int = -1  # what it returns then; `inference` returns None
    raises: str = ""  # .. or raises then
    says: list[str] = field(default_factory=list)  # what C prints then
    run: int = 0  # what rknn_run returns: nobody looks at it, and the outputs are those of the run before
    after: int = 0  # good inferences before that
    leak: int = 42_430  # bytes per inference, in a reference cycle
    reuses: bool = True  # this version has reuse_outputs
    outputs: str = "float32"  # or int8, quantised with `scale` and `zero_point`
    scale: float = 0.05
    zero_point: int = -3
    seconds: float = 0.0  # of an inference
    hangs: str = ""  # a method's name


_handlers: list[logging.Handler] = []
calls: list[tuple[str, dict[str, Any]]] = []  # what was asked of every instance


def forget() -> None:
    """For the next test: nothing was asked, and stdout is looked for anew."""
    calls.clear()
    _handlers.clear()


class _Call:
    """What a call leaves behind: a cycle with its buffers, to which the call before refers.

    So what a young collection has once left alone keeps all that follow from being found by one.
    """

    def __init__(self, size: int, before: _Call | None) -> None:
        self.buffer = (ctypes.c_char * size)()
        ctypes.memset(self.buffer, 1, size)
        self.me = self
        self.next: _Call | None = None
        if before is not None:
            before.next = self


def _c_prints(*lines: str) -> None:
    """Through C's stdio, whose stdout is buffered wherever it is no terminal."""
    for line in lines:
        _LIBC.puts(line.encode())


class _Runtime:
    """The part that RKNNLite keeps to itself."""

    def __init__(self, data: bytes, habits: Habits, say: Callable[[str], None]) -> None:
        (length,) = struct.unpack_from("<Q", data, 16)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = ort.InferenceSession(data[64 : 64 + length], options, providers=["CPUExecutionProvider"])
        self._habits, self._say = habits, say
        self._feeds: dict[str, Any] = {}
        self._outputs: list[Any] = [np.zeros(one.shape, np.float32) for one in self._session.get_outputs()]
        self._buffers: list[Any] = []
        self._count = 0

    def set_inputs(self, inputs: Any) -> None:
        if not isinstance(inputs, list) or not all(isinstance(one, np.ndarray) for one in inputs):
            raise TypeError("E Inputs are invalid.")
        for one, wanted in zip(inputs, self._session.get_inputs(), strict=True):
            tensor = np.moveaxis(one, 3, 1) if one.ndim == 4 else one
            if list(tensor.shape) != list(wanted.shape) or not one.flags.c_contiguous:
                raise ValueError(f"E Size of inputs[0] is invalid! {one.shape}")
            if one.dtype.name not in ("uint8", "int8", "int16", "float16", "float32"):
                raise ValueError(f"E Unsupport inputs[0].dtype: {one.dtype}")
            self._feeds[wanted.name] = np.ascontiguousarray(tensor, np.float32)

    def run(self, get_frame_id: bool) -> Any:
        self._count += 1
        code = self._habits.run if self._count > self._habits.after else 0
        if code == 0:
            self._outputs = self._session.run(None, self._feeds)
        return (code, self._count) if get_frame_id else code

    def get_outputs(self, reuse_outputs: bool) -> Any:
        outputs = self._outputs
        if self._habits.outputs == "int8":
            outputs = [self._quantised(one) for one in outputs]
        if not reuse_outputs:
            return [one.copy() for one in outputs]
        self._buffers = self._buffers or [np.empty_like(one) for one in outputs]
        for buffer, one in zip(self._buffers, outputs, strict=True):
            buffer[...] = one
        return [buffer[...] for buffer in self._buffers]

    def _quantised(self, output: Any) -> Any:
        return np.clip(np.round(output / self._habits.scale) + self._habits.zero_point, -128, 127).astype(np.int8)


class RKNNLite:
    NPU_CORE_AUTO, NPU_CORE_0, NPU_CORE_1, NPU_CORE_2, NPU_CORE_0_1, NPU_CORE_0_1_2, NPU_CORE_ALL = 0, 1, 2, 4, 3, 7, 0xFFFF

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        reuses = Habits(**json.loads(os.environ.get("FAKE_RKNN", "{}"))).reuses
        return object.__new__(cls if reuses or cls is not RKNNLite else _Older)

    def __init__(self, verbose: bool = False, verbose_file: str | None = None) -> None:
        self.habits = Habits(**json.loads(os.environ.get("FAKE_RKNN", "{}")))
        if not _handlers:  # the first one's stdout is kept
            _handlers.append(logging.StreamHandler(sys.stdout))
        self._say("\x1b[33mW rknn-toolkit-lite2 version: 2.3.2\x1b[0m")
        self.rknn_data: bytes | None = None
        self.rknn_runtime: Any = None
        self._at_work = threading.Lock()
        self._count = 0
        self._last: _Call | None = None

    def load_rknn(self, path: str, key_path: str | None = None) -> int:
        if self._fails("load_rknn"):
            return self.habits.code
        if not os.path.exists(path):  # noqa: PTH110  as it does
            self._say(f"E Invalid RKNN model path: {path}")
            return -1
        with open(path, "rb") as file:  # noqa: PTH123
            self.rknn_data = file.read()
        calls.append(("load_rknn", {"path": path}))
        return 0

    def init_runtime(
        self, target: str | None = None, device_id: str | None = None, async_mode: bool = False, core_mask: int = 0
    ) -> int:
        calls.append(("init_runtime", {"core_mask": core_mask}))
        if self.rknn_data is None:
            self._say("E Model is not loaded yet, this interface should be called after load_rknn!")
            return -1
        if core_mask and self.habits.cores == 1:
            self._say("W The core_mask is only supported by ['RK3588', 'RK3576']. Please do not set this parameter on others.")
        if self._fails("init_runtime"):
            return self._init_failed(self.habits.says, "RKNN_ERR_FAIL", self.habits.code)
        (version,) = struct.unpack_from("<Q", self.rknn_data, 8)
        _c_prints(
            f"I RKNN: [14:34:00.921] RKNN Runtime Information, librknnrt version: {self.habits.runtime} (429f97ae6b@2025)",
            f"I RKNN: [14:34:00.922] RKNN Driver Information, version: {self.habits.driver}",
        )
        if version > _READS.get(self.habits.runtime[:3], 6):
            words = ["E RKNN: [14:34:00.922] 6, 1", f"E RKNN: [14:34:00.922] Invalid RKNN model version {version}"]
            return self._init_failed([*words, "E RKNN: [14:34:00.922] rknn_init, load model failed!"], "RKNN_ERR_FAIL", -1)
        said = _description(self.rknn_data)
        if self.habits.soc not in said["target_platform"]:
            words = ["E RKNN: [14:34:00.923] The rknn model does not match the RKNPU hardware version!"]
            return self._init_failed(words, "RKNN_ERR_TARGET_PLATFORM_UNMATCH", -1)
        _c_prints("W RKNN: [14:34:00.930] query RKNN_QUERY_INPUT_DYNAMIC_RANGE error, rknn model is static shape type")
        self._say(
            "W Query dynamic range failed. Ret code: RKNN_ERR_MODEL_INVALID. (If it is a static shape RKNN model, please "
            "ignore the above warning message.)"
        )
        self.rknn_runtime = _Runtime(self.rknn_data, self.habits, self._say)
        return 0

    def inference(  # noqa: PLR0917  the vendor's signature
        self, inputs: Any, data_type: Any = None, data_format: Any = None, inputs_pass_through: Any = None,
        get_frame_id: bool = False, reuse_outputs: bool = False,
    ) -> Any:  # fmt: skip
        return self._inference(inputs, data_format, reuse_outputs)

    def get_sdk_version(self) -> str | None:
        if self.rknn_runtime is None:
            self._say("E Runtime environment is not inited, please call init_runtime to init it first!")
            return None
        line = "=" * 46
        return f"{line}\nRKNN VERSION:\n  API: {self.habits.runtime} (429f97ae6b@2025)\n  DRV: {self.habits.driver}\n{line}\n"

    def release(self) -> None:
        calls.append(("release", {}))
        self.rknn_runtime = None

    def _inference(self, inputs: Any, data_format: Any, reuse: bool) -> Any:
        if self.rknn_runtime is None:
            self._say("E Runtime environment is not inited, please call init_runtime to init it first!")
            return None
        if not self._at_work.acquire(blocking=False):
            raise AssertionError("two threads in one context")
        try:
            self._last = _Call(self.habits.leak, self._last)
            self._count += 1
            time.sleep(self.habits.seconds)
            if self._count > self.habits.after and self._fails("inference"):
                self._say("E Catch exception when running RKNN model.\nE Exception: RKNN run failed. error code: RKNN_ERR_FAIL")
                return None
            try:
                self.rknn_runtime.set_inputs(inputs)
                self.rknn_runtime.run(False)
            except Exception as exc:
                self._say(f"E Catch exception when running RKNN model.\nE Traceback (most recent call last):\n{exc!r}")
                return None
            return self.rknn_runtime.get_outputs(reuse_outputs=reuse)
        finally:
            self._at_work.release()

    def _fails(self, method: str) -> bool:
        if self.habits.hangs == method:
            time.sleep(3600)
        if self.habits.fails != method:
            return False
        if self.habits.raises:
            raise OSError(self.habits.raises)
        if method != "init_runtime":
            _c_prints(*self.habits.says)
        return True

    def _init_failed(self, says: list[str], code: str, returned: int) -> int:
        _c_prints(*says)
        self._say(
            "E Catch exception when init runtime!\nE Traceback (most recent call last):\n"
            '  File "rknnlite/api/rknn_lite.py", line 157, in init_runtime\n'
            f"Exception: RKNN init failed. error code: {code}\n"
        )
        return returned

    def _say(self, line: str) -> None:
        _handlers[0].handle(logging.LogRecord("acuity", logging.WARNING, "rknn_log.py", 1, line, (), None))


class _Older(RKNNLite):
    """2.3.2: without reuse_outputs."""

    def inference(  # type: ignore[override]
        self, inputs: Any, data_type: Any = None, data_format: Any = None, inputs_pass_through: Any = None,
        get_frame_id: bool = False,
    ) -> Any:  # fmt: skip
        return self._inference(inputs, data_format, False)


def _description(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<Q", data, 16)
    return dict(json.loads(data[64 + length + 8 :]))
