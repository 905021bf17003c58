"""camagent infer: a bundle on pictures, videos or a stream, without a daemon and without a broker."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import monotonic

import click
import msgspec

from camagent import config_file
from camagent.bodies import Body, ModelRef, encode
from camagent.cli.bar import work_bar
from camagent.cli.drawings import Drawings
from camagent.cli.options import trace_option
from camagent.cli.tool_bundle import load_bundle, trust_option
from camagent.cli.words import summary
from camagent.config import Camera, Config
from camagent.errors import InputError, printable
from camagent.frame import Frame, outcome_parts
from camagent.pipeline import (
    RLE,
    Author,
    BackendOptions,
    FilterRule,
    Steps,
    Tracker,
    body_of,
    for_tracking,
    named_frames,
    passed_over,
)
from camagent.redact import without_credentials
from camagent.sinks import VideoSink, annotate, write_picture
from camagent.trace import Trace

DEFAULT_OUT = Path("camagent-out")


@click.command(epilog="Example: camagent infer fastestdet-1.0.0.cambundle street.jpg clip.mp4 --out seen/")
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for annotated pictures and videos.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object per frame and line, two where a model gives boxes and areas; draws only with --out.",
)
@click.option("--min-score", type=click.FloatRange(0, 1), help="Threshold instead of the bundle's.")
@click.option("--frames", "limit", type=click.IntRange(1), help="Stop after this many frames of each input.")
@click.option("--backend", default="auto", show_default=True, help="Which of the bundle's models: onnx, rknn, rknn-sim ..")
@trace_option
@trust_option
@click.option(
    "-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration whose trust and [onnx] apply."
)
def command(
    bundle: Path, inputs: tuple[str, ...], out: Path | None, as_json: bool, min_score: float | None, limit: int | None,
    backend: str, trace_path: Path | None, trust: tuple[Path, ...], config_path: Path | None,
) -> None:  # fmt: skip
    """Run BUNDLE on pictures, folders, videos or RTSP URLs; an INPUT that is a camera's name in -c FILE is that camera."""
    config = config_file.load(config_path).config if config_path else Config()
    model = load_bundle(bundle, trust, config if config_path else None, backend=backend)
    manifest = model.manifest
    rule = FilterRule(manifest.thresholds.min_score if min_score is None else min_score, manifest.thresholds.nms_iou)
    steps = Steps(model, rule, BackendOptions.of(config))
    ref = ModelRef(name=manifest.name, version=manifest.version)
    folder = out or (None if as_json else DEFAULT_OUT)
    cameras = {name: camera for camera in reversed(config.camera) for name in (camera.name, camera.url)}
    places = [cameras[source].url if source in cameras else source for source in inputs]
    drawings = Drawings(folder, places) if folder else None
    with ExitStack() as stack:
        stack.callback(steps.close)
        trace = stack.enter_context(Trace(trace_path)) if trace_path else None
        for source in inputs:
            author = Author("infer", _camera_name(source), 0, ref, manifest.label_names, manifest.label_groups)
            _one_input(source, cameras.get(source), steps, author, drawings, trace, limit, as_json=as_json)
    if folder and not as_json:
        click.echo(f"drawn in {printable(folder)}/")


def _one_input(
    source: str, camera: Camera | None, steps: Steps, author: Author, drawings: Drawings | None, trace: Trace | None,
    limit: int | None, *, as_json: bool,
) -> None:  # fmt: skip
    shown = without_credentials(source)
    if others := passed_over(source):
        what = "1 file" if others == 1 else f"{others} files"
        are = "is no picture and is" if others == 1 else "are no pictures and are"
        click.echo(f"note: {what} in {printable(shown)} {are} passed over", err=True)
    with ExitStack() as stack:
        bar = stack.enter_context(work_bar(stays_clear=as_json))
        task = bar.add_task(printable(shown), total=limit)
        video: VideoSink | None = None
        place = camera.url if camera else source
        tracker, followed = Tracker(), for_tracking(steps.rule)  # pictures are no film: theirs have no ids
        seq = 0
        frames = named_frames(source, camera, damaged=_tell_damaged)
        for seq, (name, frame) in enumerate(islice(frames, limit), 1):
            result = steps.run(frame, rule=None if name else followed)
            if not name:
                result = tracker.follow(result, at=_moment(frame, place), sure=followed.sure_score)
            if trace:
                trace.frame(author.camera, result, monotonic())
            bodies = [body_of(result, part, author, seq, frame.frame_time, rle=RLE) for part in outcome_parts(result.outcome)]
            if as_json:
                sys.stdout.writelines(encode(_with_input(body, name or shown)).decode() + "\n" for body in bodies)
            else:
                click.echo(f"{printable(name or shown)}{_at(frame, name)}: {'; '.join(map(summary, bodies))}")
            if drawings:
                private = [mask.polygon for mask in camera.mask] if camera else ()
                picture = annotate(frame, result.outcome, author.labels, private=private)
                if name:
                    write_picture(drawings.place(Path(name).stem, ".jpg"), picture)
                else:
                    video = video or stack.enter_context(VideoSink(drawings.place(author.camera, ".mp4")))
                    video.write(picture, frame.pts)
            bar.advance(task)
        if not seq:
            raise InputError(
                f"{printable(shown)} has no frames", evidence={"input": shown}, fix="give a picture, video, folder or RTSP URL"
            )


def _tell_damaged(error: InputError) -> None:
    click.echo(f"note: {printable(error.what, 1000)}; it is passed over", err=True)


def _moment(frame: Frame, place: str) -> float | None:
    """A file is read faster or more slowly than it was taken: its own time counts. None: when the frame came."""
    return None if "://" in place else frame.pts


def _with_input(body: Body, name: str) -> Body:
    return msgspec.structs.replace(body, input=name)


def _camera_name(source: str) -> str:
    stem = Path(source.rstrip("/")).stem if "://" not in source else "stream"
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in stem)[:48] or "input"


def _at(frame: Frame, name: str) -> str:
    return f" {frame.pts:8.2f} s" if not name and frame.pts is not None else ""
