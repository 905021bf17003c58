"""The agent's delivery without the rest of the agent: outbox, client, the supervisor's tick; also as a child to be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from camagent.clock import SystemClock
from camagent.config import Mqtt
from camagent.messages import Message, Topics
from camagent.mqtt import MqttClient, Patience
from camagent.outbox import Lane, Outbox, Outcome
from tests.support.broker import wait_for

TOPICS = Topics("p", "cam-01")
DETECTIONS = TOPICS.of_camera("front", "detections")
EVENTS = TOPICS.of_camera("front", "events")
AVAILABLE = TOPICS.of_agent("available")
COMMAND = TOPICS.of_camera("front", "cmd", "detect")


class Sending:
    """A running client with its outbox. A death of the network thread fails the test."""

    def __init__(self, folder: Path, config: Mqtt, patience: Patience, run_dir: Path | None = None) -> None:
        self.clock = SystemClock()
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()
        self.commands: list[tuple[str, bytes]] = []
        self.deaths: list[str] = []
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        self.outbox = Outbox(state, run_dir or folder / "run", config, self.clock, self._heard)
        self.client = MqttClient(
            config, "cam-01", TOPICS, self.outbox, self.clock,
            on_command=lambda topic, payload: self.commands.append((topic, payload)),
            on_outcome=self._heard, died=lambda name, exc: self.deaths.append(f"{name}: {exc!r}"), patience=patience,
        )  # fmt: skip
        self._end = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def _heard(self, camera: str, outcome: Outcome, number: int) -> None:
        self.outcomes[camera, outcome] += number

    def _tick(self) -> None:
        while not self._end.wait(0.2):
            self.outbox.tick()

    def start(self) -> None:
        self.client.start()
        self._ticker.start()

    def stop(self, drain_s: float = 3.0) -> None:
        self._end.set()
        self._ticker.join(5)
        assert self.client.stop(drain_s), "the network thread hangs"
        self.outbox.close()
        assert self.deaths == []

    def detection(self, number: int, size: int = 0, topic: str = DETECTIONS) -> None:
        payload = json.dumps({"seq": number}).encode().ljust(size)
        self.client.send(Message(topic, payload, 1, lane="detections", camera="front"))

    def event(self, number: int) -> None:
        self.client.send(Message(EVENTS, json.dumps({"seq": number}).encode(), 1, lane="events", camera="front"))

    def wait_connected(self) -> None:
        wait_for(lambda: self.client.connected, what=f"a connection: {self.client.snapshot()}")

    def wait_empty(self, timeout_s: float = 20.0) -> None:
        wait_for(lambda: self.outbox.empty, timeout_s, "the outbox to drain")
        wait_for(self._all_told, what="the outcomes")  # they are told after the outbox's lock is free

    def _all_told(self) -> bool:
        lanes = self.outbox.snapshot().lanes.values()
        counted = sum(lane.acknowledged + lane.set_aside + lane.refused + lane.too_large for lane in lanes)
        return sum(number for (_, outcome), number in self.outcomes.items() if outcome != "dropped") >= counted

    def wait_code(self, code: str) -> None:
        wait_for(lambda: self.client.snapshot().code == code, what=f"{code}; it is {self.client.snapshot()}")


FAST = Patience(0.05, 0.4, 0.4)


@contextmanager
def sending(folder: Path, port: int, *, patience: Patience = FAST, version: int = 5, **options: Any) -> Iterator[Sending]:
    config = Mqtt(**{"url": f"mqtt://127.0.0.1:{port}", **options})
    agent = Sending(folder, config, patience)
    if version == 4:
        agent.client._session._versions.refused()  # as if the broker had said so
    agent.start()
    try:
        yield agent
    finally:
        agent.stop(0.5)


def seqs(payloads: list[bytes]) -> list[int]:
    return [json.loads(payload)["seq"] for payload in payloads]


def first_occurrences(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


# -- the child ------------------------------------------------------------------------------------------------------------


class Child:
    """A producer in a process of its own: `front/detections` and `front/events`, numbered by (run, seq)."""

    def __init__(self, folder: Path, port: int, run: int, *, count: int, rate: float, run_dir: Path) -> None:
        arguments = [str(folder), str(port), str(run), str(count), str(rate), str(run_dir)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.sending", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    @property
    def produced(self) -> int:
        return int(self.lines[-1]["produced"]) if self.lines else 0

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    def kill(self) -> None:
        self.process.kill()
        self._finish()

    def end(self, timeout_s: float = 60) -> None:
        """Asks it to drain and to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail("the producer does not end")
        self._finish()

    def _finish(self) -> None:
        self.process.wait(10)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _write_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split(": ")[1]) for line in lines if line.startswith("write_bytes"))


def _child(folder: Path, port: int, run_dir: Path, *, run: int, count: int, rate: float) -> None:
    agent = Sending(folder, Mqtt(url=f"mqtt://127.0.0.1:{port}", keepalive_s=5), Patience(0.1, 0.5, 0.4), run_dir)
    previous = agent.outbox.previous()
    agent.start()
    done = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    before, number = _write_bytes(), 0
    while not done.is_set():
        if number < count:
            number += 1
            lane: Lane = "events" if number % 5 == 0 else "detections"
            agent.outbox.note_seq("front", run, number)
            payload = json.dumps({"run": run, "seq": number, "pad": "x" * 300}).encode()
            agent.client.send(Message(TOPICS.of_camera("front", lane), payload, 1, lane=lane, camera="front"))
        state = agent.outbox.snapshot()
        said = {
            "produced": number, "open": state.messages, "spilled": state.spilled, "previous": previous,
            "write_bytes": _write_bytes() - before, "outcomes": {what: n for (_, what), n in agent.outcomes.items()},
        }  # fmt: skip
        print(json.dumps(said), flush=True)
        done.wait(1 / rate if number < count else 0.05)
    agent.stop(10.0)


if __name__ == "__main__":
    own, at, number, most, pace, tmpfs = sys.argv[1:]
    _child(Path(own), int(at), Path(tmpfs), run=int(number), count=int(most), rate=float(pace))
