"""--trace: valid trace events whose spans are the steps' measured lengths, from real runs too."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
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

STEPS = {"decode", "preprocess", "infer", "postprocess"}
CLIP = "video/one-by-one-person-detection.mp4"


def result(arrived: float) -> Result:
    frame = Frame(cast("Any", SimpleNamespace(width=4, height=4)), 0.0, 0.0, "arrival", arrived, 2.0)
    latency = Latency(decode=2.0, preprocess=1.0, infer=30.0, postprocess=4.0, total=100.0)
    return Result(frame, cast("Any", None), StageCounts(), latency, Letterbox(4, 4, 4, 4, 1.0, 1.0, 0, 0))


def spans(path: Path) -> list[dict[str, Any]]:
    return [event for event in json.loads(path.read_text()) if event["ph"] == "X"]


def rows(path: Path) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in json.loads(path.read_text()) if event["ph"] == "M"}


def check(path: Path, names: set[str], frames: int) -> None:
    """Every frame has its four steps, in rows with a name, and a worker does one thing at a time."""
    events, named = spans(path), rows(path)
    assert set(named.values()) == {f"{name} {row}" for name in names for row in ("decode", "worker")}
    assert {event["name"] for event in events} == STEPS
    assert all(event["dur"] >= 0 and event["tid"] in named for event in events)
    assert len([event for event in events if event["name"] == "infer"]) >= frames
    for tid in (tid for tid, name in named.items() if name.endswith("worker")):
        one_by_one = sorted((event["ts"], event["dur"]) for event in events if event["tid"] == tid)
        for (start, length), (after, _) in pairwise(one_by_one):
            assert after >= start + length - 3, "steps of one thread overlap"


def test_spans_end_to_end_from_the_last_step_back(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with Trace(path) as trace:
        trace.frame("front", result(arrived=9.9), done=10.0)
    found = {event["name"]: (event["ts"], event["dur"]) for event in spans(path)}
    assert found == {
        "decode": (9_900_000, 2_000), "preprocess": (9_965_000, 1_000), "infer": (9_966_000, 30_000),
        "postprocess": (9_996_000, 4_000),
    }  # fmt: skip


def test_a_trace_ends_at_its_greatest_length_and_stays_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.json"
    with caplog.at_level(logging.WARNING), Trace(path, limit=2000) as trace:
        for number in range(100):
            trace.frame("front", result(arrived=float(number)), done=number + 0.1)
    assert 2000 <= path.stat().st_size < 3000
    check(path, {"front"}, 4)
    assert caplog.text.count("greatest length") == 1


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
    live = tmp_path / "run.json"
    with running(tmp_path) as broker, Listener(broker.port) as listener:
        agent = Agent(tmp_path, broker.port, camera(shared(CLIP), bundle, publish="every-frame"))
        agent.more_arguments = ("--trace", str(live))
        with agent:
            listener.wait("front/detections", lambda body: body["seq"] >= 10, 30)
            assert agent.stop() == 0
    check(live, {"front"}, 10)
