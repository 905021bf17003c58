"""Runs passes over a model one after the other; each proves itself, and one that cannot is undone.

No runtime in here: whoever calls says how a model is run. Graph tools (onnx, onnxslim) are imported with this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal, TypeAlias, cast

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph.network import Network
from firmware_pkg.graph.passes import Change, Outputs, Pass
from firmware_pkg.graph.proof import Verdict, judge
from firmware_pkg.graph.registry import PASSES, Wishes
from signing.errors import CodedError, printable

Run: TypeAlias = Callable[[bytes], Sequence[Outputs]]  # a model's outputs, one entry per input that it is tried on
Status: TypeAlias = Literal["kept", "nothing", "refused"]


@dataclass(frozen=True, slots=True)
class PassReport:
    """What became of one pass. `why`: the proof's sentence, or why there is none. `model`: as a kept pass left it."""

    name: str
    status: Status
    places: int
    why: str
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 0  # behind it
    model: bytes = b""


@dataclass(frozen=True, slots=True)
class Optimised:
    """The result: the model, what every pass did, and the proof of all of them together."""

    model: bytes
    passes: tuple[PassReport, ...]
    before: Counter[str]
    after: Counter[str]
    whole: Verdict | None  # the first model against the last; None where nothing was changed

    @property
    def proved(self) -> bool:
        """Whether no proof failed."""
        return all(one.status != "refused" for one in self.passes) and (self.whole is None or self.whole.holds)

    @property
    def settings(self) -> dict[str, str]:
        """What the manifest has to say from now on."""
        return {key: value for one in self.passes if one.status == "kept" for key, value in one.settings.items()}


def optimise(model: bytes, names: Sequence[str], wishes: Wishes, run: Run, tell: Callable[[str], None]) -> Optimised:
    """Runs the named passes in their order.

    Args:
        model: an ONNX model, all weights in it.
        names: of the registry.
        wishes: what the user decides.
        run: runs a model on the inputs that all proofs are made with.
        tell: is told a pass's name before it runs.

    Raises:
        ManifestInvalid: the model cannot be read, or contradicts itself.
        CodedError: whatever `run` raises for the model as it came.
    """
    first = _parsed(model)
    before = _counts(first)
    origin = last = run(model)
    now, data, reports, changes = first, model, list[PassReport](), list[Change]()
    for name in names:
        tell(name)
        report, change, made, outputs = _one(now, name, wishes, run, last)
        reports.append(report)
        if report.status == "kept" and made is not None and outputs is not None:
            now, last, data = made, outputs, report.model
            changes.append(change)
    whole = judge(_together(changes), origin, last) if changes else None
    return Optimised(data, tuple(reports), before, _counts(now), whole)


def pass_of(name: str) -> Pass:
    """A pass by its name. Raises KeyError for one that there is not."""
    return cast("Pass", import_module(f"firmware_pkg.graph.{PASSES[name].module}").apply)


_Tried: TypeAlias = tuple[PassReport, Change, ModelProto | None, Sequence[Outputs] | None]


def _one(now: ModelProto, name: str, wishes: Wishes, run: Run, last: Sequence[Outputs]) -> _Tried:
    """One pass on a copy, and its proof."""
    nodes = len(now.graph.node)
    change = Change()
    try:
        network = Network(now)
        change = pass_of(name)(network, wishes)
        if not change.places:
            return PassReport(name, "nothing", 0, "nothing to do", notes=change.notes, nodes=nodes), change, None, None
        made = network.model()
        onnx.checker.check_model(made)
        data = made.SerializeToString()
        outputs = run(data)
        verdict = judge(change, last, outputs)
    except CodedError as exc:  # the runtime does not take it
        why = f"{exc.what}: {', '.join(f'{key} = {value}' for key, value in exc.evidence.items())}"
        return PassReport(name, "refused", change.places, why, nodes=nodes), change, None, None
    except Exception as exc:  # noqa: BLE001  a pass, or the library behind it, is wrong about this graph: it is undone and told
        why = f"{type(exc).__name__}: {printable(exc)}"
        return PassReport(name, "refused", change.places, why, nodes=nodes), change, None, None
    if not verdict.holds:
        return PassReport(name, "refused", change.places, verdict.words, verdict, nodes=nodes), change, None, None
    report = PassReport(
        name, "kept", change.places, verdict.words, verdict, change.notes, change.settings, len(made.graph.node), data
    )
    return report, change, made, outputs


def _together(changes: Sequence[Change]) -> Change:
    """Several changes as one: the last outputs are read back through all of them."""

    def restore(outputs: Outputs) -> Outputs:
        for change in reversed(changes):
            outputs = change.restore(outputs)
        return outputs

    return Change(len(changes), restore=restore, maps=next((one.maps for one in changes if one.maps is not None), None))


def _parsed(model: bytes) -> ModelProto:
    try:
        made = onnx.load_model_from_string(model)
        onnx.checker.check_model(made)
        Network(made)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as exc:
        raise ManifestInvalid(
            f"the model is not ONNX that can be worked on: {exc}",
            evidence={"begins with": model[:8].hex(" ") or "nothing", "expected": "an ONNX model that its checker takes"},
            fix="export it again, with all weights in one file",
        ) from exc
    return made


def _counts(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)
