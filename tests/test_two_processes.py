"""Root installs while the agent runs as a user of its own, and is killed at random: one owner of everything, all along."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Broker
from tests.support.bundles import make_signed, write_root
from tests.support.camera import Clips, RtspCamera
from tests.support.other_user import UID, as_other_user, open_way


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own is root's."""
    folder = Path(tempfile.mkdtemp(prefix="camagent-two-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def wrong_files(state: Path) -> list[str]:
    """What the agent's user does not own, or could not read or remove."""
    found = []
    for path in (state, *state.rglob("*")):
        try:
            about = path.lstat()
        except FileNotFoundError:  # a staged file that went meanwhile
            continue
        wanted = 0o700 if path.is_dir() else 0o600
        if about.st_uid != UID or about.st_mode & wanted != wanted:
            found.append(f"{path.relative_to(state)}: {about.st_uid} {about.st_mode:o}")
    return found


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.full(seconds=150))])
def test_installs_that_are_killed_at_random_leave_one_owner(place: Path, tmp_path: Path, times: int) -> None:
    prefix = as_other_user()
    chance = random.Random(times)
    broker = Broker(tmp_path)
    broker.start()
    write_root(place).chmod(0o644)
    (place / "state").mkdir(mode=0o700)
    os.chown(place / "state", UID, UID)
    paths = [make_signed(tmp_path, version=f"{number}.0.0", extra={"ballast.bin": bytes(8 << 20)}) for number in (1, 2, 3)]
    clip = Clips(tmp_path).make(gop=10, seconds=3)
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        agent = Agent(
            place, broker.port, camera(source.url, Path("blobs"), publish="every-frame", stall_timeout=30.0),
            agent=f'trust = "{place}/root.json"',
        )  # fmt: skip
        agent.prefix = prefix
        agent.path.chmod(0o644)
        with agent:
            listener.wait("front/health", lambda body: body["reason"] == "no-bundle" and body["counters"]["decoded"] > 5, 40)
            for number in range(times):
                words = ["install", str(paths[number % 3]), "-c", str(agent.path), "--force"]
                command = [sys.executable, "-m", "camagent", "bundle", *words]
                child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(chance.uniform(0.2, 2.0))
                child.kill()
                child.wait(10)
                assert not wrong_files(place / "state")
            done = settled(agent.path, paths[0])
            assert done.returncode == 0, done.stderr
            listener.wait("front/health", lambda body: (body["model"] or {}).get("version") == "1.0.0")
            assert not wrong_files(place / "state")
            assert not list((place / "state" / "bundles" / ".staging").iterdir())
            assert source.command("clients") == "1"
            last = listener.bodies("front/health")[-1]
            assert (last["reconnects"], last["run"]) == (0, 1)
            assert broker.log.read_text(errors="replace").count(" as cam-01 ") == 1
            assert agent.process is not None
            assert agent.process.poll() is None
        broker.stop()


def settled(config: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    """An install to its end; the one whose command was killed may still be going on in the agent, and then this one waits."""
    for _ in range(50):
        done = camagent("bundle", "install", str(bundle), "-c", str(config), "--force")
        if "BUSY" not in done.stderr:
            break
        time.sleep(0.2)
    return done


def test_without_an_agent_root_writes_as_the_owner_of_the_state_directory(place: Path, tmp_path: Path) -> None:
    prefix, root = open_way(), write_root(tmp_path)
    (place / "state").mkdir(mode=0o700)
    os.chown(place / "state", UID, UID)
    config = place / "camagent.toml"
    config.write_text(f'[agent]\nstate_dir = "{place}/state"\ntrust = "/none/root.json"\n')
    secret = make_signed(tmp_path)
    secret.chmod(0o600)

    def as_root(*words: str | Path) -> str:
        command = [*prefix, sys.executable, "-m", "camagent", *map(str, words), "-c", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    as_root("trust", "install", root)
    assert '"outcome": "stored"' in as_root("bundle", "install", secret, "--json")
    assert "blobs: none runs; stored: 1.0.0" in as_root("bundle", "list"), "no camera uses it"
    assert not wrong_files(place / "state")
