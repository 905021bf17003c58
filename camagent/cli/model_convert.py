"""camagent model convert: an ONNX model for Rockchip's NPUs, quantised on pictures that are prepared as the camera does it."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from camagent.cli import EXIT_DONE
from camagent.cli.contract import Contract, contract_options
from camagent.cli.outputs import write_file
from camagent.cli.tool_bundle import trust_option
from camagent.errors import FileUnusable, UsageError, printable

if TYPE_CHECKING:
    from camagent.cli.convert_subject import Door, Subject
    from camagent.rockchip.convert import Converted, Job
    from camagent.rockchip.recipe import Algorithm

_EXAMPLES = """\b
Examples:
  camagent model convert yolov8n.onnx --from yolov8n-1.0.0.cambundle --target rk3568 -o yolov8n.rknn
  camagent model convert yolov8n.onnx --from yolov8n-1.0.0.cambundle --target rk3568 --quantize int8
    --calibration pictures/ --algorithm kl_divergence -o yolov8n.rknn --simulator yolov8n.rknnsim"""
_OUT = click.Path(dir_okay=False, path_type=Path)
_PICTURES = 100
_ALIASES = {"rk3588s": "rk3588", "rk3588f": "rk3588"}


def _target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx
    from camagent.rockchip.convert import TARGETS

    name = _ALIASES.get(value.lower(), value.lower())
    if name not in TARGETS:
        raise click.BadParameter(f"there is no target {value!r}; there are {', '.join(TARGETS)}", param=param)
    return name


def environment_option(command: Any) -> Any:
    """Where the toolkit lives."""
    return click.option(
        "--environment", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Virtual environment with rknn-toolkit2; made where it is not there.  [default: CAMAGENT_RKNN_ENV, or the cache]",
    )(command)  # fmt: skip


@click.command(epilog=_EXAMPLES)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="MODEL.onnx|BUNDLE")
@click.option("--target", required=True, callback=_target, metavar="SOC", help="rk3566, rk3568, rk3588 ..")
@click.option("-o", "--output", type=_OUT, required=True, metavar="OUT.rknn", help="The model for the NPU.")
@click.option("--simulator", type=_OUT, metavar="OUT.rknnsim", help="The same for the backend rknn-sim, on a workstation.")
@click.option("--quantize", type=click.Choice(["int8"]), help="Weights and activations of 8 bits.  [default: float16]")
@click.option(
    "--calibration", type=click.Path(exists=True, path_type=Path), metavar="DIR",
    help="Pictures to quantise on, of the camera's own scenes: some 20 to 100.",
)  # fmt: skip
@click.option("--pictures", type=click.IntRange(1), default=_PICTURES, show_default=True, help="How many of them at most.")
@click.option(
    "--algorithm", type=click.Choice(["normal", "mmse", "kl_divergence"]), default="normal", show_default=True,
    help="How ranges are chosen; mmse takes minutes to hours.",
)  # fmt: skip
@click.option(
    "--input", "door", type=click.Choice(["tensor", "pixels"]), default="tensor", show_default=True,
    help="What the made file takes: the manifest's tensor, or 0..255 as bytes, with scale, mean and std inside the file.",
)  # fmt: skip
@contract_options
@environment_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.convert/1).")
def convert(
    model: Path, target: str, output: Path, simulator: Path | None, quantize: str | None, calibration: Path | None,
    pictures: int, algorithm: str, door: Any, contract: Contract, environment: Path | None, trust: tuple[Path, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Convert an ONNX model for Rockchip's NPUs with their rknn-toolkit2, which gets an environment of its own.

    Calibration pictures are prepared by the agent's own code under the same manifest as on the camera. The first call
    installs the toolkit, some 2 GB, into the user's cache.

    Exit code 0: converted. 1: the converter does not take the model; its log is kept beside the output. 2: wrong usage.
    3: the toolkit is not here and cannot be fetched.
    """
    _require_pictures(quantize, calibration)
    if output.suffix != ".rknn":
        raise UsageError(f"{printable(output.name)} is no name for a Rockchip model", fix="name it OUT.rknn")
    from camagent.cli import convert_subject
    from camagent.cli.bar import follower, work_bar
    from camagent.rockchip import environment as environments

    chosen: Algorithm = "none" if quantize is None else algorithm  # type: ignore[assignment]  # click has checked it
    found = convert_subject.subject(model, contract, trust)
    started = monotonic()
    with work_bar(stays_clear=as_json) as bar:
        tell = follower(bar, bar.add_task("reading pictures", total=None))
        tensors = []
        if calibration is not None and quantize is not None:
            tensors = convert_subject.calibration(calibration, found.spec, door, pictures, tell)
        job = convert_subject.job(found, target, chosen, tensors, door)
        tell("looking for rknn-toolkit2")  # last: nothing is installed for what cannot be converted
        python = environments.ready(environment, tell)
        made = _converted(python, job, output, tell)
    write_file(output, made.rknn)
    if simulator is not None:
        from camagent.rockchip.recipe import dump

        write_file(simulator, dump(made.recipe))
    _tell(found, job, made, output, simulator, door, monotonic() - started, as_json=as_json)
    return EXIT_DONE


def _require_pictures(quantize: str | None, calibration: Path | None) -> None:
    if quantize is not None and calibration is None:
        raise UsageError("int8 needs pictures to find its ranges on", fix="give --calibration DIR: some 20 to 100 pictures")
    if quantize is None and calibration is not None:
        raise UsageError("--calibration is for int8", fix="add --quantize int8, or leave --calibration out")


def _converted(python: Path, job: Job, output: Path, tell: Any) -> Converted:
    from camagent.rockchip.convert import Unconverted
    from camagent.rockchip.convert import convert as run

    try:
        return run(python, job, tell)
    except Unconverted as exc:
        log = output.with_name(output.name + ".log")
        try:
            log.write_text(exc.log, "utf-8")
        except OSError as failed:
            raise FileUnusable.of(failed, log) from exc
        click.echo(f"note: the converter's log is kept in {printable(log)}", err=True)
        raise


def _tell(
    found: Subject, job: Job, made: Converted, output: Path, simulator: Path | None, door: Door, seconds: float,
    *, as_json: bool,
) -> None:  # fmt: skip
    spec = found.spec
    quantisation = "none" if job.algorithm == "none" else "int8"
    document = {
        "schema": "camagent.convert/1", "file": str(output), "bytes": len(made.rknn),
        "simulator": str(simulator) if simulator else None, "target": job.target, "toolkit": made.recipe.toolkit,
        "quantization": quantisation, "algorithm": job.algorithm, "pictures": len(job.calibration), "input": door,
        "seconds": round(seconds, 1),
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(document))
        return
    how = "float16" if quantisation == "none" else f"int8, {job.algorithm}, {len(job.calibration)} pictures"
    click.echo(f"wrote {printable(output)}: {job.target}, {how}, {len(made.rknn):,} bytes, rknn-toolkit2 {made.recipe.toolkit}")
    if simulator is not None:
        click.echo(f"wrote {printable(simulator)}: the same for rknn-sim")
    if door == "tensor":
        click.echo("takes  the manifest's tensor, as the float model does: both go into one bundle")
        click.echo(f"next   camagent bundle create MODEL.onnx {printable(output)}:rknn:{job.target} ..  with the same options")
    else:
        click.echo("takes  0..255 as bytes; scale, mean and std are inside: not for one bundle with a float model")
        click.echo(
            f"next   camagent bundle create {printable(output)}:rknn:{job.target} --size {spec.width}x{spec.height} "
            f"--color {spec.color} --resize {spec.resize} .."
        )
