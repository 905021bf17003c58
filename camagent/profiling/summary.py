"""A recording as one profile: what each operator, each kind and each block takes of an inference."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from camagent.profiling.blocks import Part, Path, cut, paths
from camagent.profiling.kinds import kind_of
from camagent.profiling.recording import Call, Recording, Shape

_MAKES_MAPS = frozenset({"Conv", "ConvTranspose", "Pool", "Resize"})
_FUSED = re.compile(r"(?:_nchwc|/\w+Fusion/?)+$")  # ONNX Runtime, behind the name of the node that it fused


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the model. Times are microseconds of one inference, of the whole recording where `runs` is unknown."""

    name: str
    type: str
    kind: str
    block: Path
    us: float  # the median over the inferences
    low: float
    high: float
    calls: int  # in one inference
    place: str = ""
    shape: Shape = ()
    weights: Shape = ()

    @property
    def label(self) -> str:
        """The node's name as the model file has it; its type where the tool names no nodes."""
        return _FUSED.sub("", self.name) or self.type


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a kind or a block."""

    name: str
    us: float
    share: float  # 0..1 of all operators
    calls: int
    types: tuple[str, ...] = ()  # as the tool names them, the heaviest first


@dataclass(frozen=True, slots=True)
class Profile:
    """Operators in the order of execution, where the recording has one."""

    recording: Recording
    operators: tuple[Operator, ...]
    total: float  # microseconds of all operators in one inference; of the recording where `runs` is unknown

    @property
    def runs(self) -> int | None:
        """Inferences that were measured; None where only totals are known."""
        return self.recording.runs

    @property
    def median(self) -> float | None:
        """Microseconds of one inference from start to end, the median, without the profiler where that was measured.

        None where the tool does not tell.
        """
        times = self.recording.plain or self.recording.wall
        return median(times) if times else None

    def share(self, us: float) -> float:
        """0..1 of the time of all operators."""
        return us / self.total if self.total else 0.0

    def by_kind(self) -> tuple[Row, ...]:
        """Kinds, the heaviest first."""
        groups: dict[str, list[Operator]] = defaultdict(list)
        for one in self.operators:
            groups[one.kind].append(one)
        return tuple(sorted((self._row(name, found) for name, found in groups.items()), key=lambda row: -row.us))

    def by_block(self) -> tuple[tuple[Path, Row], ...]:
        """Some twelve blocks in the order of execution; empty where the tool names no operators."""
        if not self.recording.ordered or not self.operators:
            return ()
        times: dict[Path, float] = defaultdict(float)
        for one in self.operators:
            times[one.block] += one.us
        shown = cut(times)
        groups: dict[Path, list[Operator]] = defaultdict(list)
        for one in self.operators:
            groups[shown[one.block]].append(one)
        return tuple((path, self._row("/".join(path), found)) for path, found in groups.items())

    def slowest(self, most: int) -> tuple[Operator, ...]:
        """The heaviest operators."""
        return tuple(sorted(self.operators, key=lambda one: -one.us)[:most])

    def _row(self, name: str, found: Sequence[Operator]) -> Row:
        us, types = sum(one.us for one in found), Counter[str]()
        for one in found:
            types[one.type] += round(one.us * 1000)
        names = tuple(kind for kind, _ in types.most_common())
        return Row(name, us, self.share(us), sum(one.calls for one in found), names)


def summarise(recording: Recording, known: Mapping[str, Path]) -> Profile:
    """One line per operator. `known`: blocks that the model file tells, by name of node or tensor."""
    runs = recording.runs or 1
    groups: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for index, call in enumerate(recording.calls):
        groups[call.name or f"#{index}" if recording.ordered else call.name, call.type].append(call)
    rows = [_operator(calls, runs) for calls in groups.values()]
    parts = [Part(one.name, one.us, one.shape if one.kind in _MAKES_MAPS else ()) for one in rows]
    found = paths(parts, known) if recording.ordered else [() for _ in rows]
    operators = tuple(replace(one, block=path) for one, path in zip(rows, found, strict=True))
    return Profile(recording, operators, sum(one.us for one in operators))


def _operator(calls: Sequence[Call], runs: int) -> Operator:
    """All calls of one operator. One that is called k times in each inference counts with the sum of the k."""
    per_run: dict[int, float] = dict.fromkeys(range(runs), 0.0)
    for call in calls:
        per_run[call.run] += call.us
    times, first = sorted(per_run.values()), calls[0]
    number = max(1, round(sum(call.count for call in calls) / runs))
    return Operator(
        first.name, first.type, kind_of(first.type), (), median(times), times[0], times[-1], number, first.place, first.shape,
        first.weights,
    )  # fmt: skip
