"""Cameras whose clock is wrong: signatures never look at it, expiry is judged as designed, and what runs goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from camagent import vitals
from tests.support.agent import Agent, Listener, camera, faketime
from tests.support.broker import Broker
from tests.support.bundles import blob_picture, make_signed, write_root
from tests.test_bundle_agent import confirmed

WRONG = ["@1970-01-02 00:00:00", "@2026-11-23 00:00:00"]
FAR = ["@2045-01-01 00:00:00", "@2099-01-01 00:00:00"]
EXPIRED = "CLOCK_UNTRUSTED" if vitals.clock_synchronised() is False else "TRUST_EXPIRED"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


def at(clock: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command under another clock."""
    with faketime(folder, clock) as environment:
        command = [sys.executable, "-m", "camagent", *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False
        )


def verified(folder: Path, clock: str) -> tuple[int, dict[str, Any]]:
    done = at(clock, folder, "bundle", "verify", str(make_signed(folder)), "--trust", str(write_root(folder)), "--json")
    body: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, body


def status(body: dict[str, Any], step: str) -> str:
    return next(str(found["status"]) for found in body["steps"] if found["id"] == step)


@pytest.mark.parametrize("clock", [*WRONG, "+0"])
def test_before_its_time_a_bundle_is_accepted_and_the_clock_is_doubted(tmp_path: Path, clock: str) -> None:
    code, body = verified(tmp_path, clock)
    assert (code, body["accepted"]) == (0, True)
    assert status(body, "signature") == status(body, "threshold") == "pass"
    assert status(body, "clock") == ("warn" if "1970" in clock else "pass")


@pytest.mark.parametrize("clock", FAR)
def test_long_after_its_time_the_signature_is_good_and_expiry_has_its_own_code(tmp_path: Path, clock: str) -> None:
    code, body = verified(tmp_path, clock)
    assert (code, body["code"]) == (1, EXPIRED)
    assert status(body, "signature") == status(body, "threshold") == status(body, "digests") == "pass"


def test_require_clock_turns_the_doubt_into_a_refusal(tmp_path: Path) -> None:
    config = tmp_path / "camagent.toml"
    root = write_root(tmp_path)
    config.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\ntrust = "{root}"\nrequire_clock = true\n')
    done = at(WRONG[0], tmp_path, "bundle", "install", str(make_signed(tmp_path)), "-c", str(config))
    assert done.returncode == 1
    assert "error[CLOCK_UNTRUSTED]" in done.stderr
    assert "1970-01-0" in done.stderr


@pytest.mark.parametrize(
    "clock", [WRONG[0], FAR[1], *(pytest.param(when, marks=pytest.mark.full(seconds=20)) for when in (WRONG[1], FAR[0]))]
)
def test_a_confirmed_bundle_runs_whatever_the_clock_says(tmp_path: Path, broker: Broker, clock: str) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    picture = tmp_path / "pictures"
    picture.mkdir()
    (picture / "a.png").write_bytes(blob_picture())
    section = camera(picture, Path("blobs"), publish="every-frame")
    with Listener(broker.port) as listener, faketime(tmp_path, clock) as environment:
        with Agent(tmp_path, broker.port, section, agent=f'trust = "{tmp_path}/root.json"', **environment):
            listener.wait("front/detections", lambda body: len(body["detections"]) == 2)
            warning = listener.wait("cam-01/health")["trust"]["warning"] or ""
        expected = EXPIRED if clock in FAR else "CLOCK_UNTRUSTED" if "1970" in clock else ""
        assert warning.startswith(expected)
        assert bool(warning) == bool(expected)
