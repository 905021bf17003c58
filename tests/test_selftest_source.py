"""What a camera gives while it is watched, and what that means: real streams in every condition, and the judgement alone."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from camagent.clock import SystemClock
from camagent.config import Camera
from camagent.selftest.capture import Patience, Watcher, capture
from camagent.selftest.ladder import Outcome
from camagent.selftest.rung_source import SourceRung, judge
from camagent.selftest.sample import MOST_FRAMES, LiveSample, SourceFacts, damaged
from tests.support.camera import Clips, RtspCamera, Viewer, free_port, misbehaving

CLOCK = SystemClock()
QUICK = Patience(watch=3.5, glitch=2.0, opening=12.0, other=6.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


def scene(folder: Path, name: str, drawn: str) -> Path:
    """A scene in which nothing moves, each picture coded alike."""
    path = folder / name
    source = f"color=c=0x406080:size=320x240:rate=10:duration=6,{drawn}"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        source,
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-qp",
        "20",
    ]
    subprocess.run(
        [*command, "-qp", "20", "-x264-params", "log-level=error", "-g", "10", "-bf", "0", str(path)], check=True, timeout=60
    )
    return path


def silent(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(4096)
    over.wait(60)


def watched(url: str | Path, **keys: Any) -> tuple[LiveSample, Outcome]:
    sample = capture(Camera(name="front", url=str(url), **keys), CLOCK, lambda _: None, QUICK)
    return sample, SourceRung(sample).run(lambda _: None)


def ids(outcome: Outcome) -> list[str]:
    return [cause.id for cause in outcome.causes]


@pytest.fixture(scope="module")
def seen(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[LiveSample, Outcome]]]:
    """Every stream at once, since each takes its time."""
    folder, clip = tmp_path_factory.mktemp("scenes"), clips.make()
    with ExitStack() as stack:

        def camera(path: Path, *options: str) -> str:
            return stack.enter_context(RtspCamera(path, options=options)).url

        good, guarded = camera(clip), camera(clip, "--user", "admin:geheim")
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "good": (good, {}),
            "absent": (f"rtsp://127.0.0.1:{free_port()}/cam", {}),
            "no such path": (good.replace("/cam", "/nowhere"), {}),
            "wrong password": (guarded.replace("//", "//admin:falsch@"), {}),
            "silent": (stack.enter_context(misbehaving(silent)), {"stall_timeout": 2.0}),
            "udp only": (camera(clip, "--transport", "udp"), {}),
            "still": (camera(scene(folder, "still.mp4", "drawbox=x=40:y=40:w=60:h=60:color=red:t=fill")), {}),
            "noisy": (camera(scene(folder, "noisy.mp4", "noise=alls=4:allf=t")), {}),
        }
        with ThreadPoolExecutor(len(asked)) as pool:
            jobs = {name: pool.submit(watched, url, **keys) for name, (url, keys) in asked.items()}
            yield {name: job.result(60) for name, job in jobs.items()}


def test_a_good_stream(seen: dict[str, tuple[LiveSample, Outcome]]) -> None:
    sample, outcome = seen["good"]
    assert (outcome.status, ids(outcome)) == ("pass", [])
    assert sample.facts.state == "running"
    assert 3 <= len(sample.frames) <= MOST_FRAMES
    assert len(sample.facts.fingerprints) == len(sample.facts.pts) >= 20
    assert len(set(sample.facts.fingerprints)) > 10
    assert sample.facts.transport == "tcp"


@pytest.mark.parametrize("name", ["absent", "no such path", "wrong password"])
def test_a_camera_that_cannot_be_reached_or_says_no(seen: dict[str, tuple[LiveSample, Outcome]], name: str) -> None:
    sample, outcome = seen[name]
    assert (outcome.status, ids(outcome)) == ("fail", ["stream-unreachable"])
    assert sample.facts.sentence
    assert "falsch" not in str(outcome.causes[0].report())


def test_a_server_that_accepts_and_says_nothing(seen: dict[str, tuple[LiveSample, Outcome]]) -> None:
    _, outcome = seen["silent"]
    assert outcome.status == "fail"
    cause = outcome.causes[0]
    assert {cause.id, *cause.alternatives} & {"stream-unreachable", "stream-client-limit"}


def test_the_wrong_transport_is_proved_by_the_other_one(seen: dict[str, tuple[LiveSample, Outcome]]) -> None:
    sample, outcome = seen["udp only"]
    assert ids(outcome) == ["transport-mismatch"]
    cause = outcome.causes[0]
    assert cause.fix_verified is True
    assert cause.change is not None
    assert dict(cause.change.config) == {"transport": "udp"}
    assert sample.frames, "what came over the other one is there for the model"


def test_a_picture_that_stands_still_and_a_scene_in_which_nothing_moves(seen: dict[str, tuple[LiveSample, Outcome]]) -> None:
    assert ids(seen["still"][1]) == ["stream-frozen"]
    assert ids(seen["noisy"][1]) == []


def test_a_stream_that_freezes_while_it_is_watched(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, ThreadPoolExecutor(1) as pool:
        job = pool.submit(watched, camera.url, stall_timeout=3.0)
        time.sleep(1.2)
        camera.command("freeze")
        sample, outcome = job.result(40)
    assert sample.facts.decoded
    assert ids(outcome) == ["stream-stalled"]


def test_damage_is_counted(clips: Clips) -> None:
    with RtspCamera(clips.make(size="1280x720", fps=20, gop=20), options=("--drop", "0.05")) as camera:
        sample, outcome = watched(camera.url, transport="udp")
    assert sample.facts.decoder_errors + sample.facts.corrupt > 0
    assert outcome.status in {"warn", "fail"}
    assert set(ids(outcome)) <= {"packet-loss-smear"}


def test_damage_over_udp_that_is_gone_over_tcp_proves_the_fix(clips: Clips) -> None:
    clip = clips.make(size="1280x720", fps=20, gop=20)
    with RtspCamera(clip, options=("--drop", "0.3")) as camera, ThreadPoolExecutor(1) as pool:
        job = pool.submit(watched, camera.url, transport="udp")
        time.sleep(1.0)
        camera.command("drop 0")  # for sessions to come: as where packets are lost on the way, and TCP sends them again
        sample, outcome = job.result(60)
    assert damaged(sample.facts)
    assert sample.facts.sound_over == "tcp"
    (cause,) = outcome.causes
    assert (cause.id, cause.fix_verified) == ("packet-loss-smear", True)
    assert cause.change is not None
    assert dict(cause.change.config) == {"transport": "tcp"}


def test_damage_that_comes_over_tcp_as_well_proves_nothing(clips: Clips) -> None:
    with RtspCamera(clips.make(size="1280x720", fps=20, gop=20), options=("--drop", "0.3")) as camera:
        sample, outcome = watched(camera.url, transport="udp")
    assert damaged(sample.facts)
    assert sample.facts.sound_over == ""
    assert [cause.fix_verified for cause in outcome.causes] == [None]


def without_second_slices(clip: Path, to: Path) -> Path:
    """The clip as a sender leaves it that loses the same part of every key frame."""
    with av.open(str(clip)) as source, av.open(str(to), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            units, data = [], bytes(memoryview(packet)) if packet.size else b""
            while data:
                end = 4 + int.from_bytes(data[:4], "big")
                units.append(data[:end])
                data = data[end:]
            kept = units if not packet.is_keyframe else units[:-1]
            if not kept:
                continue
            made = av.Packet(b"".join(kept))
            made.pts, made.dts, made.time_base, made.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
            made.stream = stream
            target.mux(made)
    return to


@pytest.mark.parametrize("through", ["file", "rtsp"])
def test_damaged_key_frames_smear_what_lies_between_them(clips: Clips, tmp_path: Path, through: str) -> None:
    """Few pictures are called damaged by the decoder, and all of them are."""
    clip = without_second_slices(clips.make(fps=20, gop=20, slices=2), tmp_path / "smeared.mp4")
    with ExitStack() as stack:
        url = str(clip) if through == "file" else stack.enter_context(RtspCamera(clip)).url
        sample, outcome = watched(url)
    facts = sample.facts
    assert facts.damaged_keys == facts.key_frames >= 2
    assert facts.corrupt < 0.2 * facts.decoded, "by their number alone they would pass for a glitch"
    assert "packet-loss-smear" in {name for cause in outcome.causes for name in (cause.id, *cause.alternatives)}
    assert outcome.causes[0].evidence["damaged_key_frames"] == f"{facts.damaged_keys} of {facts.key_frames}"


def test_a_running_reader_is_watched_without_a_second_session(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        viewer.wait_frames(2)

        def attach(tap: Any) -> None:
            viewer.source.tap = tap

        sample = Watcher(Camera(name="c", url=camera.url), lambda: viewer.status, attach, CLOCK, QUICK).watch()
        assert SourceRung(sample).run(lambda _: None).status == "pass"
        assert len(sample.frames) >= 3
        assert viewer.source.tap is None
        assert viewer.status.reconnects == 0


def test_files_and_folders(clips: Clips, tmp_path: Path) -> None:
    from tests.support.bundles import blob_picture

    sample, outcome = watched(clips.make())
    assert (outcome.status, len(sample.frames)) == ("pass", MOST_FRAMES)
    times = [frame.pts for frame in sample.frames if frame.pts is not None]
    assert times[-1] - times[0] > 2, "spread over the film"
    (tmp_path / "one.png").write_bytes(blob_picture())
    sample, outcome = watched(tmp_path / "one.png")
    assert (outcome.status, ids(outcome), len(sample.frames)) == ("pass", [], 1)
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 5000)
    _, outcome = watched(tmp_path / "bad.mp4")
    assert ids(outcome) == ["stream-unreachable"]


def test_no_source_is_no_finding() -> None:
    assert SourceRung(None).run(lambda _: None).status == "skip"


LIVE = SourceFacts(
    "running", seconds=6.0, packets=60, decoded=60, key_interval=1.0, transport="tcp",
    pts=tuple(0.1 * i for i in range(60)), fingerprints=tuple(range(60)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({}, "pass", []),
        ({"fingerprints": (7,) * 60}, "fail", ["stream-frozen"]),
        ({"fingerprints": (*range(20), *(7,) * 40)}, "fail", ["stream-frozen"]),  # the encoder has refined it before
        ({"fingerprints": (7,) * 60, "key_interval": 10.0}, "pass", []),  # no key frame in it: a saving codec looks so
        ({"fingerprints": (7,) * 60, "key_interval": None}, "pass", []),
        ({"fingerprints": (7,) * 60, "transport": ""}, "pass", []),  # a film of one picture is a film
        ({"fingerprints": (7,) * 5, "pts": LIVE.pts[:5]}, "pass", []),  # too few to say
        ({"fingerprints": (7,) * 60, "pts": (0.0,) * 60}, "pass", []),  # its time does not go on: no picture is repeated
        ({"decoder_errors": 30, "corrupt": 10}, "fail", ["packet-loss-smear"]),
        ({"decoder_errors": 5}, "warn", []),
        ({"reconnects": 1}, "warn", []),
        ({"key_interval": 60.0}, "warn", []),
        ({"key_interval": 60.0, "pts": (*LIVE.pts[:30], *(t + 9 for t in LIVE.pts[30:]))}, "fail", ["smart-codec-on"]),
        ({"state": "waiting-source", "reason": "stream-stalled"}, "fail", ["stream-stalled"]),
        ({"decoded": 0, "pts": (), "fingerprints": (), "packets": 0}, "fail", ["stream-unreachable"]),
        ({"decoded": 0, "pts": (), "fingerprints": (), "seconds": 5.0}, "warn", []),  # the wait for a key frame
        ({"decoded": 0, "pts": (), "fingerprints": (), "seconds": 30.0}, "fail", ["smart-codec-on"]),
        ({"decoded": 0, "pts": (), "fingerprints": (), "decoder_errors": 60}, "fail", ["packet-loss-smear"]),
        ({"decoded": 0, "packets": 0, "reason": "stream-client-limit"}, "fail", ["stream-client-limit"]),
        ({"decoded": 0, "packets": 0, "reason": "stream-ended"}, "fail", ["stream-stalled"]),
        ({"decoded": 0, "packets": 0, "reason": "no-frames", "transport": ""}, "fail", ["stream-unreachable"]),
    ],
)
def test_what_the_numbers_mean(changes: dict[str, Any], status: str, named: list[str]) -> None:
    outcome = judge(replace(LIVE, **changes))
    assert (outcome.status, ids(outcome)) == (status, named)
    for cause in outcome.causes:
        assert len(cause.alternatives) <= 2


def test_equal_pictures_for_long_without_a_key_frame_cannot_be_decided_here() -> None:
    slow = replace(LIVE, key_interval=None, fingerprints=(7,) * 60, pts=tuple(0.3 * i for i in range(60)))
    (cause,) = judge(slow).causes
    assert (cause.id, cause.alternatives) == ("stream-frozen", ("smart-codec-on",))
    assert cause.send
