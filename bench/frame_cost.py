"""What a frame costs in CPU, beside what it must cost: decode alone + model alone. Also start-up time and memory.

    python -m bench.frame_cost [--model FastestDet.onnx] [--video clip.mp4] [--fps 10] [--seconds 20]

All processes share the agent's session options and the stream's pace, and are measured from outside (user + system time of
/proc/PID/stat), one after the other in one run. The picture is scaled to 1920x1080 first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from camagent.backends import BackendOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """One process's CPU per frame and memory."""

    ms: float
    fps: float
    rss_mib: float


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def child(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


class Frames:
    """Counts a child's frames as they are reported."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.count = 0
        self.ms: list[float] = []  # that the child itself says it took
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, value = line.partition(" ")
            self.count += word.startswith(("frame", "{"))
            if word == "frame" and value:
                self.ms.append(float(value))

    def wait(self, count: int, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while self.count < count:
            if time.monotonic() > end or self._process.poll() is not None:
                sys.exit(f"{self._process.args!r} gave {self.count} of {count} frames")
            time.sleep(0.02)


def measure(pid: int, frames: Frames, warm: int, seconds: float) -> Cost:
    frames.wait(warm)
    time.sleep(2.0)
    cpu, count, started = cpu_seconds(pid), frames.count, time.monotonic()
    time.sleep(seconds)
    done = frames.count - count
    return Cost((cpu_seconds(pid) - cpu) / max(done, 1) * 1e3, done / (time.monotonic() - started), rss_mib(pid))


def agent_config(folder: Path, url: str, port: int, fps: float, cameras: int) -> Path:
    sections = "".join(
        f'[[camera]]\nname = "c{i}"\nurl = "{url}"\nfps = {fps}\nbundle = "{folder}/m.cambundle"\npublish = "every-frame"\n'
        for i in range(cameras)
    )
    path = folder / f"camagent-{cameras}.toml"
    path.write_text(
        f'[agent]\nid = "bench"\nstate_dir = "{folder}/state"\nallow_unsigned = true\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n[web]\nlisten = ""\n{sections}'
    )
    return path


def agent(folder: Path, url: str, port: int, fps: float, seconds: float, *, cameras: int = 1) -> tuple[Cost, float]:
    """(c) the agent end to end, every frame published; also seconds from start to the first published detections."""
    config = agent_config(folder, url, port, fps, cameras)
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(folder / "run")}
    (folder / "run").mkdir(exist_ok=True)
    with child("mosquitto_sub", "-p", str(port), "-t", "camagent/bench/+/detections") as listener:
        frames = Frames(listener)
        started = time.monotonic()
        command = [sys.executable, "-m", "camagent", "run", "-c", str(config)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
            try:
                frames.wait(1)
                first = time.monotonic() - started
                return measure(process.pid, frames, 10, seconds), first
            finally:
                process.terminate()


FASTESTDET = ("--head", "fastestdet", "--color", "bgr", "--scale", "0.00392157", "--resize", "stretch", "--min-score", "0.65")
YOLOV8 = ("--head", "yolov8", "--scale", "0.00392157")


def bundle(folder: Path, model: Path, options: Sequence[str] = FASTESTDET) -> None:
    """Writes m.cambundle into the folder."""
    command = [sys.executable, "-m", "camagent", "bundle", "create", str(model), "--name", "m", "--version", "1"]
    target = ["--labels", "coco80", "-o", str(folder / "m.cambundle")]
    subprocess.run([*command, *options, *target], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def scaled(folder: Path, video: Path, fps: float, size: str = "1920x1080") -> Path:
    """40 seconds of the video in this size and at this pace, as a camera would send it."""
    out = folder / f"{size}-{fps:g}.mp4"
    filters = f"scale={size.replace('x', ':')},fps={fps}"
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", str(round(fps * 2)), "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(video), "-t", "40", "-vf", filters, *encoder, str(out)], check=True)
    return out


def table(rows: Sequence[tuple[str, Cost]]) -> None:
    print(f"{'':44}{'ms CPU/frame':>14}{'fps':>8}{'RSS MiB':>10}")
    for name, cost in rows:
        print(f"{name:44}{cost.ms:14.2f}{cost.fps:8.1f}{cost.rss_mib:10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "FastestDet.onnx")
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    from tests.support.broker import running
    from tests.support.camera import RtspCamera

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))  # run folder on tmpfs, as under systemd
        port = stack.enter_context(running(folder)).port
        url = stack.enter_context(RtspCamera(scaled(folder, args.video, args.fps))).url
        bundle(folder, args.model)
        here = [sys.executable, "-m", "bench.children"]
        print(f"session options of all: {BackendOptions()}, spinning off; stream 1920x1080 H.264 at {args.fps:g} fps")
        costs = {}
        for name, arguments in {
            "a": ["decode", url, str(args.fps)], "b": ["model", str(args.model), str(args.fps)],
            "d": ["plain", url, str(args.model), str(port), "0"],
        }.items():  # fmt: skip
            with child(*here, *arguments) as process:
                costs[name] = measure(process.pid, Frames(process), 10, args.seconds)
        costs["c"], first = agent(folder, url, port, args.fps, args.seconds)
        two, _ = agent(folder, url, port, args.fps, min(args.seconds, 10.0), cameras=2)
    a, b, c, d = (costs[name] for name in "abcd")
    table([("(a) decode alone", a), ("(b) session.run alone", b), ("(c) camagent, RTSP to MQTT", c),
           ("(d) VideoCapture + letterbox + ORT + paho", d), ("    camagent with two cameras", two)])  # fmt: skip
    overhead = c.ms - a.ms - b.ms
    print(f"overhead o = c - a - b = {overhead:.2f} ms = {overhead / a.ms:.2f} x a   (target <= 0.75 x a)")
    print(f"c / d = {c.ms / d.ms:.2f}   (target < 1);  c / (a + b) = {c.ms / (a.ms + b.ms):.2f}")
    print(f"start to first published detections: {first:.2f} s")
    more = two.rss_mib - c.rss_mib
    print(f"memory: {c.rss_mib:.0f} MiB (target <= 220), one more camera {more:+.0f} MiB (target <= 45)")


if __name__ == "__main__":
    main()
