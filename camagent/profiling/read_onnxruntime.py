"""ONNX Runtime's profile: Chrome trace events, one for each call of an operator, one `model_run` for each inference."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median_low
from typing import Any

import msgspec

from camagent.profiling.recording import Call, Recording, Shape

FORM = "ONNX Runtime profile"
_KERNEL, _RUN = "_kernel_time", "model_run"
_WARM = 3  # from so many inferences on the first one, which allocates, is left out


class Args(msgspec.Struct, frozen=True):
    """What is read of an event's details; shapes as `[{"float": [1, 3, 352, 352]}, ..]`."""

    op_name: str = ""
    provider: str = ""
    input_type_shape: Any = None
    output_type_shape: Any = None


_NONE = Args()


class Event(msgspec.Struct, frozen=True):
    """One trace event; times in microseconds."""

    name: str = ""
    cat: str = ""
    ts: float = 0.0
    dur: float = 0.0
    tid: int | str = 0
    args: Args | None = None


class _Wrapped(msgspec.Struct, frozen=True):
    traceEvents: list[Event]  # noqa: N815  the trace format's name


_WRAPPED = msgspec.json.Decoder(_Wrapped)
_EVENTS = msgspec.json.Decoder(list[Event])
_EVENT = msgspec.json.Decoder(Event)


def looks_like(text: str) -> bool:
    """JSON that begins as a list of events, or as an object that has one."""
    return text.lstrip()[:1] in ("[", "{") and '"ph"' in text[:100_000]


def read(text: str, *, warm_up: int | None = None) -> Recording:
    """The calls of every inference. `warm_up`: how many to leave out; by itself one, where there are at least three.

    A file whose process was killed ends in the middle: what is whole of it is read.
    """
    events, skipped = _events(text)
    runs = sorted((one for one in events if one.name == _RUN and one.cat == "Session"), key=lambda one: one.ts)
    nodes = sorted((one for one in events if one.cat == "Node" and one.name.endswith(_KERNEL)), key=lambda one: one.ts)
    if warm_up is None:
        warm_up = 1 if len(runs) >= _WARM else 0
    if not runs:
        return Recording("onnxruntime", FORM, *_without_runs(nodes), skipped=skipped)
    kept, starts = runs[warm_up:], [one.ts for one in runs]
    own = _own_times(nodes)
    calls = []
    for node, us in zip(nodes, own, strict=True):
        run = bisect_right(starts, node.ts) - 1
        if run >= warm_up and node.ts <= runs[run].ts + runs[run].dur:
            calls.append(_call(node, us, run - warm_up))
    return Recording(
        "onnxruntime", FORM, tuple(calls), len(kept), wall=tuple(one.dur for one in kept), left_out=warm_up, skipped=skipped
    )


def _events(text: str) -> tuple[list[Event], int]:
    try:
        if text.lstrip().startswith("{"):
            return _WRAPPED.decode(text).traceEvents, 0
        return _EVENTS.decode(text), 0
    except (msgspec.MsgspecError, RecursionError):
        lines = [line.strip().rstrip(",") for line in text.splitlines()]
        return _one_by_one(line for line in lines if line not in ("", "[", "]", "{", "}"))


def _one_by_one(lines: Iterable[str]) -> tuple[list[Event], int]:
    """ONNX Runtime writes one event a line: the whole ones of a damaged file."""
    found, skipped = list[Event](), 0
    for line in lines:
        try:
            found.append(_EVENT.decode(line))
        except (msgspec.MsgspecError, RecursionError):
            skipped += 1
    return found, skipped


def _without_runs(nodes: Sequence[Event]) -> tuple[tuple[Call, ...], int]:
    """Inferences told by how often each operator occurs."""
    counts = Counter(one.name for one in nodes)
    runs = max(1, median_low(counts.values())) if counts else 1
    seen, calls = Counter[str](), []
    for node, us in zip(nodes, _own_times(nodes), strict=True):
        calls.append(_call(node, us, min(runs - 1, seen[node.name] * runs // counts[node.name])))
        seen[node.name] += 1
    return tuple(calls), runs


def _own_times(nodes: Sequence[Event]) -> list[float]:
    """Microseconds of each node without those of the nodes that ran inside it (the body of an If or Loop)."""
    own = [max(0.0, node.dur) for node in nodes]
    open_ones: dict[int | str, list[int]] = {}
    for index, node in enumerate(nodes):
        outer = open_ones.setdefault(node.tid, [])
        while outer and nodes[outer[-1]].ts + nodes[outer[-1]].dur < node.ts + node.dur:
            outer.pop()
        if outer and node.ts < nodes[outer[-1]].ts + nodes[outer[-1]].dur:
            own[outer[-1]] = max(0.0, own[outer[-1]] - node.dur)
        outer.append(index)
    return own


def _call(node: Event, us: float, run: int) -> Call:
    args = node.args or _NONE
    return Call(
        type=args.op_name or "?", us=us, name=node.name.removesuffix(_KERNEL), run=run, start=node.ts, span=node.dur,
        place=args.provider.removesuffix("ExecutionProvider"), row=str(node.tid), shape=_shape(args.output_type_shape, 0),
        weights=_shape(args.input_type_shape, 1),
    )  # fmt: skip


def _shape(tensors: Any, index: int) -> Shape:
    """`[{"float": [1, 32, 176, 176]}, ..]` -> (1, 32, 176, 176)."""
    if not isinstance(tensors, list) or len(tensors) <= index or not isinstance(tensors[index], dict):
        return ()
    return tuple(_sides(next(iter(tensors[index].values()), None)))


def _sides(shape: Any) -> Iterator[int]:
    for side in shape if isinstance(shape, list) else ():
        if isinstance(side, int):
            yield side
