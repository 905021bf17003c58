"""camagent model compare: what a quantised model sees less, or more, than the float model that it was made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camagent.cli import EXIT_DONE
from camagent.cli.contract import Contract, contract_options
from camagent.cli.model_convert import environment_option
from camagent.cli.outputs import write_file
from camagent.cli.tool_bundle import trust_option
from camagent.errors import InputError, UsageError, printable

if TYPE_CHECKING:
    from camagent.cli.compare_subjects import Contestant
    from camagent.comparing.picture import Exhibit
    from camagent.comparing.report import Report
    from camagent.comparing.tally import Look, Tally

_EXAMPLES = """\b
Examples:
  camagent model compare yolov8n-1.0.0.cambundle yolov8n-int8.onnx --images pictures/
  camagent model compare yolov8n-1.0.0.cambundle normal.rknnsim kl.rknnsim --images pictures/ --html compared.html"""
_OUT = click.Path(dir_okay=False, path_type=Path)
_SHOWN = 640  # pixels of an exhibit's longest side


@click.command(epilog=_EXAMPLES)
@click.argument("reference", metavar="FLOAT[:BACKEND]")
@click.argument("others", nargs=-1, required=True, metavar="MODEL[:BACKEND]...")
@click.option(
    "--images", type=click.Path(exists=True, path_type=Path), required=True, metavar="DIR",
    help="Pictures to compare on; not those of the calibration.",
)  # fmt: skip
@contract_options
@click.option("--head", metavar="HEAD", help="Decoder of the outputs, where no bundle names it.")
@click.option("--labels", metavar="F", help="Text file with one label per line, or coco80, where no bundle has them.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="From which score a thing is seen.  [default: the bundle's, or 0.4]"
)
@click.option("--html", type=_OUT, metavar="F", help="Write one page with the table and the picture.")
@click.option("--png", type=_OUT, metavar="F", help="Write the picture: scores of every model, and where they disagree most.")
@environment_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.compare/1).")
def compare(
    reference: str, others: tuple[str, ...], images: Path, contract: Contract, head: str | None, labels: str | None,
    min_score: float | None, html: Path | None, png: Path | None, environment: Path | None, trust: tuple[Path, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Compare models with the float model that they were made of, on the same pictures, and say what they see differently.

    Models are .onnx files, .rknnsim files (Rockchip's simulator), or bundles; a bundle may say which of its models:
    B.cambundle:rknn-sim. Objects of the float model are the truth: lost and gained ones, and mAP, are against them.

    Exit code 0: compared. 1: a model or bundle is damaged or refused. 2: wrong usage. 3: the simulator is not to be had.
    """
    if (head is None) != (labels is None):
        raise UsageError("a head needs labels, and labels a head", fix="give both --head and --labels, or a bundle")
    from camagent.cli import compare_subjects as subjects
    from camagent.cli.bar import follower, work_bar

    texts = (reference, *others)
    reader = subjects.Reader(head, labels, min_score)
    with work_bar(stays_clear=as_json) as bar:
        tell = follower(bar, bar.add_task("opening models", total=None))
        opened = subjects.contestants(texts, contract, reader, trust, lambda: _simulator(environment, tell))
        try:
            course = _run(opened, images, tell)
        finally:
            subjects.close(opened)
    _write(course, html, png)
    if as_json:
        click.echo(json.dumps(course.report.document()))
    else:
        _show(course.report, opened[0])
    return EXIT_DONE


@dataclass(slots=True)
class Worst:
    """The picture on which a model disagrees most so far."""

    path: Path | None = None
    wrong: int = 0
    look: Look | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """All that a run came to."""

    report: Report
    worst: Sequence[Worst]
    labels: tuple[str, ...]


def _simulator(environment: Path | None, tell: Any) -> Path:
    """The toolkit's environment, made where it is not there. Raises ToolkitMissing, UsageError."""
    from camagent.rockchip import environment as environments

    return environments.ready(environment, tell).parent.parent


def _run(opened: Sequence[Contestant], images: Path, tell: Any) -> Course:
    from camagent.cli.compare_subjects import objects
    from camagent.cli.convert_subject import tell_damaged
    from camagent.comparing.report import Report
    from camagent.comparing.tally import Tally
    from camagent.pipeline import named_frames

    first = opened[0]
    manifest = first.manifest
    min_score = manifest.thresholds.min_score if manifest else None
    own, tallies = Tally(first.name, first.eight_bits), [Tally(one.name, one.eight_bits) for one in opened[1:]]
    worst = [Worst() for _ in tallies]
    pictures, seen = 0, 0
    for name, frame in named_frames(str(images), damaged=tell_damaged):
        tell(name or str(images))
        look = first.look(frame)
        own.add(look, look, [spec.name for spec in first.bench.outputs], min_score or 0.0)
        for one, tally, bad in zip(opened[1:], tallies, worst, strict=True):
            theirs = one.look(frame)
            tally.add(look, theirs, [spec.name for spec in one.bench.outputs], min_score or 0.0)
            _note(bad, tally, images / name if images.is_dir() else images, theirs)
        found = objects(look)
        seen += 0 if found is None or min_score is None else int((found.scores >= min_score).sum())
        pictures += 1
    if not pictures:
        raise InputError(f"{printable(images)} has no pictures", fix="name a folder of JPEG or PNG pictures")
    boxed = bool(own.agreements)
    report = Report(own, tallies, pictures, seen if boxed else None, min_score if boxed else None)
    return Course(report, worst, manifest.label_names if manifest else ())


def _note(worst: Worst, tally: Tally, path: Path, look: Look) -> None:
    if tally.agreements and path.is_file():
        agreed = tally.agreements[-1]
        wrong = len(agreed.lost) + len(agreed.faded) + len(agreed.gained)
        if wrong > worst.wrong:
            worst.path, worst.wrong, worst.look = path, wrong, look


def _write(course: Course, html: Path | None, png: Path | None) -> None:
    if html is None and png is None:
        return
    from camagent.comparing.page import page
    from camagent.comparing.picture import draw, to_png

    drawn = to_png(draw(course.report, _exhibits(course)))
    if png is not None:
        write_file(png, drawn)
    if html is not None:
        write_file(html, page(course.report, drawn).encode())


def _exhibits(course: Course) -> list[Exhibit]:
    """The worst picture of each model: its boxes, and white corners around what it should have seen."""
    from camagent.cli.compare_subjects import objects
    from camagent.comparing.picture import Exhibit
    from camagent.frame import Detections
    from camagent.pipeline import one_picture
    from camagent.sinks import annotate, outline

    made = []
    for tally, worst in zip(course.report.tallies, course.worst, strict=True):
        found = objects(worst.look) if worst.look else None
        if worst.path is None or found is None:
            continue
        at = [len(one.lost) + len(one.faded) + len(one.gained) for one in tally.agreements].index(worst.wrong)
        agreed, truth = tally.agreements[at], tally.truth[at]
        frame = one_picture(worst.path)
        loud = found.scores >= (course.report.min_score or 0.0)
        shown = Detections(found.boxes[loud], found.scores[loud], found.class_ids[loud])
        picture = annotate(frame, shown, course.labels, longest=_SHOWN)
        missing = truth.boxes[sorted({*map(int, agreed.lost), *map(int, agreed.faded)})]
        size = (frame.width, frame.height) * 2
        outline(picture, [tuple(float(v) / s for v, s in zip(box, size, strict=True)) for box in missing])  # type: ignore[misc]
        said = f"{worst.path.name}: lost {len(agreed.lost)}, faded {len(agreed.faded)} (corners), gained {len(agreed.gained)}"
        made.append(Exhibit(tally.name, said, picture))
    return made


def _show(report: Report, first: Contestant) -> None:
    from camagent.comparing.terminal import render
    from camagent.profiling.terminal import PipeConsole

    render(report, PipeConsole(highlight=False))
    if first.manifest is None:
        click.echo("only tensors were compared: give a bundle, or --head and --labels, to compare what is seen")
