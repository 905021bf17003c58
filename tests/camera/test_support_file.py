"""camagent support on a camera: every secret that a person may have put there, and none of them in the file."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.camera.site import CONFIG, Site
from tests.test_support import spellings

pytestmark = pytest.mark.box

IN_URL, IN_ENVIRONMENT, IN_QUERY = "Wolken/Kuckuck@Heim", "variable-s3cret", "3f9a-query-token"


def test_no_secret_is_packed(running: Site, tmp_path: Path) -> None:
    text = running.box.run("cat", CONFIG).stdout
    porch = f"rtsp://porch-user:Wolken%2FKuckuck%40Heim@{running.box.cable.outside}:9/x?token={IN_QUERY}"
    more = f'\n[[camera]]\nname = "porch"\nurl = "{porch}"\nbundle = "blobs"\n'
    running.box.run("tee", CONFIG, stdin=(text + more).encode())
    running.set_environment(SOME_TOKEN=IN_ENVIRONMENT)
    try:
        running.restart()
        running.wait("porch/health", lambda body: body["reason"] == "stream-unreachable", 180)
        running.box.run("camagent", "support", "-o", "/root/support.tar", timeout_s=180)
        packed = (running.box.disk / "root/support.tar").read_bytes()
    finally:
        running.box.run("tee", CONFIG, stdin=text.encode())
        running.set_environment()
        running.restart()
    path = tmp_path / "support.tar"
    path.write_bytes(packed)
    with tarfile.open(path) as tar:
        names = {member.name.rpartition("/")[2] for member in tar}
    assert {"versions.json", "machine.json", "config.json", "status.json", "service.json", "audit.jsonl"} <= names
    assert b"porch" in packed, "the camera is in there, its password is not"
    planted = {**running.secrets, "url": IN_URL, "environment": IN_ENVIRONMENT, "query": IN_QUERY, "url user": "porch-user"}
    for what, secret in planted.items():
        for spelling in spellings(secret):
            assert spelling not in packed, f"{what}: {spelling!r}"
    running.detections()
