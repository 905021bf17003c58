"""camagent beside its limits and its peers, in one run; docs/performance.md is written from it.

    python -m bench.peers [--write docs/performance.md] [--json run.json] [--rounds 3] [--seconds 20]
                          [--ultralytics VENV/bin/python]
    python -m bench.peers --from run.json --write docs/performance.md      the page anew, nothing measured

Peers take turns, round after round, on the same stream with the same model, session options and pace: decoding alone and
`session.run` alone (the limit), camagent, a plain OpenCV script, and `ultralytics predict` where an interpreter that has it
is named. All are measured from outside. Latency needs root, for the loopback is listened on. Takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench import heads, performance_page, performance_plot
from bench.frame_cost import FASTESTDET, SHARED, YOLOV8, bundle, scaled
from bench.peer_results import HeadTiming, Machine, Results, Sample, Step, Streams, Wait, targets
from bench.peer_runs import Rig, peers, run, run_profile, run_streams, run_wait
from bench.tap import available
from tests.support.broker import running
from tests.support.camera import RtspCamera

SIZES = {"1080p": "1920x1080", "720p": "1280x720"}
FPS, SLOW_FPS = 10.0, 5.0
CAMERAS = (1, 2, 4, 8, 16)
STREAMS = (("1920x1080", 25.0), ("1920x1080", 10.0), ("1920x1080", 5.0), ("640x360", 25.0))
VERSIONS = ("av", "onnxruntime", "opencv-python-headless", "numpy", "paho-mqtt")


class Bench:
    """One run: measures section by section and keeps what it found."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self.args = args
        self.loads = [os.getloadavg()[0]]
        self.left_out = [reason] if (reason := available()) else []
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        self._broker = stack.enter_context(running(self._folder)).port
        self._clips: dict[tuple[str, float], Path] = {}

    def clip(self, size: str, fps: float) -> Path:
        """Made once."""
        if (size, fps) not in self._clips:
            self._clips[size, fps] = scaled(self._folder, self.args.video, fps, size)
        return self._clips[size, fps]

    def rig(self, size: str, fps: float, model: Path, options: Sequence[str]) -> Rig:
        """The broker, this stream and a bundle of this model."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        bundle(folder, model, options)
        return Rig(folder, self.clip(size, fps), fps, model, self._broker)

    def section(self, name: str, rig: Rig, ultralytics: str | None = None) -> list[Sample]:
        """Every peer, round after round."""
        samples = []
        with RtspCamera(rig.clip) as camera:
            for number in range(self.args.rounds):
                for peer in peers(rig, camera.url, ultralytics):
                    samples.append(run(rig, peer, camera, self.args.seconds))
                    self.say(f"{name}, round {number + 1}: {peer.name:26}{samples[-1].ms:8.2f} ms CPU per frame")
        return samples

    def streams(self) -> list[Streams]:
        """The agent with 1 to 16 cameras, twice."""
        rig, found = self.rig(SIZES["1080p"], SLOW_FPS, self.args.model, FASTESTDET), []
        with RtspCamera(rig.clip) as camera:
            for _ in range(2):
                for cameras in self.args.cameras:
                    found.append(run_streams(rig, camera.url, cameras, self.args.seconds))
                    self.say(
                        f"{cameras:2} streams: {found[-1].cpu * 100:6.1f} % of a core at {found[-1].fps:.1f} frames a second"
                    )
        return found

    def waits(self) -> list[Wait]:
        """The agent at 5 inferences a second on faster and slower streams."""
        found: list[Wait] = []
        for size, rate in STREAMS if not available() else ():
            rig = replace(self.rig(size, rate, self.args.model, FASTESTDET), fps=SLOW_FPS)
            with RtspCamera(rig.clip) as camera:
                found.append(run_wait(rig, camera, (size, rate), self.args.seconds))
            self.say(f"{size} at {rate:g} fps: a picture is held for {found[-1].held:.0f} ms")
        return found

    def profile(self) -> list[Step]:
        """Where the agent's own time goes."""
        rig = self.rig(SIZES["1080p"], FPS, self.args.model, FASTESTDET)
        with RtspCamera(rig.clip) as camera:
            return run_profile(rig, camera.url, self.args.seconds)

    def ultralytics(self) -> dict[str, list[Sample]]:
        """The section that has `ultralytics predict` in it; empty, with the reason noted, where that cannot be."""
        python = self.args.ultralytics
        if not python:
            self.left_out.append("ultralytics predict: no interpreter that has it was named (--ultralytics)")
            return {}
        model = self._folder / "yolov8n.onnx"
        script = Path(__file__).with_name("peer_ultralytics.py")
        done = subprocess.run([python, str(script), "export", str(model)], capture_output=True, text=True, check=False)
        if done.returncode:
            self.left_out.append(f"ultralytics predict: {done.stderr.strip().splitlines()[-1]}")
            return {}
        return {"yolov8n": self.section("yolov8n", self.rig(SIZES["1080p"], SLOW_FPS, model, YOLOV8), python)}

    def say(self, words: str) -> None:
        """A line on stderr as it goes."""
        self.loads.append(os.getloadavg()[0])
        print(words, file=sys.stderr, flush=True)

    def measure(self) -> Results:
        """Everything, about 20 minutes."""
        started = time.strftime("%Y-%m-%d")
        sections = {
            name: self.section(name, self.rig(size, FPS, self.args.model, FASTESTDET)) for name, size in SIZES.items()
        } | self.ultralytics()
        streams, waits, profile = self.streams(), self.waits(), self.profile()
        machine = Machine(
            date=started, commit=_commit(), command=_command(), processor=_processor(), cores=os.cpu_count() or 1,
            kernel=platform.release(), load=(min(self.loads), max(self.loads)),
            versions={"Python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        )  # fmt: skip
        clips = {f"{size} {fps:g}": path.stat().st_size * 8 / 40 / 1e6 for (size, fps), path in self._clips.items()}
        return Results(
            machine=machine, clips=clips, fps={name: SLOW_FPS if name == "yolov8n" else FPS for name in sections},
            sections=sections, streams=streams, waits=waits, heads=_heads(self.args.head_rounds), profile=profile,
            left_out=self.left_out,
        )  # fmt: skip


def _heads(rounds: int) -> list[HeadTiming]:
    """In a process of its own, on one core."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "bench.heads", "--rounds", str(rounds), "--json", file.name]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # 1 is a missed target: the page says so
        rows = msgspec.json.decode(Path(file.name).read_bytes(), type=list[heads.Row])
    return [
        HeadTiming(name=row.name, ours=row.ours.median, low=row.ours.low, high=row.ours.high, plain=row.plain.median)
        for row in rows
    ]


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _command() -> str:
    """As it was called, without the machine's paths."""
    return " ".join(["python -m bench.peers", *(word.rpartition("/")[2] if "/" in word else word for word in sys.argv[1:])])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "FastestDet.onnx")
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of every measurement")
    parser.add_argument("--cameras", type=int, nargs="*", default=CAMERAS)
    parser.add_argument("--head-rounds", type=int, default=300)
    parser.add_argument(
        "--nice", type=int, default=0, help="of everything that is measured; below 0 on a busy machine, as root"
    )
    parser.add_argument("--ultralytics", metavar="PYTHON", help="an interpreter that has ultralytics, onnx and paho-mqtt")
    parser.add_argument("--from", dest="kept", type=Path, metavar="JSON", help="a run that was kept, instead of a new one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the run")
    parser.add_argument("--write", type=Path, metavar="MD", help="the page; its plot comes to lie beside it")
    args = parser.parse_args()
    if args.kept:
        results = msgspec.json.decode(args.kept.read_bytes(), type=Results)
    else:
        os.nice(args.nice)
        with ExitStack() as stack:
            results = Bench(args, stack).measure()
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    page = performance_page.render(results, plot=args.write.with_suffix(".png").name if args.write else "")
    if args.write:
        args.write.write_text(page, "utf-8")
        performance_plot.draw(results, args.write.with_suffix(".png"))
    else:
        print(page)
    missed = [target for target in targets(results) if not target.met]
    for target in missed:
        print(f"missed: {target.what}: {target.reached}, to be {target.wanted}", file=sys.stderr)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
