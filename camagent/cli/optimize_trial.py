"""What `model optimize` runs models for: the pictures that proofs are made with, and what every stage costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.cli.golden_request import input_of
from camagent.cli.model_facts import REDUCES, Subject, shown
from camagent.errors import UsageError, printable
from camagent.pipeline import BackendOptions, TensorSpec, one_picture, open_backend, picture_frame, prepare
from firmware_pkg.graph_facts import GraphFacts
from firmware_pkg.manifest import InputSpec

RANDOM_PICTURES, SEED = 3, 20
_PATCHES = 12  # of a random picture, per side: areas and edges, as pictures have them
_GRAIN = 0.05

Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Inputs that a model is tried on, where they come from, and in which range their values lie."""

    kind: Literal["golden", "images", "random"]
    tensors: tuple[NDArray[Any], ...]
    low: float
    high: float

    @property
    def words(self) -> str:
        """For people."""
        count = len(self.tensors)
        what = {"golden": "golden pictures", "images": "pictures", "random": f"random pictures (seed {SEED}; give --image F)"}
        return f"{count} {what[self.kind]}, values {self.low + 0.0:.4g} .. {self.high + 0.0:.4g}"


def input_spec(facts: GraphFacts) -> TensorSpec:
    """The one input. Raises UsageError for several, and for one whose size is open."""
    if len(facts.inputs) != 1:
        raise UsageError(
            f"the model has {len(facts.inputs)} inputs", evidence={"inputs": ", ".join(one.name for one in facts.inputs)},
            fix="export it with the picture as its only input: that is all the agent gives it",
        )  # fmt: skip
    one = facts.inputs[0]
    if None in one.shape:
        raise UsageError(
            "the model's input leaves its size open", evidence={"input": f"{one.name} {shown(one.shape)}"},
            fix="give --size WxH: the size is then part of the model, as converters for NPUs want it",
        )  # fmt: skip
    return TensorSpec(one.name, one.shape, one.dtype)


def trial_of(found: Subject, facts: GraphFacts, spec: TensorSpec, images: Sequence[Path]) -> Trial:
    """The bundle's golden pictures and --image, else random ones. Raises InputError, UsageError for a model of no pictures."""
    contract = found.bundle.manifest.input if found.bundle is not None else None
    frames = [one_picture(path) for path in images]
    golden = [(name, data) for name, data in (found.bundle.golden if found.bundle else {}).items() if not name.endswith(".npz")]
    frames += [picture_frame(data, name) for name, data in golden]
    if not frames:
        return _random(spec, contract, facts)
    if contract is None:
        contract = _contract(spec, facts)
    return _trial("images" if images else "golden", [prepare(frame, contract).tensor for frame in frames])


def _trial(kind: Literal["golden", "images", "random"], tensors: Sequence[NDArray[Any]]) -> Trial:
    return Trial(kind, tuple(tensors), float(min(map(np.min, tensors))), float(max(map(np.max, tensors))))


def _contract(spec: TensorSpec, facts: GraphFacts) -> InputSpec:
    """How a bare model is given pictures: 0..1, or 0..255 where it takes bytes or begins with a division."""
    if len(spec.shape) != 4 or 3 not in (spec.shape[1], spec.shape[3]):
        raise UsageError(
            f"the model's input {printable(spec.name)} is no picture", evidence={"shape": spec.shape, "expected": "1x3xHxW"},
            fix="leave --image out: random numbers are taken then",
        )  # fmt: skip
    bytes_wanted = spec.dtype == "uint8" or facts.gain <= REDUCES
    sides: dict[str, Any] = dict(input_of(spec, None))
    return InputSpec(**sides, scale=1.0 if bytes_wanted else 1 / 255, resize="stretch")


def _random(spec: TensorSpec, contract: InputSpec | None, facts: GraphFacts) -> Trial:
    """Coloured areas with some grain, the same ones each time; noise where the input is no picture."""
    generator = np.random.default_rng(SEED)
    shape = tuple(side or 1 for side in spec.shape)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        made = [generator.random(shape).astype(spec.dtype) for _ in range(RANDOM_PICTURES)]
        return _trial("random", made)
    contract = contract or _contract(spec, facts)
    pictures = [_picture(generator, contract.height, contract.width) for _ in range(RANDOM_PICTURES)]
    return _trial("random", [_as_tensor(picture, contract) for picture in pictures])


def _picture(generator: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """(height, width, 3), whole numbers 0..255."""
    patches = generator.random((_PATCHES, _PATCHES, 3))
    areas = cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST)
    soft = cv2.resize(generator.random((4, 4, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    grain = generator.normal(0.0, _GRAIN, (height, width, 3))
    return np.clip(np.round((0.5 * areas + 0.5 * soft + grain) * 255), 0, 255)


def _as_tensor(picture: NDArray[np.float64], contract: InputSpec) -> NDArray[Any]:
    if contract.dtype != "uint8":
        picture = (picture * contract.scale - np.array(contract.mean)) / np.array(contract.std)
    planes = picture.transpose(2, 0, 1) if contract.layout == "nchw" else picture
    return np.ascontiguousarray(planes[None]).astype(contract.dtype)


def outputs_on(model: bytes, trial: Trial, options: BackendOptions) -> list[Arrays]:
    """What a model gives for every input. Raises BackendError."""
    with closing(open_backend("onnx", model, options)) as backend:
        return [[np.array(output) for output in backend.infer(tensor)] for tensor in trial.tensors]


def milliseconds(models: Mapping[str, bytes], trial: Trial, rounds: int, options: BackendOptions) -> dict[str, float]:
    """The median of a run of each model; they take turns, so that what else the machine does hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(closing(open_backend("onnx", data, options))) for name, data in models.items()}
        for number in range(rounds + 1):
            for name, backend in opened.items():
                started = perf_counter()
                backend.infer(trial.tensors[0])
                if number:  # the first run allocates
                    taken[name].append((perf_counter() - started) * 1e3)
    return {name: median(found) for name, found in taken.items()}
