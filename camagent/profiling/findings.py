"""Which advice a profile deserves: the table of advice_table.py held against its operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from camagent.profiling.advice_table import ADVICE, Advice, Where
from camagent.profiling.summary import Operator, Profile
from firmware_pkg.graph import PASSES

_LAYERS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Attention", "Recurrent"})
# between enlarged maps that are joined: the next branch's own projection, and what only moves data
_BETWEEN = _LAYERS | {"Layout", "Transpose", "Reshape", "Identity", "Activation", "Elementwise"}
_HOSTS = frozenset({"CPU", "AI_CPU", "AICPU", "AI CPU"})
_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """Advice that holds, and the operators it is about, the slowest first."""

    advice: Advice
    operators: tuple[Operator, ...]
    us: float
    share: float  # 0..1

    @property
    def about(self) -> tuple[str, ...]:
        """The slowest of them by name, or the types where the tool names none."""
        return tuple(dict.fromkeys(one.label for one in self.operators))[:_NAMED]

    @property
    def types(self) -> tuple[str, ...]:
        """Their types as the tool names them, the slowest first."""
        return tuple(dict.fromkeys(one.type for one in self.operators))


def findings(profile: Profile) -> tuple[Finding, ...]:
    """What holds, what takes the most time first."""
    made = (_finding(advice, profile) for advice in ADVICE)
    return tuple(sorted((one for one in made if one is not None), key=lambda one: -one.share))


def passes(found: Sequence[Finding]) -> tuple[str, ...]:
    """Every pass that is named, in the order in which `model optimize` has them."""
    named = {name for one in found for name in one.advice.passes}
    return tuple(name for name in PASSES if name in named)


def _finding(advice: Advice, profile: Profile) -> Finding | None:
    kinds = {one.kind for one in profile.operators}
    if not set(advice.beside) <= kinds:
        return None
    placed = _WHERE[advice.where](profile)
    about = [one for one in placed if one.us > 0 and (not advice.kinds or one.kind in advice.kinds)]
    us = sum(one.us for one in about)
    if not about or profile.share(us) < advice.at_least:
        return None
    return Finding(advice, tuple(sorted(about, key=lambda one: -one.us)), us, profile.share(us))


def _anywhere(profile: Profile) -> Sequence[Operator]:
    return profile.operators


def _tail(profile: Profile) -> Sequence[Operator]:
    """All of them where the order is not known."""
    return profile.operators[_last_layer(profile) + 1 :]


def _body(profile: Profile) -> Sequence[Operator]:
    """None of them where the order is not known."""
    return profile.operators[: _last_layer(profile) + 1]


def _last_layer(profile: Profile) -> int:
    if not profile.recording.ordered:
        return -1
    return max((index for index, one in enumerate(profile.operators) if one.kind in _LAYERS), default=-1)


def _batch_1(profile: Profile) -> Sequence[Operator]:
    """Those whose shape is not known, too."""
    return [one for one in profile.operators if not one.shape or (len(one.shape) > 2 and set(one.shape[:-2]) == {1})]


def _behind_resize(profile: Profile) -> Sequence[Operator]:
    """At least two enlarged maps, what joins them, and the 1x1 layer that takes the joined map. None without an order."""
    found, waiting = list[Operator](), list[Operator]()
    for one in _body(profile):
        joined = bool(waiting) and waiting[-1].kind == "Concat"
        if one.kind == "Resize" or (one.kind == "Concat" and len(waiting) > 1):
            waiting.append(one)
        elif one.kind in _LAYERS and joined:
            found += [*waiting, one] if _is_pointwise(one) else []
            waiting.clear()
        elif one.kind not in _BETWEEN:
            waiting.clear()
    return found


def _is_pointwise(one: Operator) -> bool:
    """A matrix product, or a convolution of 1x1 as far as that is known."""
    return one.kind in ("MatMul", "Gemm") or (one.kind == "Conv" and set(one.weights[2:]) <= {1})


def _resize_unseen(profile: Profile) -> Sequence[Operator]:
    """All of them where no upsampling is in the profile, or nothing tells what lies before it."""
    unseen = not profile.recording.ordered or all(one.kind != "Resize" for one in profile.operators)
    return profile.operators if unseen else ()


def _on_cpu(profile: Profile) -> Sequence[Operator]:
    if not any(one.place and one.place.upper() not in _HOSTS for one in profile.operators):
        return ()
    return [one for one in profile.operators if one.place.upper() in _HOSTS and one.kind != "Input/Output"]


_WHERE: Mapping[Where, Callable[[Profile], Sequence[Operator]]] = MappingProxyType({
    "anywhere": _anywhere, "tail": _tail, "body": _body, "batch-1": _batch_1, "behind-resize": _behind_resize,
    "resize-unseen": _resize_unseen, "on-cpu": _on_cpu,
})  # fmt: skip
