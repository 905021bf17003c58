"""What a camera needs of its agent, and the one thing of it that is set from outside and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from camagent.backends import BackendOptions
from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import CodedError
from camagent.frame import Result
from camagent.health import Finding
from camagent.lives import Lives
from camagent.messages import Author, Message, Topics
from camagent.models import UsableBundle
from camagent.onlookers import View
from camagent.waiting_line import Lines
from camagent.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a camera needs of its agent."""

    topics: Topics
    run: int
    qos: int
    options: BackendOptions
    clock: Clock
    send: Callable[[Message], None]
    note_seq: Callable[[str, int, int], None]
    load_bundle: Callable[[Camera], UsableBundle]
    tell_failed: Callable[[UsableBundle, CodedError], None]  # the bundle on trial is no good
    trace: Callable[[str, Result], None]
    delivery: Callable[[str], Finding | None]  # why messages do not arrive, given what became of the newest one
    watchdog: Watchdog
    lives: Lives
    view: Callable[[str], View]
    run_dir: Path
    keep: Callable[[str, Collection[str]], None]  # these are the camera's kept topics; others of it are cleared
    describe: Callable[[Result, Author], None]  # to those who speak ONVIF
    describe_end: Callable[[str, Sequence[int]], None]  # and that these objects of a camera are gone
    lines: Lines


@dataclass(frozen=True, slots=True)
class Switch:
    """The detect switch: set over MQTT, kept over restarts."""

    on: bool
    since: float
    by: str
