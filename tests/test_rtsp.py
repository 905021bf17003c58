"""The RTSP source against a real server: transports, codecs, refusals, and servers that say nothing."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from pathlib import Path

import av
import pytest

from camagent.config import Camera
from camagent.errors import SourceError, StreamUnreachable
from camagent.sources import open_source
from camagent.sources.errors import DecoderUnusable, StreamDown, StreamRefused
from tests.support.camera import Clips, RtspCamera, Viewer, free_port, misbehaving


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_frames_arrive(clips: Clips, codec: str) -> None:
    with (
        RtspCamera(clips.make(codec), codec=codec) as camera,
        Viewer(camera.url, transport="tcp") as tcp,
        Viewer(camera.url, transport="udp") as udp,
    ):
        for viewer in (tcp, udp):
            viewer.wait_frames(8, 15)
            status = viewer.status
            assert (status.state, status.reason, status.width, status.height) == ("running", None, 640, 360)
            assert status.codec == {"h265": "hevc"}.get(codec, codec)
            assert (status.decoder_errors, status.corrupt, status.reconnects) == (0, 0, 0)
            points = [frame.pts for frame in viewer.frames if frame.pts is not None]
            assert points == sorted(points)
            assert points[-1] - points[0] <= 0.1 * (len(points) - 1 + viewer.slot.dropped) + 0.02
            assert viewer.stopped_in() < 2.0
            assert viewer.status.state == "ended"


def test_frames_gathered_while_opening_are_decoded_and_not_handed_over(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera, Viewer(camera.url) as viewer:
        viewer.wait_frames(5)
        first = viewer.frames[0]
        assert first.pts is not None
        assert first.pts > 0.1  # the key frame at 0 came while FFmpeg was still probing
        assert viewer.status.decoded > viewer.count


def test_frame_time_comes_from_the_cameras_clock_once_it_is_known(clips: Clips) -> None:
    with RtspCamera(clips.make(bframes=2)) as camera, Viewer(camera.url) as viewer:
        viewer.wait(lambda status: status.time_source == "rtcp", 12, "time from RTCP")
        viewer.wait_frames(5)
        for frame in viewer.frames[-5:]:
            assert frame.time_source == "rtcp"
            assert abs(time.time() - (time.monotonic() - frame.arrived) - frame.frame_time) < 0.6
        dated = [frame for frame in viewer.frames if frame.time_source == "rtcp"]
        for before, after in itertools.pairwise(dated):
            assert before.pts is not None
            assert after.pts is not None
            # one clock, whatever order the packets came in
            assert after.frame_time - before.frame_time == pytest.approx(after.pts - before.pts, abs=0.005)


def test_auto_falls_back_to_udp_where_the_server_refuses_tcp(clips: Clips) -> None:
    with RtspCamera(clips.make(), options=("--transport", "udp")) as camera:
        with Viewer(camera.url, transport="auto") as viewer:
            viewer.wait_frames(3)
        with Viewer(camera.url, transport="tcp") as viewer:
            viewer.wait(lambda status: status.reason == "transport-mismatch", 5)
            assert "461" in viewer.status.sentence


def test_joining_in_the_middle_of_a_long_gop_waits_for_the_key_frame(clips: Clips) -> None:
    clip = clips.make(gop=25, seconds=5)
    with RtspCamera(clip, options=("--shared",)) as camera, Viewer(camera.url) as first:
        first.wait_frames(8)
        with Viewer(camera.url) as second:
            second.wait_frames(3, 15)
            assert second.status.decoder_errors <= 1
            assert second.status.corrupt == 0


def test_paced_at_fps(clips: Clips) -> None:
    with RtspCamera(clips.make(fps=25, gop=25)) as camera, Viewer(camera.url, fps=5.0) as viewer:
        viewer.wait_frames(2)
        began, before = time.monotonic(), viewer.count
        viewer.wait_frames(10)
        assert (viewer.count - before) / (time.monotonic() - began) == pytest.approx(5.0, rel=0.2)
        assert not viewer.status.key_frames_only  # one key frame a second is not enough for five


def test_key_frames_alone_are_decoded_where_they_are_enough(clips: Clips) -> None:
    with RtspCamera(clips.make(fps=20, gop=5)) as camera, Viewer(camera.url, fps=2.0) as viewer:
        viewer.wait(lambda status: status.key_frames_only, 10)
        assert viewer.status.key_interval == pytest.approx(0.25, abs=0.02)
        before = viewer.status
        viewer.wait_frames(4)
        after = viewer.status
        assert after.packets - before.packets >= 25
        assert after.decoded - before.decoded <= 7
        assert after.decoder_errors == 0


def test_the_newest_frame_waits_for_a_slow_worker(clips: Clips) -> None:
    with RtspCamera(clips.make(fps=20, gop=20)) as camera, Viewer(camera.url, fps=2.0, hold_s=1.2) as viewer:
        viewer.wait_frames(3, 12)
        ages = [at - frame.arrived for at, frame in zip(viewer.taken_at[1:], viewer.frames[1:], strict=True)]
        assert max(ages) < 0.35, ages  # a due frame of up to 0.5 s ago was replaced by each newer one


def test_refusals_name_the_servers_own_word_and_no_password(clips: Clips, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RtspCamera(clips.make(), options=("--user", "viewer:s3cr3t-w0rd")) as camera:
        for credentials, word in (("viewer:wr0ng-w0rd@", "401"), ("", "401")):
            url = camera.url.replace("://", f"://{credentials}")
            with pytest.raises(StreamRefused, match=word) as refusal:
                next(open_source(Camera(name="c", url=url)).frames())
            _no_secret(refusal.value, caplog, "wr0ng-w0rd")
            assert refusal.value.reason == "stream-unreachable"
        url = camera.url.replace("://", "://viewer:s3cr3t-w0rd@")
        assert next(open_source(Camera(name="c", url=url)).frames()).width == 640
        with pytest.raises(StreamRefused, match="404") as refusal:
            next(open_source(Camera(name="c", url=url.replace("/cam", "/nix"))).frames())
        _no_secret(refusal.value, caplog, "s3cr3t-w0rd")


def test_credentials_from_files_are_read_at_every_connect(clips: Clips, tmp_path: Path) -> None:
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("viewer\n")
    password.write_text("not y#t\n")
    with (
        RtspCamera(clips.make(), options=("--user", "viewer:p@ss/w#rd")) as camera,
        Viewer(camera.url, user_file=user, password_file=password) as viewer,
    ):
        viewer.wait(lambda status: status.state == "waiting", 5)
        password.write_text("p@ss/w#rd\n")
        viewer.wait_frames(1, 8)


def _no_secret(error: BaseException | None, caplog: pytest.LogCaptureFixture, secret: str) -> None:
    """Not in the error, not in anything it was raised from or during, not in the log."""
    assert secret not in caplog.text
    while error is not None:
        assert secret not in repr(error) + str(error) + str(getattr(error, "evidence", "")) + str(error.args)
        error = error.__cause__ or error.__context__


def test_nobody_listens_and_no_such_host() -> None:
    with pytest.raises(StreamDown, match="refused"):
        next(open_source(Camera(name="c", url=f"rtsp://127.0.0.1:{free_port()}/cam")).frames())
    with pytest.raises(StreamUnreachable) as error:
        next(open_source(Camera(name="c", url="rtsp://u:sup3rsecret@nosuch.invalid/cam")).frames())
    assert "nosuch.invalid" in error.value.what
    assert "sup3rsecret" not in str(error.value.report())


def _silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait(60)


def _drip(connection: socket.socket, over: threading.Event) -> None:
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX-Padding: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        if over.wait(0.1):
            return


def _too_many(connection: socket.socket, over: threading.Event) -> None:
    while not over.is_set() and (request := connection.recv(4096)):
        number = next(line.split()[1] for line in request.decode().split("\r\n") if line.lower().startswith("cseq"))
        connection.sendall(f"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: {number}\r\n\r\n".encode())


def _no_media(connection: socket.socket, over: threading.Event, *, drip: bool = False) -> None:
    """Plays along up to PLAY, and then sends nothing: what a camera with too many clients does."""
    sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n"
    answers = {
        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}",
        "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    }
    while not over.is_set() and (request := connection.recv(4096).decode()):
        number = next(line.split()[1] for line in request.split("\r\n") if line.lower().startswith("cseq"))
        answer = answers.get(request.split()[0], "Session: 1\r\n\r\n")
        connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{answer}".encode())
        if drip and request.startswith("PLAY"):
            for byte in b"$\x00\x05\x00" + b"\x80" * 1000:
                connection.sendall(bytes([byte]))
                over.wait(0.1)


def _drips_media(connection: socket.socket, over: threading.Event) -> None:
    _no_media(connection, over, drip=True)


def _hangs_up(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(10)


def test_servers_that_misbehave_end_in_the_right_reason() -> None:
    """Side by side, because each is waited for."""
    with (
        misbehaving(_silent) as silent,
        misbehaving(_drip) as drip,
        misbehaving(_too_many) as full,
        misbehaving(_hangs_up) as rude,
        Viewer(silent, open_timeout_s=1.0) as on_silent,
        Viewer(drip, open_timeout_s=1.0) as on_drip,
        Viewer(full) as on_full,
        Viewer(rude) as on_rude,
    ):
        expected = {on_silent: "no RTSP answer", on_drip: "no RTSP answer", on_full: "453", on_rude: "cannot be opened"}
        for viewer, words in expected.items():
            viewer.wait(lambda status: status.state == "waiting", 8)
            assert viewer.status.reason == "stream-unreachable"
            assert words in viewer.status.sentence, viewer.status.sentence


def test_rtsp_without_media_is_a_client_limit() -> None:
    """Also where a byte comes now and then: every byte renews a socket's time-out, none ends in a picture."""
    with (
        misbehaving(_no_media) as nothing,
        misbehaving(_drips_media) as drip,
        Viewer(nothing, open_timeout_s=1.0) as on_nothing,
        Viewer(drip, open_timeout_s=1.0) as on_drip,
    ):
        for viewer in (on_nothing, on_drip):
            viewer.wait(lambda status: status.state == "waiting", 10)
            assert viewer.status.reason == "stream-client-limit"
            assert "speaks RTSP and sends no media" in viewer.status.sentence


def test_a_decoder_that_does_not_fit_is_said(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera:
        with pytest.raises(DecoderUnusable, match="hevc"):
            next(open_source(Camera(name="c", url=camera.url, decoder="hevc")).frames())
        assert "h264_v4l2m2m" in av.codecs_available
        with pytest.raises(DecoderUnusable, match="does not open"):
            next(open_source(Camera(name="c", url=camera.url, decoder="h264_v4l2m2m")).frames())
        assert next(open_source(Camera(name="c", url=camera.url, decoder="h264")).frames()).width == 640


def test_offline_gives_every_frame_of_one_session(clips: Clips) -> None:
    clip = clips.make(seconds=2, bframes=2)
    with RtspCamera(clip, options=("--once",)) as camera:
        source = open_source(Camera(name="c", url=camera.url))
        frames = list(source.frames())
        assert len(frames) == 20
        assert source.status().state == "ended"


def test_offline_says_when_the_session_breaks(clips: Clips) -> None:
    with RtspCamera(clips.make()) as camera:
        frames = open_source(Camera(name="c", url=camera.url, stall_timeout=1.0)).frames()
        next(frames)
        camera.command("freeze")
        with pytest.raises(SourceError, match="no picture for 1 s"):
            list(frames)
