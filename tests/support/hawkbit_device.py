"""A device that speaks with the hawkBit stand-in: real bundles, store, downloads and sockets; its clock is turned by hand.

Run as `python -m tests.support.hawkbit_device FOLDER URL` it is a process of its own that can be killed: it goes on until the
server offers nothing more, confirms what is on trial as 600 frames and a minute would, and ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camagent.bundles import Bundles
from camagent.clock import SystemClock
from camagent.config import Agent, Camera, Config, Fleet
from camagent.config import Hawkbit as Section
from camagent.integrations.hawkbit_book import Patience, Surroundings
from camagent.integrations.hawkbit_memory import Memory, load
from camagent.integrations.hawkbit_server import Server
from camagent.integrations.hawkbit_session import Session
from camagent.jobs import as_refusal
from camagent.rollouts import Rollouts
from camagent.vigil import Vigil
from firmware_pkg import disk
from firmware_pkg.order import Limits
from tests.test_bundles import CAMERA, Desk

DOWNLOAD = Limits(connect_s=2, read_s=1, total_s=20, window_s=5, first_tries=1, resumes=3, backoff_s=0.01, backoff_max_s=0.02)
REQUEST = Limits(connect_s=2, read_s=1, total_s=2, rate=1, window_s=2)
QUICK = Patience(download=DOWNLOAD, request=REQUEST)


@dataclass
class Device:
    """One device over several lives; `again` is the next start of its process."""

    folder: Path
    url: str
    token: str = "abc"
    keys: dict[str, Any] = field(default_factory=dict)  # further keys of [fleet.hawkbit]
    agent: dict[str, Any] = field(default_factory=dict)
    patience: Patience = QUICK
    errors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "token").write_text(self.token + "\n")
        self.desk = Desk(self.folder, **self.agent)
        self.session = self._session()

    @property
    def section(self) -> Section:
        keys: dict[str, Any] = {"url": self.url, "target_token_file": self.folder / "token"}
        return Section(**{**keys, **self.keys})

    @property
    def server(self) -> Server:
        return Server.of(self.section, "cam-01")

    @property
    def memory(self) -> Memory:
        """What is on the disk."""
        return load(self.folder / "state", f"{self.server.base} {self.server.controller_id}")

    def _session(self) -> Session:
        section, desk = self.section, self.desk
        return Session(
            self.server, around_of(desk.config, desk.bundles, desk.clock, self.errors), confirmation=section.confirmation,
            poll_s=section.poll, patience=self.patience,
        )  # fmt: skip

    def again(self, *, cleanly: bool = True) -> None:
        """The process starts anew, and every clock with it."""
        if cleanly:
            self.desk.again()
        else:
            self.desk.start()
        self.desk.clock.now += 5.0
        self.session = self._session()

    def turn(self) -> float:
        """One turn, and the time until the next one has passed."""
        wait_s = self.session.turn()
        self.desk.clock.now += wait_s
        return wait_s

    def until(self, condition: Callable[[], object], turns: int = 400) -> None:
        for _ in range(turns):
            if condition():
                return
            self.turn()
        raise AssertionError(f"not within {turns} turns; {self.session.facts}")

    def turns(self, number: int) -> None:
        for _ in range(number):
            self.turn()

    def state(self) -> str:
        return self.session.facts.state


def around_of(config: Config, bundles: Bundles, clock: Any, errors: Counter[str]) -> Surroundings:
    """What an agent would give."""
    rollouts = Rollouts(config, bundles, clock, Vigil(config.agent.state_dir, clock).watchdog, errors)
    return Surroundings(
        installer=bundles, slots_of=bundles.live.store.slots, attributes=rollouts.attributes,
        circumstances=rollouts.circumstances, defect=as_refusal, state_dir=config.agent.state_dir, clock=clock, errors=errors,
    )  # fmt: skip


class _NoCameras:
    def renew(self, name: str) -> None:
        pass

    def release(self, name: str) -> None:
        pass


def main(folder: Path, url: str) -> None:
    section = Section(url=url, target_token_file=folder / "token", poll=1.0)
    config = Config(
        agent=Agent(id="cam-01", state_dir=folder / "state", trust=folder / "root.json"), camera=(CAMERA,),
        fleet=Fleet(hawkbit=section),
    )  # fmt: skip
    disk.sweep(config.agent.state_dir)  # as every agent does that takes its state_dir
    bundles = Bundles(config, SystemClock(), _NoCameras())
    bundles.live.recover()
    around = around_of(config, bundles, SystemClock(), Counter())
    patience = Patience(soon_s=0.05, trial_s=0.05, first_s=0.05, download=DOWNLOAD, request=REQUEST)
    session = Session(Server.of(section, "cam-01"), around, poll_s=0.05, patience=patience)
    idle = 0
    while idle < 4:
        wait_s = session.turn()
        idle = idle + 1 if session.facts.state == "idle" and session.facts.code is None else 0
        if session.facts.state == "trial":
            slots = bundles.live.store.slots("blobs")
            if slots.trial:
                bundles.live.store.confirm("blobs", slots.trial.digest)
        time.sleep(min(wait_s, 0.2))
    bundles.live.close()
    print("done", os.getpid())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

__all__ = ["Camera", "Device", "around_of"]
