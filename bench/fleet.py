"""Bytes per message of ten real agents, and what follows for 10, 1,000 and 100,000 cameras.

    python -m bench.fleet [--agents 10] [--seconds 60] [--write docs/fleet.md]

Ten agents run the demo's model on the demo's clip against a real broker, once a second each: what is measured is the size of a
message, not a speed. --write puts the tables between the markers of that page.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import tomlkit
from paho.mqtt.enums import CallbackAPIVersion

from camagent.cli.demo_stage import BUNDLE, WEB_PORT, build
from camagent.demo.faults import Plan
from tests.support.broker import running

BEGIN, END = "<!-- measured: python -m bench.fleet -->", "<!-- end of what was measured -->"
SIZES = (10, 1_000, 100_000)
HEALTH_S = 10.0
SPREADS = ((10, 600.0), (1_000, 3600.0), (100_000, 6 * 3600.0))  # cameras, seconds
# frames a second that are published, and the share of them with something on them
PROFILES = {"busy street, 10 frames a second": 10.0, "entrance, 10 frames a second, a tenth with objects": 1.0,
            "counting, 1 frame a second": 1.0}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one topic."""

    name: str
    number: int
    payload: float  # bytes, mean
    packet: float  # with topic and header, as it goes over the wire


class Meter:
    """Counts what comes."""

    def __init__(self, port: int) -> None:
        self.heard: Counter[str] = Counter()
        self.payload: Counter[str] = Counter()
        self.packet: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _client, _user, message: self._note(message)
        self._client.on_connect = lambda client, *_: client.subscribe("camagent/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def kinds(self) -> list[Kind]:
        """Most bytes first."""
        with self._lock:
            names = sorted(self.heard, key=lambda name: -self.packet[name])
            return [Kind(name, n := self.heard[name], self.payload[name] / n, self.packet[name] / n) for name in names]

    def clear(self) -> None:
        """From now on."""
        with self._lock:
            for counter in (self.heard, self.payload, self.packet):
                counter.clear()

    def stop(self) -> None:
        """Hangs up."""
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, message: mqtt.MQTTMessage) -> None:
        name = _kind(message.topic)
        with self._lock:
            self.heard[name] += 1
            self.payload[name] += len(message.payload)
            self.packet[name] += packet_bytes(message.topic, len(message.payload), message.qos)


def packet_bytes(topic: str, payload: int, qos: int) -> int:
    """An MQTT 5 PUBLISH without properties: type, remaining length (7 bits a byte), topic, packet id, property length."""
    rest = 2 + len(topic.encode()) + (2 if qos else 0) + 1 + payload
    return 1 + max(1, -(-rest.bit_length() // 7)) + rest


def main() -> None:
    """Runs, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help=f"at least {2 * HEALTH_S:.0f}, for each to tell its health")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.seconds < 2 * HEALTH_S:
        parser.error(f"--seconds must be at least {2 * HEALTH_S:.0f}")
    with tempfile.TemporaryDirectory() as name:
        kinds, bundle_bytes = measure(Path(name), args.agents, args.seconds)
    text = "\n".join((*measured(kinds, args.agents, args.seconds), "", *steady(kinds), "", *spread(bundle_bytes)))
    print(text)
    if args.write:
        before, _, rest = args.write.read_text("utf-8").partition(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")


def measure(folder: Path, agents: int, seconds: float) -> tuple[list[Kind], int]:
    """What ten agents say once they all look."""
    stage = folder / "stage"
    stage.mkdir()
    build(stage, Plan(), "mqtt://127.0.0.1", WEB_PORT, lambda said: print(f"$ {said}", file=sys.stderr))
    bundle = stage / f"{BUNDLE}-1.0.0.cambundle"
    with running(folder) as broker, ExitStack() as children:
        meter = Meter(broker.port)
        children.callback(meter.stop)
        for index in range(agents):
            config = folder / f"cam-{index:03}.toml"
            config.write_text(_configuration(stage, folder, f"cam-{index:03}", broker.port, bundle), "utf-8")
            child = subprocess.Popen([sys.executable, "-m", "camagent", "run", "-c", str(config)], stderr=subprocess.DEVNULL)
            children.callback(child.wait)
            children.callback(child.terminate)
        end = time.monotonic() + 120
        while sum(kind.number for kind in meter.kinds() if kind.name == "<camera>/detections") < 5 * agents:
            if time.monotonic() > end:
                sys.exit("the agents do not come up")
            time.sleep(0.5)
        meter.clear()
        time.sleep(seconds)
        return meter.kinds(), bundle.stat().st_size


def measured(kinds: Sequence[Kind], agents: int, seconds: float) -> Iterator[str]:
    """The table of messages."""
    yield f"{agents} agents on the demo's street for {seconds:.0f} s, one frame a second each:"
    yield ""
    yield "| topic below the agent | messages | bytes of payload | bytes on the wire |"
    yield "|---|---:|---:|---:|"
    for kind in kinds:
        yield f"| `{kind.name}` | {kind.number} | {kind.payload:,.0f} | {kind.packet:,.0f} |"


def steady(kinds: Sequence[Kind]) -> Iterator[str]:
    """Messages and bytes a second by fleet and habit."""
    size = {kind.name: kind.packet for kind in kinds}
    beat = size["health"] + size["<camera>/health"]
    yield "| cameras | what they look at | messages/s | MB/s into the broker | GB a day |"
    yield "|---:|---|---:|---:|---:|"
    for cameras in SIZES:
        for name, rate in {"nothing happens": 0.0, **PROFILES}.items():
            messages = cameras * (rate + 2 / HEALTH_S)
            volume = cameras * (rate * size["<camera>/detections"] + beat / HEALTH_S)
            yield f"| {cameras:,} | {name} | {messages:,.0f} | {volume / 1e6:,.2f} | {volume * 86_400 / 1e9:,.1f} |"


def spread(bundle_bytes: int) -> Iterator[str]:
    """What a group's download asks of its server."""
    yield f"| cameras | `spread_s` | MB/s from the server ({bundle_bytes / 1e6:.1f} MB a bundle) | downloads begun a second |"
    yield "|---:|---:|---:|---:|"
    for cameras, seconds in SPREADS:
        yield f"| {cameras:,} | {seconds:.0f} | {cameras * bundle_bytes / seconds / 1e6:.2f} | {cameras / seconds:.2f} |"


def _configuration(stage: Path, folder: Path, name: str, port: int, bundle: Path) -> str:
    video = {"name": "front", "url": str(stage / "files" / "street.mp4"), "fps": 1.0, "bundle": str(bundle)}
    return tomlkit.dumps({
        "agent": {"id": name, "state_dir": str(folder / name), "trust": str(stage / "root.json")},
        "mqtt": {"url": f"mqtt://127.0.0.1:{port}"}, "web": {"listen": ""}, "camera": [video],
    })  # fmt: skip


def _kind(topic: str) -> str:
    rest = topic.split("/", 2)[2]
    rest = re.sub(r"^front/", "<camera>/", rest)
    return re.sub(r"/(count|zone/[^/]+)/.*", r"/\1/..", rest)


if __name__ == "__main__":
    main()
