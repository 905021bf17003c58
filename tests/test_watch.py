from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from camagent.bodies import DetectionsBody, FrameSize, LatencyMs, ModelRef, encode
from tests.support.agent import Listener, camagent
from tests.support.broker import free_port, running, wait_for
from tests.test_errors import NASTY


def detections(label: str) -> bytes:
    item = {"label": label, "class_id": 0, "score": 0.91, "box": (0, 0, 1, 1), "box_norm": (0, 0, 1, 1)}
    body = DetectionsBody(
        schema="camagent.detections/1", time=1.0, agent="cam-01", camera="front", run=1, seq=7, frame_time=1.0,
        time_source="arrival", pts=None, frame=FrameSize(10, 10), model=ModelRef(name="m", version="1"), detections=(),
        latency_ms=LatencyMs(decode=1, preprocess=1, infer=1, postprocess=1, total=12),
    )  # fmt: skip
    return json.dumps({**json.loads(encode(body)), "detections": [item]}).encode()


# what anybody may publish under a camera's topic
WRONG_BODIES = [
    b'{"schema":"camagent.detections/1"}', b'{"schema":"camagent.detections/1","detections":1}',
    b'{"schema":"camagent.health/1","version":1,"uptime":"long","outbox":[]}',
    b'{"schema":"camagent.segmentation/1","classes":[1]}',
    b'{"schema":"camagent.detections/1","detections":[{"label":"x","score":"high"}],"latency_ms":{"total":1},"seq":1}',
    b"[" * 100_000, b'{"schema":7}', b"\xff\xfe", b'"\\ud800"',
]  # fmt: skip


def watch(port: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "camagent", "watch", "--url", f"mqtt://127.0.0.1:{port}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_is_published_is_shown_in_words_and_as_json(tmp_path: Path) -> None:
    with running(tmp_path) as broker, Listener(broker.port, strict=False) as speaker:
        people, machine = (
            watch(broker.port, "--seconds", "6"),
            watch(broker.port, "--json", "--camera", "front", "--seconds", "6"),
        )
        subscribed = "Received SUBSCRIBE"
        wait_for(lambda: broker.log.read_text().count(subscribed) >= 3, 20)
        speaker.publish("camagent/cam-01/front/detections", detections("person"))
        speaker.publish("camagent/cam-01/back/available", "online")
        for text in NASTY:
            if "\ud800" not in text:
                speaker.publish("camagent/cam-01/front/detections", detections(text))
        for body in WRONG_BODIES:
            speaker.publish("camagent/cam-01/front/detections", body)
        speaker.publish("camagent/cam-01/back/available", "stopped")
        words, _ = people.communicate(timeout=30)
        lines, _ = machine.communicate(timeout=30)
    assert "cam-01/front/detections" in words
    assert "#7 person 0.91  (12 ms)" in words
    assert "cam-01/back/available" in words
    assert words.count("(not what its schema says)") == 5
    assert words.splitlines()[-1].endswith("stopped"), "what strangers publish does not end it"
    assert (people.returncode, machine.returncode) == (0, 0)
    assert "\x1b" not in words
    assert all(line.isprintable() for line in words.splitlines())
    messages = [json.loads(line) for line in lines.splitlines()]
    assert messages[0]["topic"] == "cam-01/front/detections"
    assert messages[0]["body"]["seq"] == 7
    assert {message["topic"] for message in messages} == {"cam-01/front/detections"}


def test_a_broker_that_is_not_there_is_a_sentence_and_exit_code_3() -> None:
    done = camagent("watch", "--url", f"mqtt://127.0.0.1:{free_port()}", "--seconds", "1")
    assert done.returncode == 3
    assert "error[MQTT_UNREACHABLE]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_url_is_a_sentence_and_exit_code_2() -> None:
    done = camagent("watch", "--url", "http://user:geheim@127.0.0.1/")
    assert done.returncode == 2
    assert "geheim" not in done.stderr
