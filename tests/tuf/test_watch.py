"""The daemon's looks into its repository: when, what it takes, what it remembers, and that nobody waits for it."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from camagent import config_file, fetching, vitals
from camagent.bundles import Bundles, open_alone
from camagent.cli.service_view import lines_of
from camagent.clock import SystemClock
from camagent.config_check import check
from camagent.errors import ConfigError
from camagent.integrations.tuf_repo import Repository
from camagent.integrations.tuf_watch import AGAIN_S, TufWatch
from camagent.service import Origin
from firmware_pkg.errors import DownloadFailed, GoldenFailed
from firmware_pkg.publish import Changes, Signers
from firmware_pkg.publish import publish as make
from tests.signing.support import key
from tests.support.agent import Agent, Listener
from tests.support.broker import running
from tests.support.bundles import blob_picture, make_signed
from tests.support.http_server import Request, Server, head
from tests.support.tuf_scene import QUICK, at, first_root
from tests.support.tuf_world import FolderServer, folder_served
from tests.tuf.test_publish import root_with


@dataclass
class Shop:
    """A repository, and an agent's store without the agent."""

    folder: Path
    server: FolderServer
    bundles: Bundles
    watches: list[TufWatch] = field(default_factory=list)

    def publish(self, version: str, *, remove: Sequence[tuple[str, str]] = (), **options: Any) -> None:
        path = make_signed(self.folder, version=version, **options)
        changes = Changes([path], remove)
        make(self.folder / "site", [first_root()], changes, Signers([key("release")], [key("online")]), clock=at())
        shutil.rmtree(self.server.folder, ignore_errors=True)
        shutil.copytree(self.folder / "site", self.server.folder)

    def watch(self, interval_s: float = 0.2, spread_s: float = 0.0, names: Sequence[str] = ("blobs",)) -> TufWatch:
        def repository(stop: threading.Event) -> Repository:
            return self.bundles.repository(self.server.url, stop)

        watch = TufWatch(repository, lambda: names, SystemClock(), interval_s=interval_s, spread_s=spread_s)
        self.watches.append(watch)
        watch.start()
        return watch

    def running(self) -> str | None:
        return str(self.bundles.bundles()["bundles"].get("blobs", {}).get("current"))

    def targets_asked(self) -> int:
        return len([path for path in self.server.asked if path.startswith("targets/")])


def wait_until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def looks(watch: TufWatch, more: int = 2) -> None:
    """Waits for that many further looks."""
    until = watch.facts()["checks"] + more
    wait_until(lambda: watch.facts()["checks"] >= until)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(vitals, "clock_synchronised", lambda: True)
    monkeypatch.setattr(fetching, "LIMITS", QUICK)
    (tmp_path / "root.json").write_bytes(first_root().data)
    agent = f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\ntrust = "{tmp_path}/root.json"\n'
    camera = '[[camera]]\nname = "front"\nurl = "x.mp4"\nbundle = "blobs"\n'
    (tmp_path / "camagent.toml").write_text(f'{agent}[web]\nlisten = ""\n{camera}')
    config = config_file.load(tmp_path / "camagent.toml").config
    with folder_served(tmp_path / "web") as server, open_alone(config) as bundles:
        made = Shop(tmp_path, server, bundles)
        yield made
        for watch in made.watches:
            watch.stop()


def status_lines(watch: TufWatch) -> list[str]:
    """What `service status` makes of it."""
    return list(
        lines_of({"unit": None, "pid": 1, "agent": {"agent": {"allow_unsigned": True, "fleet": {"tuf": watch.facts()}}}})
    )


def test_what_is_listed_arrives_by_itself(shop: Shop) -> None:
    shop.publish("1.0.0")
    watch = shop.watch()
    wait_until(lambda: shop.running() == "1.0.0")
    looks(watch)
    shop.publish("1.1.0")
    wait_until(lambda: shop.running() == "1.1.0")
    looks(watch)
    facts = watch.facts()
    assert facts["problem"] is None
    assert facts["errors"] == {}
    assert facts["versions"]["targets"] == 2
    assert facts["listed"] == 2
    assert facts["taken"]["blobs"]["version"] == "1.1.0"
    assert shop.targets_asked() == 2, "what runs is not fetched again"


def test_a_refused_version_is_not_fetched_again_until_another_is_listed(shop: Shop) -> None:
    shop.publish("1.0.0")
    watch = shop.watch()
    wait_until(lambda: shop.running() == "1.0.0")
    shop.publish("1.1.0", gain=0)  # signed, and sees nothing on its golden picture
    wait_until(lambda: watch.facts()["taken"].get("blobs", {}).get("outcome") == "GOLDEN_FAILED")
    refusal = watch.facts()["taken"]["blobs"]["refusal"]
    assert refusal["fix"]
    assert f"    blobs 1.1.0: GOLDEN_FAILED: {refusal['what']} ({refusal['fix']})" in status_lines(watch)
    assert watch.facts()["problem"] is None, "nothing is wrong with the repository"
    asked = shop.targets_asked()
    looks(watch, 4)
    assert shop.targets_asked() == asked
    assert shop.running() == "1.0.0"
    assert watch.facts()["errors"] == {"GOLDEN_FAILED": 1}
    assert watch.facts()["taken"]["blobs"]["outcome"] == "GOLDEN_FAILED", "what was refused last stays told"
    watch.stop()
    again = shop.watch()
    looks(again, 3)
    assert shop.targets_asked() == asked, "nor after a restart"
    shop.publish("1.2.0")
    wait_until(lambda: shop.running() == "1.2.0")


def test_what_a_person_has_taken_back_does_not_come_again(shop: Shop) -> None:
    store = shop.bundles.live.store
    watch = shop.watch()
    for version in ("1.0.0", "1.1.0"):
        shop.publish(version)
        wait_until(lambda version=version: shop.running() == version)  # type: ignore[misc]
        looks(watch, 1)
        running = store.slots("blobs").running
        assert running is not None
        store.confirm("blobs", running.digest)
    shop.bundles.rollback("blobs", Origin("local", "a person"), lambda _: None)
    looks(watch, 3)
    assert shop.running() == "1.0.0"
    shop.publish("1.2.0")
    wait_until(lambda: shop.running() == "1.2.0")


def test_what_was_tampered_with_on_the_way_is_fetched_again(shop: Shop) -> None:
    shop.publish("1.0.0")
    (path,) = (shop.server.folder / "targets").rglob("*.cambundle")
    good = path.read_bytes()
    path.write_bytes(b"X" + good[1:])
    watch = shop.watch()
    wait_until(lambda: watch.facts()["taken"].get("blobs", {}).get("outcome") == "DOWNLOAD_FAILED")
    path.write_bytes(good)
    wait_until(lambda: shop.running() == "1.0.0")


def test_another_root_judges_anew(shop: Shop) -> None:
    """What an untrusted signer has signed is turned away under this root, not for ever."""
    repository = shop.bundles.repository(shop.server.url, threading.Event())
    away, before = repository._away, repository._circumstances()
    repository._kept.folder.mkdir(parents=True)
    away.note("a" * 64, before, GoldenFailed("x", fix="y"))
    assert away.under(before) == {"a" * 64}
    assert away.under(before.replace("root 1", "root 2")) == set()
    away.note("b" * 64, before, DownloadFailed("x", fix="y"))
    assert away.under(before) == {"a" * 64}, "what may pass the next time is not kept"
    away.forget_all_but([])
    assert away.under(before) == set()


def test_problems_are_told_and_over_when_they_are_over(shop: Shop) -> None:
    watch = shop.watch()
    wait_until(lambda: watch.facts()["problem"])
    assert watch.facts()["problem"]["code"] == "DOWNLOAD_FAILED"
    assert watch.facts()["problem"]["fix"]
    (line,) = (line for line in status_lines(watch) if "repository" in line)
    assert re.fullmatch(rf"  repository {re.escape(shop.server.url)}: \d+ looks?; DOWNLOAD_FAILED: .+ \(.+\)", line)
    shop.publish("1.0.0")
    wait_until(lambda: watch.facts()["problem"] is None)
    wait_until(lambda: watch.facts()["taken"])
    first, second = (line for line in status_lines(watch) if line.startswith("  "))
    assert re.fullmatch(rf"  repository {re.escape(shop.server.url)}: \d+ looks, 1 bundle listed", first)
    assert second == "    blobs 1.0.0: installed, trial"
    assert watch.facts()["errors"]["DOWNLOAD_FAILED"] >= 1
    assert 0 <= watch.facts()["next_check_s"] <= AGAIN_S


def test_a_stop_ends_a_download_within_a_second(shop: Shop) -> None:
    def hang(server: Server, request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200))
        server.over.wait(30)

    shop.publish("1.0.0")
    for part in ("timestamp.json", "targets/"):
        shop.server.faults = {part: hang}
        watch = shop.watch()
        wait_until(lambda part=part: any(part in path for path in shop.server.asked))  # type: ignore[misc]
        assert watch.stop(), "it has ended within STOP_S"
        assert watch.facts()["errors"] == {}, "the agent's end is no failure"


class Ends:
    """Chance at one of its ends."""

    def __init__(self, share: float) -> None:
        self.share = share

    def uniform(self, low: float, high: float, /) -> float:
        return low + (high - low) * self.share


@pytest.mark.parametrize(("share", "first"), [(0.0, 0.0), (0.5, 1800.0), (1.0, 3600.0)])
def test_a_fleet_does_not_ask_at_once(shop: Shop, share: float, first: float) -> None:
    watch = TufWatch(
        lambda stop: shop.bundles.repository(shop.server.url, stop), lambda: (), SystemClock(), interval_s=3600, spread_s=3600,
        chance=Ends(share),
    )  # fmt: skip
    assert watch.facts()["next_check_s"] == pytest.approx(first, abs=5)


def test_the_configuration(tmp_path: Path) -> None:
    good = config_file.parse({"fleet": {"tuf": {"url": "https://updates.example.org/cameras/", "interval_s": 600}}})
    check(good)
    assert (good.fleet.tuf.interval_s, good.fleet.tuf.spread_s) == (600, None)
    check(config_file.parse({"fleet": {"groups": ["gates"]}}))
    with pytest.raises(ConfigError, match=r"fleet\.tuf\.url"):
        check(config_file.parse({"fleet": {"tuf": {"url": "ftp://x/"}}}))
    with pytest.raises(ConfigError, match="interval"):
        config_file.parse({"fleet": {"tuf": {"interval_s": 1}}})


# -- a real agent ---------------------------------------------------------------------------------------------------------


@contextmanager
def real_agent(folder: Path, port: int, url: str) -> Iterator[Agent]:
    (folder / "root.json").write_bytes(root_with().data)
    pictures = folder / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(blob_picture())
    camera = f'[[camera]]\nname = "front"\nurl = "{pictures}"\nbundle = "blobs"\nfps = 50\n'
    fleet = f'[fleet.tuf]\nurl = "{url}"\ninterval_s = 10\nspread_s = 0\n'
    with Agent(folder, port, camera, agent=f'trust = "{folder}/root.json"', more=fleet) as agent:
        yield agent


def test_a_real_agent_takes_its_bundle_from_a_repository(tmp_path: Path) -> None:
    with running(tmp_path) as broker, folder_served(tmp_path / "site") as server, Listener(broker.port) as heard:
        bundle = make_signed(tmp_path)
        make(tmp_path / "site", [root_with()], Changes([bundle]), Signers([key("release")], [key("online")]), clock=at())
        with real_agent(tmp_path, broker.port, server.url) as agent:
            seen = heard.wait("front/health", lambda body: body["state"] == "running", timeout_s=60)
            assert seen["model"]["version"] == "1.0.0"
            told = heard.wait("cam-01/health", lambda body: body["fleet"].get("tuf", {}).get("taken"), timeout_s=30)
            assert told["fleet"]["tuf"]["url"] == server.url
            assert told["fleet"]["tuf"]["taken"]["blobs"]["outcome"] == "trial"
            assert told["fleet"]["tuf"]["problem"] is None
            begun = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - begun < 15
