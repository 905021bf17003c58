"""Rockchip's NPU through RKNNLite 2.x (rknn-toolkit-lite2, librknnrt).

Cameras that run the same model share its contexts (rknn_pool.py). What is compared before: rknn_preflight.py; what failures
mean: rknn_words.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent import npu
from camagent.backends import BackendOptions
from camagent.backends.auxiliary import is_auxiliary, value_of
from camagent.backends.garbage import Garbage
from camagent.backends.overheard import Words, keep_stdout, overhear
from camagent.backends.rknn_pool import Arrays, Cores, Pool
from camagent.backends.rknn_preflight import doubts, driver_doubts, refined, require, version
from camagent.backends.rknn_words import explained
from camagent.backends.sealed import sealed_file
from camagent.errors import BackendError, ModelFileBad, NpuRuntimeMissing, NpuSubmitFailed, QuantParamsIgnored
from camagent.frame import TensorSpec
from camagent.npu import Npu
from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import Tensor
from firmware_pkg.rknn_file import RknnFacts, read_rknn

log = logging.getLogger("camagent")

_QUANTISED = frozenset({"int8", "uint8", "int16", "asymmetric_affine"})
_DISTRIBUTION = "rknn-toolkit-lite2"

_CORES = Cores()
_GARBAGE = Garbage()
_POOLS: dict[bytes, Pool] = {}  # SHA-256 of a model -> its contexts: the NPU is one for the whole process
_pools = threading.Lock()


class RknnBackend:
    """One camera's hold on a model. Takes the picture as bytes or floats, pixel by pixel (NHWC) or plane by plane (NCHW).

    The NPU wants NHWC; planes are put in order here, at the cost of a copy. Floats are quantised by the runtime.
    """

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        """Compares versions and loads the model. Raises BackendError: see rknn_preflight.require and rknn_words."""
        try:
            facts = read_rknn(model)
        except ManifestInvalid as exc:
            raise ModelFileBad(exc.what, evidence=exc.evidence, fix=exc.fix) from exc
        board = npu.look(options.device)
        require(facts, board)
        self._pool: Pool | None = None
        declared = tuple(_input_spec(one) for one in facts.inputs)
        self._order = declared
        auxiliary = tuple(spec for spec in declared if is_auxiliary(spec)) if len(declared) > 1 else ()
        self.inputs: Sequence[TensorSpec] = tuple(spec for spec in declared if spec not in auxiliary)
        self.outputs: Sequence[TensorSpec] = tuple(TensorSpec(one.name, one.shape, "float32") for one in facts.outputs)
        self._facts = facts
        self._key = hashlib.sha256(model).digest()
        self._pool = _join(self._key, model, facts, board)
        self.calls_at_once = max(1, board.cores)
        self.warnings: Sequence[str] = self._pool.warnings

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """Runs the model once; see `Backend.infer`. Outputs are float32, dequantised where the runtime hands out integers."""
        if self._pool is None:
            raise NpuSubmitFailed("the model is closed", fix="open it again")
        outputs = self._pool.infer(self._fed(tensor))
        if len(outputs) != len(self._facts.outputs):
            raise NpuSubmitFailed(
                "the NPU's runtime gave another number of outputs than the model has",
                evidence={"returned": len(outputs), "expected": len(self._facts.outputs)},
                fix="update librknnrt.so and rknn-toolkit-lite2 to one version",
            )
        return [_as_float(output, one) for output, one in zip(outputs, self._facts.outputs, strict=True)]

    def close(self) -> None:
        """Lets go of the model; its contexts are freed with the last one that holds it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _leave(self._key, pool)

    def _fed(self, tensor: NDArray[np.generic]) -> list[NDArray[Any]]:
        picture = np.ascontiguousarray(_by_pixel(tensor, self.inputs[0].shape) if self.inputs else tensor)
        if len(self._order) == 1:
            return [picture]
        height, width = picture.shape[1:3]
        return [picture if spec in self.inputs else np.asarray(value_of(spec, width, height)) for spec in self._order]


class _Context:
    """One RKNNLite with its model on one core."""

    def __init__(self, model: bytes, facts: RknnFacts, board: Npu, core: int, failing: threading.Event) -> None:
        """`failing`: set while calls of any context of the model fail: the next one's words are wanted. Raises BackendError."""
        self.core = core
        self._about = _both_sides(facts, board)
        self._failing = failing
        keep_stdout()
        with overhear() as words:
            lite = _new_lite()
            try:
                with sealed_file(model) as path:
                    self._require(words, "load_rknn", lite.load_rknn, path)
                self._require(words, "init_runtime", partial(lite.init_runtime, **_core_mask(lite, board, core)))
                said = _asked(words, self._about, "get_sdk_version", lite.get_sdk_version)
            except BaseException:
                lite.release()
                raise
        self._lite: Any = lite
        self._run = _Run(lite)
        _GARBAGE.settle()
        self._reuses = "reuse_outputs" in inspect.signature(lite.inference).parameters
        self.warnings: Sequence[str] = _doubts(facts, board, str(said or ""), words)

    def infer(self, inputs: Arrays) -> Arrays:
        """See `Context.infer`."""
        kept = {"reuse_outputs": True} if self._reuses else {}
        heard = overhear() if self._failing.is_set() else contextlib.nullcontext(Words())
        self._run.code = 0
        try:
            with heard as words:
                outputs = _asked(words, self._about, "inference", partial(self._lite.inference, inputs=list(inputs), **kept))
        except _Failed as exc:
            self._failing.set()
            raise exc.meaning() from exc
        _GARBAGE.look()
        if outputs is None or self._run.code or any(output is None for output in outputs):
            self._failing.set()
            fed = ", ".join(f"{one.shape} {one.dtype}" for one in inputs)
            raise explained("inference", self._run.code or None, words.lines, {"input": fed, **self._about})
        self._failing.clear()
        # views of the runtime's own buffers, which the next call overwrites, perhaps another camera's
        return [np.array(output) for output in outputs] if self._reuses else outputs

    def close(self) -> None:
        """Frees the context."""
        self._lite.release()

    def _require(self, words: Words, call: str, function: Callable[..., Any], *args: Any) -> None:
        """0 is the only good answer."""
        returned = _asked(words, self._about, call, function, *args)
        if returned != 0:
            raise _Failed(call, returned, words, self._about)


class _Run:
    """rknn_run's return code. RKNNLite 2.5.0 gets it, overlooks it, and hands out the outputs of the run before (tried)."""

    def __init__(self, lite: Any) -> None:
        self.code = 0
        self._run = getattr(lite.rknn_runtime, "run", None)
        if self._run is not None:
            lite.rknn_runtime.run = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """In RKNNLite's place; it turns what is raised here into None."""
        assert self._run is not None
        result = self._run(*args, **kwargs)
        code = result[0] if isinstance(result, tuple) else result
        if isinstance(code, int) and code:
            self.code = code
            raise RuntimeError(f"rknn_run returned {code}")
        return result


class _Failed(Exception):
    """A call failed; what it means is known when all of its words are in."""

    def __init__(self, call: str, returned: object, words: Words, about: Mapping[str, object]) -> None:
        super().__init__(call)
        self._said = (call, returned, words, about)

    def meaning(self) -> BackendError:
        """After the listening."""
        call, returned, words, about = self._said
        return explained(call, returned, words.lines, about)


def _asked(words: Words, about: Mapping[str, object], call: str, function: Callable[..., Any], *args: Any) -> Any:
    """What RKNNLite answers. It catches most of what its inner parts raise, and not all. Raises _Failed."""
    try:
        return function(*args)
    except Exception as exc:  # a vendor's, of whatever kind
        raise _Failed(call, f"{type(exc).__name__}: {exc}", words, about) from exc


def _join(key: bytes, model: bytes, facts: RknnFacts, board: Npu) -> Pool:
    failing = threading.Event()

    def open_on(core: int) -> _Context:
        try:
            return _Context(model, facts, board, core, failing)
        except _Failed as exc:
            raise refined(exc.meaning(), npu.look(board.soc)) from exc

    with _pools:
        pool = _POOLS.setdefault(key, Pool(open_on, board.cores, _CORES))
        pool.join()
    try:
        pool.grow()  # without the lock: it takes seconds, and where the NPU hangs it never ends
    except BaseException:
        _leave(key, pool)
        raise
    return pool


def _leave(key: bytes, pool: Pool) -> None:
    with _pools:
        if pool.leave():
            del _POOLS[key]
    pool.free()


def _new_lite() -> Any:
    """An RKNNLite. Its log handler keeps the stdout that it finds: here it finds stderr. Raises NpuRuntimeMissing."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            from rknnlite.api import RKNNLite  # noqa: PLC0415  the vendor's runtime, on Rockchip's boards only

            return RKNNLite()
        except (ImportError, OSError) as exc:
            raise NpuRuntimeMissing(
                "RKNNLite cannot be loaded",
                evidence={"cause": f"{type(exc).__name__}: {exc}", "expected": f"{_DISTRIBUTION} 2.x for this Python"},
                fix=f"pip install {_DISTRIBUTION} (wheels exist for aarch64 and Python up to 3.12)",
            ) from exc


def _core_mask(lite: Any, board: Npu, core: int) -> Mapping[str, int]:
    """Only an NPU with several cores takes a mask; RKNNLite warns of it, or fails, everywhere else."""
    return {"core_mask": getattr(lite, f"NPU_CORE_{core}")} if board.cores > 1 else MappingProxyType({})


def _doubts(facts: RknnFacts, board: Npu, said: str, words: Words) -> list[str]:
    """Of what runs now: the runtime names itself and the driver, once more and for certain."""
    api, _, driver = said.partition("DRV:")
    runtime = api if version(api) else board.runtime_version
    heard = " ".join(line for line in words.lines if "Driver Information" in line)
    known = next((text for text in (driver, heard.partition("Driver Information")[2], board.driver) if version(text)), "")
    found = doubts(facts, _dotted(runtime), _installed())
    found += driver_doubts(_dotted(known), _dotted(runtime))
    for sentence in found:
        log.warning("rknn: %s", sentence)
    return found


def _dotted(text: str) -> str:
    return ".".join(map(str, version(text)))


def _installed() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:  # put there by hand, as some boards' images do
        return ""


def _both_sides(facts: RknnFacts, board: Npu) -> Mapping[str, object]:
    return {
        "model": f"for {', '.join(facts.targets)}, toolkit {facts.toolkit}, format {facts.format_version}",
        "this device": f"{board.soc or 'unknown SoC'}, librknnrt {board.runtime_version or 'of unknown version'}, driver "
        f"{board.driver or 'of unknown version'}",
    }


def _input_spec(tensor: Tensor) -> TensorSpec:
    """A picture's planes in the file are its pixels at the runtime's door, as bytes or floats."""
    shape = tensor.shape
    if len(shape) != 4:
        return TensorSpec(tensor.name, shape, "float32")
    batch, channels, height, width = shape
    pixels = (batch, height, width, channels)
    others = ((pixels, "float32"), (pixels, "int8"), (shape, "uint8"), (shape, "float32"), (shape, "int8"))
    also = tuple(TensorSpec(tensor.name, form, dtype) for form, dtype in others)
    return TensorSpec(tensor.name, pixels, "uint8", also)


def _by_pixel(tensor: NDArray[Any], pixels: tuple[int | None, ...]) -> NDArray[Any]:
    """NCHW -> NHWC where it is not NHWC already."""
    if tensor.ndim == 4 and tensor.shape != pixels and (tensor.shape[0], *tensor.shape[2:], tensor.shape[1]) == pixels:
        return np.moveaxis(tensor, 1, 3)
    return tensor


def _as_float(output: NDArray[Any], declared: Tensor) -> NDArray[np.generic]:
    """Real = (q - zero point) * scale. Raises QuantParamsIgnored for quantised numbers of unknown scale."""
    if output.dtype.kind == "f":
        return output.astype(np.float32, copy=False)
    if declared.scale is not None:
        return (output.astype(np.float32) - np.float32(declared.zero_point or 0)) * np.float32(declared.scale)
    if declared.dtype in _QUANTISED:
        raise QuantParamsIgnored(
            f"output {declared.name} is integers of unknown scale",
            evidence={"returned": str(output.dtype), "expected": "float32, or a scale in the model file"},
            fix="update rknn-toolkit-lite2, or convert the model with float outputs",
        )
    return output
