"""The toolkit's own environment: found, made by the real pip without a network, and told in a sentence where it cannot be."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from camagent.cli import run
from camagent.errors import ToolkitMissing, UsageError
from camagent.rockchip import environment
from tests.support.networks import detect_network, save
from tests.support.things import INPUT
from tests.support.toolkit import fake_environment, wheels

Capture = pytest.CaptureFixture[str]


def silent(said: str) -> None:
    del said


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pip configuration of this machine, no environment of its user."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_the_first_call_makes_it_and_the_second_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels(tmp_path / "wheels")))
    half = environment.default_folder()
    assert half.parent == tmp_path / "cache" / "camagent"
    (half / "bin").mkdir(parents=True)  # of a call that was killed
    (half / "bin" / "python").write_text("#!/bin/false\n")
    command = ["model", "convert", str(save(tmp_path / "m.onnx", detect_network)), *INPUT, "--target", "rk3568", "-o"]
    assert run([*command, str(tmp_path / "a.rknn")]) == 0, capsys.readouterr().err
    python = environment.find()
    assert python == half / "bin" / "python"
    about = json.loads((half / environment.MARKER).read_text())
    assert about["toolkit"] == environment.VERSION
    assert environment.installed_version(half) == environment.VERSION
    made_at = python.lstat().st_mtime_ns
    monkeypatch.delenv("PIP_FIND_LINKS")  # nothing could be installed now
    assert run([*command, str(tmp_path / "b.rknn")]) == 0
    assert python.lstat().st_mtime_ns == made_at


def test_without_a_network_it_says_so_and_leaves_nothing(tmp_path: Path, capsys: Capture) -> None:
    model = save(tmp_path / "m.onnx", detect_network)
    folder = tmp_path / "mine"
    command = ["model", "convert", str(model), *INPUT, "--target", "rk3568", "-o", str(tmp_path / "m.rknn")]
    code = run([*command, "--environment", str(folder)])
    out, err = capsys.readouterr()
    assert (code, out) == (3, "")
    assert "error[TOOLKIT_MISSING]: rknn-toolkit2 cannot be installed" in err
    assert "pip says = ERROR" in err
    assert "--environment DIR" in err
    assert not folder.exists()
    assert not (tmp_path / "m.rknn").exists()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("The virtual environment was not created successfully because ensurepip is not available.", "cannot make virtual"),
        ("WARNING: Retrying .. NewConnectionError('<..>')\nERROR: No matching distribution found for x", "cannot be reached"),
        ("ERROR: No matching distribution found for rknn-toolkit2==2.5.0", "no package that fits this machine"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something else", "rknn-toolkit2 cannot be installed"),
    ],
)  # fmt: skip
def test_what_pip_says_is_understood(said: str, what: str) -> None:
    found = environment._explained(said)
    assert what in found.what
    assert found.fix
    assert "Python 3." in found.evidence["machine"]


def test_a_named_environment_is_used_and_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = fake_environment(tmp_path / "mine", "2.3.2")
    assert environment.find(mine) == mine / "bin" / "python"
    assert environment.ready(mine, silent) == mine / "bin" / "python"
    monkeypatch.setenv(environment.VARIABLE, str(mine))
    assert environment.find() == mine / "bin" / "python"
    assert not (mine / environment.MARKER).exists()
    assert environment.installed_version(mine) == "2.3.2"


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("dear")
    with pytest.raises(UsageError, match="has no rknn-toolkit2"):
        environment.ready(tmp_path / "photos", silent)
    with pytest.raises(UsageError, match="the agent's own environment"):
        environment.ready(Path(sys.prefix), silent)
    assert (tmp_path / "photos" / "a.jpg").read_text() == "dear"


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(ToolkitMissing, match="no room") as caught:
        environment.ready(tmp_path / "e", silent)
    assert set(caught.value.evidence) == {"needed", "free", "in"}


def test_a_toolkit_that_cannot_be_imported_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = wheels(tmp_path / "wheels")
    (torch,) = links.glob("torch-*")
    torch.unlink()
    monkeypatch.setattr(environment, "NEEDED", tuple(one for one in environment.NEEDED if not one.startswith("torch")))
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(ToolkitMissing, match="cannot be imported") as caught:
        environment.ready(tmp_path / "e", silent)
    assert "No module named" in str(caught.value.evidence)
    assert not (tmp_path / "e").exists()


def test_two_commands_make_one_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels(tmp_path / "wheels")))
    heard: list[str] = []
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(environment.ready(None, heard.append))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(set(found)) == 1
    assert len(found) == 2
    assert heard.count("making a virtual environment") == 1
    assert "waiting for another command that makes it" in heard
