"""--trace: events that the viewers take, whose spans are the steps' measured lengths, from real runs too."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from camagent.errors import FileUnusable
from camagent.frame import Frame, Latency, Letterbox, Result, StageCounts
from camagent.trace import Trace
from tests.support.agent import Agent, Listener, camagent, camera, make_bundle
from tests.support.broker import running
from tests.support.data import shared
from tests.support.trace_format import events_of, rows, spans

STEPS = {"decode", "preprocess", "infer", "postprocess"}
CLIP = "video/one-by-one-person-detection.mp4"


def result(arrived: float, **latency: float) -> Result:
    frame = Frame(cast("Any", SimpleNamespace(width=4, height=4)), 0.5, 0.0, "arrival", arrived, 2.0)
    usual = Latency(decode=2.0, preprocess=1.0, infer=30.0, postprocess=4.0, total=100.0)
    return Result(
        frame, cast("Any", None), StageCounts(), replace(usual, **latency), Letterbox(4, 4, 4, 4, 1.0, 1.0, 0, 0)
    )  # fmt: skip


def check(path: Path, names: set[str], frames: int) -> None:
    """Every frame has its four steps and its arrow, in rows with a name."""
    events = events_of(path)
    assert set(rows(events).values()) == {f"{name} {row}" for name in names for row in ("decode", "worker")}
    assert {event["name"] for event in spans(events)} == STEPS
    infers = [event for event in spans(events) if event["name"] == "infer"]
    assert len(infers) >= frames
    assert [event["args"]["frame"] for event in infers] == list(range(1, len(infers) + 1))
    assert sum(event["ph"] == "s" for event in events) == len(infers)


def test_spans_end_to_end_from_the_last_step_back(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with Trace(path) as trace:
        trace.frame("front", result(arrived=9.9), done=10.0)
    events = events_of(path)
    found = {event["name"]: (event["ts"], event["dur"]) for event in spans(events)}
    assert found == {
        "decode": (9_900_000, 2_000), "preprocess": (9_965_000, 1_000), "infer": (9_966_000, 30_000),
        "postprocess": (9_996_000, 4_000),
    }  # fmt: skip
    assert {(event["ph"], event["ts"]) for event in events if event["ph"] in "sf"} == {("s", 9_900_000), ("f", 9_965_000)}
    assert all(event["args"] == {"frame": 1, "pts": 0.5} for event in spans(events))


def test_steps_touch_whatever_their_lengths_are(tmp_path: Path) -> None:
    """At a year's uptime, where a float's microseconds have a resolution of 4 nanoseconds."""
    path = tmp_path / "t.json"
    with Trace(path) as trace:
        for number in range(200):
            third = 1 / 3 + number * 0.0137
            frame = result(31_536_000 + number, preprocess=third, infer=third * 7.1, postprocess=third / 9)
            trace.frame("front", frame, 31_536_000 + number + 0.05)
    check(path, {"front"}, 200)


def test_frames_that_a_decoder_gives_out_of_order_do_not_overlap(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with Trace(path) as trace:
        for number, arrived in enumerate((1.000, 1.001, 1.0005)):
            trace.frame("front", result(arrived), done=1.2 + number / 10)
    decodes = [event for event in spans(events_of(path)) if event["name"] == "decode"]
    assert [event["dur"] for event in decodes] == [2000, 2000, 2000]


def test_a_trace_ends_at_its_greatest_length_and_stays_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.json"
    with caplog.at_level(logging.WARNING), Trace(path, limit=4000) as trace:
        for number in range(100):
            trace.frame("front", result(arrived=float(number)), done=number + 0.1)
    assert 4000 <= path.stat().st_size < 5000
    check(path, {"front"}, 4)
    assert caplog.text.count("greatest length") == 1


def test_names_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with Trace(path) as trace:
        trace.frame('a"],\n', result(1.0), done=1.1)
    check(path, {'a"],\n'}, 1)


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="No such file"):
        Trace(tmp_path / "nowhere" / "t.json")


def test_a_full_disk_ends_the_trace_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace(Path("/dev/full"))
    for number in range(1000):
        trace.frame("front", result(arrived=float(number)), done=number + 0.1)
    assert caplog.text.count("No space left on device") == 1
    trace.close()


def test_infer_and_run_write_one(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    offline = tmp_path / "infer.json"
    done = camagent("infer", str(bundle), str(shared(CLIP)), "--frames", "5", "--json", "--trace", str(offline))
    assert done.returncode == 0, done.stderr
    check(offline, {"one-by-one-person-detection"}, 5)
    assert isinstance(json.loads(offline.read_text()), list), "an array: a file whose process was killed still opens"
    live = tmp_path / "run.json"
    with running(tmp_path) as broker, Listener(broker.port) as listener:
        agent = Agent(tmp_path, broker.port, camera(shared(CLIP), bundle, publish="every-frame"))
        agent.more_arguments = ("--trace", str(live))
        with agent:
            listener.wait("front/detections", lambda body: body["seq"] >= 10, 30)
            assert agent.stop() == 0
    check(live, {"front"}, 10)
