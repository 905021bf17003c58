"""Who scales the picture? What a graph begins with tells apart causes that one and the same change cures."""

from __future__ import annotations

from collections.abc import Sequence

from camagent.pipeline import UsableBundle
from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import GraphFacts, read_graph
from firmware_pkg.manifest import InputSpec

SCALED = frozenset({"scale-doubled", "scale-not-wanted", "preprocess-also-in-graph"})
_WEIGHED = SCALED | {"mean-std-wrong"}
_SHIFTS = frozenset({"Sub", "Add", "BatchNormalization"})
_REDUCES = 1 / 20  # a factor below it brings 0..255 down

Set = tuple[str, ...]  # a cause's id and its alternatives, the likeliest first


def beginning(bundle: UsableBundle) -> GraphFacts | None:
    """The model's graph; None where the file does not show one."""
    if bundle.artifact.backend != "onnx":
        return None
    try:
        return read_graph(bundle.model)
    except ManifestInvalid:  # a runtime has opened it; it just cannot be read this way, and other evidence has to do
        return None


def weighed(found: Sequence[str], graph: GraphFacts | None, before: InputSpec, after: InputSpec) -> tuple[Set, dict[str, str]]:
    """A set of causes in the order that the graph's beginning speaks for, and that evidence.

    Args:
        found: an id and its alternatives.
        graph: the model's, None where nothing is known of it.
        before: the input as deployed.
        after: the input as it brings the answer back.
    """
    if graph is None or not found or found[0] not in _WEIGHED:
        return tuple(found), {}
    first = _speaks_for(graph, before, after, scaled=bool(SCALED & set(found)))
    if not first:
        return tuple(found), {}
    evidence = {"the graph begins with": ", ".join(map(str, graph.normalisation or graph.begins[:1])) or "nothing"}
    return tuple(dict.fromkeys((first, *found))), evidence


def _speaks_for(graph: GraphFacts, before: InputSpec, after: InputSpec, *, scaled: bool) -> str:
    """The cause that fits both what the graph does by itself and what the change takes out of the manifest."""
    shifts = any(step.type in _SHIFTS for step in graph.normalisation)
    if not scaled:
        taken_out = any(before.mean) and not any(after.mean)
        return "preprocess-also-in-graph" if shifts and taken_out else ""
    if graph.gain <= _REDUCES:
        return "preprocess-also-in-graph" if shifts else "scale-doubled"
    if abs(after.scale / after.std[0]) <= _REDUCES:
        return "scale-doubled"  # what is right still reduces: the manifest says the scale twice
    return "scale-not-wanted"
