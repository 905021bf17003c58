"""camagent watch: what an agent publishes, live."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import click

from camagent import language
from camagent.cli.broker import broker_options, mqtt_of, reach
from camagent.clock import SystemClock
from camagent.errors import BrokerError, printable
from camagent.pipeline import Observer

_WAITING = 1000  # messages; more than a terminal can show
_POLL_S = 0.2


@click.command(epilog="Example: camagent watch --url mqtt://192.168.1.10 --camera front")
@broker_options
@click.option("--camera", help="Only this camera.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per message and line: topic and body.")
@click.option("--seconds", type=click.FloatRange(0), help="Stop after this time.")
def command(
    path: Path | None, url: str | None, prefix: str | None, username: str | None, password_file: Path | None,
    ca_file: Path | None, camera: str | None, as_json: bool, seconds: float | None,
) -> None:  # fmt: skip
    """Show detections, states and reasons of every agent behind a broker, as they are published. Ctrl-C ends it."""
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
            _show(topic.removeprefix(mqtt.prefix + "/"), payload, camera, as_json=as_json)
    finally:
        observer.stop()
    if ended:
        raise ended[0]
    if lost[0]:
        click.echo(f"note: {lost[0]} messages came faster than they could be shown", err=True)


def _show(topic: str, payload: bytes, camera: str | None, *, as_json: bool) -> None:
    """`topic` is <agent>/<camera>/.. or <agent>/.."""
    parts = topic.split("/")
    if camera and (len(parts) < 3 or parts[1] != camera):
        return
    try:
        body: Any = json.loads(payload)
    except (ValueError, RecursionError):  # no JSON, or brackets without end
        body = payload.decode("utf-8", "replace")
    if as_json:
        sys.stdout.write(json.dumps({"topic": topic, "body": body}) + "\n")
        sys.stdout.flush()
        return
    words = _told(body) if isinstance(body, Mapping) else printable(body)
    click.echo(f"{time.strftime('%H:%M:%S')}  {printable(topic):<32} {words}")


def _told(body: Mapping[str, Any]) -> str:
    """Anybody can publish: a body that is not what its `schema` says is shown as it came."""
    try:
        return _words(body)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return f"(not what its schema says) {printable(json.dumps(body))}"


def _words(body: Mapping[str, Any]) -> str:
    match str(body.get("schema", "")):
        case "camagent.detections/1":
            found = [f"{printable(d['label'], 64)} {d['score']:.2f}" for d in body["detections"]]
            delay = f"{body['latency_ms']['total']:.0f} ms"
            return f"#{body['seq']} {', '.join(found) or 'nothing'}  ({delay})"
        case "camagent.segmentation/1":
            return ", ".join(f"{printable(c['label'], 64)} {c['share']:.1%}" for c in body["classes"])
        case "camagent.classification/1":
            return ", ".join(f"{printable(c['label'], 64)} {c['score']:.2f}" for c in body["top"])
        case "camagent.camera-health/1":
            tongue = language.of(sys.stdout)
            why = f": {tongue.because(printable(body['reason']), printable(body['detail']))}" if body.get("reason") else ""
            return f"{printable(body['state'])}, {body['fps']:.1f} fps{why}"
        case "camagent.detect/1":
            return f"detection {printable(body['state'])}, by {printable(body['by'])}"
        case "camagent.health/1":
            return (
                f"camagent {printable(body['version'])}, up {body['uptime']:.0f} s, {body['outbox']['messages']} messages open"
            )
        case "camagent.bundle-state/1":
            return "; ".join(_bundle(name, facts) for name, facts in body["bundles"].items()) or "no bundle is stored"
        case "camagent.selftest/1":
            causes = ", ".join(cause["id"] for cause in body["causes"])
            return printable(f"self-test: {body['verdict']}{': ' if causes else ''}{causes}")
        case "" if isinstance(body.get("Frame"), list):
            seen = sum(len(frame.get("Object", ())) for frame in body["Frame"])
            return f"ONVIF metadata: {seen or 'no'} object{'' if seen == 1 else 's'}"
        case _:
            return printable(json.dumps(body))


def _bundle(name: str, facts: Mapping[str, Any]) -> str:
    trial = ", on trial" if facts["trial"] else ""
    refusal = facts["last_refusal"]
    refused = f", refused {refusal['version']}: {refusal['code']}" if refusal else ""
    return printable(f"{name} {facts['current'] or 'runs no version'}{trial}{refused}")
