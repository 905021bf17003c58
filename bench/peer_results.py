"""What a run of the peers measured, and what follows from it. Pure; a run is kept as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from bench.latency import Spread

LIMITS = ("decode", "model")
STREAM_FPS, KEPT = 5.0, 0.97  # of each of many streams, and the share of frames that must have been worked on
MARGIN_MS = 5.0  # that the agent may add to decode and model


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in one round."""

    peer: str
    ms: float  # CPU per frame
    fps: float
    rss_mib: float
    first_s: float | None = None  # from the start to the first PUBLISH
    taken: list[float] = []  # ms from the demuxer's hand-out to the PUBLISH, per frame
    held: list[float] = []  # ms that the demuxer held each picture back before
    wall: list[float] = []  # ms per frame as the child says itself
    own: dict[str, float] = {}  # medians of the agent's own latency_ms


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """The agent with that many cameras."""

    cameras: int
    cpu: float  # seconds of CPU per second
    fps: float  # of all cameras together
    rss_mib: float


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The agent at 5 inferences a second on one kind of stream."""

    size: str
    stream_fps: float
    held: float  # ms, median
    taken: float
    cpu: float  # seconds of CPU per second


class HeadTiming(msgspec.Struct, frozen=True, kw_only=True):
    """One family's outputs decoded both ways, microseconds of CPU."""

    name: str
    ours: float
    low: float
    high: float
    plain: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the agent, microseconds of CPU per frame."""

    thread: str
    step: str
    us: float
    calls: float


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and of what."""

    date: str
    commit: str
    command: str
    processor: str
    cores: int
    kernel: str
    versions: dict[str, str]
    load: tuple[float, float]  # least and greatest of the one-minute averages, the bench's own included


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    machine: Machine
    clips: dict[str, float]  # section -> Mbit/s
    fps: dict[str, float]  # section -> frames per second
    sections: dict[str, list[Sample]]
    streams: list[Streams]
    waits: list[Wait]
    heads: list[HeadTiming]
    profile: list[Step]
    left_out: list[str]  # what was not measured, and why


class Middle(msgspec.Struct, frozen=True):
    """A median over rounds, and between what they lie."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """`3.41 (3.38 to 3.50)`; without the brackets where there was one round."""
        spread = f" ({self.low:.{digits}f} to {self.high:.{digits}f})" if self.low != self.high else ""
        return f"{self.value:.{digits}f}{spread}"


class Target(msgspec.Struct, frozen=True):
    """Something that was to be reached."""

    what: str
    wanted: str
    reached: str
    met: bool


def middle(values: Sequence[float]) -> Middle:
    """Of at least one value."""
    return Middle(median(values), min(values), max(values))


def of(section: Sequence[Sample], peer: str) -> list[Sample]:
    """A peer's rounds."""
    return [sample for sample in section if sample.peer == peer]


def peers_of(section: Sequence[Sample]) -> list[str]:
    """In the order in which they first ran."""
    return list(dict.fromkeys(sample.peer for sample in section))


def overheads(section: Sequence[Sample]) -> list[float]:
    """What the agent costs beside decode and model, as a share of decode, round by round."""
    rounds = zip(of(section, "camagent"), of(section, "decode"), of(section, "model"), strict=True)
    return [(agent.ms - decode.ms - model.ms) / decode.ms for agent, decode, model in rounds]


def latency(section: Sequence[Sample], peer: str) -> Spread | None:
    """Over all rounds; None where nobody listened."""
    values = [value for sample in of(section, peer) for value in sample.taken]
    return Spread.of(values) if values else None


def wall(section: Sequence[Sample], peer: str) -> float:
    """Median milliseconds per frame of a child that says them."""
    return median(value for sample in of(section, peer) for value in sample.wall)


def by_cameras(streams: Sequence[Streams]) -> Mapping[int, Middle]:
    """Cameras -> CPU seconds per second, of the rounds that kept the pace; of all where none did."""
    found = {}
    for count in sorted({each.cameras for each in streams}):
        rounds = [each for each in streams if each.cameras == count]
        found[count] = middle([each.cpu for each in [r for r in rounds if keeps_pace(r)] or rounds])
    return found


def keeps_pace(streams: Streams) -> bool:
    """Whether next to every frame was worked on: otherwise the machine is too busy, and a stream costs less than it should."""
    return streams.fps >= KEPT * STREAM_FPS * streams.cameras


def targets(results: Results) -> list[Target]:
    """All that the project set itself."""
    return [found for make in (_overhead, _latency, _tail, _streams, _heads) for found in make(results)]


def _overhead(results: Results) -> list[Target]:
    share = middle(overheads(results.sections["1080p"]))
    return [
        Target("CPU beside decode and model at 1080p", "at most 0.5 x decode", f"{share.text()} x decode", share.value <= 0.5)
    ]


def _latency(results: Results) -> list[Target]:
    section = results.sections["1080p"]
    found = latency(section, "camagent")
    if found is None:
        return []
    limit = wall(section, "decode") + wall(section, "model") + MARGIN_MS
    return [
        Target("median latency at 1080p", f"decode + model + 5 ms = {limit:.1f} ms", f"{found.p50:.1f} ms", found.p50 <= limit)
    ]


def _tail(results: Results) -> list[Target]:
    section = results.sections["1080p"]
    ours = latency(section, "camagent")
    theirs = {peer: spread for peer in peers_of(section) if peer.startswith("plain") and (spread := latency(section, peer))}
    if ours is None or not theirs:
        return []
    best = min(theirs, key=lambda peer: theirs[peer].p99)
    wanted = f"that of the better script ({best}): {theirs[best].p99:.1f} ms"
    return [Target("p99 of the latency at 1080p", wanted, f"{ours.p99:.1f} ms", ours.p99 <= theirs[best].p99)]


def _streams(results: Results) -> list[Target]:
    cost = by_cameras(results.streams)
    if not {1, 16} <= cost.keys():
        return []
    times = cost[16].value / cost[1].value
    kept = any(keeps_pace(each) for each in results.streams if each.cameras == 16)
    reached = f"{times:.1f} x one" if kept else f"{times:.1f} x one, but the machine was too busy for all frames"
    return [Target("16 streams at 5 fps", "at most 16.5 x one", reached, kept and times <= 16.5)]


_RAW: tuple[tuple[str, str, Callable[[HeadTiming], bool], Callable[[HeadTiming], str]], ...] = (
    *(
        (name, "at most 0.60 ms", lambda row: row.ours <= 600, lambda row: f"{row.ours / 1e3:.2f} ms")
        for name in ("yolov5 raw", "yolov8, yolo11 raw", "yolox raw, undecoded")
    ),
    (
        "yolov8-rknn, 9 outputs", "at least 5 x as fast as the sample's arithmetic",
        lambda row: row.plain >= 5 * row.ours, lambda row: f"{row.plain / row.ours:.1f} x",
    ),
)  # fmt: skip


def _heads(results: Results) -> list[Target]:
    by_name = {row.name: row for row in results.heads}
    return [
        Target(f"head {name}", wanted, say(by_name[name]), met(by_name[name]))
        for name, wanted, met, say in _RAW
        if name in by_name
    ]
