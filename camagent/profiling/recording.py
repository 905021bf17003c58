"""What a profiler wrote down, whichever it was: calls of operators with their time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Shape: TypeAlias = tuple[int, ...]
Tool: TypeAlias = Literal["onnxruntime", "rknn", "ascend"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one operator, or all calls of one type where the tool keeps no more (`count` of them)."""

    type: str  # as the tool names it: Conv, ConvRelu, TransposeD
    us: float  # microseconds, finite and not negative
    name: str = ""  # the node's; empty where the tool does not tell
    run: int = 0  # which inference it belongs to
    start: float | None = None  # microseconds on the tool's own clock
    span: float | None = None  # from start to end, where that is more than `us`: other calls ran inside it
    place: str = ""  # CPU, NPU, AI_CORE ..
    row: str = ""  # the thread or stream that it ran in
    shape: Shape = ()  # of the first output; () where it is not known
    weights: Shape = ()  # of the second input
    count: int = 1


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls that a tool wrote down, in the order of execution where `ordered`."""

    tool: Tool
    form: str  # which of the tool's files it was
    calls: tuple[Call, ...]
    runs: int | None  # inferences; None: only totals are known
    ordered: bool = True
    wall: tuple[float, ...] = ()  # microseconds from start to end of each inference, where the tool has them
    plain: tuple[float, ...] = ()  # microseconds of inferences that were not recorded: recording costs, too
    left_out: int = 0  # inferences before the first one that counts
    skipped: int = 0  # lines that could not be read
