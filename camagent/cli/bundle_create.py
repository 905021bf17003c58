"""camagent bundle create: a model, its contract and its known answers in one file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from packaging.version import InvalidVersion, Version

from camagent import labels as label_lists
from camagent.cli import create_advice
from camagent.cli.create_advice import Advice, advise
from camagent.cli.create_head import AUTO, recognised
from camagent.cli.golden_request import GoldenRequest, golden_request, input_of, picture_size, read_file
from camagent.cli.head_param import head_params
from camagent.cli.label_group import grouped, label_groups
from camagent.cli.numbers import scale_of, triple_of
from camagent.cli.size import size_of
from camagent.errors import FileUnusable, InputError, UsageError, printable
from camagent.golden import Answer, answer, disagreements
from camagent.pipeline import HEADS, USUAL_SCALE, BackendOptions, FilterRule, Steps, one_picture, open_backend, task_of, usable
from firmware_pkg import build as builder
from firmware_pkg.build import GoldenFile, ModelFile
from firmware_pkg.limits import PICTURE_BYTES
from firmware_pkg.manifest import Artifact, Golden, HeadSpec, Manifest, Thresholds
from firmware_pkg.model_file import require_self_contained
from firmware_pkg.rknn_file import read_rknn

PLACEHOLDER = "0"


def _version(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx
    try:
        Version(value)
    except InvalidVersion as exc:
        raise click.BadParameter(f"{value!r} is no PEP 440 version such as 1.0.0", param=param) from exc
    return value


@click.command(
    epilog="Example: camagent bundle create FastestDet.onnx --name fastestdet --version 1.0.0 --head fastestdet "
    "--labels coco80 --color bgr --scale 0.00392157 --resize stretch --min-score 0.65 --golden bus.jpg=person:2,bus "
    "-o fastestdet-1.0.0.cambundle"
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL[:BACKEND[:TARGET]]...")
@click.option("--name", required=True, help="Name in the store.")
@click.option("--version", required=True, callback=_version, help="PEP 440 version, such as 1.0.0.")
@click.option("--head", required=True, help=f"Decoder of the outputs: {AUTO}, {', '.join(HEADS)}.")
@click.option(
    "--head-param", "params", multiple=True, callback=head_params, metavar="KEY=VALUE",
    help="How this model's outputs differ from the family's usual ones, such as scores=logits; VALUE may be JSON; repeat.",
)  # fmt: skip
@click.option("--labels", required=True, help="Text file with one label per line, or coco80.")
@click.option(
    "--group", "groups", multiple=True, callback=label_groups, metavar="LABEL=GROUP",
    help="What a label counts under, such as 'disposable box=other waste'; repeat.",
)  # fmt: skip
@click.option("--task", type=click.Choice(["detect", "segment", "classify", "detect-segment"]), help="Default: the head's.")
@click.option("--size", callback=size_of, metavar="WxH", help="Network input. Default: read from the model.")
@click.option(
    "--color", type=click.Choice(["rgb", "bgr"]), default="rgb", show_default=True, help="Channel order of the input."
)
@click.option(
    "--scale", type=float, callback=scale_of, default=1.0, show_default=True,
    help="Applied first: x*S. 0.00392157 brings 0..255 to 0..1.",
)  # fmt: skip
@click.option("--mean", callback=triple_of, default="0,0,0", show_default=True, help="Subtracted after scaling.")
@click.option("--std", callback=triple_of, default="1,1,1", show_default=True, help="Divided by, last.")
@click.option(
    "--resize",
    type=click.Choice(["letterbox", "stretch", "crop"]),
    default="letterbox",
    show_default=True,
    help="How a picture of another shape is fitted.",
)
@click.option("--compatible", multiple=True, metavar="ID", help='Device it may run on; repeat. Default: "*".')
@click.option("--rollback-index", type=click.IntRange(0), default=0, show_default=True, help="Raise to retire older bundles.")
@click.option("--golden", multiple=True, metavar="IMAGE[=label[:count],..]", help="Picture with a known answer; repeat.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Default threshold.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The bundle to write.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(
    models: tuple[str, ...], name: str, version: str, head: str, params: dict[str, Any], labels: str, groups: dict[str, str],
    task: str | None, size: tuple[int, int] | None, color: str, scale: float, mean: tuple[float, float, float],
    std: tuple[float, float, float], resize: str, compatible: tuple[str, ...], rollback_index: int, golden: tuple[str, ...],
    min_score: float, output: Path, as_json: bool,
) -> int:  # fmt: skip
    """Build a bundle: the model, how its input is made, how its outputs are read, and what it sees on golden pictures.

    Exit code 1 when a golden picture disagrees with what you say is on it; the file is written all the same.
    """
    files = [_model_file(text) for text in models]
    data = [read_file(file.path, "model") for file in files]
    artifacts = builder.unique_paths([builder.artifact_for(file, content) for file, content in zip(files, data, strict=True)])
    artifacts = [_described(artifact, content) for artifact, content in zip(artifacts, data, strict=True)]
    contents = {artifact.path: content for artifact, content in zip(artifacts, data, strict=True)}
    names = label_lists.read(labels)
    requests = [golden_request(text, names) for text in golden]
    spec = _input_spec(artifacts, contents, size)
    known_head = next(iter(HEADS)) if head == AUTO else head  # until the pictures tell
    if head != AUTO:
        _require_task(task, head)
    elif params:
        raise UsageError("--head auto finds the head's parameters itself", fix="leave --head-param out, or name the head")
    document = {
        "name": name, "version": version, "rollback_index": rollback_index, "created": builder.now(),
        "compatible": compatible or ("*",), "task": task_of(known_head), "labels": grouped(names, groups),
        "head": HeadSpec(name=known_head, params=params),
        "input": {**spec, "color": color, "scale": scale, "mean": mean, "std": std, "resize": resize},
        "thresholds": Thresholds(min_score=min_score), "artifacts": artifacts,
        "files": {path: len(content) for path, content in contents.items()},
    }  # fmt: skip
    draft = _checked(document)
    if head == AUTO:
        draft = recognised(draft, contents, requests, task, say=lambda line: click.echo(line, err=as_json))
    _hint_scale(draft.head.name, scale, as_json)
    pictures, answers = _golden(draft, contents, requests)
    try:
        made = builder.build(output, draft, contents, pictures)
    except OSError as exc:
        raise FileUnusable.of(exc, output) from exc
    advice = _advise(made, contents, pictures, answers)
    return _report(made, requests, answers, output, advice, as_json=as_json)


def _model_file(text: str) -> ModelFile:
    """MODEL[:BACKEND[:TARGET]]; a path that exists as written is taken whole, whatever colons it has."""
    if Path(text).exists():
        return ModelFile(Path(text), None, "*")
    path, _, rest = text.partition(":")
    backend, _, target = rest.partition(":")
    return ModelFile(Path(path), backend or None, target or "*")


def _described(artifact: Artifact, content: bytes) -> Artifact:
    """What a simulator's model says of itself. Raises BackendError for a damaged one."""
    if artifact.backend != "rknn-sim":
        return artifact
    from camagent.rockchip.recipe import parse

    made = parse(content)
    return msgspec.structs.replace(artifact, quantization="int8" if made.quantised else "none", toolkit=made.toolkit)


def _input_spec(artifacts: list[Artifact], contents: Mapping[str, bytes], size: tuple[int, int] | None) -> dict[str, object]:
    """Width, height, layout and dtype: of the first ONNX model, else of the first Rockchip one, else --size as uint8 NHWC."""
    onnx = next((artifact for artifact in artifacts if artifact.backend == "onnx"), None)
    if onnx is None:
        rknn = next((artifact for artifact in artifacts if artifact.backend == "rknn"), None)
        size = size or (picture_size(read_rknn(contents[rknn.path]).inputs) if rknn else None)
        if size is None:
            raise UsageError("the input's size is not known", fix="give --size WxH: this model does not tell it by itself")
        return {"width": size[0], "height": size[1], "layout": "nhwc", "dtype": "uint8"}
    require_self_contained(contents[onnx.path])
    backend = open_backend("onnx", contents[onnx.path], BackendOptions())
    try:
        return input_of(backend.inputs[0], size)
    finally:
        backend.close()


def _checked(document: Mapping[str, object]) -> Manifest:
    try:
        return msgspec.convert({"schema": 1, **msgspec.to_builtins(document)}, Manifest)
    except msgspec.ValidationError as exc:
        raise UsageError(f"these options make no manifest: {exc}", fix="mend the option that is named") from exc


def _require_task(task: str | None, head: str) -> None:
    if task is not None and task != task_of(head):
        raise UsageError(
            f"head {head!r} does not {task}",
            evidence={"--task": task, "the head's task": task_of(head)},
            fix="leave --task out: it follows from the head",
        )


def _hint_scale(head: str, scale: float, as_json: bool) -> None:
    usual = USUAL_SCALE.get(head)
    if usual is not None and abs(scale - usual) > usual * 0.01:
        click.echo(
            f"note: {head} models usually take --scale {usual:.8f} (1/255); in force is {scale:g}. "
            "The wrong one is the commonest reason for detecting nothing.",
            err=as_json,
        )


def _golden(
    draft: Manifest, contents: Mapping[str, bytes], requests: list[GoldenRequest]
) -> tuple[list[GoldenFile], list[Answer]]:
    """What the float model sees on every golden picture. Checks the model against the manifest even without pictures."""
    onnx = next((artifact for artifact in draft.artifacts if artifact.backend == "onnx"), None)
    if onnx is None:
        if requests:
            raise UsageError("golden pictures need the float model", fix="add the .onnx file the others were converted from")
        return [], []
    rule = FilterRule(draft.thresholds.min_score, draft.thresholds.nms_iou)
    steps = Steps(usable(draft, onnx, contents[onnx.path]), rule, BackendOptions())
    files, answers = [], []
    try:
        for index, request in enumerate(requests):
            image = _picture(request.image)
            said = answer(steps, one_picture(request.image))
            answers.append(said)
            stem = f"golden/{index}-{_plain(request.image.stem)}"
            entry = Golden(
                image=stem + request.image.suffix.lower(), declared=dict(request.declared), expect=said.expect,
                reference=stem + ".npz",
            )  # fmt: skip
            files.append(GoldenFile(entry, image, said.reference))
    finally:
        steps.close()
    return files, answers


def _picture(path: Path) -> bytes:
    data = read_file(path, "golden picture")
    if len(data) > PICTURE_BYTES:
        raise InputError(
            f"{path} is too large", evidence={"bytes": len(data), "limit": PICTURE_BYTES}, fix="give a smaller one"
        )
    return data


def _plain(stem: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in stem)[:60] or "picture"


def _sizes(made: Manifest) -> str:
    count = len(made.files)
    return f"{sum(made.files.values()):,} bytes in {count} file{'s' * (count != 1)}"


def _report(
    made: Manifest, requests: list[GoldenRequest], answers: list[Answer], output: Path, advice: Advice | None, *, as_json: bool
) -> int:
    findings = [
        {"image": str(request.image), "seen": dict(said.counts), "disagreements": _wrong(request, said, made)}
        for request, said in zip(requests, answers, strict=True)
    ]
    agreed = not any(finding["disagreements"] for finding in findings)
    if as_json:
        report = {
            "file": str(output),
            "name": made.name,
            "version": made.version,
            "head": made.head.name,
            "agreed": agreed,
            "golden": findings,
        }
        click.echo(json.dumps(report | ({"advice": dataclasses.asdict(advice)} if advice else {})))
        return 0 if agreed else 1
    click.echo(f"wrote {printable(output)}: {made.name} {made.version}, {_sizes(made)}")
    for finding, said in zip(findings, answers, strict=True):
        seen = ", ".join(f"{count} {label}" for label, count in said.counts.items()) or "nothing"
        click.echo(f"  golden {printable(finding['image'])}: sees {seen}")
        for sentence in finding["disagreements"]:
            click.echo(f"    disagrees: {sentence}")
    if not agreed:
        click.echo(create_advice.words(advice, output))
    return 0 if agreed else 1


def _wrong(request: GoldenRequest, said: Answer, made: Manifest) -> list[str]:
    if said.expect:
        return disagreements(request.declared, said.counts)
    return [f"nothing is seen on it; the best score is {said.score_max:.3f}, the threshold {made.thresholds.min_score:g}"]


def _advise(made: Manifest, contents: Mapping[str, bytes], pictures: list[GoldenFile], answers: list[Answer]) -> Advice | None:
    """Looks for the right settings only where a picture disagrees: it costs some fifty inferences."""
    declared = [item.entry.declared for item in pictures]
    if all(said.expect and not disagreements(wanted, said.counts) for wanted, said in zip(declared, answers, strict=True)):
        return None
    files = dict(contents)
    for item in pictures:
        files |= {item.entry.image: item.image} | ({item.entry.reference: item.reference} if item.entry.reference else {})
    return advise(made, files)
