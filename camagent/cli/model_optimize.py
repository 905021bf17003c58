"""camagent model optimize: rewrites a graph so that NPU and CPU need less time for it, and proves that it says the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camagent.cli import EXIT_DONE, EXIT_FINDING
from camagent.cli.bar import work_bar
from camagent.cli.size import size_of
from camagent.cli.telling import warn_unsigned
from camagent.errors import ExtraMissing, FileUnusable, UsageError, printable
from firmware_pkg.graph import PASSES, Wishes

if TYPE_CHECKING:
    from camagent.cli.optimize_report import Result

_EXAMPLES = """\b
Examples:
  camagent model optimize segformer.onnx -o segformer-fast.onnx --image street.jpg
  camagent model optimize yolov8n.onnx -o yolov8n-int8.onnx --passes split-heads
  camagent model optimize --list"""
_USUAL = tuple(name for name, place in PASSES.items() if place.usual)
_ROUNDS = 7


def _passes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    del ctx
    if value is None:
        return _USUAL
    wanted = [name.strip() for name in value.split(",") if name.strip()]
    unknown = next((name for name in wanted if name not in PASSES), None)
    if unknown is not None or not wanted:
        raise click.BadParameter(f"there is no pass {unknown or ''!r}; there are {', '.join(PASSES)}", param=param)
    return tuple(name for name in PASSES if name in wanted)  # each makes what the next ones look for


@click.command(epilog=_EXAMPLES)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="IN.onnx|BUNDLE", required=False)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.onnx", help="The model to write.")
@click.option("--passes", "names", callback=_passes, metavar="NAME,..", help=f"Only these.  [default: {','.join(_USUAL)}]")
@click.option(
    "--image", "images", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="F",
    help="Picture to prove on; repeat.  [default: the bundle's golden pictures, else random ones]",
)  # fmt: skip
@click.option(
    "--class-map", "map_ending", type=click.Choice(["auto", "logits", "labels", "full"]), default="auto", show_default=True,
    help="How a graph that gives a class per pixel ends: small logits, small class ids, or as it did.",
)  # fmt: skip
@click.option("--size", callback=size_of, metavar="WxH", help="Network input, where the model leaves it open.")
@click.option("--rounds", type=click.IntRange(0), default=_ROUNDS, show_default=True, help="Timed runs of each stage; 0: none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.optimize/1).")
@click.option("--list", "listed", is_flag=True, help="List the passes and end.")
def optimize(
    model: Path | None, output: Path | None, names: tuple[str, ...], images: tuple[Path, ...], map_ending: Any,
    size: tuple[int, int] | None, rounds: int, as_json: bool, listed: bool,
) -> int:  # fmt: skip
    """Rewrite a model's graph: what it says stays, what it costs does not.

    Every pass is proved: the outputs before and after it are compared on the same pictures, and a pass whose proof fails is
    undone. Node counts and times before and after are printed; the times are of ONNX Runtime on this machine.

    Exit code 0: optimised, or nothing to do. 1: a proof failed; what was proved is written.
    """
    if listed:
        _list(as_json=as_json)
        return EXIT_DONE
    if model is None or output is None:
        raise UsageError("a model and a file to write are needed", fix="give IN.onnx and -o OUT.onnx, or --list")
    _require_other_file(model, output)
    require_graph_tools("onnx", *(["onnxslim"] if "fold-constants" in names else []))
    from camagent.cli import optimize_report

    with work_bar(stays_clear=as_json) as bar:
        task = bar.add_task("reading", total=len(names) + 1)
        result = _optimised(model, names, Wishes(map_ending), images, size, rounds,
                            lambda words: bar.update(task, description=words, advance=1))  # fmt: skip
    _write(output, result.done.model)
    if as_json:
        click.echo(json.dumps(optimize_report.document(result, model, output)))
    else:
        optimize_report.show(result, model, output)
    return EXIT_DONE if result.done.proved else EXIT_FINDING


def _optimised(
    path: Path, names: Sequence[str], wishes: Wishes, images: Sequence[Path], size: tuple[int, int] | None, rounds: int,
    tell: Callable[[str], None],
) -> Result:  # fmt: skip
    """Reads, rewrites, proves and times. Raises what its parts raise."""
    from camagent.cli import optimize_trial as trials
    from camagent.cli.model_facts import subject
    from camagent.cli.optimize_report import Result
    from camagent.pipeline import BackendOptions
    from firmware_pkg.graph import fixed
    from firmware_pkg.graph.optimize import optimise
    from firmware_pkg.graph_facts import read_graph
    from firmware_pkg.model_file import model_format, require_self_contained

    found = subject(path)
    if model_format(found.data) != "onnx":
        raise UsageError("only ONNX graphs can be rewritten", evidence={"found": model_format(found.data), "expected": "onnx"},
                         fix="give the .onnx file that it was converted from")  # fmt: skip
    require_self_contained(found.data)
    if found.bundle is not None:
        warn_unsigned(printable(path))
    data = fixed.with_size(found.data, *size) if size else found.data
    facts = read_graph(data)
    spec = trials.input_spec(facts)
    if found.bundle is not None and wishes.map_ending == "auto":
        wishes = Wishes("logits" if found.bundle.manifest.head.name == "semantic" else "full")
    options = BackendOptions()
    trial = trials.trial_of(found, facts, spec, images)
    done = optimise(data, names, wishes, lambda model: trials.outputs_on(model, trial, options), tell)
    stages = {"": data} | {one.name: one.model for one in done.passes if one.status == "kept"}
    tell("timing")
    times = trials.milliseconds(stages, trial, rounds, options) if rounds and len(stages) > 1 else {}
    return Result(done, trial, times, rounds)


def require_graph_tools(*modules: str) -> None:
    """Raises ExtraMissing where this installation cannot work on graphs: cameras do not carry the tools."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"working on ONNX graphs needs {' and '.join(missing)}",
            evidence={"found": "camagent without the extra 'build'", "expected": ", ".join(modules)},
            fix="on a workstation: pip install 'camagent[build]'",
        )


def _require_other_file(model: Path, output: Path) -> None:
    if output.exists() and output.samefile(model):
        raise UsageError(
            "the output would overwrite the input", evidence={"input": model, "output": output}, fix="name another file with -o"
        )


def _write(path: Path, data: bytes) -> None:
    from firmware_pkg import disk

    try:
        disk.write_atomic(path, data)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def _list(*, as_json: bool) -> None:
    if as_json:
        rows = [{"name": name, "text": place.text, "usual": place.usual} for name, place in PASSES.items()]
        click.echo(json.dumps({"schema": "camagent.passes/1", "passes": rows}))
        return
    for name, place in PASSES.items():
        click.echo(f"{name:<21}{place.text}{'' if place.usual else ' Only when it is named.'}")
