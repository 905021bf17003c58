"""Runs one peer for a while and measures it from outside: CPU, memory, start-up, and with the tap its latency."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from bench.frame_cost import Frames, agent_config, child, rss_mib
from bench.latency import ways
from bench.peer_results import Sample, Step, Streams, Wait
from bench.tap import Publish, Tap, available
from tests.support.camera import RtspCamera

WARM = 10  # frames of every camera before anything counts
SETTLE_S = 1.5
HERE = (sys.executable, "-m", "bench.children")


@dataclass(frozen=True, slots=True)
class Rig:
    """What all peers of a section share."""

    folder: Path
    clip: Path
    fps: float
    model: Path
    broker: int  # port


@dataclass(frozen=True, slots=True)
class Peer:
    """A process to be measured. Without a topic it prints its frames; with one they are counted at the broker."""

    name: str
    command: tuple[str, ...]
    topic: str | None = None


def peers(rig: Rig, url: str, ultralytics: str | None) -> list[Peer]:
    """In the order in which they take turns."""
    model, port = str(rig.model), str(rig.broker)
    config = agent_config(rig.folder, url, rig.broker, rig.fps, 1)
    found = [
        Peer("decode", (*HERE, "decode", url, str(rig.fps))),
        Peer("model", (*HERE, "model", model, str(rig.fps))),
        Peer("camagent", (sys.executable, "-m", "camagent", "run", "-c", str(config)), "camagent/bench/+/detections"),
        Peer("plain", (*HERE, "plain", url, model, port, "0"), "plain/detections"),
        Peer("plain, one decoder thread", (*HERE, "plain", url, model, port, "1"), "plain/detections"),
    ]
    if ultralytics:
        script = str(Path(__file__).with_name("peer_ultralytics.py"))
        found.append(Peer("ultralytics", (ultralytics, script, "run", url, model, port), "ultralytics/detections"))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, to the nanosecond: /proc/PID/stat counts in hundredths of a second."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9


@contextmanager
def started(rig: Rig, command: Sequence[str], topic: str | None) -> Iterator[tuple[subprocess.Popen[str], Frames]]:
    """The process, and the count of its frames."""
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(rig.folder / "run")}  # on tmpfs, as under systemd
    (rig.folder / "run").mkdir(exist_ok=True)
    out = subprocess.DEVNULL if topic else subprocess.PIPE
    with ExitStack() as stack:
        ears = ["mosquitto_sub", "-p", str(rig.broker), "-t", topic] if topic else []
        frames = Frames(stack.enter_context(child(*ears))) if ears else None
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment, text=True)
        try:
            yield process, frames or Frames(process)
        finally:
            process.terminate()
            process.wait(20)


def run(rig: Rig, peer: Peer, camera: RtspCamera, seconds: float) -> Sample:
    """One peer in one round."""
    tap = Tap(camera.port, rig.broker) if peer.topic and not available() else None
    with tap or nullcontext():
        born = time.monotonic()
        with started(rig, peer.command, peer.topic) as (process, frames):
            frames.wait(1, 120.0)
            first_s = time.monotonic() - born
            frames.wait(WARM)
            time.sleep(SETTLE_S)
            began, cpu, count, said = time.time(), cpu_seconds(process.pid), frames.count, len(frames.ms)
            time.sleep(seconds)
            spent, done, ended = cpu_seconds(process.pid) - cpu, max(1, frames.count - count), time.time()
            memory, wall = rss_mib(process.pid), frames.ms[said:]
            time.sleep(0.2)  # the answer to what came last
    made = [each for each in _publishes(tap) if began <= each.at <= ended] if tap else []
    found = ways(tap.units(), made) if tap else []
    return Sample(
        peer=peer.name, ms=spent / done * 1e3, fps=done / (ended - began), rss_mib=memory,
        first_s=first_s if peer.topic else None, taken=[round(way.taken, 3) for way in found],
        held=[round(way.held, 3) for way in found], wall=wall, own=_own(made),
    )  # fmt: skip


def _publishes(tap: Tap) -> list[Publish]:
    return [made for made in tap.publishes() if made.topic.endswith("/detections")]


def _own(made: Sequence[Publish]) -> dict[str, float]:
    """Medians of the agent's latency_ms."""
    told = [latency for each in made if (latency := each.body().get("latency_ms"))]
    return {name: round(median(each[name] for each in told), 3) for name in told[0]} if told else {}


def run_streams(rig: Rig, url: str, cameras: int, seconds: float) -> Streams:
    """The agent with that many cameras on the same stream."""
    config = agent_config(rig.folder, url, rig.broker, rig.fps, cameras)
    command = (sys.executable, "-m", "camagent", "run", "-c", str(config))
    with started(rig, command, "camagent/bench/+/detections") as (process, frames):
        frames.wait(WARM * cameras, 120.0)
        time.sleep(SETTLE_S + cameras)  # one camera after the other opens its stream
        cpu, count, began = cpu_seconds(process.pid), frames.count, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        return Streams(
            cameras=cameras, cpu=(cpu_seconds(process.pid) - cpu) / took, fps=(frames.count - count) / took,
            rss_mib=rss_mib(process.pid),
        )  # fmt: skip


def run_wait(rig: Rig, camera: RtspCamera, stream: tuple[str, float], seconds: float) -> Wait:
    """The agent at the rig's pace on a stream of this size and rate."""
    config = agent_config(rig.folder, camera.url, rig.broker, rig.fps, 1)
    peer = Peer("camagent", (sys.executable, "-m", "camagent", "run", "-c", str(config)), "camagent/bench/+/detections")
    sample = run(rig, peer, camera, seconds)
    held, taken = (median(values) if values else 0.0 for values in (sample.held, sample.taken))
    return Wait(size=stream[0], stream_fps=stream[1], held=held, taken=taken, cpu=sample.ms * sample.fps / 1e3)


def run_profile(rig: Rig, url: str, seconds: float) -> list[Step]:
    """The agent with clocks around its steps."""
    config, target = agent_config(rig.folder, url, rig.broker, rig.fps, 1), rig.folder / "profile.json"
    command = (sys.executable, "-m", "bench.agent_profile", str(target), "run", "-c", str(config))
    with started(rig, command, "camagent/bench/+/detections") as (_, frames):
        frames.wait(round(seconds * rig.fps), seconds + 60.0)
    return msgspec.convert(json.loads(target.read_text())["steps"], list[Step])
