"""A camera that takes bundles from a TUF repository, its publisher and the web server between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent import fetching, vitals
from tests.support.tuf_scene import QUICK, Scene, first_root
from tests.support.tuf_world import folder_served


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(vitals, "clock_synchronised", lambda: True)  # the kernel's word: it differs from machine to machine
    monkeypatch.setattr(fetching, "LIMITS", QUICK)
    (tmp_path / "root.json").write_bytes(first_root().data)
    camera = '[[camera]]\nname = "front"\nurl = "x.mp4"\nbundle = "blobs"\n'
    agent = f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\ntrust = "{tmp_path}/root.json"\ndevice = "rk3568"\n'
    (tmp_path / "camagent.toml").write_text(f'{agent}[web]\nlisten = ""\n{camera}')
    with folder_served(tmp_path / "web") as server:
        yield Scene(tmp_path, server, capsys)
