"""Kinds in a few families, so that a picture needs few colours: what calculates, what only moves data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Family:
    """`id`: the style sheet's class and the trace's category."""

    id: str
    says: str
    kinds: frozenset[str]


FAMILIES: tuple[Family, ...] = (
    Family("layer", "layers: convolutions, matrix products", frozenset({
        "Conv", "ConvTranspose", "MatMul", "Gemm", "Attention", "Recurrent",
    })),
    Family("point", "value by value: activations, normalisation, sums", frozenset({
        "Activation", "Elementwise", "Normalization", "Pool", "Sigmoid", "Quantize", "Reduce",
    })),
    Family("move", "moves data: transposes, layouts, joins, pads", frozenset({
        "Transpose", "Layout", "Reshape", "Concat", "Split", "Pad", "Gather", "Identity", "Input/Output",
    })),
    Family("end", "enlarges and decides: resize, softmax, argmax", frozenset({"Resize", "Softmax", "ArgMax", "Suppression"})),
    Family("rest", "others", frozenset({"Control", "Other"})),
)  # fmt: skip
FAMILY_OF: Mapping[str, Family] = MappingProxyType({kind: family for family in FAMILIES for kind in family.kinds})
