"""The analytic model as a camagent backend, found by entry point `analytic` as a stranger's package would be."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.backends import BackendOptions
from camagent.errors import BackendError
from camagent.frame import TensorSpec
from tests.lab.detector import detect
from tests.lab.renderers import parts_of, render
from tests.lab.spec import Op, load
from tests.lab.tail import Place, on_the_way_in, on_the_way_out

NAME = "analytic"
_CPU = "CPUExecutionProvider"
_SHAPES: dict[bytes, tuple[tuple[tuple[int, ...], str], ...]] = {}  # by the model's bytes
_MANY = 12  # more than a small model has channels: a side of the grid


class AnalyticBackend:
    """One loaded ModelSpec. Deterministic: the same tensor gives the same outputs, unless its `trouble` says otherwise."""

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        try:
            self._spec = load(model)
            self._key = model
        except msgspec.DecodeError as exc:
            raise BackendError(
                "the runtime cannot load this model",
                evidence={"runtime says": str(exc), "bytes": len(model), "begins with": model[:8].hex(" ")},
                fix="check that the file is whole, and build the bundle again",
            ) from exc
        self._trouble = {op.name: op.args for op in self._spec.trouble}
        self._providers = options.providers
        self._count = 0
        self._first: list[NDArray[Any]] | None = None
        if "load-error" in self._trouble:
            raise _failure(int(self._trouble["load-error"].get("code", -1)), loading=True)
        self._network = _Onnx(self._spec.path) if self._spec.engine == "onnx" else None
        self.inputs: Sequence[TensorSpec] = self._inputs()
        self.outputs: Sequence[TensorSpec] = self._outputs()

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """As a runtime does: refuses what does not fit, unless it is one that casts whatever it gets."""
        self._count += 1
        if self._spec.extra_inputs:
            raise BackendError(
                "the runtime failed on a frame",
                evidence={"runtime says": "input `scale_factor` was not given"},
                fix="feed every input",
            )
        self._fail()
        outputs = self._answer(self._accepted(tensor))
        if "stale" in self._trouble:
            self._first = self._first or outputs
            return [np.array(output) for output in self._first]
        return outputs

    def close(self) -> None:
        """May be called twice."""

    def _answer(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        spec = self._spec
        height, width = tensor.shape[2:] if spec.wanted.layout == "nchw" else tensor.shape[1:3]
        wanted = msgspec.structs.replace(spec.wanted, width=int(width), height=int(height))
        seen = on_the_way_in(tensor, spec.intake, wanted.layout)
        if self._network is not None:
            outputs = self._network.run(seen if wanted.layout == "nchw" else seen.transpose(0, 3, 1, 2))
        else:
            here = msgspec.structs.replace(spec, wanted=wanted)
            outputs = render(detect(seen, here), here, np.random.default_rng(spec.seed))[1]
        ops = spec.tail
        if "provider" in self._trouble and self._providers[0] != _CPU:
            ops = (*ops, Op("silent-scores"))
        return on_the_way_out(outputs, ops, Place(parts_of(spec.head), int(width), int(height)))

    def _accepted(self, tensor: NDArray[Any]) -> NDArray[Any]:
        shape = self._shape()
        if self._spec.casts and tensor.size == np.prod(shape):
            return np.ascontiguousarray(tensor).reshape(shape)
        given = self.inputs[0]
        fits = tensor.ndim == 4 and all(have in (want, None) for have, want in zip(given.shape, tensor.shape, strict=True))
        if not fits or (str(tensor.dtype) != given.dtype and not self._spec.casts):
            raise BackendError(
                "the runtime failed on a frame",
                evidence={"input": f"{tensor.shape} {tensor.dtype}", "model": f"{given.shape} {given.dtype}"},
                fix="compare the manifest's input with the model's",
            )
        return tensor

    def _fail(self) -> None:
        if "hang" in self._trouble and self._count > self._trouble["hang"].get("after", 0):
            time.sleep(self._trouble["hang"]["seconds"])
        for name, code in (("returns-none", 0), ("raises", -1)):
            args = self._trouble.get(name)
            if args is not None and self._count > args.get("after", 0):
                raise _failure(int(args.get("code", code)))

    def _shape(self) -> tuple[int, ...]:
        wanted = self._spec.wanted
        sides = (wanted.height, wanted.width)
        return (1, 3, *sides) if wanted.layout == "nchw" else (1, *sides, 3)

    def _inputs(self) -> tuple[TensorSpec, ...]:
        spec = self._spec
        shape: tuple[int | None, ...] = self._shape()
        if spec.casts:
            shape = (None, None, None, None)
        elif not spec.fixed:
            shape = tuple(side if side in (1, 3) else None for side in shape)
        extra = [TensorSpec(f"scale_factor{i or ''}", (1, 2), "float32") for i in range(spec.extra_inputs)]
        return (TensorSpec("images", shape, spec.wanted.dtype), *extra)

    def _outputs(self) -> tuple[TensorSpec, ...]:
        """As the file declares them: found by running the network once, and remembered."""
        known = _SHAPES.get(self._key)
        if known is None:
            arrays = self._answer(np.zeros(self._shape(), self._spec.wanted.dtype))
            known = _SHAPES[self._key] = tuple((array.shape, str(array.dtype)) for array in arrays)
        return tuple(
            TensorSpec(f"output{index}", tuple(None if self._spec.open_outputs and s >= _MANY else s for s in shape), dtype)
            for index, (shape, dtype) in enumerate(known)
        )


class _Onnx:
    """A network that nobody here made, as the one in the middle."""

    def __init__(self, path: str) -> None:
        self._session = _session(path)
        self._input = self._session.get_inputs()[0]

    def run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        given = np.ascontiguousarray(tensor, np.float32)
        return [np.asarray(output) for output in self._session.run(None, {self._input.name: given})]


@cache
def _session(path: str) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=[_CPU])


def install() -> None:
    """Makes `analytic` an installed backend of this process."""
    if not any((Path(folder) / _INFO).is_dir() for folder in sys.path):
        sys.path.append(_package())


_INFO = "camagent_lab-1.0.dist-info"


@cache
def _package() -> str:
    folder = Path(tempfile.mkdtemp(prefix="camagent-lab-"))
    (folder / _INFO).mkdir()
    (folder / _INFO / "METADATA").write_text("Metadata-Version: 2.1\nName: camagent-lab\nVersion: 1.0\n")
    (folder / _INFO / "entry_points.txt").write_text(f"[camagent.backends]\n{NAME} = tests.lab.analytic:AnalyticBackend\n")
    return str(folder)


def _failure(code: int, *, loading: bool = False) -> BackendError:
    """In the words of librknnrt and its Python binding."""
    said = {
        -4: "failed to malloc npu memory, size: 8294400",
        -5: "invalid RKNN_MAGIC!",
        -6: "Invalid RKNN model version 6",
        -13: "rknn_init, msg_load_ack fail, ack = 1, expect 0!",
        0: "inference returned None",
    }.get(code, "failed to submit!, op id: 12, op name: Conv:/model.2/cv1/conv/Conv, flags: 0x5, ret: -1")
    what = "the runtime cannot load this model" if loading else "the runtime failed on a frame"
    return BackendError(what, evidence={"returned": code or "None", "runtime says": said}, fix="see the runtime's own log")
