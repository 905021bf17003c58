"""argmax-first: what cannot change which class wins goes, and the winner is chosen before upsampling.

Softmax and Sigmoid keep the order of their operands, so an ArgMax, or a threshold moved along, gives the same without them. And
where the four pixels of the small grid that a pixel is interpolated from have one class, that pixel has it too: a weighted mean
keeps the order. So the class may be chosen on the small grid, and only pixels at the boundary of two classes can differ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from firmware_pkg.graph import ending as endings
from firmware_pkg.graph.ending import Ending, logit, sigmoid
from firmware_pkg.graph.network import Array, Network, Node, Shape
from firmware_pkg.graph.passes import Change, ClassMaps, Outputs, Restore, Wishes, unchanged

_OLDEST = 11
_ALIGNED = frozenset({"half_pixel", "pytorch_half_pixel"})  # how the agent lays a small map over a picture


def apply(network: Network, wishes: Wishes) -> Change:
    """Shortens the ending of the one output that is a class map; everywhere else takes out activations before a choice."""
    if network.opset < _OLDEST:
        return Change(notes=(f"needs opset {_OLDEST}; the model has {network.opset}",))
    ending = endings.of_output(network, network.outputs[0]) if len(network.outputs) == 1 else None
    change = _ended(network, ending, wishes) if ending is not None else Change()
    inside = _without_activations(network)
    network.prune()
    return Change(change.places + inside, change.notes, change.settings, change.restore, change.maps)


def _without_activations(network: Network) -> int:
    """Choices within the graph: the same result without the activation before them."""
    places = 0
    for choice in [node for node in network.nodes if node.type in {"ArgMax", "Greater", "GreaterOrEqual"}]:
        places += _without_activation(network, choice)
    return places


def _without_activation(network: Network, choice: Node) -> bool:
    activation = network.makes_for_one(choice.source, endings.ACTIVATIONS)
    shape = network.shape(choice.source)
    if activation is None or shape is None or choice.attributes.get("select_last_index", 0):
        return False
    if choice.type == "ArgMax":
        rank = len(shape)
        axes = choice.attributes.get("axis", 0) % rank, activation.attributes.get("axis", -1) % rank
        if activation.type != "Sigmoid" and (axes[0] != axes[1] or network.opset < 13):
            return False
    else:
        threshold = network.constant(choice.operand(1))
        if activation.type != "Sigmoid" or threshold is None or threshold.size != 1 or not 0 < float(threshold.max()) < 1:
            return False
        moved = np.full(threshold.shape, logit(float(threshold.max())), threshold.dtype)
        choice.inputs[1] = network.keep(moved, f"{choice.operand(1)}_logit")
    choice.inputs[0] = activation.source
    network.changed()
    return True


def _ended(network: Network, ending: Ending, wishes: Wishes) -> Change:
    wish = wishes.map_ending
    if wish == "auto":
        wish = "logits" if _is_class_map(network, ending) else "full"
    coordinates = _coordinates(ending)
    if wish != "full" and coordinates not in _ALIGNED:
        note = f"the map is enlarged in the mode {coordinates}, which the agent does not know: its size stays"
        return _with_note(_full(network, ending), note)
    if ending.choice is None and ending.activation is None and (wish != "logits" or ending.resize is None):
        return Change()
    return {"logits": _logits, "labels": _labels, "full": _full}[wish](network, ending)


def _with_note(change: Change, note: str) -> Change:
    return Change(change.places, (*change.notes, note), change.settings, change.restore, change.maps)


def _is_class_map(network: Network, ending: Ending) -> bool:
    """Whether nobody could read the output otherwise: a choice, a Softmax over channels, or a Sigmoid of a picture's size."""
    channels, height, width = network.shapes[ending.source][1:]
    if height * width == 1:
        return False
    if ending.choice is not None:
        return (channels > 1) == (ending.choice.type == "ArgMax")
    if ending.activation is None:
        return False
    return channels > 1 if ending.activation.type != "Sigmoid" else channels == 1 or ending.resize is not None


def _coordinates(ending: Ending) -> str:
    if ending.resize is None:
        return "half_pixel"
    return str(ending.resize.attributes.get("coordinate_transformation_mode", "half_pixel"))


# -- three endings ----------------------------------------------------------------------------------------------------------


def _logits(network: Network, ending: Ending) -> Change:
    """The graph ends where the classes' scores are made; whoever reads it chooses."""
    name = network.fresh(f"{ending.output}_logits")
    network.end_with(0, ending.source, name)
    settings, note = _settings(ending)
    if ending.resize is None and ending.choice is None:
        return Change(1, (note,), settings, _activated(ending))
    return Change(1, (note,), settings, maps=_maps(network, ending, _chosen(ending)))


def _settings(ending: Ending) -> tuple[dict[str, str], str]:
    """What the manifest has to say, and the same as a sentence."""
    activation = "sigmoid" if ending.threshold is not None or _is(ending.activation, "Sigmoid") else "softmax"
    settings = {"head.name": "semantic", "head.params.activation": activation}
    if ending.threshold is not None:
        score = ending.threshold if _is(ending.activation, "Sigmoid") else sigmoid(ending.threshold)
        settings["thresholds.min_score"] = f"{score:.6g}"
    return (
        settings,
        "the graph ends with logits on their own grid; head 'semantic' chooses the class and fits it to the picture",
    )


def _is(node: Node | None, kind: str) -> bool:
    return node is not None and node.type == kind


def _labels(network: Network, ending: Ending) -> Change:
    """The graph ends with the chosen classes on the small grid."""
    choice = ending.choice
    if choice is None or ending.resize is None:
        return Change()
    small = _small_choice(network, ending, choice)
    height, width = network.shapes[ending.source][2:]
    made = network.add("Cast", [network.reshape(small, (1, height, width))], (1, height, width), to=TensorProto.INT32)
    network.types[made] = TensorProto.INT32
    network.end_with(0, made, network.fresh(f"{ending.output}_small"))
    note = "the graph ends with class ids on a small grid; head 'semantic' fits them to the picture"
    return Change(1, (note,), {"head.name": "semantic", "head.params.activation": "argmax"},
                  maps=_maps(network, ending, lambda outputs: outputs[0].reshape(height, width).astype(np.int64)))  # fmt: skip


def _full(network: Network, ending: Ending) -> Change:
    """The output stays what it is, but the classes are chosen on the small grid and enlarged by the nearest one."""
    choice = ending.choice
    if choice is None or ending.resize is None:
        return Change()
    large = network.shapes[ending.resize.output]
    small = _small_choice(network, ending, choice)
    height, width = network.shapes[ending.source][2:]
    whole = network.add("Cast", [network.reshape(small, (1, 1, height, width))], (1, 1, height, width), to=TensorProto.INT32)
    network.types[whole] = TensorProto.INT32
    sizes = network.keep(np.array([1, 1, *large[2:]], np.int64), f"{ending.output}_size")
    empty = "" if network.opset >= 13 else network.keep(np.zeros(0, np.float32), f"{ending.output}_none")
    enlarged = network.add(
        "Resize", [whole, empty, empty, sizes], (1, 1, *large[2:]), mode="nearest", nearest_mode="round_prefer_floor",
        coordinate_transformation_mode=_coordinates(ending),
    )  # fmt: skip
    kind = network.types[choice.output]
    made = network.reshape(enlarged, network.shapes[choice.output])
    final = network.add("Cast", [made], network.shapes[choice.output], to=kind)
    network.types[final] = kind
    network.replace(choice.output, final)
    network.prune()
    rows, columns = (_centres(size, count) for size, count in zip(large[2:], (height, width), strict=True))

    def small_of(outputs: Outputs) -> Array:
        return np.asarray(outputs[0].reshape(large[2:])[rows[:, None], columns], np.int64)

    return Change(1, (), {}, maps=_maps(network, ending, small_of))


def _centres(large: int, small: int) -> Array:
    """Which of `large` pixels lie at the middle of each of `small` cells."""
    return np.floor((np.arange(small) + 0.5) * large / small).astype(np.int64)


def _small_choice(network: Network, ending: Ending, choice: Node) -> str:
    """The choice on the small grid: 1 x h x w, or 1 x 1 x h x w."""
    channels, height, width = network.shapes[ending.source][1:]
    if choice.type == "ArgMax":
        made = network.add("ArgMax", [ending.source], (1, height, width), axis=1, keepdims=0)
    else:
        assert ending.threshold is not None
        value = logit(ending.threshold) if _is(ending.activation, "Sigmoid") else ending.threshold
        threshold = network.keep(np.array(value, np.float32), f"{ending.source}_threshold")
        made = network.add(choice.type, [ending.source, threshold], (1, channels, height, width))
    network.types[made] = network.types[choice.output]
    return made


# -- how the proof reads them -----------------------------------------------------------------------------------------------


def _maps(network: Network, ending: Ending, small: Callable[[Outputs], Array]) -> ClassMaps:
    shape: Shape = network.shapes[ending.resize.output if ending.resize else ending.source]
    large = shape[2:]

    def of_old(outputs: Outputs) -> Array:
        values = outputs[0]
        if ending.choice is not None:
            return np.asarray(values.reshape(large), np.int64)
        planes = np.moveaxis(values, -1, 1) if ending.by_pixel else values
        if planes.shape[1] > 1:
            return np.asarray(np.argmax(planes[0], axis=0))
        return np.asarray(planes[0, 0] >= _half(ending), np.int64)

    return ClassMaps(of_old, small, _coordinates(ending))


def _half(ending: Ending) -> float:
    """The value that the probability one half has before or behind the activation."""
    return 0.5 if ending.activation is not None else 0.0


def _chosen(ending: Ending) -> Callable[[Outputs], Array]:
    def choose(outputs: Outputs) -> Array:
        planes = outputs[0][0]
        if planes.shape[0] > 1:
            return np.asarray(np.argmax(planes, axis=0))
        if ending.threshold is None:
            return np.asarray(planes[0] >= 0, np.int64)
        value = logit(ending.threshold) if _is(ending.activation, "Sigmoid") else ending.threshold
        return np.asarray(planes[0] > value if _is(ending.choice, "Greater") else planes[0] >= value, np.int64)

    return choose


def _activated(ending: Ending) -> Restore:
    """Logits as the activation would have left them."""
    activation = ending.activation
    if activation is None:
        return unchanged

    def restore(outputs: Outputs) -> Outputs:
        values = outputs[0]
        if activation.type == "Sigmoid":
            made = 0.5 * np.tanh(0.5 * values) + 0.5
        else:
            shifted = values - values.max(axis=1, keepdims=True)
            total = np.exp(shifted).sum(axis=1, keepdims=True)
            made = shifted - np.log(total) if activation.type == "LogSoftmax" else np.exp(shifted) / total
        return [np.moveaxis(made, 1, -1) if ending.by_pixel else made, *outputs[1:]]

    return restore
