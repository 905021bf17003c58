"""The RTSP source when the camera goes away, hangs, loses packets, or turns into another camera."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from camagent.config import Camera
from camagent.sources import open_source
from tests.support.camera import Clips, RtspCamera, Viewer, descriptors, free_port, rss_mib

RESUME_S = 3.0 + 1.0  # the promise, plus one key-frame interval of these clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stall_is_noticed_and_left_behind(clips: Clips, transport: str) -> None:
    with (
        RtspCamera(clips.make()) as camera,
        Viewer(camera.url, transport=transport, stall_timeout=1.0) as viewer,
    ):
        viewer.wait_frames(3)
        camera.command("freeze")
        noticed = viewer.wait(lambda status: status.reason == "stream-stalled", 5)
        assert 0.7 < noticed < 2.0
        camera.command("resume")
        viewer.wait_frames(3, 12)
        assert viewer.status.reason is None
        assert viewer.status.reconnects >= 1


def test_a_hanging_camera_does_not_hang_the_stop(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url, stall_timeout=60.0) as viewer:
        viewer.wait_frames(1)
        camera.command("freeze")
        time.sleep(0.3)
        assert viewer.stopped_in() < 1.0


def test_two_cameras_on_one_server_have_a_guard_each(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as one, Viewer(camera.url) as other:
        one.wait_frames(2)
        other.wait_frames(2)
        assert sum(thread.name == "view-guard" for thread in threading.enumerate()) == 2
        assert one.stopped_in() < 1.0
        other.wait_frames(3)  # the right connection was cut


def test_without_proc_the_read_timeout_still_fires(clips: Clips, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("camagent.sources.guard._DESCRIPTORS", tmp_path / "absent")
    with RtspCamera(clips.make()) as camera, Viewer(camera.url, stall_timeout=1.0) as viewer:
        viewer.wait_frames(2)
        camera.command("freeze")
        viewer.wait(lambda status: status.reason == "stream-stalled", 5)


@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_lost_packets_are_survived_and_counted(clips: Clips, codec: str) -> None:
    clip = clips.make(codec, size="1280x720", fps=15, gop=15)
    with RtspCamera(clip, codec=codec, options=("--drop", "0.02")) as camera:
        with Viewer(camera.url, transport="udp", stall_timeout=5.0) as viewer:
            viewer.wait(lambda status: status.packets > 60, 20, "60 packets")
            status = viewer.status
            assert status.state == "running"
            assert viewer.count > 3
            if codec != "mjpeg":  # a JPEG with a hole is dropped before the decoder sees it
                assert status.decoder_errors + status.corrupt > 0


def test_the_picture_changes_its_size_in_mid_stream(clips: Clips) -> None:
    with RtspCamera(clips.make(), clips.make(size="320x240")) as camera, Viewer(camera.url) as viewer:
        viewer.wait_frames(2)
        camera.command("clip 1")
        viewer.wait(lambda status: (status.width, status.height) == (320, 240), 5)
        viewer.wait_frames(3)
        assert viewer.frames[-1].width == 320
        assert viewer.status.reconnects == 0


def test_another_codec_after_a_reconnect(clips: Clips) -> None:
    port = free_port()
    with RtspCamera(clips.make(), port=port) as camera, Viewer(camera.url) as viewer:
        viewer.wait_frames(2)
        camera.kill()
        with RtspCamera(clips.make("h265"), codec="h265", port=port):
            viewer.wait(lambda status: status.codec == "hevc" and status.state == "running", 10)
        viewer.wait(lambda status: status.state == "waiting", 10)
        with RtspCamera(clips.make("mjpeg"), codec="mjpeg", port=port):
            viewer.wait(lambda status: status.codec == "mjpeg" and status.state == "running", 10)
        assert viewer.status.reconnects == 2


def test_a_server_that_ends_every_session_meets_a_growing_back_off(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        gaps = []
        for _ in range(3):
            viewer.wait_frames(1)
            camera.command("kick")
            viewer.wait(lambda status: status.state == "waiting", 5)
            assert viewer.status.reason == "stream-ended"
            gaps.append(viewer.wait(lambda status: status.state == "running", 10))
        assert gaps[0] < gaps[1] < gaps[2]  # 1, 2, 4 s: it answers all the time, so nothing shortens the wait


def outages(camera: RtspCamera, viewer: Viewer, absences: list[float], rng: random.Random) -> tuple[list[float], list[float]]:
    """Kills and restarts; returns seconds from accepting connections to the first frame, and RSS after each."""
    resumed, memory = [], []
    for absence in absences:
        viewer.wait_frames(1 + rng.randrange(8))
        time.sleep(rng.random() * 0.5)
        camera.kill()
        time.sleep(absence)
        camera.start()
        resumed.append(viewer.wait_frames(1, RESUME_S + 20))
        memory.append(rss_mib())
    return resumed, memory


def test_killed_and_restarted(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        outages(camera, viewer, [0.5], random.Random(1))
        threads, files = threading.active_count(), descriptors()
        resumed, _ = outages(camera, viewer, [1.0, 1.0, 2.0], random.Random(2))
        assert max(resumed) < RESUME_S, resumed
        assert (threading.active_count(), descriptors()) == (threads, files)


@pytest.mark.full(seconds=480)
@pytest.mark.timeout(1200)
def test_killed_and_restarted_twenty_times(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        rng = random.Random(3)
        outages(camera, viewer, [1.0] * 5, rng)
        threads, files = threading.active_count(), descriptors()
        absences = [1.0] * 17 + [90.0] * 3
        rng.shuffle(absences)
        resumed, memory = outages(camera, viewer, absences, rng)
        assert max(resumed) < RESUME_S, resumed
        assert (threading.active_count(), descriptors()) == (threads, files)
        assert slope(memory) < 0.3, memory


def test_sessions_leave_nothing_behind(clips: Clips) -> None:
    with RtspCamera(clips.make(size="1280x720", fps=30), options=("--shared",)) as camera:
        memory = []
        for session in range(24):
            frames = open_source(Camera(name="c", url=camera.url)).frames()
            for _ in range(8):
                next(frames)
            del frames
            if session == 8:
                threads, files = threading.active_count(), descriptors()
            memory.append(rss_mib())
        assert (threading.active_count(), descriptors()) == (threads, files)
        assert slope(memory[8:]) < 0.3, memory


def slope(values: list[float]) -> float:
    """Least-squares growth per step."""
    mean_x, mean_y = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((x - mean_x) ** 2 for x in range(len(values)))
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / over
