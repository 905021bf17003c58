"""int8 with ONNX Runtime's own tools: each calibration is tried, measured, and the better one kept."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable, InputError
from recipes.od_seg.extras import require
from recipes.od_seg.measure import Quality

INPUT, FLOAT = "image", "float"

# what ONNX Runtime calls it -> how it finds the range of a tensor's values
CALIBRATIONS: Mapping[str, str] = MappingProxyType({
    "MinMax": "from the smallest to the largest value that occurred",
    "Entropy": "the range that loses least information about the distribution (Kullback and Leibler)",
    "Percentile": "the range that holds 99.99 % of the values",
})  # fmt: skip
DEFAULT = ("MinMax", "Percentile")


@dataclass(frozen=True, slots=True)
class Trial:
    """One calibration and what came of it."""

    calibration: str
    model: bytes
    quality: Quality

    @property
    def merit(self) -> float:
        """What the choice goes by: both measures count alike."""
        return self.quality.map50 + self.quality.miou


class _Reader:
    """Calibration pictures as ONNX Runtime's tools ask for them, one at a time."""

    def __init__(self, tensors: Sequence[NDArray[Any]], name: str) -> None:
        """`tensors`: (1, 3, h, w) each; `name`: the model's input."""
        self._left: Iterator[NDArray[Any]] = iter(tensors)
        self._name = name

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next one, None at the end."""
        found = next(self._left, None)
        return None if found is None else {self._name: found}


def quantized(model: bytes, tensors: Sequence[NDArray[Any]], calibration: str) -> bytes:
    """Float ONNX -> int8 ONNX with QuantizeLinear and DequantizeLinear, weights per channel, activations unsigned.

    Raises InputError without calibration pictures, ExtraMissing without onnx, FileUnusable.
    """
    require("onnx")
    if not tensors:
        raise InputError("there are no calibration pictures", fix="give some that look like what the camera will see")
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory(prefix="od_seg-") as folder:
            plain, ready, made = (Path(folder) / name for name in ("float.onnx", "ready.onnx", "int8.onnx"))
            plain.write_bytes(model)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            quantize_static(
                ready, made, _Reader(tensors, INPUT), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod[calibration],
                extra_options={"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False},
            )  # fmt: skip
            return _tidied(made.read_bytes())
    except OSError as exc:
        raise FileUnusable.of(exc) from exc


def _tidied(model: bytes) -> bytes:
    """Without the operator sets that ONNX Runtime names and the graph does not use: converters take offence at them."""
    import onnx

    found = onnx.load_from_string(model)
    used = {node.domain for node in found.graph.node}
    for one in [one for one in found.opset_import if one.domain not in used]:
        found.opset_import.remove(one)
    made: bytes = found.SerializeToString()
    return made


def compared(
    model: bytes, tensors: Sequence[NDArray[Any]], calibrations: Sequence[str],
    judge: Callable[[Mapping[str, bytes]], Mapping[str, Quality]], tell: Callable[[str], None] = lambda _: None,
) -> tuple[Quality, list[Trial]]:  # fmt: skip
    """The float model's quality, and every calibration, the best first; all are judged on the same pictures."""
    models = {FLOAT: model}
    for name in calibrations:
        tell(name)
        models[name] = quantized(model, tensors, name)
    found = judge(models)
    trials = [Trial(name, models[name], found[name]) for name in calibrations]
    return found[FLOAT], sorted(trials, key=lambda trial: -trial.merit)


def as_tensor(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A fitted picture (288, 512, 3) as the network's input."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
