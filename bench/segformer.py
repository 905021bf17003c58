"""What `camagent model optimize` does to SegFormer-B0 that was exported as a beginner would: times, class map, node counts.

    python -m bench.segformer [--model naive.onnx | --torch-python PATH] [--classes 19] [--size 512] [--exporter dynamo|legacy]
                              [--rounds 15] [--rknn-python PATH [--target rk3568]]

All variants take turns within one run, with the agent's session options (one thread, spinning off): the model as it came,
without its tail (`argmax-first` alone), and optimised with each of the three endings. Beside each stands what the agent's head
needs to read its output. Without --model, --torch-python makes one: any Python that has torch and transformers
(bench/make_segformer.py).
With --rknn-python, Rockchip's converter is asked, too (bench/rknn_accepts.py says what that Python needs).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from camagent.cli import optimize_trial as trials
from camagent.cli.model_facts import Subject
from camagent.frame import TensorSpec
from camagent.heads import HeadContext, SemanticMap, build_head
from camagent.pipeline import BackendOptions
from firmware_pkg.graph.optimize import Optimised, optimise
from firmware_pkg.graph.registry import PASSES, MapEnding, Wishes
from firmware_pkg.graph_facts import read_graph

TARGET, TRY_FOR = 0.43, 0.35
HERE = Path(__file__).resolve().parent
USUAL = [name for name, place in PASSES.items() if place.usual]
ENDINGS: Sequence[MapEnding] = ("logits", "labels", "full")


@dataclass(frozen=True, slots=True)
class Variant:
    """A model, and what became of it on the way."""

    name: str
    data: bytes
    done: Optimised | None = None


def made(args: argparse.Namespace, folder: Path) -> bytes:
    if args.model:
        return Path(args.model).read_bytes()
    out = folder / "naive.onnx"
    command = [args.torch_python, str(HERE / "make_segformer.py"), str(out), "--classes", str(args.classes)]
    command += ["--size", str(args.size), "--exporter", args.exporter]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"no model was made: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return out.read_bytes()


def variants(data: bytes, trial: trials.Trial, options: BackendOptions) -> list[Variant]:
    def run(model: bytes) -> Any:
        return trials.outputs_on(model, trial, options)

    tail = optimise(data, ["fold-constants", "argmax-first"], Wishes(), run, lambda _: None)
    found = [Variant("as it came", data), Variant("without the tail", tail.model, tail)]
    for ending in ENDINGS:
        done = optimise(data, USUAL, Wishes(ending), run, lambda _: None)
        found.append(Variant(f"optimised, {ending}", done.model, done))
    return found


def head_ms(variant: Variant, trial: trials.Trial, classes: int, options: BackendOptions) -> tuple[float, int]:
    """Milliseconds that the agent's head needs for the outputs of one frame, and the classes it sees."""
    outputs = trials.outputs_on(variant.data, trial, options)[0]
    height, width = trial.tensors[0].shape[2:]
    specs = [TensorSpec("output", output.shape, str(output.dtype)) for output in outputs]
    head = build_head("semantic", HeadContext(width, height, classes, specs, {}))
    taken, found = [], None
    for _ in range(30):
        started = perf_counter()
        found = head.decode(outputs, 0.4)
        taken.append((perf_counter() - started) * 1e3)
    assert isinstance(found, SemanticMap)
    return median(taken), len(np.unique(found.ids))


def show(found: Sequence[Variant], times: dict[str, float], heads: dict[str, tuple[float, int]]) -> None:
    first = times[found[0].name]
    print(
        f"{'':24}{'ms':>8}{'ratio':>8}{'head ms':>10}{'classes':>9}{'nodes':>7}  Transpose Reshape MatMul Softmax ArgMax Conv"
    )
    for variant in found:
        counts = variant.done.after if variant.done else found[1].done.before if found[1].done else {}
        numbers = "".join(
            f"{counts[name]:>{width}}"
            for name, width in (("Transpose", 11), ("Reshape", 8), ("MatMul", 7), ("Softmax", 8), ("ArgMax", 7), ("Conv", 5))
        )
        ms, (head, classes) = times[variant.name], heads[variant.name]
        print(f"{variant.name:24}{ms:8.1f}{ms / first:8.3f}{head:10.2f}{classes:9}{sum(counts.values()):7}{numbers}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--exporter", choices=["dynamo", "legacy"], default="dynamo")
    parser.add_argument("--image", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rknn-python")
    parser.add_argument("--target", default="rk3568")
    args = parser.parse_args()
    options = BackendOptions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = made(args, folder)
        facts = read_graph(data)
        trial = trials.trial_of(Subject(data), facts, trials.input_spec(facts), args.image)
        found = variants(data, trial, options)
        times = trials.milliseconds({one.name: one.data for one in found}, trial, args.rounds, options)
        heads = {one.name: head_ms(one, trial, args.classes, options) for one in found}
        print(f"{facts.producer}, opset {facts.opset}, {args.classes} classes; {trial.words}; {options}, {args.rounds} rounds")
        show(found, times, heads)
        for one in found[1:]:
            assert one.done is not None
            print(f"{one.name}: {'proved' if one.done.proved else 'NOT PROVED'}; {one.done.whole and one.done.whole.words}")
        if args.rknn_python:
            for one in (found[0], found[2]):
                (folder / "model.onnx").write_bytes(one.data)
                asked = [args.rknn_python, str(HERE / "rknn_accepts.py"), str(folder / "model.onnx"), "--target", args.target]
                said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
                print(f"{args.target}, {one.name}: {json.dumps(msgspec.json.decode(said.splitlines()[-1]), indent=1)}")
    ratio = times["optimised, logits"] / times["as it came"]
    met = "met, and what was to be tried for" if ratio <= TRY_FOR else "met" if ratio <= TARGET else "MISSED"
    print(f"target: {TARGET} of the time of the model as it came (try for {TRY_FOR}): {ratio:.3f}, {met}")
    sys.exit(not (ratio <= TARGET and all(one.done.proved for one in found if one.done)))


if __name__ == "__main__":
    main()
