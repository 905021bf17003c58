"""Stands for `rknn.api` in tests: Rockchip's documented calls, their files, their words, and the ways in which they fail.

Its simulator is ONNX Runtime with outputs rounded to 8 bits, one scale per tensor, as the NPU's are. What it is to do wrong is
told by the graph's name: see FAILURES.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

TARGETS = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rv1106")
FAILURES = ("pad", "if", "size", "thread", "die", "hang", "no", "strange", "hang at infer", "die at infer", "none at infer")
_PAD = '  File "rknn/api/rules/conv.py", line 433, in rknn.api.rules.conv._p_fuse_pad_into_conv\n'


class RKNN:
    """As the toolkit's."""

    def __init__(self, verbose: bool = False, verbose_file: str | None = None) -> None:
        del verbose, verbose_file
        print("I rknn-toolkit2 version: 2.5.0")
        print("surroundings:", json.dumps(dict(os.environ)))
        self._config: dict[str, Any] = {}
        self._model: Any = None
        self._quantised: dict[str, Any] | None = None
        self._session: Any = None

    def config(self, **settings: Any) -> int:
        if settings["target_platform"] not in TARGETS:
            self._error("config", f"Invalid target_platform '{settings['target_platform']}'!")
        self._config = settings
        return 0

    def load_onnx(self, model: str, inputs: Any = None, input_size_list: Any = None) -> int:
        self._model = onnx.load(model)
        self._bars("Loading")
        opset = max(one.version for one in self._model.opset_import if one.domain in ("", "ai.onnx"))
        if opset > 19:
            self._error("load_onnx", f"Unsupport onnx opset {opset}, need <= 19!")
        known = {one.name for one in self._model.graph.initializer}
        for value in self._model.graph.input:
            sides = [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
            if value.name in known or all(isinstance(side, int) for side in sides):
                continue
            if not inputs or value.name not in inputs:
                self._error("load_onnx", f"The input shape {sides} of '{value.name}' is not support!")
            for side, given in zip(value.type.tensor_type.shape.dim, input_size_list[inputs.index(value.name)], strict=True):
                side.dim_value = given
        return 0

    def build(self, do_quantization: bool = True, dataset: str | None = None) -> int:
        assert not do_quantization, "camagent builds quantised models in two halves"
        assert dataset is None
        self._fail("build")
        return -1 if self._name == "no" else 0

    def hybrid_quantization_step1(self, dataset: str) -> int:
        self._fail("hybrid_quantization_step1")
        pictures = [np.load(line) for line in Path(dataset).read_text().split()]
        if not pictures:
            self._error("build", f"The input num: 0 in {dataset} not match input num: 1 in model !")
        ranges = []
        session = ort.InferenceSession(self._model.SerializeToString())
        for picture in pictures:
            outputs = session.run(None, {session.get_inputs()[0].name: self._normalised(picture)})
            ranges.append([(float(output.min()), float(output.max())) for output in outputs])
            self._bars("Quantizating")
        table = [[min(low for low, _ in one), max(high for _, high in one)] for one in zip(*ranges, strict=True)]
        Path("model.model").write_bytes(self._model.SerializeToString())
        args = argparse.Namespace(mean_values=self._config.get("mean_values"), sides=(1, 2))
        data = {"ranges": table, "args": args, "seen": [self._digest(picture) for picture in pictures], "by id": {1: 2.5}}
        Path("model.data").write_bytes(pickle.dumps(data))
        Path("model.quantization.cfg").write_text(json.dumps({"quantize_parameters": {"input": {"min": [0.1]}}}))
        return 0

    def hybrid_quantization_step2(self, model_input: str, data_input: str, model_quantization_cfg: str) -> int:
        self._model = onnx.load(model_input)
        self._quantised = pickle.loads(Path(data_input).read_bytes())
        assert self._quantised is not None
        assert isinstance(self._quantised["args"], argparse.Namespace)
        assert (self._quantised["args"].sides, self._quantised["by id"]) == ((1, 2), {1: 2.5})
        assert json.loads(Path(model_quantization_cfg).read_text())["quantize_parameters"]["input"]["min"] == [0.1]
        if self._config["quantized_algorithm"] == "mmse":
            assert [self._digest(np.load(line)) for line in Path("dataset.txt").read_text().split()] == self._quantised["seen"]
        return 0

    def export_rknn(self, path: str) -> int:
        seen = self._quantised["seen"] if self._quantised else []
        Path(path).write_bytes(b"RKNN" + json.dumps({"config": self._config, "seen": seen}).encode())
        return 0

    def init_runtime(self) -> int:
        self._session = ort.InferenceSession(self._model.SerializeToString())
        return 0

    def inference(self, inputs: list[Any], data_format: list[str]) -> Any:
        bright = float(np.ravel(inputs[0])[0]) > 0.5  # it fails on such pictures only
        if self._name == "hang at infer" and bright:
            time.sleep(600)
        if self._name == "die at infer" and bright:
            print("E RKNN: the simulator has an accident", flush=True)
            os.abort()
        if self._name == "none at infer" and bright:
            return None
        (tensor,) = inputs
        if data_format == ["nhwc"]:
            tensor = tensor.transpose(0, 3, 1, 2)
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: self._normalised(tensor)})
        return [self._rounded(index, output) for index, output in enumerate(outputs)]

    def release(self) -> None:
        self._session = None

    @property
    def _name(self) -> str:
        return str(self._model.graph.name)

    def _normalised(self, tensor: Any) -> Any:
        mean, std = (self._config.get(key, [[value] * 3])[0] for key, value in (("mean_values", 0.0), ("std_values", 1.0)))
        shape = (1, 3, 1, 1) if tensor.shape[1] == 3 else (1, 1, 1, 3)
        return ((tensor.astype(np.float32) - np.reshape(mean, shape)) / np.reshape(std, shape)).astype(np.float32)

    def _rounded(self, index: int, output: Any) -> Any:
        if self._quantised is None:
            return output
        low, high = self._quantised["ranges"][index]
        scale = (high - low) / 255 or 1.0
        return (np.clip(np.round((output - low) / scale), 0, 255) * scale + low).astype(np.float32)

    def _fail(self, step: str) -> None:
        self._bars("OpFusing 0")
        match self._name:
            case "pad":
                print(f"E {step}: Traceback (most recent call last):\n{_PAD}ValueError: assignment destination is read-only")
                raise ValueError(f"Traceback\n{_PAD}ValueError: assignment destination is read-only")
            case "if":
                self._error(step, "The If('y') will cause the graph to be a dynamic graph! Remove it manually and try again!")
            case "size":
                self._error(
                    step, "The input 0 of NonZero('y') need to be constant! It will cause the graph to be a dynamic graph!"
                )
            case "thread":
                thread = threading.Thread(target=self._error, args=(step, "in a thread"))
                thread.start()
                thread.join()
            case "die":
                os.abort()
            case "hang":
                print("hanging", os.getpid(), flush=True)
                time.sleep(600)
            case "strange":
                self._error(step, "something that nobody has met before\x1b[2J")

    @staticmethod
    def _error(step: str, said: str) -> None:
        print(f"\x1b[1;31mE\x1b[0m \x1b[1;31m{step}: {said}\x1b[0m", flush=True)
        raise ValueError(said)

    @staticmethod
    def _bars(what: str) -> None:
        for part in (0, 50, 100):
            sys.stdout.write(f"\rI {what} : {part:3}%|{'█' * (part // 10)}| {part}/100 [00:00<00:00]")
        sys.stdout.write("\n")
        sys.stdout.flush()

    @staticmethod
    def _digest(tensor: Any) -> str:
        return hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()
