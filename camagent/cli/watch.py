"""camagent watch: what an agent publishes, live."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Full, Queue
from types import MappingProxyType
from typing import Any

import click

from camagent import language
from camagent.cli.broker import broker_options, mqtt_of, reach
from camagent.clock import SystemClock
from camagent.errors import BrokerError, printable
from camagent.pipeline import Observer

_WAITING = 1000  # messages; more than a terminal can show
_POLL_S = 0.2
_JPEG = b"\xff\xd8\xff"


@click.command(epilog="Example: camagent watch --url mqtt://192.168.1.10 --camera front")
@broker_options
@click.option("--camera", help="Only this camera.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per message and line: topic and body.")
@click.option("--seconds", type=click.FloatRange(0), help="Stop after this time.")
def command(
    path: Path | None, url: str | None, prefix: str | None, username: str | None, password_file: Path | None,
    ca_file: Path | None, camera: str | None, as_json: bool, seconds: float | None,
) -> None:  # fmt: skip
    """Show detections, events, counts, states and reasons of every agent behind a broker, live. Ctrl-C ends it."""
    mqtt = mqtt_of(path, url=url, prefix=prefix, username=username, password_file=password_file, ca_file=ca_file)
    inbox: Queue[tuple[str, bytes]] = Queue(_WAITING)
    lost = [0]

    def receive(topic: str, payload: bytes, retained: bool) -> None:
        del retained
        try:
            inbox.put_nowait((topic, payload))
        except Full:
            lost[0] += 1

    def died(name: str, exc: BaseException) -> None:
        ended.append(BrokerError(f"{name} ended: {printable(repr(exc))}", fix="start it again, and report this"))

    ended: list[BrokerError] = []
    counted: set[str] = set()
    observer = Observer(mqtt, [f"{mqtt.prefix}/#"], SystemClock(), on_message=receive, died=died)
    observer.start()
    try:
        reach(observer, time.monotonic)
        end = None if seconds is None else time.monotonic() + seconds
        while not ended and (end is None or time.monotonic() < end):
            try:
                topic, payload = inbox.get(timeout=_POLL_S)
            except Empty:
                continue
            if as_json or _is_news(topic, payload, counted):
                _show(topic.removeprefix(mqtt.prefix + "/"), payload, camera, as_json=as_json)
    finally:
        observer.stop()
    if ended:
        raise ended[0]
    if lost[0]:
        click.echo(f"note: {lost[0]} messages came faster than they could be shown", err=True)


def _is_news(topic: str, payload: bytes, counted: set[str]) -> bool:
    """A count of 0 is news where there was another one: an agent keeps one for every label, and most of them stay so."""
    if b'"camagent.count/1"' not in payload:
        return True
    if b'"count":0,' in payload or b'"count":0}' in payload:
        is_known = topic in counted
        counted.discard(topic)
        return is_known
    counted.add(topic)
    return True


def _show(topic: str, payload: bytes, camera: str | None, *, as_json: bool) -> None:
    """`topic` is <agent>/<camera>/.. or <agent>/.."""
    parts = topic.split("/")
    if camera and (len(parts) < 3 or parts[1] != camera):
        return
    if payload.startswith(_JPEG):
        payload = f"(a picture of {len(payload)} bytes)".encode()
    try:
        body: Any = json.loads(payload)
    except (ValueError, RecursionError):  # no JSON, or brackets without end
        body = payload.decode("utf-8", "replace")
    if as_json:
        sys.stdout.write(json.dumps({"topic": topic, "body": body}) + "\n")
        sys.stdout.flush()
        return
    words = _told(body) if isinstance(body, Mapping) else printable(body) or "(cleared)"
    click.echo(f"{time.strftime('%H:%M:%S')}  {printable(topic):<32} {words}")


def _told(body: Mapping[str, Any]) -> str:
    """Anybody can publish: a body that is not what its `schema` says is shown as it came."""
    try:
        return _words(body)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return f"(not what its schema says) {printable(json.dumps(body))}"


def _words(body: Mapping[str, Any]) -> str:
    told = _WORDS.get(str(body.get("schema", "")))
    return printable(json.dumps(body)) if told is None else told(body)


def _detections(body: Mapping[str, Any]) -> str:
    found = [f"{printable(d['label'], 64)} {d['score']:.2f}" for d in body["detections"]]
    delay = f"{body['latency_ms']['total']:.0f} ms"
    return f"#{body['seq']} {', '.join(found) or 'nothing'}  ({delay})"


def _areas(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{printable(c['label'], 64)} {c['share']:.1%}" for c in body["classes"])


def _classes(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{printable(c['label'], 64)} {c['score']:.2f}" for c in body["top"])


def _camera(body: Mapping[str, Any]) -> str:
    tongue = language.of(sys.stdout)
    why = f": {tongue.because(printable(body['reason']), printable(body['detail']))}" if body.get("reason") else ""
    return f"{printable(body['state'])}, {body['fps']:.1f} fps{why}"


def _switch(body: Mapping[str, Any]) -> str:
    return f"detection {printable(body['state'])}, by {printable(body['by'])}"


def _agent(body: Mapping[str, Any]) -> str:
    return f"camagent {printable(body['version'])}, up {body['uptime']:.0f} s, {body['outbox']['messages']} messages open"


def _bundles(body: Mapping[str, Any]) -> str:
    return "; ".join(_bundle(name, facts) for name, facts in body["bundles"].items()) or "no bundle is stored"


def _selftest(body: Mapping[str, Any]) -> str:
    causes = ", ".join(cause["id"] for cause in body["causes"])
    return printable(f"self-test: {body['verdict']}{': ' if causes else ''}{causes}")


def _count(body: Mapping[str, Any]) -> str:
    zone = f" in {printable(body['zone'], 64)}" if "zone" in body else ""
    return f"{body['count']:d} {printable(body['label'], 64)}{zone}"


def _event(body: Mapping[str, Any]) -> str:
    """Appears, changes, is gone: what it is, where, and for how long it was there."""
    after = body["after"]
    what = f"{body['type']} {after['label']} {after['top_score']:.2f}"
    zones = f" in {', '.join(after['current_zones'])}" if after["current_zones"] else ""
    still = ", stationary" if after["stationary"] else ""
    long = f", after {after['end_time'] - after['start_time']:.0f} s" if after["end_time"] is not None else ""
    return printable(f"{what}{zones}{still}{long}  ({after['id']})")


def _bundle(name: str, facts: Mapping[str, Any]) -> str:
    trial = ", on trial" if facts["trial"] else ""
    refusal = facts["last_refusal"]
    refused = f", refused {refusal['version']}: {refusal['code']}" if refusal else ""
    return printable(f"{name} {facts['current'] or 'runs no version'}{trial}{refused}")


def _foreign(body: Mapping[str, Any]) -> str:
    """A body without a schema of ours: ONVIF's metadata frames have none."""
    if not isinstance(body.get("Frame"), list):
        return printable(json.dumps(body))
    seen = sum(len(frame.get("Object", ())) for frame in body["Frame"])
    return f"ONVIF metadata: {seen or 'no'} object{'' if seen == 1 else 's'}"


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = MappingProxyType({
    "camagent.detections/1": _detections,
    "camagent.segmentation/1": _areas,
    "camagent.classification/1": _classes,
    "camagent.events/1": _event,
    "camagent.count/1": _count,
    "camagent.camera-health/1": _camera,
    "camagent.detect/1": _switch,
    "camagent.health/1": _agent,
    "camagent.bundle-state/1": _bundles,
    "camagent.selftest/1": _selftest,
    "": _foreign,
})  # fmt: skip
