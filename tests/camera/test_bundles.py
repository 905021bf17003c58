"""Bundles that are signed on the workstation and pushed into the box: good ones run, bad ones are taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.camera.plugins import put_failing_backends
from tests.camera.site import Site
from tests.camera.times import timed, took
from tests.support.agent import camagent
from tests.support.bundles import make_signed, make_unsigned, write_key

pytestmark = pytest.mark.box


def rolled_back(site: Site) -> None:
    site.json("bundle", "rollback", "blobs")
    site.detections(lambda body: body["model"]["version"] == "1.0.0")


def test_what_was_signed_on_the_workstation_becomes_active(running: Site, tmp_path: Path) -> None:
    path = make_unsigned(tmp_path, version="2.0.0")
    refused = running.push(path)
    assert refused.returncode == 1
    assert "error[UNSIGNED_NOT_ALLOWED]" in refused.stderr
    signed = camagent("bundle", "sign", str(path), "--key", str(write_key(tmp_path)))
    assert signed.returncode == 0, signed.stderr
    running.detections()
    before = running.newest_run()
    with timed("bundle push of a new version until its detections are at the broker"):
        pushed = running.push(path)
        assert pushed.returncode == 0, pushed.stderr
        running.detections(lambda body: body["model"]["version"] == "2.0.0")
    assert running.newest_run() == before, "without a restart"
    facts = running.json("bundle", "list")["bundles"]["blobs"]
    assert (facts["current"], facts["trial"], facts["previous"]) == ("2.0.0", "2.0.0", "1.0.0")
    rolled_back(running)


def test_a_bundle_that_does_not_see_its_golden_picture_is_refused_and_the_one_before_runs_on(
    running: Site, tmp_path: Path
) -> None:
    running.detections()
    before = running.newest_run()
    pushed = running.push(make_signed(tmp_path, version="2.1.0", gain=0.0))
    assert pushed.returncode == 1
    assert "error[GOLDEN_FAILED]" in pushed.stderr
    running.detections(lambda body: (body["model"]["version"], body["run"]) == ("1.0.0", before))


def test_a_bundle_that_fails_on_the_stream_is_taken_back(running: Site, tmp_path: Path) -> None:
    put_failing_backends(running.box)
    running.restart()
    running.detections()
    path = make_signed(tmp_path, version="2.2.0", artifacts=[{"path": "model.onnx", "backend": "stumbler"}])
    assert running.push(path).returncode == 0
    running.detections(lambda body: body["model"]["version"] == "2.2.0")
    took(
        "a trial that fails three times in a row: the bundle before it runs",
        running.detections(lambda body: body["model"]["version"] == "1.0.0"), "from its last detection",
    )  # fmt: skip
    facts = running.state(current="1.0.0", trial=None)
    assert facts["last_refusal"]["version"] == "2.2.0"
    assert "error[" in running.push(path).stderr, "this very file is refused from now on"
