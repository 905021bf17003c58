"""Several cameras at one backend: what each gets of what it asks for, how old its results are, and what they take together.

    python -m bench.several_cameras [--before FOLDER] [--rounds 3] [--seconds 20] [--write docs/several-cameras.md]

A real agent on a real broker, with files as cameras. The networks are real work that takes as long on this machine as a row
says; they are made by tests/support/heavy.py, so nothing need be fetched. `--before` names another checkout of this
repository, whose agent takes turns with this one's, round after round. Ratios within a run are what counts; a busy machine
changes the rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.frame_cost import SHARED, cpu_seconds, rss_mib, scaled
from bench.several_cameras_page import Camera, Cost, Reading, written
from camagent.pulse import Pulse
from camagent.waiting_line import Guest, Line
from tests.support.agent import Body, Listener
from tests.support.broker import running
from tests.support.bundles import blob_model, make_unsigned
from tests.support.heavy import heavy_blobs, rounds_for, weighty_blobs

ROOT = Path(__file__).resolve().parents[1]
SLOWEST_S = 120.0
TURNS = 20_000
WEIGHTS_MIB = 10
MEMORY = "memory"
MODELS = {"none": 0.0, "quick": 0.008, "usual": 0.08, "slow": 0.2}  # seconds of a call


@dataclass(frozen=True, slots=True)
class Scene:
    """Cameras that share a backend: name -> (frames per second, model)."""

    title: str
    cameras: Mapping[str, tuple[float, str]]


SCENES = (
    Scene("One camera alone: a model of 8 ms", {"a": (10, "quick")}),
    Scene("Enough for all: one model of 8 ms, 37 frames a second", {
        "a": (2, "quick"), "b": (5, "quick"), "c": (10, "quick"), "d": (20, "quick")}),
    Scene("Too much: one model of 80 ms, 37 frames a second; one camera can have 12.5, for it has one worker", {
        "a": (2, "usual"), "b": (5, "usual"), "c": (10, "usual"), "d": (20, "usual")}),
    Scene("Two slow models of 200 ms beside two quick ones of 8 ms", {
        "quick 1": (10, "quick"), "quick 2": (10, "quick"), "slow 1": (10, "slow"), "slow 2": (10, "slow")}),
)  # fmt: skip


@contextmanager
def agent(tree: Path, config: Path) -> Iterator[int]:
    """The agent of that checkout; its process id."""
    command = [sys.executable, "-m", "camagent", "run", "-c", str(config)]
    folder = config.parent / "run"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(folder)}
    with subprocess.Popen(command, cwd=tree, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def configured(folder: Path, port: int, clip: Path, cameras: Mapping[str, tuple[float, str]]) -> Path:
    sections = "".join(
        f'[[camera]]\nname = "{name.replace(" ", "-")}"\nurl = "{clip}"\nfps = {fps}\npublish = "every-frame"\n'
        f'bundle = "{folder}/{model}.cambundle"\n'
        for name, (fps, model) in cameras.items()
    )
    path = folder / "camagent.toml"
    path.write_text(
        f'[agent]\nid = "bench"\nstate_dir = "{folder}/state"\nallow_unsigned = true\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n[web]\nlisten = ""\n{sections}'
    )
    return path


def measure(tree: Path, config: Path, port: int, cameras: Mapping[str, tuple[float, str]], seconds: float) -> Reading:
    """One agent for so long, after every camera has published."""
    topics = {name: f"{name.replace(' ', '-')}/detections" for name in cameras}
    with Listener(port, "camagent/bench/#", strict=False) as listener, agent(tree, config) as pid:
        end = time.monotonic() + SLOWEST_S
        while any(len(listener.payloads(topic)) < 2 for topic in topics.values()):
            if time.monotonic() > end:
                sys.exit(f"not every camera has published within {SLOWEST_S:g} s")
            time.sleep(0.1)
        listener.clear()
        cpu, began = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        bodies = {name: listener.bodies(topic) for name, topic in topics.items()}
        cores = (cpu_seconds(pid) - cpu) / took
        return Reading({name: _camera(found, cameras[name][0], took) for name, found in bodies.items()}, cores, rss_mib(pid))


def _camera(bodies: Sequence[Body], asked: float, took: float) -> Camera:
    ages = [body["latency_ms"]["total"] for body in bodies] or [float("nan")]
    p50, p99 = np.percentile(ages, [50, 99])
    return Camera(asked, len(bodies) / took, float(p50), float(p99))


def turn_cost() -> Cost:
    """Microseconds of a turn for a camera alone, and for one of two that are never there at the same time."""

    def guest(name: str) -> Guest:
        return Guest(name, 10.0, Pulse(name), has_more=lambda: False, ends=lambda: False)

    def timed(guests: Sequence[Guest], line: Line) -> float:
        began = time.thread_time_ns()
        for index in range(TURNS):
            with guests[index % len(guests)].turn(line) as turn:
                turn.prepared()
                turn.over()
        return (time.thread_time_ns() - began) / TURNS / 1e3

    return Cost(timed([guest("alone")], Line(1)), timed([guest(str(number)) for number in range(4)], Line(1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    parser.add_argument("--write", type=Path, help="put the tables between the marks of this page")
    args = parser.parse_args()
    trees = {**({"before": args.before.resolve()} if args.before else {}), "now": ROOT}
    readings: dict[tuple[str, str], list[Reading]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        port = stack.enter_context(running(folder)).port
        clip = scaled(folder, args.video, 20, "640x360")
        models = {name: heavy_blobs(rounds_for(call_s)) if call_s else blob_model() for name, call_s in MODELS.items()}
        for name, model in {**models, "weighty": weighty_blobs(WEIGHTS_MIB)}.items():
            make_unsigned(folder, name=name, model=model, golden=False, file=f"{name}.cambundle")
        scenes = {scene.title: (scene.cameras, args.seconds) for scene in SCENES}
        scenes |= {f"{MEMORY} {count}": ({str(n): (1.0, "weighty") for n in range(count)}, 5.0) for count in (1, 4)}
        for number in range(args.rounds):
            for title, (cameras, seconds) in scenes.items():
                config = configured(folder, port, clip, cameras)
                for tree, place in trees.items():
                    print(f"round {number + 1}: {title}, {tree}", file=sys.stderr)
                    readings.setdefault((title, tree), []).append(measure(place, config, port, cameras, seconds))
    text = written([scene.title for scene in SCENES], list(trees), readings, turn_cost(), WEIGHTS_MIB)
    print(text)
    if args.write:
        page = args.write.read_text("utf-8")
        head, begin, rest = page.partition("<!-- measured -->\n")
        _, end, tail = rest.partition("<!-- /measured -->")
        args.write.write_text(f"{head}{begin}{text}{end}{tail}", "utf-8")


if __name__ == "__main__":
    main()
