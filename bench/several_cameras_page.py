"""What bench.several_cameras has measured, as Markdown. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera in one round: frames per second, and how old results were when they were made, ms."""

    asked: float
    fps: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One agent in one round."""

    cameras: Mapping[str, Camera]
    cores: float
    rss_mib: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a turn that nobody else wants at that moment."""

    alone: float
    of_four: float


Readings = Mapping[tuple[str, str], Sequence[Reading]]


def written(titles: Sequence[str], trees: Sequence[str], readings: Readings, cost: Cost, weights_mib: int) -> str:
    """All of it; medians over the rounds."""
    rounds, cores = len(next(iter(readings.values()))), len(os.sched_getaffinity(0))
    lines = [
        f"Medians over {rounds} rounds in which the agents took turns, on {cores} cores. What a camera got is",
        "frames per second, and their share of those it asked for; the age is that of a result from the arrival of its frame.",
        "",
    ]
    for title in titles:
        lines += [f"**{title}**", "", *_table(title, trees, readings), ""]
    lines += _memory(trees, readings, weights_mib)
    free = f"A turn that nobody else wants costs {cost.alone:.1f} µs of CPU for a camera alone, and {cost.of_four:.1f} µs for"
    lines += ["", free, "one of four.", ""]
    return "\n".join(lines)


def _table(title: str, trees: Sequence[str], readings: Readings) -> list[str]:
    head = ["camera", "asked", *(f"{word}, {tree}" for tree in trees for word in ("got", "age p50, ms", "p99"))]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, camera in readings[title, trees[-1]][0].cameras.items():
        cells = [name, f"{camera.asked:g}"]
        for tree in trees:
            of_it = [reading.cameras[name] for reading in readings[title, tree]]
            fps = median(one.fps for one in of_it)
            cells += [f"{fps:.1f} ({fps / camera.asked:.0%})", f"{median(one.p50 for one in of_it):.0f}"]
            cells.append(f"{median(one.p99 for one in of_it):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    together = (f"{tree} {_cpu(readings[title, tree])}" for tree in trees)
    return [*lines, "", f"CPU of the whole agent: {'; '.join(together)}."]


def _cpu(readings: Sequence[Reading]) -> str:
    per_frame = median(one.cores / max(sum(camera.fps for camera in one.cameras.values()), 1e-9) for one in readings)
    return f"{median(one.cores for one in readings):.2f} cores, {per_frame * 1e3:.1f} ms per frame"


def _memory(trees: Sequence[str], readings: Readings, weights_mib: int) -> list[str]:
    head = f"| MiB resident, a model with {weights_mib} MiB of weights | 1 camera | 4 cameras | each more |"
    lines = [head, "|---|---:|---:|---:|"]
    for tree in trees:
        one, four = (median(reading.rss_mib for reading in readings[f"memory {count}", tree]) for count in (1, 4))
        lines.append(f"| {tree} | {one:.0f} | {four:.0f} | {(four - one) / 3:.1f} |")
    return lines
