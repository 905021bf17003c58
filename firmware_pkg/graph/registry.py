"""The passes by name. Nothing is imported for that: `model optimize --list` and advice that names a pass need no graph tools.

A new pass is one file, one line in `PASSES`, one test and one paragraph in docs/optimize.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

MapEnding: TypeAlias = Literal["auto", "logits", "labels", "full"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user decides. `map_ending`: how a graph that gives a class per pixel is to end.

    "logits": with the scores that the classes were chosen by, on their own grid; "labels": with the classes on that grid;
    "full": as it did, name, shape and type. "auto" is "logits" for a graph that has but one output, and that one ends in an
    ArgMax, a Softmax over the channels or a Sigmoid; all others stay "full".
    """

    map_ending: MapEnding = "auto"


class PassPlace(NamedTuple):
    """Where a pass is, its line in the list, and whether it runs unless others are named."""

    module: str
    text: str
    usual: bool = True


# in the order in which they run: each makes what the next ones look for
PASSES: Mapping[str, PassPlace] = MappingProxyType({
    "fold-constants": PassPlace("fold_constants", "Constants, shapes, Identity and BatchNormalization, by onnxslim."),
    "fold-pad": PassPlace("fold_pad", "Pad becomes the padding of the Conv or Pool behind it."),
    "argmax-first": PassPlace("argmax_first", "No Softmax, Sigmoid or ArgMax at full resolution where only the order counts."),
    "low-resolution-head": PassPlace("low_resolution_head", "1x1 Conv, MatMul and BatchNormalization before bilinear Resize."),
    "cancel-transposes": PassPlace("cancel_transposes", "Chains of Transpose and Reshape become short or vanish."),
    "rank-2-matmul": PassPlace("rank_2_matmul", "MatMul of a batch of one becomes a matrix product of rank 2."),
    "split-heads": PassPlace("split_heads", "Boxes and scores in outputs of their own, for int8.", usual=False),
})  # fmt: skip
