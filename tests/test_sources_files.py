"""Files as sources: videos, pictures, folders; what is no such thing gets a sentence that names the file."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from camagent.config import Camera
from camagent.errors import ConfigError, InputError
from camagent.frame import Frame
from camagent.slot import Slot
from camagent.sources import Source, SourceStatus, decode_picture, is_picture, list_pictures, open_source
from camagent.sources.decoder import candidates
from camagent.sources.status import Tally
from tests.support.camera import Clips
from tests.support.data import shared


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


def camera(path: Path, **settings: object) -> Camera:
    return Camera(name="c", url=str(path), **settings)  # type: ignore[arg-type]


def picture(path: Path, width: int = 32, height: int = 24, level: int = 128, codec: str = "mjpeg") -> Path:
    """Writes a picture of one grey level."""
    image = av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")
    name = "yuvj420p" if codec == "mjpeg" else "rgb24"
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, name
    packets = [*context.encode(image.reformat(format=name)), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def play(source: Source, seconds: float, hold_s: float = 0.0) -> tuple[list[Frame], SourceStatus]:
    """Runs a source live for some seconds; the frames it handed over, and its last status before the stop."""
    slot: Slot[Frame] = Slot()
    stop, frames = threading.Event(), []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            source.run(stop, slot)
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=body)
    thread.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and thread.is_alive():
        if (frame := slot.take(0.05)) is not None:
            frames.append(frame)
            time.sleep(hold_s)
    status = source.status()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
    return frames, status


@pytest.mark.parametrize(("codec", "bframes"), [("h264", 0), ("h264", 2), ("h265", 0), ("mjpeg", 0)])
def test_a_video_gives_every_frame_in_order(clips: Clips, codec: str, bframes: int) -> None:
    source = open_source(camera(clips.make(codec, bframes=bframes)))
    frames = list(source.frames())
    points = [frame.pts for frame in frames if frame.pts is not None]
    assert points == pytest.approx([n * 0.1 for n in range(40)], abs=0.002)
    status = source.status()
    assert (status.packets, status.decoded, status.decoder_errors, status.state) == (40, 40, 0, "ended")
    assert {(frame.width, frame.height) for frame in frames} == {(640, 360)}


def test_the_acceptance_clip_is_read_to_its_end() -> None:
    source = open_source(camera(shared("video/one-by-one-person-detection.mp4")))
    assert sum(1 for _ in source.frames()) == 1394
    assert source.status().decoder_errors == 0


def test_a_raw_stream_without_time_stamps_plays_too(clips: Clips) -> None:
    clip = clips.make(seconds=2, suffix="h264")
    assert len(list(open_source(camera(clip)).frames())) == 20
    frames, _ = play(open_source(camera(clip, fps=50.0)), 1.5)
    assert 5 <= len(frames) <= 40


def test_as_a_camera_a_video_plays_at_its_own_pace_and_loops_on_one_line(clips: Clips) -> None:
    frames, status = play(open_source(camera(clips.make(seconds=1), fps=100.0)), 2.6)
    points = [frame.pts for frame in frames if frame.pts is not None]
    assert len(points) == pytest.approx(26, abs=4)
    steps = np.diff(points) / 0.1  # of a busy machine the slot may have lost a frame: two steps
    assert np.median(steps) == pytest.approx(1, abs=0.11)
    assert steps == pytest.approx(np.maximum(np.round(steps), 1), abs=0.11)
    assert status.reconnects == 0


def test_playing_again_from_the_start_is_no_interruption(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting: list[str] = []
    monkeypatch.setattr(Tally, "connecting", lambda tally: connecting.append(tally.snapshot().state))
    frames, _ = play(open_source(camera(clips.make(seconds=1, fps=10))), 2.5)
    assert len(frames) > 15, "it has looped"
    picture(tmp_path / "a.jpg")
    play(open_source(camera(tmp_path, fps=20.0)), 1.0)
    assert connecting == ["connecting"] * 2, "each source opened once; health says running all the time"


def test_fps_thins_a_video_out(clips: Clips) -> None:
    frames, _ = play(open_source(camera(clips.make(fps=25, gop=100), fps=4.0)), 2.1)
    assert 7 <= len(frames) <= 10


def test_only_due_pictures_of_an_all_intra_stream_are_decoded(clips: Clips) -> None:
    for clip in (clips.make("mjpeg", fps=25), clips.make(fps=25, gop=1)):
        frames, status = play(open_source(camera(clip, fps=5.0)), 1.6)
        assert status.key_frames_only
        assert status.packets >= 35
        assert 6 <= len(frames) <= 10
        assert status.decoded <= len(frames) + 6  # the first ones, before the rate was known
        assert status.decoder_errors == 0


def test_a_long_gop_is_decoded_whole(clips: Clips) -> None:
    frames, status = play(open_source(camera(clips.make(fps=25, gop=100), fps=5.0)), 1.5)
    assert not status.key_frames_only
    assert status.decoded >= status.packets - 2
    assert 6 <= len(frames) <= 10


def test_the_decoder_goes_back_to_every_frame_as_soon_as_a_key_frame_is_overdue(clips: Clips, tmp_path: Path) -> None:
    often, rare = clips.make(fps=20, gop=4, seconds=2, suffix="h264"), clips.make(fps=20, gop=100, seconds=3, suffix="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(often.read_bytes() + rare.read_bytes())
    source = open_source(camera(remux(both, tmp_path / "both.mkv", fps=20), fps=4.0))
    seen: list[tuple[int, int, bool]] = []

    def watch() -> None:
        for _ in range(70):
            status = source.status()
            seen.append((status.packets, status.decoded, status.key_frames_only))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    frames, status = play(source, 3.6)
    watcher.join()
    assert any(only for packets, _, only in seen if packets < 40)
    back = next(index for index, (packets, _, only) in enumerate(seen) if packets > 41 and not only)
    assert seen[back][0] < 41 + 12  # 1.5 intervals of fps after the last key frame: 8 packets
    assert seen[-1][1] - seen[back][1] >= 20  # every frame again, the ones passed over included
    assert (status.decoder_errors, status.corrupt) == (0, 0)
    points = [frame.pts for frame in frames if frame.pts is not None]
    assert max(np.diff(points)) < 0.55


def remux(raw: Path, out: Path, fps: int) -> Path:
    """An elementary stream without B-frames, given time stamps."""
    with av.open(str(raw), options={"framerate": str(fps)}) as source, av.open(str(out), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        count = 0
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts = packet.dts = round(count / fps / float(packet.time_base))
                packet.stream = stream
                count += 1
                sink.mux(packet)
    return out


def test_a_picture_stays_what_it_is(tmp_path: Path) -> None:
    (jpeg,) = open_source(camera(picture(tmp_path / "a.jpg", level=200))).frames()
    assert isinstance(jpeg.picture, av.VideoFrame)
    assert (jpeg.picture.format.name, jpeg.width, jpeg.height, jpeg.pts) == ("yuvj420p", 32, 24, None)
    assert abs(int(jpeg.picture.to_ndarray()[5, 5]) - 200) < 3
    (png,) = open_source(camera(picture(tmp_path / "b.png", codec="png"))).frames()
    assert isinstance(png.picture, av.VideoFrame)
    assert png.picture.format.name == "rgb24"


def test_names_that_mean_something_to_ffmpeg_are_only_names(tmp_path: Path) -> None:
    for name in ("50%d.jpg", "pipe:0", "-i", "concat:a|b"):
        frames = list(open_source(camera(picture(tmp_path / name))).frames())
        assert len(frames) == 1


def test_a_folder_is_read_in_order_and_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    for index, level in enumerate([10, 120, 240]):
        picture(tmp_path / f"{index}.jpg", level=level)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "9.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:60])
    (tmp_path / "sub").mkdir()
    source = open_source(camera(tmp_path))
    levels = []
    for frame in source.frames():
        assert isinstance(frame.picture, av.VideoFrame)
        levels.append(int(frame.picture.to_ndarray()[5, 5]))
    assert levels == pytest.approx([10, 120, 240], abs=3)
    assert source.status().unreadable == 2
    assert [path.name for path in list_pictures(tmp_path)[1]] == ["notes.txt"]


def test_as_a_camera_a_folder_shows_one_picture_per_interval(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "b.jpg")
    frames, _ = play(open_source(camera(tmp_path, fps=10.0)), 1.0)
    assert [frame.pts for frame in frames] == pytest.approx([n * 0.1 for n in range(len(frames))])
    assert 8 <= len(frames) <= 11


WAVE = b"RIFF\x24\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data\0\0\0\0"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JPEG or PNG"),
        (b"GIF89a....", "no JPEG or PNG"),
        (b"\xff\xd8\xff", "no size"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "no size"),
        (b"\xff\xd8\xff\xff\xff\xff\xff", "no size"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03", "megapixels"),
        (png_header(30000, 30000), "megapixels"),
        (png_header(10, 10), "damaged"),
        (b"\x89PNG\r\n\x1a\n", "no size"),
        (b"\xff\xd8\xff" + bytes(20 * 2**20), "larger than 20 MiB"),
    ],
)
def test_what_is_no_picture_is_said_before_it_is_decoded(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        decode_picture(data, "the-file")
    assert "the-file" in error.value.what


def test_a_truncated_jpeg_is_damaged(tmp_path: Path) -> None:
    data = shared("images/bus.jpg").read_bytes()
    assert decode_picture(data, "bus").width > 500
    with pytest.raises(InputError, match="damaged"):
        decode_picture(data[: len(data) // 3], "bus")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.mp4", b""),
        ("words.mp4", b"these are only words\n" * 50),
        ("random.h264", bytes(range(256)) * 40),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("audio.wav", WAVE),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_bad_videos_get_a_sentence_that_names_them(tmp_path: Path, name: str, data: bytes, live: bool) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    source = open_source(camera(path))
    with pytest.raises(InputError, match=name):
        play(source, 5) if live else list(source.frames())


def test_a_truncated_video_is_named(clips: Clips, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clips.make().read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut\.mp4"):
        list(open_source(camera(cut)).frames())


def test_missing_files_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        open_source(camera(tmp_path / "absent.mp4"))
    with pytest.raises(InputError, match="holds no picture"):
        list(open_source(camera(tmp_path)).frames())
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="holds no picture"):
        play(open_source(camera(tmp_path)), 5)
    with pytest.raises(InputError, match=r"bad\.jpg"):
        list(open_source(camera(tmp_path / "bad.jpg")).frames())
    assert not is_picture(tmp_path / "absent.jpg")


@pytest.mark.parametrize(("wanted", "near"), [("h264_rkmp", "h264"), ("softwar", "software"), ("zzzz", "ffmpeg -decoders")])
def test_an_unknown_decoder_is_refused_with_the_nearest_there_is(tmp_path: Path, wanted: str, near: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as error:
        open_source(Camera(name="front", url="rtsp://host/cam", decoder=wanted))
    assert near in error.value.fix
    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    with pytest.raises(ConfigError, match=wanted):
        open_source(camera(path, decoder=wanted))


def test_which_decoders_are_tried() -> None:
    there = frozenset({"h264", "hevc", "h264_rkmpp", "h264_v4l2m2m"})
    assert candidates("h264", "auto", there) == ["h264_rkmpp", ""]
    assert candidates("hevc", "auto", there) == [""]
    assert candidates("h264", "software", there) == [""]
    assert candidates("h264", "h264_v4l2m2m", there) == ["h264_v4l2m2m"]


def test_auto_falls_back_when_the_hardware_does_not_open(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camagent.sources.decoder.HARDWARE_SUFFIXES", ("v4l2m2m",))
    source = open_source(camera(clips.make()))
    assert sum(1 for _ in source.frames()) == 40
    assert source.status().decoder == "h264"
