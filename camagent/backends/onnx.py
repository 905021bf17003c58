"""ONNX Runtime on the CPU (or the providers that the configuration names)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.backends import BackendOptions
from camagent.backends.auxiliary import is_auxiliary, value_of
from camagent.errors import BackendError
from camagent.frame import TensorSpec

_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8",
    "tensor(int8)": "int8", "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip
os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # read at its import: else it keeps a database of its use in the home folder
_ERRORS_ONLY = 3
_CPU = "CPUExecutionProvider"
_COLORS = 3


class OnnxBackend:
    """One InferenceSession. Spinning is off: an idle worker must not burn the core that the decoder needs.

    Inputs that only ask for the picture's size (auxiliary.py) are fed here and are not among `inputs`.
    """

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        """Loads the model. Raises BackendError with the runtime's own words."""
        self._session: Any = _open(model, options, session_options(options))
        declared = tuple(_spec(node) for node in self._session.get_inputs())
        self._auxiliary = tuple(spec for spec in declared if is_auxiliary(spec)) if len(declared) > 1 else ()
        self.inputs: Sequence[TensorSpec] = tuple(spec for spec in declared if spec not in self._auxiliary)
        self.outputs: Sequence[TensorSpec] = tuple(_spec(node) for node in self._session.get_outputs())
        self._input = self.inputs[0].name
        # what the auxiliary inputs get, for pictures of that shape: replaced as a whole, for threads of several shapes
        self._sizes: tuple[tuple[int, ...], Mapping[str, NDArray[np.generic]]] = ((), {})
        self._names = [spec.name for spec in self.outputs]

    @staticmethod
    def shareable(options: BackendOptions) -> bool:
        """On the CPU `Run` may be called by many threads (microsoft/onnxruntime #114); not so of every other provider."""
        return options.providers == (_CPU,)

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """Runs the model once; see `Backend.infer`."""
        fed, sizes = self._sizes
        if self._auxiliary and tensor.shape != fed:
            height, width = tensor.shape[1:3] if tensor.shape[-1] == _COLORS else tensor.shape[-2:]
            sizes = {spec.name: value_of(spec, width, height) for spec in self._auxiliary}
            self._sizes = tensor.shape, sizes
        return _run(self._session, self._names, {self._input: tensor, **sizes})

    def close(self) -> None:
        """Frees the session."""
        self._session = None


class OnnxProfiler:
    """A session whose runtime writes down what every operator takes, and which takes all inputs by name."""

    def __init__(self, model: bytes, options: BackendOptions, folder: Path | None) -> None:
        """Loads the model as the backend does. Raises BackendError.

        The runtime's file comes to lie in `folder`; without one nothing is written down, to see what the writing costs.
        """
        prepared = session_options(options)
        if folder is not None:
            prepared.enable_profiling = True
            prepared.profile_file_prefix = str(folder / "operators")
        self._session: Any = _open(model, options, prepared)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> None:
        """One inference; what it gives is let go. Raises BackendError."""
        _run(self._session, None, feeds)

    def end(self) -> Path:
        """Ends the profile: the runtime's file, Chrome trace events."""
        return Path(self._session.end_profiling())


def runtime_version() -> str:
    """Of ONNX Runtime."""
    import onnxruntime as ort  # noqa: PLC0415

    return str(ort.__version__)


def session_options(options: BackendOptions) -> Any:
    """The session options that the agent and its benchmarks run with."""
    import onnxruntime as ort  # noqa: PLC0415

    made = ort.SessionOptions()
    made.intra_op_num_threads = options.intra_op_threads
    made.inter_op_num_threads = 1
    made.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    made.log_severity_level = _ERRORS_ONLY
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made.add_session_config_entry("session.inter_op.allow_spinning", "0")
    for key, value in options.extra.items():
        made.add_session_config_entry(key, value)
    return made


def _open(model: bytes, options: BackendOptions, prepared: Any) -> Any:
    import onnxruntime as ort  # noqa: PLC0415  40 MB that only this backend needs

    _require_providers(options.providers, ort.get_available_providers())
    try:
        return ort.InferenceSession(model, sess_options=prepared, providers=list(options.providers))
    except Exception as exc:  # the runtime's exceptions share no public root
        raise BackendError(
            "ONNX Runtime cannot load this model",
            evidence={"ONNX Runtime says": _first_line(exc), "bytes": len(model), "begins with": model[:8].hex(" ")},
            fix="check that the file is a whole ONNX model, and build the bundle again",
        ) from exc


def _run(session: Any, names: Sequence[str] | None, feeds: Mapping[str, NDArray[np.generic]]) -> Sequence[NDArray[np.generic]]:
    try:
        outputs: Sequence[NDArray[np.generic]] = session.run(names, feeds)
    except Exception as exc:  # the runtime's exceptions share no public root
        fed = ", ".join(f"{tensor.shape} {tensor.dtype}" for tensor in feeds.values())
        raise BackendError(
            "ONNX Runtime failed on a frame",
            evidence={"ONNX Runtime says": _first_line(exc), "input": fed},
            fix="compare the manifest's input with 'camagent model inspect'",
        ) from exc
    return outputs


def _spec(node: Any) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else None for side in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(node.type, node.type))


def _require_providers(wanted: Sequence[str], available: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in available]
    if missing:
        raise BackendError(
            f"ONNX Runtime has no provider {missing[0]!r} here",
            evidence={"wanted": ", ".join(wanted), "available": ", ".join(available)},
            fix="name available providers under [onnx] providers, or install the onnxruntime package that has this one",
        )


def _first_line(exc: Exception) -> str:
    return str(exc).strip().split("\n", 1)[0]
