"""The RTSP source when the camera goes away, hangs, loses packets, or turns into another camera."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream

from camagent.config import Camera
from camagent.sources import open_source
from camagent.sources.decoder import Decoded, Decoder
from camagent.sources.timing import Arrival
from tests.support.camera import Clips, RtspCamera, Viewer, descriptors, free_port, rss_mib

RESUME_S = 3.0 + 1.0  # the promise, plus one key-frame interval of these clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


def test_a_stall_is_noticed_and_left_behind(clips: Clips) -> None:
    with (
        RtspCamera(clips.make()) as camera,
        Viewer(camera.url, stall_timeout=1.0) as tcp,
        Viewer(camera.url, stall_timeout=1.0, transport="udp") as udp,
    ):
        for viewer in (tcp, udp):
            viewer.wait_frames(3)
        camera.command("freeze")
        frozen = time.monotonic()
        for viewer in (tcp, udp):
            viewer.wait(lambda status: status.reason == "stream-stalled", 5)
            assert 0.7 < time.monotonic() - frozen < 3.0
        camera.command("resume")
        for viewer in (tcp, udp):
            viewer.wait_frames(3, 12)
            assert viewer.status.reason is None
            assert viewer.status.reconnects >= 1


def test_a_hanging_camera_does_not_hang_the_stop(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url, stall_timeout=60.0) as viewer:
        viewer.wait_frames(1)
        camera.command("freeze")
        time.sleep(0.3)
        assert viewer.stopped_in() < 2.0


def test_two_cameras_on_one_server_have_a_guard_each(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as one, Viewer(camera.url) as other:
        one.wait_frames(2)
        other.wait_frames(2)
        assert sum(thread.name == "view-guard" for thread in threading.enumerate()) == 2
        assert one.stopped_in() < 2.0
        other.wait_frames(3)  # the right connection was cut


def test_without_proc_the_read_timeout_still_fires(clips: Clips, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("camagent.sources.guard._DESCRIPTORS", tmp_path / "absent")
    with RtspCamera(clips.make()) as camera, Viewer(camera.url, stall_timeout=1.0) as viewer:
        viewer.wait_frames(2)
        camera.command("freeze")
        viewer.wait(lambda status: status.reason == "stream-stalled", 5)


def test_lost_packets_are_survived_and_counted(clips: Clips) -> None:
    """Three codecs side by side, each losing one RTP packet in fifty."""
    with ExitStack() as stack:
        viewers = {}
        for codec in ("h264", "h265", "mjpeg"):
            clip = clips.make(codec, size="640x360" if codec == "mjpeg" else "1280x720", fps=20, gop=20)
            camera = stack.enter_context(RtspCamera(clip, codec=codec, options=("--drop", "0.02")))
            viewers[codec] = stack.enter_context(Viewer(camera.url, transport="udp", stall_timeout=5.0))
        for codec, viewer in viewers.items():
            # a JPEG with a hole is dropped before the decoder sees it; the others come out damaged, or not at all
            viewer.wait(lambda status: status.packets > 40, 30, f"40 packets of {codec}")
            if codec != "mjpeg":
                viewer.wait(lambda status: status.decoder_errors + status.corrupt > 0, 30, f"damage in {codec}")
            assert viewer.status.state == "running"
            assert viewer.count > 3
        assert all(viewer.status.reconnects == 0 for viewer in viewers.values())


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
        for _ in range(2):
            viewer.wait_frames(1)
            camera.command("kick")
            viewer.wait(lambda status: status.state == "waiting", 5)
            assert viewer.status.reason == "stream-ended"
            gaps.append(viewer.wait(lambda status: status.state == "running", 10))
        assert gaps[0] < gaps[1]  # 1, 2, .. s: it answers all the time, so nothing shortens the wait


def test_a_decoder_that_is_too_slow_skips_instead_of_falling_behind(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Decoder.decode

    def slowly(self: Decoder, packet: av.Packet[VideoStream], arrival: Arrival) -> list[Decoded]:
        time.sleep(0.16)
        return decode(self, packet, arrival)

    monkeypatch.setattr(Decoder, "decode", slowly)
    monkeypatch.setattr("camagent.sources.pacing.OVERLOAD_S", 3.0)
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        viewer.wait(lambda status: status.overloads >= 1, 12)
        viewer.wait_frames(2)
        assert time.time() - viewer.frames[-1].frame_time < 1.5
        assert viewer.status.reconnects == 0


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
    with (
        RtspCamera(clips.make()) as camera,
        Viewer(camera.url, keep=1) as viewer,
        Viewer(camera.url, keep=1, transport="udp") as udp,
    ):
        outages(camera, viewer, [0.5], random.Random(1))
        udp.wait_frames(1, RESUME_S)
        threads, files = threading.active_count(), descriptors()
        for absence in (1.0, 0.7, 1.0):
            resumed, _ = outages(camera, viewer, [absence], random.Random(2))
            assert resumed[0] < RESUME_S
            udp.wait_frames(1, RESUME_S)
        assert (threading.active_count(), descriptors()) == (threads, files)


@pytest.mark.full(seconds=380)
@pytest.mark.timeout(1200)
def test_killed_and_restarted_twenty_times(clips: Clips, capsys: pytest.CaptureFixture[str]) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url, keep=1) as viewer:
        rng = random.Random(3)
        outages(camera, viewer, [1.0] * 5, rng)
        threads, files = threading.active_count(), descriptors()
        absences = [1.0] * 17 + [90.0] * 3
        rng.shuffle(absences)
        resumed, memory = outages(camera, viewer, absences, rng)
        with capsys.disabled():
            print(f"\nresumed after {min(resumed):.2f}-{max(resumed):.2f} s; RSS {slope(memory):+.3f} MiB per reconnect")
        assert max(resumed) < RESUME_S, resumed
        assert (threading.active_count(), descriptors()) == (threads, files)
        assert slope(memory) < 0.3, memory


def test_sessions_leave_nothing_behind(clips: Clips) -> None:
    with RtspCamera(clips.make(size="1280x720", fps=30), options=("--shared",)) as camera:
        memory = []
        for session in range(14):
            frames = open_source(Camera(name="c", url=camera.url)).frames()
            for _ in range(8):
                next(frames)
            del frames
            if session == 6:
                threads, files = threading.active_count(), descriptors()
            memory.append(rss_mib())
        assert (threading.active_count(), descriptors()) == (threads, files)
        assert slope(memory[6:]) < 0.3, memory


def slope(values: list[float]) -> float:
    """Least-squares growth per step."""
    mean_x, mean_y = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((x - mean_x) ** 2 for x in range(len(values)))
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / over
