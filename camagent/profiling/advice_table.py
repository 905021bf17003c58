"""What to do about what takes the time. Data only: finding -> sentence -> passes of `camagent model optimize`.

A new piece of advice is one entry here. `where` names a condition of findings.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Where: TypeAlias = Literal[
    "anywhere",
    "tail",  # behind the last convolution or matrix product
    "body",  # before it
    "batch-1",  # a matrix product of rank 3 or more whose leading sides are all 1
    "behind-resize",  # enlarged maps, what joins them, and the 1x1 layer right behind it
    "resize-unseen",  # where the profile tells of no upsampling, or not what lies before it
    "on-cpu",  # on the processor, where the rest runs on an accelerator
]


@dataclass(frozen=True, slots=True)
class Advice:
    """Holds where operators of `kinds` at `where` take `at_least` of the time, beside `beside` somewhere in the model.

    What the tool does not tell (order, shapes) is taken as given: the pass that is named refuses where it is not.
    """

    id: str
    kinds: tuple[str, ...]
    says: str
    passes: tuple[str, ...] = ()
    where: Where = "anywhere"
    at_least: float = 0.02
    beside: tuple[str, ...] = ()


ADVICE: tuple[Advice, ...] = (
    Advice(
        "argmax-at-full-size", ("ArgMax",), passes=("argmax-first",),
        says="An argmax over an enlarged map compares the same few values again and again: take it on the small map and let "
             "the agent resize the labels.",
    ),
    Advice(
        "softmax-before-argmax", ("Softmax",), where="tail", passes=("argmax-first",),
        says="A softmax never changes which class is the largest: in front of an argmax, the graph's own or the agent's, it "
             "does nothing but cost. (Attention has one of its own, which stays.)",
    ),
    Advice(
        "sigmoid-before-argmax", ("Sigmoid",), where="tail", beside=("ArgMax",), passes=("argmax-first",),
        says="A sigmoid never changes which class is the largest: in front of an argmax it can go.",
    ),
    Advice(
        "map-enlarged-at-the-end", ("Resize",), where="tail", passes=("argmax-first",),
        says="The result is enlarged inside the graph: give out the small map, the agent enlarges labels as it draws them.",
    ),
    Advice(
        "head-at-high-resolution", ("Resize", "Concat", "Conv", "MatMul", "Gemm"), where="behind-resize", at_least=0.05,
        passes=("low-resolution-head",),
        says="Maps are enlarged, joined, and only then mixed by a 1x1 layer. Mixing and enlarging may be swapped without "
             "changing the result, so the head can run on the small maps.",
    ),
    Advice(
        "transformer-head", ("MatMul",), where="resize-unseen", beside=("ArgMax",), at_least=0.05,
        passes=("low-resolution-head",),
        says="Matrix products and an argmax in one graph are a segmentation transformer. If its head enlarges the maps before "
             "it mixes them (SegFormer does), the products can run on the small maps.",
    ),
    Advice(
        "batched-product-of-one", ("MatMul",), where="batch-1", passes=("rank-2-matmul",),
        says="A batched matrix product with batch 1 is a plain one. NPU compilers wrap the batched form in layout changes and "
             "often run it slowly; folded to rank 2 it is a fully connected layer.",
    ),
    Advice(
        "transposes", ("Transpose",), passes=("cancel-transposes",),
        says="Data is moved, not calculated: transposes and reshapes that undo each other can go.",
    ),
    Advice(
        "layout-changes", ("Layout",), at_least=0.05, passes=("cancel-transposes",),
        says="The runtime changes between its own layouts, mostly where convolutions alternate with transposes and batched "
             "products. It puts these in by itself; they go when the graph gives no cause.",
    ),
    Advice(
        "reshapes", ("Reshape",), passes=("cancel-transposes",),
        says="Reshapes cost nothing where memory is contiguous; here they copy. Pairs that undo each other can go.",
    ),
    Advice(
        "padding", ("Pad",), passes=("fold-pad",),
        says="A pad of its own writes the whole map once more; convolution and pooling have padding built in.",
    ),
    Advice(
        "shape-arithmetic", ("Identity",), at_least=0.01, passes=("fold-constants",),
        says="The graph calculates shapes, casts and constants at every inference; with a fixed input size they are known.",
    ),
    Advice(
        "outputs-joined", ("Concat",), where="tail", at_least=0.01, passes=("split-heads",),
        says="Boxes and scores are joined into one tensor at the end. That is a copy, and in 8 bits one scale for both: scores "
             "are rounded away. Give them out one by one.",
    ),
    Advice(
        "on-the-cpu", (), where="on-cpu",
        says="These run on the processor, and data goes there and back: see what the converter says of them, or take another "
             "form of the same operator.",
    ),
    Advice(
        "suppression", ("Suppression",),
        says="Suppression and top-k are sorting, which accelerators leave to the processor: export the model without them, the "
             "agent's heads do both on the few cells that pass the threshold.",
    ),
    Advice(
        "attention", ("Softmax", "Attention"), where="body", at_least=0.1,
        says="This is attention's own softmax: no rewrite takes it out. It grows with the square of the number of pixels, so a "
             "smaller input helps more than anything else.",
    ),
    Advice(
        "input-and-output", ("Input/Output",), at_least=0.1,
        says="Bringing data in and out takes a good part: give 8-bit input, and give out fewer or smaller tensors.",
    ),
    Advice(
        "convolutions", ("Conv", "ConvTranspose"), at_least=0.6,
        says="Most of it is the convolutions, the model's own work. A smaller input, a smaller variant, 8 bits or an NPU make "
             "them faster; no rewrite of the graph does.",
    ),
)  # fmt: skip
