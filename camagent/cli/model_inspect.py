"""camagent model inspect: what a model takes and gives, which heads read it, and which one explains a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from camagent import labels as label_lists
from camagent.cli import EXIT_DONE, EXIT_UNDECIDED
from camagent.cli.create_head import known_of
from camagent.cli.golden_request import golden_request, input_of
from camagent.cli.model_facts import ModelFacts, Subject, doubts, facts_of, pictures, shown, subject
from camagent.cli.size import size_of
from camagent.cli.telling import tell, warn_unsigned
from camagent.errors import HeadUndecided, NpuAbsent, NpuRuntimeMissing, UsageError, printable
from camagent.pipeline import BackendOptions, TensorSpec, Workbench
from firmware_pkg import build as builder
from firmware_pkg.graph_facts import Tensor
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest

if TYPE_CHECKING:
    from camagent.selftest.auto_head import Sight
    from camagent.selftest.known import Known

_EXAMPLES = """\b
Examples:
  camagent model inspect FastestDet.onnx
  camagent model inspect FastestDet.onnx --labels coco80 --golden bus.jpg=person:2,bus
  camagent model inspect fastestdet-1.0.0.cambundle --json"""


@click.command(epilog=_EXAMPLES)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MODEL|BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.model/1).")
@click.option("--golden", multiple=True, metavar="IMAGE[=label[:count],..]", help="Picture with a known answer; repeat.")
@click.option("--labels", metavar="F", help="Text file with one label per line, or coco80.  [default: the bundle's]")
@click.option("--size", callback=size_of, metavar="WxH", help="Network input, where the model leaves it open.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="From which score a thing is seen.  [default: the bundle's, or 0.4]"
)
def inspect(
    model: Path, as_json: bool, golden: tuple[str, ...], labels: str | None, size: tuple[int, int] | None,
    min_score: float | None,
) -> int:  # fmt: skip
    """Say what a model takes and gives, what is already in its graph, and which heads read its outputs.

    With a picture whose content is known, the head that explains it and how the input must be prepared for that: the usual
    scales, both colour orders, letterbox and stretch are tried.

    Exit code 0: done. 1: the file is damaged, or pictures were given and no head fits. 3: the pictures do not decide.
    """
    found = subject(model)
    if found.bundle is not None:
        warn_unsigned(printable(model))
    names = label_lists.read(labels) if labels else found.bundle.manifest.label_names if found.bundle else ()
    facts = facts_of(found, size, len(names) or None)
    draft, known = _pictures(found, facts, names, golden, min_score)
    sight, alike, undecided = None, tuple[str, ...](), None
    if draft is not None and known:
        try:
            sight, alike = _explained(found, draft, known)
        except HeadUndecided as exc:
            undecided = exc
    explained = _explanation(sight, alike, known) if sight else None
    if as_json:
        click.echo(json.dumps(_document(facts) | {"explained": explained, "undecided": undecided and undecided.report()}))
    else:
        _print(model, facts, explained)
    if undecided is None:
        return EXIT_DONE
    if not as_json:
        tell(undecided)
    return EXIT_UNDECIDED


def _opened(backend: str, data: bytes) -> Workbench:
    """Raises UsageError where this machine cannot run such a model, BackendError where the model is no good."""
    try:
        return Workbench(backend, data, BackendOptions())
    except (NpuAbsent, NpuRuntimeMissing) as exc:
        raise UsageError(
            f"pictures cannot be shown to an .{backend} model here: {exc.what}", evidence=exc.evidence,
            fix="leave --golden out, or inspect the .onnx file that it was converted from",
        ) from exc  # fmt: skip


def _pictures(
    found: Subject, facts: ModelFacts, names: Sequence[str], golden: Sequence[str], min_score: float | None
) -> tuple[Manifest | None, tuple[Known, ...]]:
    """The contract to start from, and the pictures with known answers. Raises UsageError."""
    bundle = found.bundle
    if golden and not names:
        raise UsageError("--golden needs the model's labels", fix="give --labels F, or --labels coco80")
    requests = [golden_request(text, tuple(names)) for text in golden]
    if bad := next((one for one in requests if not one.declared), None):
        raise UsageError(f"nothing is said to be on {printable(bad.image)}", fix="say what is: --golden IMAGE=person:2,bus")
    known = known_of(requests)
    if bundle is not None and bundle.artifact.backend == "onnx" and not known:
        from camagent.selftest.known import known_pictures

        known = tuple(one for one in known_pictures(bundle)[0] if one.wanted)
    if not known:
        return None, ()
    draft = bundle.manifest if bundle else _draft(facts, names)
    draft = msgspec.structs.replace(draft, labels=tuple(names) if not bundle or names != draft.label_names else draft.labels)
    if min_score is not None:
        draft = msgspec.structs.replace(draft, thresholds=msgspec.structs.replace(draft.thresholds, min_score=min_score))
    return draft, known


def _draft(facts: ModelFacts, names: Sequence[str]) -> Manifest:
    """A manifest that says no more than the model does."""
    first = next(iter(pictures(facts.inputs)), Tensor("", (), ""))
    spec = input_of(TensorSpec(first.name, first.shape, first.dtype), facts.size)
    document = {
        "name": "model", "version": "0", "created": builder.now(), "task": "detect", "input": spec, "labels": names,
        "head": HeadSpec(name="unknown"), "files": {"model": 1},
        "artifacts": [Artifact(path="model", backend=facts.format, targets=("*",))],
    }  # fmt: skip
    try:
        return msgspec.convert(msgspec.to_builtins(document), Manifest)
    except msgspec.ValidationError as exc:
        raise UsageError(
            f"no manifest can be made for this model: {exc}", fix="give --size WxH, or another label list"
        ) from exc


def _explained(found: Subject, draft: Manifest, known: Sequence[Known]) -> tuple[Sight, tuple[str, ...]]:
    """A bundle's own way to prepare pictures goes before the usual ones. Raises HeadUndecided, HeadMismatch, BackendError."""
    from camagent.selftest import auto_head

    bench = _opened(draft.artifacts[0].backend if found.bundle is None else found.bundle.artifact.backend, found.data)
    try:
        if found.bundle is not None:
            try:
                return auto_head.find(bench, draft, known)
            except HeadUndecided:  # then not as it was bundled: said by the input that explains it
                return auto_head.explain(bench, draft, known)
        return auto_head.explain(bench, draft, known)
    finally:
        bench.close()


def _document(facts: ModelFacts) -> dict[str, Any]:
    """DESIGN's contract, and what else is known."""
    graph = facts.graph
    return {
        "schema": "camagent.model/1", "format": facts.format, "targets": list(facts.targets), "toolkit": facts.toolkit,
        "inputs": [_tensor(one) for one in facts.inputs], "outputs": [_tensor(one) for one in facts.outputs],
        "heads": [{"name": fit.name, "fits": fit.fits, "why": fit.why} for fit in facts.heads],
        "graph": graph and {
            "opset": graph.opset, "operators": dict(graph.operators), "begins": [str(step) for step in graph.begins],
            "normalisation": [str(step) for step in graph.normalisation], "suppression": graph.suppression or None,
            "endings": {name: list(kinds) for name, kinds in graph.endings.items()},
        },
        "suspicious": list(doubts(facts)),
    }  # fmt: skip


def _tensor(tensor: Tensor) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    return made | ({"scale": tensor.scale, "zero_point": tensor.zero_point} if tensor.scale is not None else {})


def _explanation(sight: Sight, alike: Sequence[str], known: Sequence[Known]) -> dict[str, Any]:
    spec, head = sight.manifest.input, sight.manifest.head
    seen = {one.name: words for one, words in zip(known, sight.seen, strict=True)}
    return {
        "head": head.name, "params": dict(head.params), "alike": list(alike), "input": msgspec.to_builtins(spec), "seen": seen,
        "options": _options(head.name, spec), "margin": round(sight.margin, 3),
    }  # fmt: skip


def _options(head: str, spec: InputSpec) -> str:
    """As `bundle create` takes them."""
    triples = "".join(
        f" --{name} {','.join(f'{value:.9g}' for value in values)}"
        for name, values, usual in (("mean", spec.mean, 0.0), ("std", spec.std, 1.0))
        if set(values) != {usual}
    )
    return f"--head {head} --color {spec.color} --scale {spec.scale:.9g}{triples} --resize {spec.resize}"


def _print(path: Path, facts: ModelFacts, explained: Mapping[str, Any] | None) -> None:
    graph = facts.graph
    about = [f"opset {graph.opset}"] if graph else [f"for {', '.join(facts.targets)}"]
    about += [f"made by {facts.toolkit}"] if facts.toolkit else []
    _row("model", f"{path.name}: {facts.format.upper()}, {', '.join(about)}")
    for kind, tensors in (("input", facts.inputs), ("output", facts.outputs)):
        for one in tensors:
            quantised = f", scale {one.scale:g}, zero point {one.zero_point}" if one.scale is not None else ""
            ending = graph.endings.get(one.name, ()) if graph and kind == "output" else ()
            after = f"; already in the graph: {', '.join(ending)}" if ending else ""
            if kind == "input" and one not in pictures(facts.inputs):
                after = "; the picture's size, fed by the agent"
            _row(kind, f"{one.name} {shown(one.shape)} {one.dtype}{quantised}{after}")
    if graph:
        _row("begins", ", ".join(map(str, graph.begins)) or "the input is not used")
        _row("boxes", f"{graph.suppression} in the graph" if graph.suppression else "no suppression in the graph")
    for fit in sorted(facts.heads, key=lambda fit: not fit.fits):
        _row("fits" if fit.fits else "no", f"{fit.name}: {fit.why}" if fit.fits else fit.why)
    for sentence in doubts(facts):
        _row("look at", sentence)
    if explained:
        params = ", ".join(f"{key} = {value}" for key, value in explained["params"].items())
        _row("explains", explained["options"] + (f"; head.params: {params}" if params else ""))
        for name, seen in explained["seen"].items():
            _row("", f"{name}: sees {seen}")


def _row(what: str, said: str) -> None:
    click.echo(f"{what:<9} {printable(said, 600)}")
