"""Runs under the Python that has rknn-toolkit2: requests on stdin, answers on stdout, as JSON lines with arrays behind them.

Imports nothing of camagent. What the toolkit prints goes to the file `log` in the working directory, which is the parent's.
A request is `{"do": NAME, ..}`; its answers are any number of `{"step": NAME}` and one `{"done": {..}}` or `{"failed": ..}`.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import queue
import resource
import shutil
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

BASE = "model"  # the toolkit names its files after the model's
QUANTISED = (BASE + ".model", BASE + ".data", BASE + ".quantization.cfg")
NAMESPACE = "<namespace>"
PARENT_LEFT = 3


class Refused(Exception):
    """A step of the toolkit that returned or raised a failure."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


class Worker:
    """One model at a time."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._tool: Any = None

    def answer(self, request: dict[str, Any], arrays: list[Any]) -> None:
        """Does what is asked, and says how it went."""
        try:
            done, made = getattr(self, "do_" + request["do"])(request, arrays)
        except Refused as exc:
            self._send({"failed": {"step": exc.step, "why": str(exc)}})
        except Exception as exc:  # noqa: BLE001  the toolkit raises whatever it meets: the parent explains it
            self._send({"failed": {"step": request["do"], "why": f"{type(exc).__name__}: {exc}"}})
        else:
            self._send({"done": done}, made)

    def do_about(self, request: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Versions, after the import that fails where something is missing."""
        del request, arrays
        from rknn.api import RKNN  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  what fails is answered

        return {"toolkit": version("rknn-toolkit2"), "class": RKNN.__name__, "python": sys.version.split()[0]}, []

    def do_convert(self, request: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """model.onnx -> model.rknn; quantised: the simulator's parts too, as JSON where the toolkit has a pickle."""
        del arrays
        self._build(request)
        self._step("export", lambda: self._tool.export_rknn(BASE + ".rknn"))
        self._close()
        return {}, []

    def do_open(self, request: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """The parts -> a model that the simulator runs."""
        del arrays
        if request["quantised"]:
            parts = json.loads(Path("parts.json").read_bytes())
            Path(QUANTISED[1]).write_bytes(pickle.dumps(_unplain(parts["data"])))
            Path(QUANTISED[2]).write_text(json.dumps(parts["table"]))  # JSON is YAML
            self._finish(request)
        else:
            self._build(request)
        self._step("simulator", self._tool.init_runtime)
        return {}, []

    def do_infer(self, request: dict[str, Any], arrays: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """One inference; `format`: nchw or nhwc."""
        outputs = self._tool.inference(inputs=arrays, data_format=[request["format"]])
        if outputs is None:
            raise Refused("infer", "the simulator gave no outputs")
        return {}, list(outputs)

    def _build(self, request: dict[str, Any]) -> None:
        quantised = request["quantised"]
        self._start(request)
        self._step("load", lambda: self._tool.load_onnx(model=BASE + ".onnx", **request["sizes"]))
        if not quantised:
            self._step("build", lambda: self._tool.build(do_quantization=False))
            return
        # build() in two halves, bit for bit the same: between them lies what the simulator needs
        self._step("quantise", lambda: self._tool.hybrid_quantization_step1(dataset="dataset.txt"))
        self._close()
        Path("parts.json").write_text(json.dumps({"data": _plain(_unpickled(QUANTISED[1])), "table": _table(QUANTISED[2])}))
        self._finish(request)

    def _finish(self, request: dict[str, Any]) -> None:
        self._start(request)
        self._step("build", lambda: self._tool.hybrid_quantization_step2(*QUANTISED))

    def _start(self, request: dict[str, Any]) -> None:
        from rknn.api import RKNN  # noqa: PLC0415

        self._tool = RKNN(verbose=False)
        self._step("config", lambda: self._tool.config(**request["config"]))

    def _step(self, name: str, work: Any) -> None:
        self._send({"step": name})
        try:
            returned = work()
        except Exception as exc:
            raise Refused(name, f"{type(exc).__name__}: {exc}") from exc
        if returned != 0:
            raise Refused(name, f"returned {returned}")
        sys.stdout.flush()
        if "Exception in thread" in Path("log").read_text("utf-8", "replace"):  # then it says 0 all the same
            raise Refused(name, "an exception in a thread of the toolkit")

    def _close(self) -> None:
        if self._tool is not None:
            self._tool.release()
            self._tool = None

    def _send(self, answer: dict[str, Any], arrays: Any = ()) -> None:
        whole = [np.ascontiguousarray(array) for array in arrays]
        head = {**answer, "arrays": [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in whole]}
        self._answers.write(json.dumps(head).encode() + b"\n")
        for array in whole:
            self._answers.write(array.tobytes())
        self._answers.flush()


def _unpickled(path: str) -> Any:
    """What the toolkit itself wrote a moment ago, in this process's own folder."""
    with open(path, "rb") as file:  # noqa: PTH123
        return pickle.load(file)  # noqa: S301


def _table(path: str) -> Any:
    from ruamel.yaml import YAML  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    return YAML(typ="safe").load(Path(path))


def _plain(value: Any) -> Any:
    """Values as JSON has them; raises TypeError for what is none, so that nothing is lost in silence."""
    if isinstance(value, argparse.Namespace):
        return {NAMESPACE: _plain(vars(value))}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return {"<pairs>": [[_plain(key), _plain(one)] for key, one in value.items()]}
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return {"<tuple>": [_plain(one) for one in value]}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"<array>": value.tolist(), "dtype": str(value.dtype)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"the toolkit keeps a {type(value).__name__}")


def _unplain(value: Any) -> Any:
    if isinstance(value, list):
        return [_unplain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if NAMESPACE in value:
        return argparse.Namespace(**_unplain(value[NAMESPACE]))
    if "<pairs>" in value:
        return {_unplain(key): _unplain(one) for key, one in value["<pairs>"]}
    if "<tuple>" in value:
        return tuple(_unplain(one) for one in value["<tuple>"])
    if "<array>" in value:
        return np.array(value["<array>"], value["dtype"])
    return {key: _unplain(one) for key, one in value.items()}


def _requests(source: BinaryIO, into: queue.Queue[Any]) -> None:
    """Reads until the parent is gone, also in the middle of a long step: then everything is left and taken away."""
    while line := source.readline():
        request = json.loads(line)
        arrays = []
        for one in request.pop("arrays", ()):
            dtype = np.dtype(one["dtype"])
            size = int(np.prod(one["shape"], dtype=np.int64)) * dtype.itemsize
            arrays.append(np.frombuffer(source.read(size), dtype).reshape(one["shape"]))
        into.put((request, arrays))
    shutil.rmtree(os.getcwd(), ignore_errors=True)  # noqa: PTH109
    os._exit(PARENT_LEFT)


def main() -> None:
    """Until stdin ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    worker = Worker(answers)
    requests: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        worker.answer(*requests.get())


if __name__ == "__main__":
    main()
