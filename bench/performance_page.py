"""docs/performance.md from a run: the tables are made here, and so is what they mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.peer_results import (
    Middle,
    Results,
    Sample,
    by_cameras,
    latency,
    middle,
    of,
    overheads,
    peers_of,
    targets,
    wall,
)

TITLES = {
    "decode": "(a) decoding alone", "model": "(a) `session.run` alone", "limit": "(a) the limit: both",
    "camagent": "(b) camagent, RTSP to MQTT",
    "plain": "(c) plain OpenCV script", "plain, one decoder thread": "(c) the same, one decoder thread",
    "ultralytics": "(d) `ultralytics predict`",
}  # fmt: skip
_SECTIONS = {
    "1080p": "FastestDet, 352x352, on 1920x1080", "720p": "FastestDet, 352x352, on 1280x720",
    "yolov8n": "YOLOv8n, 640x640, on 1920x1080",
}  # fmt: skip


def render(results: Results, plot: str = "") -> str:
    """The whole page; `plot` is the picture's file name beside it."""
    parts = [
        _head(results, plot), _targets(results), _cost(results), _latency(results), _waits(results), _streams(results),
        _ultralytics(results), _heads(results), _profile(results), _run(results),
    ]  # fmt: skip
    return "\n".join(part.strip() + "\n" for part in parts if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    first, *others = ("| " + " | ".join(row) + " |" for row in cells)
    return "\n".join([first, "|---|" + "---:|" * (len(head) - 1), *others]) + "\n"


def _head(results: Results, plot: str) -> str:
    picture = f"\n![CPU per frame, latency and streams]({plot})\n" if plot else ""
    return f"""
# What a frame costs

Written by `python -m bench.peers` from one run ({results.machine.date}, commit {results.machine.commit}); not edited by
hand. Everything takes turns on one machine, round after round, on the same frames, with the same model file, the same
session options (one thread, no spinning) and the same pace. Numbers are medians over the rounds, with the least and the
greatest in brackets.
{picture}"""


def _targets(results: Results) -> str:
    rows = [(target.what, target.wanted, target.reached, "yes" if target.met else "**no**") for target in targets(results)]
    missed = [row[0] for row in rows if row[3] != "yes"]
    why = "\nWhat was missed is explained by the profile below.\n" if missed else ""
    return "## Targets\n\n" + table(("", "wanted", "reached", "met"), rows) + why


def _cost(results: Results) -> str:
    listed = [name for name in ("1080p", "720p") if name in results.sections]
    return "## CPU, memory, start-up\n\n" + "\n".join(_section(results, name) for name in listed) + _COST


_COST = """
CPU is user and system time of the whole process, per frame. The limit is what nobody can go below: the decoder and the
network themselves. "Beside" is camagent less the limit, and its share is taken of decoding, because that is what a camera's
CPU is busy with when the network runs on an NPU. The script is the one that tutorials end with (`VideoCapture`, letterbox,
ONNX Runtime, paho): no objects over time, no account of what was delivered, no reconnecting, no health. Memory is resident at
the end. Start-up runs from the process's start to its first PUBLISH at the broker; the first picture of a stream comes with its
next key frame, here every 2 s.
"""


def _section(results: Results, name: str) -> str:
    section = results.sections[name]
    rows = [_row(section, peer) for peer in peers_of(section)]
    limit, share = _limit(section), middle(overheads(section))
    rows.insert(2, (TITLES["limit"], limit.text(), "", ""))
    beside = middle([(agent - bare) for agent, bare in zip(_ms(section, "camagent"), _limits(section), strict=True)])
    clip = next((f", {rate:.1f} Mbit/s" for key, rate in results.clips.items() if key == _clip(results, name)), "")
    return (
        f"### {_SECTIONS.get(name, name)} at {results.fps[name]:g} fps{clip}\n\n"
        + table(("", "ms of CPU per frame", "memory, MiB", "start-up, s"), rows)
        + f"\nBeside the limit, camagent takes **{beside.text()} ms = {share.text()} x decoding**.\n"
    )


def _clip(results: Results, name: str) -> str:
    return f"{'1280x720' if name == '720p' else '1920x1080'} {results.fps[name]:g}"


def _row(section: Sequence[Sample], peer: str) -> tuple[str, ...]:
    rounds = of(section, peer)
    starts = [sample.first_s for sample in rounds if sample.first_s is not None]
    memory = f"{median(sample.rss_mib for sample in rounds):.0f}"
    return TITLES.get(peer, peer), middle(_ms(section, peer)).text(), memory, f"{median(starts):.1f}" if starts else ""


def _ms(section: Sequence[Sample], peer: str) -> list[float]:
    return [sample.ms for sample in of(section, peer)]


def _limits(section: Sequence[Sample]) -> list[float]:
    return [sum(both) for both in zip(_ms(section, "decode"), _ms(section, "model"), strict=True)]


def _limit(section: Sequence[Sample]) -> Middle:
    return middle(_limits(section))


def _latency(results: Results) -> str:
    parts = []
    for name, section in results.sections.items():
        rows = []
        for peer in peers_of(section):
            spread = latency(section, peer)
            if spread is not None:
                rows.append(
                    (TITLES.get(peer, peer), f"{spread.p50:.1f}", f"{spread.p99:.1f}", f"{spread.most:.1f}", f"{spread.count}")
                )
        if rows:
            limit = f"{wall(section, 'decode'):.1f} + {wall(section, 'model'):.1f}"
            parts.append(f"{_SECTIONS.get(name, name)}; decoding and model alone take {limit} ms:\n")
            parts.append(table(("ms from hand-out to PUBLISH", "p50", "p99", "longest", "frames"), rows))
    if not parts:
        return "## Latency\n\nNot measured: " + "; ".join(results.left_out) + ".\n"
    return "## Latency\n\n" + "\n".join(parts) + _LATENCY


_LATENCY = """
From the moment in which the demuxer can hand out a picture's packet to the moment in which its PUBLISH enters the socket.
Both are the kernel's own times: the loopback interface is listened on (`bench/tap.py`), so nothing is built into what is
measured, and the
definition is the same for all. The first moment is when the first RTP packet of the *next* picture has come in, for that is
what FFmpeg waits for (below). A PUBLISH names its picture by the time stamp that the decoder gave out with it, which is held
against RTP's. What each frame took is counted; frames that a peer left out are not.

OpenCV decodes with one thread per core unless it is told otherwise, and frame threads hand a picture out only when the next
one goes in: with two cores its pictures are a whole frame interval late, whatever else the script does. camagent decodes
with one thread (`sources/decoder.py` says why).
"""


def _waits(results: Results) -> str:
    if not results.waits:
        return ""
    rows = [
        (
            f"{wait.size} at {wait.stream_fps:g} fps",
            f"{wait.held:.0f}",
            f"{wait.taken:.1f}",
            f"{wait.held + wait.taken:.0f}",
            f"{wait.cpu * 100:.1f} %",
        )
        for wait in results.waits
    ]
    head = ("stream", "held back by the demuxer, ms", "then to the PUBLISH, ms", "together, ms", "CPU, of a core")
    return f"""
## Which stream to take

{table(head, rows)}
All with `fps = 5`. FFmpeg's RTSP demuxer parses H.264 and H.265 to find where a picture ends, and it knows that only when the
next one begins. So **every picture is handed out one frame interval after it arrived**: 40 ms at 25 fps, 200 ms at 5. (Measured
from the picture's last RTP packet to the first of the next. MJPEG is not held back; tried, 0.3 ms.) No setting of camagent's
changes that, and the latencies above do not contain it.

What follows for the choice of stream: where the answer must be quick, let the camera send **many frames a second of a small
picture** (most have a sub-stream) and set camagent's `fps` to what you need; all frames are decoded then, and a small one
costs little. A camera throttled to 5 fps answers a fifth of a second later. Take that where CPU counts more: frames that
never come need not be decoded.
"""


def _streams(results: Results) -> str:
    cost = by_cameras(results.streams)
    if not cost:
        return ""
    one = cost[min(cost)]
    rows = []
    for count, cpu in cost.items():
        memory = median(each.rss_mib for each in results.streams if each.cameras == count)
        percent = Middle(cpu.value * 100, cpu.low * 100, cpu.high * 100)
        fps = max(each.fps for each in results.streams if each.cameras == count)
        rows.append((str(count), percent.text(1), f"{cpu.value / one.value:.2f}", f"{fps:.1f}", f"{memory:.0f}"))
    head = ("streams", "% of a core", "times one", "frames a second", "memory, MiB")
    return f"""
## Many streams

1920x1080 at 5 fps each, one agent, one model file (the cameras share its session), every frame published.

{table(head, rows)}"""


def _ultralytics(results: Results) -> str:
    if "yolov8n" not in results.sections:
        return ""
    return "## Beside ultralytics\n\n" + _section(results, "yolov8n") + _ULTRALYTICS


_ULTRALYTICS = """
All of them run the file that ultralytics itself exported (YOLOv8n, random weights: nothing is seen, so nothing is
suppressed or drawn). `predict(source=rtsp://.., stream=True)` was given the session options of the others and a publisher
of the same few lines as the script. It reads its stream in a thread of its own and works on the newest picture only.
"""


def _heads(results: Results) -> str:
    rows = [
        (row.name, f"{row.ours:.0f} ({row.low:.0f} to {row.high:.0f})", f"{row.plain:.0f}", f"{row.plain / row.ours:.1f}")
        for row in results.heads
    ]
    return f"""
## Decoding the outputs

`python -m bench.heads`: 640x640, 80 classes, 30 objects, each seen by 3 cells (90 candidates) and faintly by 9 more; CPU
time of the thread on one core, median and 10th to 90th percentile. "Plain" is the arithmetic of the vendors' samples in
plain numpy (`bench/head_plain.py`), loops where they have loops. Both must find the same objects, or nothing is measured.
Of the segmenters it is the boxes alone: masks are cut for what the filters leave.

{table(("microseconds", "camagent", "plain", "times"), rows)}
Where the plain way is as fast or faster, it does less: camagent also counts the cells that see anything at all (score of
0.01 and more) and the best score of the frame, by which `health` tells a model that sees nothing from one that is cut off.
Samples that drop everything below the threshold at once (YOLOv5, v7) need not look at those.
"""


def _profile(results: Results) -> str:
    rows = [(step.thread, step.step, f"{step.us:.0f}", f"{step.calls:.2f}") for step in results.profile]
    if not rows:
        return ""
    return f"""
## Where the agent's CPU goes

{_table_with_words(("thread", "step", "µs per frame", "calls per frame"), rows)}
`python -m bench.agent_profile`: CPU time of each thread by step, 1920x1080 at 10 fps, the clocks themselves included.
The largest part beside decoder and model is one pass of swscale over the picture, two thirds of the preprocessing: it reads
every line whatever the filter (tried: its nearest neighbour takes nine tenths of the time of the area filter). Then comes
what makes a detection sure to arrive: the outbox, and the broker's answer to every message through paho. The rest is spread
thin over some hundred calls. Each runs once every 100 ms, after the network has gone through the caches, and takes up to three
times as long as in a loop; on a machine that does other work besides, longer still.
"""


def _table_with_words(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    made = table(head, rows)
    return made.replace("|---|---:|", "|---|---|", 1)


def _run(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    first = "; all of it at a higher priority than that" if "--nice" in machine.command else ""
    left_out = "".join(f"- Left out: {each}.\n" for each in results.left_out)
    return f"""
## This run

- `{machine.command}`
- {machine.processor}, {machine.cores} cores, Linux {machine.kernel}; {versions}.
- Load average during the run, its own included: {machine.load[0]:.1f} to {machine.load[1]:.1f} on {machine.cores} cores{first}.
  Other work makes caches cold and every number larger; the comparisons take turns, so it touches all alike.
{left_out}- Camera: GStreamer's RTSP server (`tests/support/rtsp_camera.py`), H.264 over TCP on the loopback; broker: mosquitto.
- The clip is a 768x432 film scaled up: smooth, so decoding it is cheap, and the share of decoding above is a hard measure.
"""
