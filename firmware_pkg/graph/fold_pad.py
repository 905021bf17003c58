"""fold-pad: a Pad with zeros in front of Conv or Pool becomes that operator's own padding.

Converters for NPUs run a Pad as an operator of its own, and some refuse it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from firmware_pkg.graph.network import Network, Node
from firmware_pkg.graph.passes import Change, Wishes

_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Softplus"})


def apply(network: Network, wishes: Wishes) -> Change:
    """Conv: zeros before and behind its spatial axes. AveragePool: the same, counted. MaxPool: lowest values, or zeros below
    what cannot be negative. Anything else stays.
    """  # noqa: D205
    del wishes
    places = 0
    for pad in [node for node in network.nodes if node.type == "Pad"]:
        sides = _sides(network, pad)
        layer = network.only_taker(pad.output)
        if sides is None or layer is None or layer.source != pad.output or layer.operand(1) == pad.output:
            continue
        pads = _joined(network, pad, layer, sides)
        if pads is None:
            continue
        layer.attributes["pads"] = pads
        layer.attributes.pop("auto_pad", None)
        if layer.type == "AveragePool":
            layer.attributes["count_include_pad"] = 1
        layer.inputs[0] = pad.source
        network.remove(pad)
        places += 1
    return Change(places)


def _sides(network: Network, pad: Node) -> tuple[list[int], list[int]] | None:
    """(before, behind) of every axis; None where they are not known, are negative, or repeat the picture."""
    if pad.attributes.get("mode", "constant") != "constant":
        return None
    shape = network.shape(pad.source) or network.shape(pad.output)
    given = pad.attributes.get("pads")
    if given is None:
        constant = network.constant(pad.operand(1))
        given = None if constant is None else constant.tolist()
    if shape is None or given is None or min(given, default=0) < 0:
        return None
    rank = len(shape)
    axes = list(range(rank))
    if pad.operand(3):
        named = network.constant(pad.operand(3))
        if named is None:
            return None
        axes = [axis % rank for axis in named.tolist()]
    before, behind = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], behind[axis] = given[index], given[len(axes) + index]
    return before, behind


def _joined(network: Network, pad: Node, layer: Node, sides: tuple[list[int], list[int]]) -> list[int] | None:
    """The layer's padding with the Pad's; None where the two together are something else than the one after the other."""
    before, behind = sides
    spatial = len(before) - 2
    if layer.type not in _TAKES or any(before[:2] + behind[:2]) or spatial < 1:
        return None
    if layer.attributes.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or layer.attributes.get("ceil_mode", 0):
        return None
    own = list(layer.attributes.get("pads") or [0] * (2 * spatial))
    if not _TAKES[layer.type](network, pad, layer, own):
        return None
    joined = [*before[2:], *behind[2:]]
    pads = [mine + more for mine, more in zip(own, joined, strict=True)]
    return pads if layer.type == "Conv" or _below(pads, layer.attributes["kernel_shape"]) else None


def _below(pads: Sequence[int], kernel: Sequence[int]) -> bool:
    """Whether every window has at least one real value: runtimes refuse pools for which that is not so."""
    return all(pad < side for pad, side in zip(pads, [*kernel, *kernel], strict=True))


def _value(network: Network, pad: Node) -> float | None:
    if "value" in pad.attributes:
        return float(pad.attributes["value"])
    if not pad.operand(2):
        return 0.0
    constant = network.constant(pad.operand(2))
    return None if constant is None or constant.size != 1 else float(constant.reshape(-1)[0])


def _conv(network: Network, pad: Node, layer: Node, own: Sequence[int]) -> bool:
    del layer, own
    return _value(network, pad) == 0


def _average(network: Network, pad: Node, layer: Node, own: Sequence[int]) -> bool:
    """The Pad's zeros are averaged in; the pool's own padding would have to be, too."""
    counted = bool(layer.attributes.get("count_include_pad", 0)) or not any(own)
    return _value(network, pad) == 0 and counted


def _largest(network: Network, pad: Node, layer: Node, own: Sequence[int]) -> bool:
    """A pool pads with minus infinity, which zeros equal only where nothing is below them."""
    del own
    value, maker = _value(network, pad), network.maker(pad.source)
    if value is None or len(layer.outputs) > 1:  # positions would count from elsewhere
        return False
    if value == -math.inf:
        return True
    return value == 0 and maker is not None and (maker.type in _NOT_NEGATIVE or _clips(network, maker))


def _clips(network: Network, node: Node) -> bool:
    if node.type != "Clip":
        return False
    low = node.attributes.get("min")
    if low is None and node.operand(1):
        constant = network.constant(node.operand(1))
        low = None if constant is None else float(constant.reshape(-1)[0])
    return low is not None and low >= 0


_TAKES = {"Conv": _conv, "AveragePool": _average, "MaxPool": _largest}
