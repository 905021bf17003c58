"""camagent fleet status: one table of every camera behind a broker, from what their agents keep there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

import click

from camagent.cli.bar import work_bar
from camagent.cli.broker import broker_options, mqtt_of, reach
from camagent.clock import SystemClock
from camagent.config import Mqtt
from camagent.errors import BrokerError, printable
from camagent.fleet import SORTS, WANTED, AgentView, Fleet, summary
from camagent.pipeline import Observer

Inbox: TypeAlias = SimpleQueue[tuple[str, bytes, bool]]  # topic, payload, whether the broker had kept it
SCHEMA = "camagent.fleet-status/1"
QUIET_S = 1.0  # without one of the messages that the broker keeps: it has sent them all
_POLL_S = 0.05


@click.command(epilog="Example: camagent fleet status --url mqtt://192.168.1.10 --sort trouble")
@broker_options
@click.option("--sort", type=click.Choice(list(SORTS)), default="agent", show_default=True, help="Order of the rows.")
@click.option("--troubled", is_flag=True, help="Only agents where something wants to be looked at.")
@click.option("--wait", "wait_s", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, metavar="SECONDS",
              help="Longest time to listen; it ends when the broker has sent what it keeps.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help=f"Print JSON ({SCHEMA}).")
def command(
    path: Path | None, url: str | None, prefix: str | None, username: str | None, password_file: Path | None,
    ca_file: Path | None, sort: str, troubled: bool, wait_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Show every camera behind a broker: who runs what, who is silent, who sees nothing and why.

    Reads what the agents keep at the broker (available, health, bundle/state) and changes nothing. An agent is "silent" when
    the broker takes it for connected and its last health is older than a minute.
    """
    mqtt = mqtt_of(path, url=url, prefix=prefix, username=username, password_file=password_file, ca_file=ca_file)
    fleet = _gather(mqtt, wait_s)
    now = time.time()
    every = sorted(fleet.views(now), key=SORTS[sort])
    shown = [view for view in every if view.troubled] if troubled else every
    if as_json:
        body = {"schema": SCHEMA, "time": now, "prefix": mqtt.prefix, "summary": summary(every), "agents": _plain(shown)}
        click.echo(json.dumps(body))
    elif every:
        from camagent.cli.fleet_view import print_table

        print_table(shown, summary(every))
    if not every:
        click.echo(f"no agent has published below {printable(mqtt.prefix)}/ on this broker; is --prefix right?", err=True)
    if fleet.strange:
        click.echo(f"note: {fleet.strange} messages there are not what camagent publishes, and were left out", err=True)


def _plain(views: Sequence[AgentView]) -> list[dict[str, Any]]:
    return [{**asdict(view), "troubled": view.troubled} for view in views]


def _gather(mqtt: Mqtt, wait_s: float) -> Fleet:
    """What the broker keeps. Raises BrokerError."""
    inbox: Inbox = SimpleQueue()
    ended: list[BrokerError] = []

    def died(name: str, exc: BaseException) -> None:
        ended.append(BrokerError(f"{name} ended: {printable(repr(exc))}", fix="start it again, and report this"))

    logging.getLogger("camagent.mqtt").addHandler(logging.NullHandler())  # what goes wrong is told as the command's error
    topics = [f"{mqtt.prefix}/{topic}" for topic in WANTED]
    observer = Observer(mqtt, topics, SystemClock(), on_message=lambda *message: inbox.put(message), died=died)
    observer.start()
    try:
        reach(observer, time.monotonic)
        if len(observer.denied) == len(topics):
            raise BrokerError(
                "the broker does not let this login read",
                evidence={"topics": ", ".join(observer.denied)}, fix=f"allow it to read {printable(mqtt.prefix)}/#",
            )  # fmt: skip
        return listen(Fleet(mqtt.prefix), inbox, ended, wait_s)
    finally:
        observer.stop()


def listen(fleet: Fleet, inbox: Inbox, ended: Sequence[BrokerError], wait_s: float) -> Fleet:
    """Until nothing that was kept has come for a moment, at most `wait_s`. What is published meanwhile is newer, and counts."""
    end = time.monotonic() + wait_s
    quiet_at = time.monotonic() + QUIET_S
    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("listening", total=None)
        while time.monotonic() < min(end, quiet_at):
            if ended:
                raise ended[0]
            try:
                topic, payload, kept = inbox.get(timeout=_POLL_S)
            except Empty:
                continue
            fleet.note(topic, payload)
            if kept:
                quiet_at = time.monotonic() + QUIET_S
                bar.update(task, description=f"{len(fleet)} agents")
    return fleet
