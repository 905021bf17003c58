"""The benchmark against peers, without a stopwatch: reading packets, matching pictures, tables, targets, the plot."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import performance_page, performance_plot, tap
from bench.agent_profile import FRAMES, STEPS, Clocks
from bench.latency import Spread, Way, ways
from bench.peer_results import (
    HeadTiming,
    Machine,
    Middle,
    Results,
    Sample,
    Step,
    Streams,
    Wait,
    by_cameras,
    middle,
    overheads,
    targets,
)
from bench.tap import Connection, MqttReader, Publish, RtspReader, Segment, Unit

PLAY = b"RTSP/1.0 200 OK\r\nCSeq: 5\r\nRTP-Info: url=rtsp://x/stream=0;seq=7;rtptime=%d\r\n\r\n"


def interleaved(stamp: int, body: bytes = b"data", channel: int = 0) -> bytes:
    packet = struct.pack("!BBHII", 0x80, 96, 1, stamp % (1 << 32), 9) + body
    return b"$" + struct.pack("!BH", channel, len(packet)) + packet


def stream(start: int, stamps: Sequence[int]) -> bytes:
    answer = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 8\r\n\r\nv=0 $$$$"
    media = b"".join(interleaved(stamp) + interleaved(stamp + 5, channel=1) for stamp in stamps)
    return answer + PLAY % start + media + b"RTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n" + interleaved(stamps[-1] + 9000)


@given(cuts=st.lists(st.integers(0, 700)), start=st.sampled_from([0, 1000, (1 << 32) - 9000]))
def test_pictures_are_found_however_the_bytes_are_cut(cuts: list[int], start: int) -> None:
    data = stream(start, [start, start, start + 9000, start + 18000, start + 18000])
    reader, before = RtspReader(), 0
    for number, cut in enumerate([*sorted(cuts), len(data)]):
        reader.feed(data[before:cut], float(number))
        before = max(before, cut)
    assert [unit.pts for unit in reader.units] == pytest.approx([0.0, 0.1, 0.2])


def test_a_picture_lasts_from_its_first_packet_to_its_last() -> None:
    reader = RtspReader()
    reader.feed(PLAY % 100, 0.5)
    for stamp, at in ((9100, 1.0), (9100, 1.2), (18100, 2.0)):
        reader.feed(interleaved(stamp), at)
    assert reader.units == [Unit(0.1, 1.0, 1.2)]


def mqtt(kind: int, body: bytes, flags: int = 0) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([kind << 4 | flags]) + bytes(length) + body


def publish(topic: str, payload: bytes, *, level: int, qos: int = 1) -> bytes:
    head = struct.pack("!H", len(topic)) + topic.encode() + (b"{\x22" if qos else b"")  # a packet id that looks like JSON
    return mqtt(3, head + (b"\x00" if level == 5 else b"") + payload, qos << 1)


@pytest.mark.parametrize("level", [4, 5])
@given(cuts=st.lists(st.integers(0, 400)))
def test_publishes_are_found_however_the_bytes_are_cut(level: int, cuts: list[int]) -> None:
    connect = mqtt(1, b"\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x3c")
    data = connect + publish("a/b", b'{"pts": 1.5}', level=level) + mqtt(12, b"") + publish("c", b"x" * 200, level=level, qos=0)
    reader, before = MqttReader(), 0
    for number, cut in enumerate([*sorted(cuts), len(data)]):
        reader.feed(data[before:cut], float(number))
        before = max(before, cut)
    first, second = reader.publishes
    assert (first.topic, first.body()) == ("a/b", {"pts": 1.5})
    assert (second.topic, second.payload) == ("c", b"x" * 200)


def test_segments_that_come_twice_count_once_and_a_gap_is_told() -> None:
    data = publish("t", b"abc", level=4) + publish("t", b"def", level=4)
    connection = Connection(MqttReader())
    start = (1 << 32) - 5  # the numbers count round
    connection.segment(start, data[:8], 1.0)
    connection.segment(start, data[:8], 2.0)
    connection.segment((start + 4) % (1 << 32), data[4:], 3.0)
    assert isinstance(connection.reader, MqttReader)
    assert [made.payload for made in connection.reader.publishes] == [b"abc", b"def"]
    connection.segment((start + len(data) + 1) % (1 << 32), b"x", 4.0)
    assert connection.lost


def test_a_segment_is_what_lies_behind_the_headers() -> None:
    tcp = struct.pack("!HHIIBBHHH", 554, 4000, 77, 0, 8 << 4, 0, 0, 0, 0) + b"\0" * 12 + b"hello"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
    frame = b"\0" * 12 + b"\x08\x00" + ip + tcp
    assert tap.segment_of(frame + b"padding") == Segment(554, 4000, 77, b"hello")
    assert tap.segment_of(frame[:12] + b"\x86\xdd" + frame[14:]) is None


@pytest.mark.skipif(bool(tap.available()), reason=tap.available())
def test_the_loopback_is_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as camera, socket.create_server(("127.0.0.1", 0)) as broker:
        before = time.time()
        with tap.Tap(camera.getsockname()[1], broker.getsockname()[1]) as listening:
            with socket.create_connection(camera.getsockname()), socket.create_connection(broker.getsockname()) as out:
                source, _ = camera.accept()
                with source:
                    source.sendall(stream(0, [0, 9000, 18000]))
                    out.sendall(publish("x/detections", b'{"pts": 0.1}', level=4))
            time.sleep(0.2)
        (made,), units = listening.publishes(), listening.units()
    assert before <= made.at <= time.time()
    assert len(units) == 3
    assert [round(way.held) for way in ways(units, [made])] == [0]


def test_a_publish_belongs_to_the_picture_whose_time_it_names() -> None:
    units = [Unit(0.1 * n, 10 + 0.1 * n, 10.02 + 0.1 * n) for n in range(4)]
    bodies = {10.115: b'{"pts": 0.0}', 10.33: b'{"pts": 0.1001}', 10.4: b'{"pts": 0.3}', 10.41: b'{"pts": 0.25}'}
    made = [Publish(at, "t", body) for at, body in (*bodies.items(), (10.42, b'{"pts": null}'), (10.43, b"{}"))]
    found = ways(units, made)  # the last picture has not been given away yet, and nothing was shown at 0.25
    assert [way.held for way in found] == pytest.approx([80, 80])
    assert [way.taken for way in found] == pytest.approx([15, 130])
    assert ways([], made) == []
    assert Way(1, 2).taken == 2


def test_quantiles() -> None:
    assert Spread.of([float(value) for value in range(101)]) == Spread(101, 50.0, 99.0, 100.0)


def sample(peer: str, ms: float, **more: object) -> Sample:
    return msgspec.convert({"peer": peer, "ms": ms, "fps": 10.0, "rss_mib": 100.0, **more}, Sample)


def section(agent_ms: float = 9.5, agent_p: float = 10.0) -> list[Sample]:
    rounds = []
    for extra in (0.0, 0.1, -0.1):
        rounds += [
            sample("decode", 3.0, wall=[2.0, 2.5, 9.0]), sample("model", 5.0, wall=[4.0]),
            sample("camagent", agent_ms + extra, first_s=1.5, taken=[agent_p] * 99 + [20.0], held=[98.0], own={"total": 9.0}),
            sample("plain", 11.0, first_s=3.0, taken=[110.0] * 100),
            sample("plain, one decoder thread", 10.5, first_s=3.0, taken=[12.0] * 98 + [30.0] * 2),
        ]  # fmt: skip
    return rounds


def results(**more: object) -> Results:
    kept: dict[str, object] = {
        "machine": Machine(
            date="2026-11-26", commit="abc1234", command="python -m bench.peers", processor="A Processor", cores=2,
            kernel="6.1", versions={"Python": "3.11"}, load=(0.5, 1.5),
        ),
        "clips": {"1920x1080 10": 1.25}, "fps": {"1080p": 10.0}, "sections": {"1080p": section()},
        "streams": [
            Streams(cameras=count, cpu=0.055 * count * (0.98 if count > 1 else 1), fps=5.0 * count, rss_mib=150.0 + 40 * count)
            for count in (1, 2, 16)
        ],
        "waits": [Wait(size="1920x1080", stream_fps=25.0, held=39.6, taken=9.0, cpu=0.1)],
        "heads": [HeadTiming(name="yolov8-rknn, 9 outputs", ours=400, low=390, high=450, plain=2400)],
        "profile": [Step(thread="worker", step="head | filters", us=280.4, calls=1.0)], "left_out": ["nothing of note"],
    }  # fmt: skip
    return Results(**{**kept, **more})  # type: ignore[arg-type]


def test_the_overhead_is_taken_round_by_round() -> None:
    assert overheads(section()) == pytest.approx([0.5, 1.6 / 3, 1.4 / 3])
    assert middle([3.0, 1.0, 2.0]) == Middle(2.0, 1.0, 3.0)
    assert Middle(2.0, 1.0, 3.0).text(1) == "2.0 (1.0 to 3.0)"
    assert Middle(2.0, 2.0, 2.0).text() == "2.00"


def test_streams_that_did_not_keep_the_pace_do_not_count() -> None:
    rounds = [Streams(cameras=16, cpu=cpu, fps=fps, rss_mib=1) for cpu, fps in ((0.9, 80.0), (0.5, 55.0), (1.0, 79.0))]
    assert by_cameras(rounds) == {16: Middle(0.95, 0.9, 1.0)}
    assert by_cameras(rounds[1:2]) == {16: Middle(0.5, 0.5, 0.5)}
    found = targets(results(streams=[Streams(cameras=1, cpu=0.06, fps=5.0, rss_mib=1), rounds[1]]))
    (many,) = [target for target in found if target.what.startswith("16")]
    assert not many.met
    assert "too busy" in many.reached


def test_targets_are_met_and_missed() -> None:
    good = targets(results())
    assert [target.met for target in good] == [True] * 5
    bad = targets(results(sections={"1080p": section(agent_ms=9.6, agent_p=13.0)}, streams=[
        Streams(cameras=count, cpu=0.05 * count * (1.1 if count > 1 else 1), fps=5.0 * count, rss_mib=1) for count in (1, 16)
    ], heads=[HeadTiming(name="yolov5 raw", ours=601, low=1, high=1, plain=1)]))  # fmt: skip
    assert [(target.what.split()[0], target.met) for target in bad] == [
        ("CPU", False), ("median", False), ("p99", True), ("16", False), ("head", False),
    ]  # fmt: skip
    assert bad[1].wanted == "decode + model + 5 ms = 11.5 ms"


def test_the_page_says_what_was_measured() -> None:
    page = performance_page.render(results(), plot="performance.png")
    for words in (
        "![CPU per frame, latency and streams](performance.png)",
        "| (b) camagent, RTSP to MQTT | 9.50 (9.40 to 9.60) | 100 | 1.5 |",
        "at 10 fps, 1.2 Mbit/s", "| (a) the limit: both | 8.00 |",
        "**1.50 (1.40 to 1.60) ms = 0.50 (0.47 to 0.53) x decoding**",
        "| 1920x1080 at 25 fps | 40 | 9.0 | 49 | 10.0 % |", "| 16 | 86.2 | 15.68 | 80.0 |", "| 400 (390 to 450) | 2400 | 6.0 |",
        "head \\| filters", "Left out: nothing of note.", "abc1234",
    ):  # fmt: skip
        assert words in page
    assert "\n\n\n" not in page
    assert "ultralytics predict" not in page
    assert all(len(line) <= 128 or line.startswith(("|", "- `python")) for line in page.splitlines())


def test_a_run_without_latencies_says_so() -> None:
    bare = [msgspec.structs.replace(each, taken=[], held=[]) for each in section()]
    page = performance_page.render(results(sections={"1080p": bare}, waits=[], left_out=["the loopback cannot be listened on"]))
    assert "Not measured: the loopback cannot be listened on." in page
    assert [target.what for target in targets(results(sections={"1080p": bare}))][:2] == [
        "CPU beside decode and model at 1080p", "16 streams at 5 fps",
    ]  # fmt: skip


def test_a_run_is_kept_as_json() -> None:
    kept = results()
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Results) == kept


def test_the_plot_is_a_small_picture(tmp_path: Path) -> None:
    performance_plot.draw(results(), tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None
    assert picture.shape[1] == performance_plot.WIDTH
    assert (tmp_path / "plot.png").stat().st_size < 200 << 10
    assert (picture == performance_plot.REST).all(axis=2).any()


def test_bars_add_up() -> None:
    rows = dict(performance_plot.bars(section()))
    assert sum(length for length, _ in rows["limit"]) == pytest.approx(8.0)
    assert sum(length for length, _ in rows["camagent"]) == pytest.approx(9.5)


def test_every_step_of_the_profile_is_a_function() -> None:
    for _, _, place in STEPS:
        module, _, name = place.partition(":")
        owner: object = __import__(module, fromlist=["_"])
        for part in name.split("."):
            owner = getattr(owner, part)
        assert callable(owner), place


def test_clocks_leave_the_beginning_out() -> None:
    clocks = Clocks(warm=1)
    work = clocks._timed(lambda: sum(range(1000)), STEPS[0][2])
    frame = clocks._timed(lambda: None, FRAMES)
    work()
    assert clocks.calls.total() == 0
    for _ in range(2):
        frame()
        work()
    table = clocks.table()
    assert table["frames"] == 1
    assert table["steps"][0]["calls"] == 2
    assert table["steps"][0]["us"] > 0
