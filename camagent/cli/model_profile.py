"""camagent model profile: which operators and which blocks take a model's time, and which rewrites that calls for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from camagent import config_file
from camagent.cli import EXIT_DONE
from camagent.cli.size import size_of
from camagent.cli.tool_bundle import trust_option
from camagent.errors import InputError, UsageError, printable

if TYPE_CHECKING:
    from camagent.profiling.recording import Recording
    from camagent.profiling.report import Report

_EXAMPLES = """\b
Examples:
  camagent model profile segformer.onnx --html profile.html
  camagent model profile fastestdet-1.0.0.cambundle --trust root.json --threads 4
  camagent model profile --read op_statistic_20250101.csv
  camagent model profile --read eval_perf.txt --json"""
_OUT = click.Path(dir_okay=False, path_type=Path)
_BUSY = 1.25  # the median over the fastest, from which on others must have had a part of the processor
_IN = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured, and how."""

    model: Path
    image: Path | None
    size: tuple[int, int] | None
    runs: int | None
    threads: int | None
    roots: tuple[Path, ...]
    config_path: Path | None


@click.command(epilog=_EXAMPLES)
@click.argument("model", type=_IN, required=False, metavar="[MODEL|BUNDLE]")
@click.option("--read", "recorded", type=_IN, metavar="FILE", help="Read what another profiler wrote, instead of measuring.")
@click.option("--image", type=_IN, metavar="F", help="Picture to run on.  [default: the bundle's golden one, or noise]")
@click.option("--size", callback=size_of, metavar="WxH", help="Input size where the model leaves it open.  [default: 640x640]")
@click.option("--runs", type=click.IntRange(1, 10_000), help="Inferences.  [default: 5 to 50, some 8 s]")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of ONNX Runtime.  [default: that of -c, or 1]")
@click.option("--trace", "trace_path", type=_OUT, metavar="F.json", help="Write the operators as Chrome trace events.")
@click.option("--html", type=_OUT, metavar="F", help="Write one page with a picture of blocks and operators.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.profile/1).")
@trust_option
@click.option(
    "-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration: its trust and [onnx] apply."
)
def profile(
    model: Path | None, recorded: Path | None, image: Path | None, size: tuple[int, int] | None, runs: int | None,
    threads: int | None, trace_path: Path | None, html: Path | None, as_json: bool, trust: tuple[Path, ...],
    config_path: Path | None,
) -> int:  # fmt: skip
    """Say which operators and which blocks of a model take its time, and which rewrites of `model optimize` that calls for.

    MODEL or BUNDLE is measured here with ONNX Runtime, set up as the agent does it. With --read it is read what was measured
    on the device: ONNX Runtime's profile (JSON), Rockchip's eval_perf text, Ascend's op_summary or op_statistic (CSV).

    Exit code 0: done. 1: the model or bundle is damaged or refused. 2: wrong usage, or a file that cannot be read.
    """
    if (model is None) == (recorded is None):
        raise UsageError("give a model to measure, or a file to read", fix="camagent model profile MODEL, or --read FILE")
    _require_alone(recorded, {"--image": image, "--size": size, "--runs": runs, "--threads": threads, "--trust": trust,
                              "-c": config_path})  # fmt: skip
    with ExitStack() as stack:
        trace_file, page_file = (_target(path, option, stack) for path, option in ((trace_path, "--trace"), (html, "--html")))
        if recorded is not None:
            report = _read(recorded, as_json=as_json)
        else:
            assert model is not None
            report = _measured(Wish(model, image, size, runs, threads, trust, config_path), as_json=as_json)
        if trace_file is not None:
            from camagent.profiling.timeline import timeline

            _write(trace_file, timeline(report))
        if page_file is not None:
            from camagent.profiling.page import page

            _write(page_file, page(report))
    _show(report, as_json=as_json)
    return EXIT_DONE


def _require_alone(recorded: Path | None, options: Mapping[str, Any]) -> None:
    given = [name for name, value in options.items() if value not in (None, ())]
    if recorded is not None and given:
        raise UsageError(f"{given[0]} is for a model that is measured here", fix=f"leave {', '.join(given)} out with --read")


def _read(path: Path, *, as_json: bool) -> Report:
    from camagent.cli.bar import work_bar
    from camagent.profiling.reading import read_file

    with work_bar(stays_clear=as_json) as bar:
        bar.add_task(f"reading {printable(path.name)}", total=None)
        recording = read_file(path)
    runs = f"{recording.runs}" if recording.runs else "not known: times are those of the whole recording"
    facts = {"read as": recording.form, "inferences": runs}
    if recording.left_out:
        facts["left out"] = f"the first {recording.left_out}, which warms up"
    if recording.skipped:
        facts["not read"] = f"{recording.skipped} lines without a time"
    return _report(path, facts, recording, {})


def _measured(wish: Wish, *, as_json: bool) -> Report:
    from camagent.cli.bar import work_bar
    from camagent.cli.profile_subject import chosen
    from camagent.pipeline import OnnxProfiler, runtime_version
    from camagent.profiling.measure import WARM_UP, Plan, measure

    config = config_file.load(wish.config_path).config if wish.config_path else None
    chosen_model = chosen(wish.model, wish.image, wish.size, wish.roots, config, wish.threads)
    plan = Plan(wish.runs, chosen_model.operators)
    with work_bar(stays_clear=as_json) as bar:
        task = bar.add_task(printable(wish.model.name), total=plan.most)
        recording = measure(
            lambda folder: OnnxProfiler(chosen_model.data, chosen_model.options, folder), chosen_model.feeds, plan,
            lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
    threads = chosen_model.options.intra_op_threads
    facts = {
        **chosen_model.facts,
        "measured": f"{recording.runs} inferences after {WARM_UP} to warm up, {threads} thread{'s' if threads > 1 else ''}, "
                    f"ONNX Runtime {runtime_version()}, {', '.join(chosen_model.options.providers)}",
        "one takes": _spread(recording),
    }  # fmt: skip
    return _report(wish.model, facts, recording, chosen_model.blocks)


def _spread(recording: Recording) -> str:
    from camagent.profiling.report import shown

    middle, profiled = median(recording.plain), median(recording.wall)
    spread = f"{shown(min(recording.plain))} to {shown(max(recording.plain))}"
    busy = "; the machine does other things too: shares hold, times less" if middle > _BUSY * min(recording.plain) else ""
    return f"{shown(middle)} (median; {spread}), {shown(profiled)} with the profiler{busy}"


def _report(path: Path, facts: dict[str, str], recording: Recording, blocks: Mapping[str, tuple[str, ...]]) -> Report:
    from camagent.profiling.findings import findings
    from camagent.profiling.report import Report, shown
    from camagent.profiling.summary import summarise

    found = summarise(recording, blocks)
    if recording.runs is not None:
        facts["operators"] = f"{len(found.operators)}, together {shown(found.total)}"
    return Report(path.name, facts, found, findings(found))


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.body()))
        return
    from camagent.profiling.terminal import PipeConsole, render

    render(report, PipeConsole(highlight=False))


def _target(path: Path | None, option: str, stack: ExitStack) -> int | None:
    """The file, opened before anything runs: a wrong name is told at once. What it held stays until there is something new."""
    if path is None:
        return None
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        what = f"{printable(path)} cannot be written: {exc.strerror}"
        raise InputError(what, fix=f"name another file with {option}") from exc
    stack.callback(os.close, target)
    return target


def _write(target: int, text: str) -> None:
    with os.fdopen(os.dup(target), "wb") as file:
        file.write(text.encode())
        file.truncate()
