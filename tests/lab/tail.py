"""What an export, a quantiser or a runtime does to a network's inputs and outputs, by name.

VALUES work on the parts of the untouched outputs (scores, boxes); WHOLE ones, which move things about, run after them.
Every one is a pure function of the arrays: the same input gives the same output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.lab.quantise import Grid
from tests.lab.renderers import Parts
from tests.lab.renderers.cells import logits
from tests.lab.spec import Op

Array = NDArray[Any]
Args = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Place:
    """What an operation may know: where scores and boxes lie, and the size of the network's input."""

    parts: Parts
    width: int
    height: int

    def scores(self, outputs: Sequence[Array]) -> list[Array]:
        return [part.of(outputs) for part in self.parts.scores]

    def boxes(self, outputs: Sequence[Array]) -> list[tuple[Array, int]]:
        """Views, and which axis has the four values."""
        return [(part.of(outputs), part.axis) for part in self.parts.boxes]


Doing = Callable[[list[Array], Args, Place], list[Array]]


def on_the_way_in(tensor: Array, ops: Sequence[Op], layout: str) -> Array:
    """What a graph's first nodes, or a runtime, do to the bytes before the network proper sees them."""
    for op in ops:
        tensor = INTAKE[op.name](tensor, op.args, layout)
    return tensor


def on_the_way_out(outputs: Sequence[Array], ops: Sequence[Op], place: Place) -> list[Array]:
    """All of `ops`: first those that change values, then those that move them."""
    done = [np.array(output) for output in outputs]
    for table in (VALUES, WHOLE):
        for op in ops:
            if op.name in table:
                done = table[op.name](done, op.args, place)
    unknown = {op.name for op in ops} - VALUES.keys() - WHOLE.keys()
    assert not unknown, unknown
    return [np.ascontiguousarray(output) for output in done]


# intake


def _affine(tensor: Array, args: Args, layout: str) -> Array:
    """x * gain + bias per channel, as nodes at the start of a graph do it; by default nothing."""
    shape = (1, 3, 1, 1) if layout == "nchw" else (1, 1, 1, 3)
    gain = np.array([args.get(f"gain{i}", 1.0) for i in range(3)], np.float32).reshape(shape)
    bias = np.array([args.get(f"bias{i}", 0.0) for i in range(3)], np.float32).reshape(shape)
    return np.asarray(tensor.astype(np.float32) * gain + bias, np.float32)


def _reverse_channels(tensor: Array, args: Args, layout: str) -> Array:
    return np.asarray(np.flip(tensor, axis=1 if layout == "nchw" else 3))


def _truncate(tensor: Array, args: Args, layout: str) -> Array:
    """The runtime wants bytes and makes them: 0..1 becomes 0 and 1."""
    return np.asarray(np.clip(np.nan_to_num(tensor), 0, 255).astype(np.uint8).astype(np.float32))


def _pointer_read(tensor: Array, args: Args, layout: str) -> Array:
    """The buffer under a transposed view is read in its own order: planes as interleaved pixels, or the other way round."""
    if layout == "nchw":
        return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)).reshape(tensor.shape)
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)).reshape(tensor.shape)


def _half_turn_axes(tensor: Array, args: Args, layout: str) -> Array:
    """Rows are read as long as columns are: height and width exchanged over the same bytes."""
    if layout == "nchw":
        return np.ascontiguousarray(tensor).reshape(1, 3, tensor.shape[3], tensor.shape[2]).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(tensor).reshape(1, tensor.shape[2], tensor.shape[1], 3).transpose(0, 2, 1, 3)


INTAKE: Mapping[str, Callable[[Array, Args, str], Array]] = MappingProxyType({
    "affine": _affine,
    "reverse-channels": _reverse_channels,
    "truncate": _truncate,
    "pointer-read": _pointer_read,
    "exchange-axes": _half_turn_axes,
})  # fmt: skip


# values


def _sigmoid(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part in _chosen(outputs, args, place):
        part[...] = 1 / (1 + np.exp(-np.clip(part.astype(np.float64), -60, 60)))
    return outputs


def _no_sigmoid(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part in _chosen(outputs, args, place):
        part[...] = logits(part)
    return outputs


def _no_softmax(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part in _chosen(outputs, args, place):
        part[...] = np.log(np.maximum(part, np.float32(1e-7)))
    return outputs


def _chosen(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """All scores, or only those of one part."""
    scores = place.scores(outputs)
    return scores if "part" not in args else scores[int(args["part"]) : int(args["part"]) + 1]


def _to_xyxy(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part, axis in place.boxes(outputs):
        rows = np.moveaxis(part, axis, -1).copy()
        np.moveaxis(part, axis, -1)[...] = np.concatenate(
            [rows[..., :2] - rows[..., 2:] / 2, rows[..., :2] + rows[..., 2:] / 2], axis=-1
        )
    return outputs


def _to_xywh(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part, axis in place.boxes(outputs):
        rows = np.moveaxis(part, axis, -1).copy()
        np.moveaxis(part, axis, -1)[...] = np.concatenate(
            [(rows[..., :2] + rows[..., 2:]) / 2, rows[..., 2:] - rows[..., :2]], axis=-1
        )
    return outputs


def _scale_boxes(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """x, y, w, h each times its factor; a factor of 0 for `unit` divides by the input's size instead."""
    if args.get("unit"):
        factors = np.array([1 / place.width, 1 / place.height] * 2)
    else:
        factors = np.array([args.get("x", 1.0), args.get("y", 1.0), args.get("w", 1.0), args.get("h", 1.0)])
    for part, axis in place.boxes(outputs):
        np.moveaxis(part, axis, -1)[...] *= factors.astype(np.float32)
    return outputs


def _move_boxes(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part, axis in place.boxes(outputs):
        rows = np.moveaxis(part, axis, -1)
        rows[..., 0] += np.float32(args["x"])
        rows[..., 1] += np.float32(args["y"])
    return outputs


def _raise_first(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """A constant on the first plane of a map."""
    np.moveaxis(place.scores(outputs)[0], place.parts.scores[0].axis, 0)[0] += np.float32(args["by"])
    return outputs


def _poison(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """NaN or infinities where half precision overflows: a share of everything, always at the same places."""
    for number, output in enumerate(outputs):
        flat = output.reshape(-1)
        where = np.random.default_rng(int(args.get("seed", 0)) + number).random(len(flat)) < args["share"]
        flat[where] = np.inf if args.get("infinite") else np.nan
    return outputs


def _poison_strong(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Overflow where activations are large: the best scores are the ones that go."""
    for part in place.scores(outputs):
        part[part >= args["above"]] = np.inf if args.get("infinite") else np.nan
    return outputs


def _constant(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    return [np.full_like(output, args.get("value", 0.0)) for output in outputs]


def _silent_scores(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part in place.scores(outputs):
        part[...] = 0
    return outputs


def _cap_scores(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """The high scores fall onto a few steps below a ceiling."""
    step = args["ceiling"] / args["steps"]
    for part in place.scores(outputs):
        part[...] = np.rint(np.minimum(part * args.get("gain", 1.0), args["ceiling"]) / step) * step
    return outputs


def _weaken_scores(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    for part in place.scores(outputs):
        part[...] = part * args["gain"]
    return outputs


def _floor_scores(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Non-maximum suppression in the graph, with a threshold of its own: what is below is emptied, boxes and all."""
    scores = place.scores(outputs)[0]
    axis = place.parts.scores[0].axis
    kept = scores.max(axis=axis, keepdims=True) >= args["threshold"]
    for part in place.scores(outputs):
        part[...] = part * kept
    for part, _ in place.boxes(outputs):
        part[...] = part * kept
    return outputs


def _noise(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Another kernel, another result: every channel is bent by a fixed random gain, and its cells mixed with neighbours."""
    rng = np.random.default_rng(int(args.get("seed", 0)))
    bent = []
    for output in outputs:
        spread = np.std(np.nan_to_num(output), axis=-1, keepdims=True)
        noise = rng.standard_normal(output.shape).astype(np.float32) * spread * np.float32(args["amount"])
        mixed = (1 - args["mix"]) * output + args["mix"] * np.roll(output, int(args.get("roll", 3)), axis=-1)
        bent.append((mixed + noise).astype(output.dtype))
    return bent


def _scramble(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """A calibration that fits nothing: scores are squeezed towards a low middle, boxes are rounded to a coarse grid."""
    for part in place.scores(outputs):
        part[...] = np.minimum(part, 1) ** args["power"] * args["gain"]
    for part, _ in place.boxes(outputs):
        part[...] = Grid.over(float(part.min()) * args["stretch"], float(part.max()) * args["stretch"]).through(part)
    return outputs


def _int8_parts(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """A sound quantisation: scores on a grid over 0..1, boxes on one of their own."""
    for part in place.scores(outputs):
        part[...] = Grid.over(min(0.0, float(part.min())), max(1.0, float(part.max()))).through(part)
    for part, _ in place.boxes(outputs):
        part[...] = Grid.over(float(part.min()), float(part.max())).through(part)
    return outputs


def _half_class(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """A one-class model whose class column is a constant: the columns after the objectness."""
    part = place.parts.scores[0].of(outputs)
    np.moveaxis(part, place.parts.scores[0].axis, 0)[1:] = args.get("value", 0.5)
    return outputs


VALUES: Mapping[str, Doing] = MappingProxyType({
    "sigmoid": _sigmoid, "no-sigmoid": _no_sigmoid, "no-softmax": _no_softmax, "to-xyxy": _to_xyxy, "to-xywh": _to_xywh,
    "scale-boxes": _scale_boxes, "poison": _poison, "poison-strong": _poison_strong, "constant": _constant,
    "silent-scores": _silent_scores, "cap-scores": _cap_scores, "weaken-scores": _weaken_scores,
    "floor-scores": _floor_scores, "noise": _noise, "move-boxes": _move_boxes, "raise-first": _raise_first,
    "scramble": _scramble, "int8-parts": _int8_parts, "half-class": _half_class,
})  # fmt: skip


# whole tensors


def _int8_whole(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """One scale for boxes and scores together; `stretch` is how much wider than the data the calibrator's range is."""
    done = []
    for output in outputs:
        grid = Grid.over(float(output.min()) * args.get("stretch", 1.0), float(output.max()) * args.get("stretch", 1.0))
        done.append(grid.through(output))
    return done


def _int8_raw(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """The integers as they are stored, with nobody to apply scale and zero point; as floats where the host casts them."""
    whole = [Grid.over(float(output.min()), float(output.max())).integers(output) for output in outputs]
    if args.get("unsigned"):
        whole = [(one.astype(np.int16) + 128).astype(np.uint8) for one in whole]
    return [one.astype(np.float32) if args.get("cast", 1) else one for one in whole]


def _transpose(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    index = int(args.get("output", 0))
    outputs[index] = np.swapaxes(outputs[index], -1, -2)
    return outputs


def _channels_last(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Really moved: the shape says so."""
    return [np.moveaxis(output, 1, -1) if output.ndim == 4 else output for output in outputs]


def _channels_last_bytes(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Moved in memory, and read under the old shape."""
    done = []
    for output in outputs:
        moved = np.moveaxis(output, 1, -1) if output.ndim == 4 else np.swapaxes(output, -1, -2)
        done.append(np.ascontiguousarray(moved).reshape(output.shape))
    return done


def _permute(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Outputs in another order; `by` is how far they are rotated."""
    by = int(args.get("by", 1)) % len(outputs)
    return outputs[by:] + outputs[:by]


def _padded_rows(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Rows lie `pad` elements further apart than the reader thinks: it reads padding as data and loses the end."""
    done = []
    for output in outputs:
        rows = output.reshape(-1, output.shape[-1])
        wide = np.pad(rows, ((0, 0), (0, int(args["pad"]))))
        done.append(wide.reshape(-1)[: output.size].reshape(output.shape))
    return done


def _drop_output(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    return outputs[:-1]


def _cut_columns(outputs: list[Array], args: Args, place: Place) -> list[Array]:
    """Another number of classes: the last ones are gone, or there are more."""
    axis, change = place.parts.scores[0].axis, int(args["change"])
    index = place.parts.scores[0].output
    whole = np.moveaxis(outputs[index], axis, 0)
    whole = whole[:change] if change < 0 else np.concatenate([whole, np.repeat(whole[-1:] * 0.1, change, axis=0)])
    outputs[index] = np.moveaxis(whole, 0, axis)
    return outputs


WHOLE: Mapping[str, Doing] = MappingProxyType({
    "int8-whole": _int8_whole, "int8-raw": _int8_raw, "transpose": _transpose, "channels-last": _channels_last,
    "channels-last-bytes": _channels_last_bytes, "permute": _permute, "padded-rows": _padded_rows,
    "drop-output": _drop_output, "cut-columns": _cut_columns,
})  # fmt: skip
