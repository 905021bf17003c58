"""A newer package over an older one and back, while the broker is away and a bundle is on trial: nothing is lost."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.camera import roots
from tests.camera.site import Site
from tests.camera.times import took
from tests.support.bundles import make_signed

pytestmark = pytest.mark.box


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package under a later version."""
    folder = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder / "tree"], check=True)
    control = folder / "tree/DEBIAN/control"
    lines = control.read_text().splitlines()
    (version,) = [line.split()[1] for line in lines if line.startswith("Version:")]
    control.write_text("\n".join(f"Version: {version}+later" if line.startswith("Version:") else line for line in lines) + "\n")
    path = folder / package.name.replace(version, f"{version}+later")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "tree", path], check=True, capture_output=True
    )
    return path


def gaps(site: Site) -> dict[int, list[int]]:
    """Numbers that are missing, by run, among the detections that have arrived."""
    seen = defaultdict(set)
    for body in site.listener.bodies("front/detections"):
        seen[body["run"]].add(body["seq"])
    newest = max(seen)
    found = {run: sorted(set(range(min(got), max(got) + 1)) - got) for run, got in seen.items()}
    first = {run: min(got) for run, got in seen.items() if run != min(seen)}
    assert set(first.values()) <= {1}, f"a run begins at 1: {first}"
    return {run: missing for run, missing in found.items() if missing and run <= newest}


def change(site: Site, deb: Path, what: str, *options: str) -> None:
    """Installs a package while the broker is away, and expects every message of that time."""
    pid, old = site.unit("MainPID"), site.newest_run()
    site.away.cut()
    cut = time.time()
    time.sleep(5)  # the outbox goes to flash after two
    took(f"{what} of the package", roots.install(site.box, deb, *options))
    assert site.unit("MainPID") != pid, "the new one runs"
    assert site.unit("ActiveState") == "active"
    began = time.monotonic()
    before = site.newest_run()
    site.away.restore()
    site.listener.wait("front/detections", lambda body: body["run"] > before, 240)
    took(f"after the {what}: detections, from the broker's return", time.monotonic() - began)
    late = [body for body in site.listener.bodies("front/detections") if body["run"] == old and body["frame_time"] > cut + 1]
    assert late, "what was seen while the broker was away has arrived"
    assert gaps(site) == {}


def on_trial(site: Site) -> None:
    facts = site.json("bundle", "list")["bundles"]["blobs"]
    assert (facts["trial"], facts["last_refusal"]) == ("1.0.0", None), "a new package is no death of the trial"


def test_upgrade_and_downgrade_lose_nothing_and_the_trial_goes_on(
    site: Site, package: Path, newer: Path, tmp_path: Path
) -> None:
    site.configure(fps=2)  # so that the trial takes five minutes
    site.restart()
    site.trust()
    assert site.push(make_signed(tmp_path)).returncode == 0
    site.detections()
    version = site.box.run("dpkg-query", "-W", "-f", "${Version}", "camagent").stdout
    change(site, newer, "upgrade")
    assert site.box.run("dpkg-query", "-W", "-f", "${Version}", "camagent").stdout == f"{version}+later"
    on_trial(site)
    change(site, package, "downgrade", "--allow-downgrades")
    assert site.box.run("dpkg-query", "-W", "-f", "${Version}", "camagent").stdout == version
    on_trial(site)
    site.configure()
    site.box.run("systemctl", "reload", "camagent")
    site.confirmed("1.0.0")
