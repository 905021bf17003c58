"""camagent service install | uninstall | status: into an image's folder, from a built wheel, and what the command refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from camagent import cli, config_file, installation, unit
from camagent.cli.service_view import lines_of
from camagent.installation import Target
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker
from tests.support.bundles import blob_picture
from tests.support.other_user import as_other_user

ROOT = Path(__file__).resolve().parents[1]
FILES = {str(place.target) for place in unit.PLACES}
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    return root


def installed(image: Path) -> set[str]:
    """Files of ours, as the image sees them."""
    found = {f"/{path.relative_to(image)}" for path in image.rglob("*") if path.is_file() and not path.is_symlink()}
    return {path for path in found if "camagent" in path}


def test_install_fills_an_image_and_uninstall_leaves_configuration_and_user(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["service", "install", "--root", str(image)]) == 0
    assert installed(image) == FILES | {"/etc/camagent/camagent.toml"}
    text = (image / "etc/systemd/system/camagent.service").read_text()
    assert f"ExecStart={sys.prefix}/bin/camagent run -c /etc/camagent/camagent.toml\n" in text
    assert "@CAMAGENT@" not in text
    config = image / "etc/camagent/camagent.toml"
    assert config_file.load(config).config.camera[0].name == "front"
    config.write_text("# mine\n")
    capsys.readouterr()
    assert cli.run(["service", "install", "--root", str(image), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert {item["outcome"] for item in done["done"]} <= {"unchanged", "kept", "done", "skipped"}
    assert config.read_text() == "# mine\n"
    assert cli.run(["service", "uninstall", "--root", str(image)]) == 0
    assert installed(image) == {"/etc/camagent/camagent.toml"}
    assert not list((image / "etc/systemd/system").rglob("camagent.service"))
    assert cli.run(["service", "uninstall", "--root", str(image)]) == 0, "nothing left to do is no error"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to a user")
@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
def test_the_image_gets_the_user_its_groups_and_folders_with_their_rights(image: Path) -> None:
    assert cli.run(["service", "install", "--root", str(image)]) == 0
    users = dict(re.findall(r"^(\w+):x:(\d+):", (image / "etc/passwd").read_text(), re.MULTILINE))
    groups = {line.split(":")[0]: line.split(":")[3] for line in (image / "etc/group").read_text().splitlines()}
    assert groups["video"] == groups["render"] == "camagent"
    uid = int(users["camagent"])
    state, config, secrets = (image / name for name in ("var/lib/camagent", "etc/camagent", "etc/camagent/credentials"))
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (uid, 0o750)
    assert (config.stat().st_uid, config.stat().st_gid, config.stat().st_mode & 0o777) == (0, uid, 0o750)
    assert (secrets.stat().st_uid, secrets.stat().st_gid, secrets.stat().st_mode & 0o777) == (0, 0, 0o700)
    file = config / "camagent.toml"
    assert (file.stat().st_gid, file.stat().st_mode & 0o777) == (uid, 0o640)
    wants = image / "etc/systemd/system/multi-user.target.wants/camagent.service"
    assert wants.is_symlink()


def test_what_somebody_else_has_written_is_left_alone(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = image / "etc/systemd/system/camagent.service"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Service]\nExecStart=/bin/true\n")
    assert cli.run(["service", "install", "--root", str(image)]) == 1
    assert "error[SERVICE_FOREIGN]" in capsys.readouterr().err
    assert installed(image) == {"/etc/systemd/system/camagent.service"}
    assert cli.run(["service", "uninstall", "--root", str(image)]) == 0
    assert foreign.exists()
    foreign.unlink()
    packaged = image / "usr/lib/systemd/system/camagent.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("[Unit]\n")
    assert cli.run(["service", "install", "--root", str(image)]) == 1
    assert "a package has installed the service" in capsys.readouterr().err


def test_without_root_this_machine_is_not_touched() -> None:
    prefix = as_other_user()
    for words in (["install"], ["uninstall"]):
        ran = subprocess.run(
            [*prefix, sys.executable, "-m", "camagent", "service", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 2
        assert "error[NEEDS_ROOT]" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_now_and_root_contradict_each_other(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["service", "install", "--now", "--root", str(image)]) == 2
    assert "error[USAGE]" in capsys.readouterr().err
    assert installed(image) == set()


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("/home/pi/venv/bin/camagent", "ProtectHome"), ("/root/.pyenv/bin/python", "ProtectHome"),
        ("/tmp/venv/bin/camagent", "PrivateTmp"), ("/opt/camagent/bin/camagent", ""), ("/homestead/bin/camagent", ""),
    ],
)  # fmt: skip
def test_paths_that_the_unit_hides_are_known(path: str, setting: str) -> None:
    assert unit.hidden_by(PurePosixPath(path)) == setting


def test_an_interpreter_that_the_service_cannot_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/pi/venv")
    with pytest.raises(installation.ServiceUnreachable) as caught:
        installation.require_reachable(Target(Path("/")))
    assert "ProtectHome" in caught.value.evidence["why"]
    closed = tmp_path / "closed"
    (closed / "venv").mkdir(parents=True)
    closed.chmod(0o700)
    monkeypatch.setattr(unit, "hidden_by", lambda _: "")
    monkeypatch.setattr(sys, "prefix", str(closed / "venv"))
    assert "only its owner may enter" in installation.unreachable(Target(Path("/")))
    monkeypatch.undo()
    monkeypatch.setattr(sys, "prefix", "/home/pi/venv")
    image = tmp_path / "image"
    image.mkdir()
    assert cli.run(["service", "install", "--no-enable", "--root", str(image)]) == 0
    assert "warning[SERVICE_UNREACHABLE]" in capsys.readouterr().err


def test_a_command_within_the_image_is_named_as_the_image_sees_it(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(image / "opt/camagent"))
    assert Target(image).command() == PurePosixPath("/opt/camagent/bin/camagent")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/opt/camagent/bin/camagent", "/opt/camagent/bin/camagent"),
        ("/opt/my agent/x", '"/opt/my agent/x"'),
        ("/opt/100%/x", '"/opt/100%%/x"'),
        ("/opt/$HOME/x", '"/opt/$$HOME/x"'),
        ('/opt/a"b\\c/x', '"/opt/a\\"b\\\\c/x"'),
    ],
)
def test_a_path_becomes_one_word_of_the_unit(path: str, word: str) -> None:
    assert unit.exec_word(PurePosixPath(path)) == word


def written_unit(folder: Path, command: str) -> Path:
    place = unit.PLACES[0]
    path = folder / unit.NAME
    path.write_text(unit.rendered(place, PurePosixPath(command)))
    return path


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    command = tmp_path / "my agent 100%" / "camagent"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    path = written_unit(tmp_path, str(command))
    ran = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    about_us = [line for line in ran.stderr.splitlines() if "camagent" in line]
    assert (ran.returncode, about_us) == (0, []), ran.stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    path = written_unit(tmp_path, "/bin/true")
    ran = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--no-pager", str(path)], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for camagent.service: ([\d.]+)", ran.stdout)
    assert found, ran.stdout + ran.stderr
    print(found[0])
    assert float(found[1]) <= 1.5


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.data(unit.NAME), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_the_unit_says_what_the_agent_relies_on() -> None:
    wanted = {
        "Type": "notify", "Restart": "always", "RestartSec": "2", "StartLimitIntervalSec": "0", "LimitCORE": "0",
        "TimeoutAbortSec": "10", "RuntimeDirectoryPreserve": "yes", "RuntimeDirectory": "camagent",
        "StateDirectory": "camagent", "ConfigurationDirectory": "camagent", "User": "camagent", "WatchdogSec": "30",
        "LoadCredential": "secret:/etc/camagent/credentials",
    }  # fmt: skip
    found = settings()
    assert {name: found[name] for name in wanted} == {name: [value] for name, value in wanted.items()}
    assert "MALLOC_ARENA_MAX=2" in found["Environment"]
    assert "/etc/camagent/credentials" in unit.data("tmpfiles.d/camagent.conf")


def test_device_rules_give_the_group_the_nodes_and_make_no_names_of_their_own() -> None:
    lines = [line for line in unit.data("70-camagent.rules").splitlines() if line and not line.startswith("#")]
    rules = [line for line in lines if "GROUP=" in line]
    assert all('GROUP="camagent"' in line and 'MODE="0660"' in line for line in rules)
    for match in ('KERNEL=="rknpu"', 'DRIVERS=="RKNPU"', 'SUBSYSTEM=="dma_heap"', 'KERNEL=="mpp_service"'):
        assert sum(match in line for line in rules) == 1, match
    assert not any("SYMLINK" in line or "NAME=" in line for line in lines), "a second name breaks Rockchip's runtime"
    drm = next(line for line in rules if "drm" in line)
    assert "DRIVERS" in drm, "no display's node"
    label = re.search(r'GOTO="(\w+)"', "\n".join(lines))
    assert label
    assert f'LABEL="{label[1]}"' in lines


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
@pytest.mark.skipif(not shutil.which("udevadm"), reason="udevadm is not installed")
@pytest.mark.skipif(not Path("/sys/class/mem/null").exists(), reason="no /sys/class/mem/null here")
def test_udev_reads_the_rules_without_a_complaint(tmp_path: Path) -> None:
    (tmp_path / "70-camagent.rules").write_text(unit.data("70-camagent.rules"))
    (tmp_path / "71-wrong.rules").write_text('KERNEL=="null", NO_SUCH_KEY="1"\n')
    script = f"mkdir -p /run/udev/rules.d && mount --bind {tmp_path} /run/udev/rules.d && udevadm test /sys/class/mem/null"
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    told = (ran.stdout + ran.stderr).splitlines()
    assert any("71-wrong.rules" in line and "NO_SUCH_KEY" in line for line in told), "it reads the folder and complains"
    about_us = [line for line in told if "70-camagent.rules:" in line and "Unknown group" not in line]  # no such user here
    assert about_us == []


def test_the_example_is_a_sound_configuration(tmp_path: Path) -> None:
    path = tmp_path / "camagent.toml"
    path.write_text(unit.data(unit.EXAMPLE))
    assert cli.run(["config", "check", "-c", str(path)]) == 0


def test_a_built_wheel_brings_every_file(tmp_path: Path) -> None:
    tree, left_out = (
        tmp_path / "tree",
        (".git", ".venv*", "tests", "docs", "bench", ".*_cache", "*.egg-info", "build", "shared"),
    )
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*left_out))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)]
    built = subprocess.run(build, capture_output=True, text=True, timeout=280, check=False)
    if built.returncode and "setuptools" in built.stderr and "No matching distribution" in built.stderr:
        pytest.skip("no package index here from which the build's own setuptools could come")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("camagent-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for source in (*(place.source for place in unit.PLACES), unit.EXAMPLE):
            assert f"camagent/systemd/{source}" in names
        archive.extractall(tmp_path / "site")
    image = tmp_path / "image"
    image.mkdir()
    words = ["service", "install", "--no-enable", "--root", str(image)]
    run = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from camagent import cli; cli.main({words!r})"
    ran = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    where = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import camagent; print(camagent.__file__)"
    told = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.startswith(str(tmp_path / "site")), "the wheel's code, not the checkout's"
    assert installed(image) == FILES | {"/etc/camagent/camagent.toml"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


def test_status_asks_the_agent_and_says_where_none_runs(
    tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "0.png").write_bytes(blob_picture())
    agent = Agent(tmp_path, broker.port, camera(pictures, Path("blobs")), agent=f'trust = "{tmp_path}/root.json"')
    words = ["service", "status", "-c", str(agent.path)]
    assert cli.run(words) == 1
    assert "agent: none runs" in capsys.readouterr().out
    with agent, Listener(broker.port) as listener:
        listener.wait("front/health", lambda body: body["reason"] == "no-bundle")
        assert cli.run(words) == 0
        told = capsys.readouterr().out
        assert f"pid {agent.pid}" in told
        assert "no trust root" in told
        assert "camera front: waiting-bundle, 0 fps: no-bundle: NOT_STORED" in told
        assert cli.run([*words, "--json"]) == 0
        body = json.loads(capsys.readouterr().out)
        assert body["schema"] == "camagent.service-status/1"
        assert body["pid"] == agent.pid
        assert body["agent"]["cameras"][0]["camera"] == "front"
        assert set(body) == {"schema", "unit", "pid", "agent"}


NASTY = "cam[/]\x1b[2J\u202e"


def test_status_speaks_of_every_trouble_and_tames_what_it_was_told() -> None:
    agent = {
        "agent": NASTY, "version": NASTY, "uptime": 90061.0, "mqtt": {"code": "mqtt-unreachable", "detail": NASTY},
        "trust": {"root": None}, "config": {"error": NASTY}, "web": {"problem": NASTY}, "watchdog": {"last_abort": NASTY},
    }  # fmt: skip
    refusal = {"code": NASTY, "what": NASTY, "fix": NASTY}
    taken = {NASTY: {"version": NASTY, "refusal": refusal}, "blobs": {"version": "1.0.0", "outcome": NASTY}}
    agent["fleet"] = {
        "hawkbit": {"server": NASTY, "state": NASTY, "action": NASTY, "code": NASTY, "detail": NASTY},
        "tuf": {"url": NASTY, "checks": 1, "listed": 2, "problem": refusal, "taken": taken},
    }
    cameras = [{"camera": NASTY, "state": "running", "reason": NASTY, "detail": NASTY, "fps": 9.5}]
    answer = {"agent": agent, "cameras": cameras, "bundles": {NASTY: {"current": NASTY, "trial": NASTY}}}
    facts = {
        "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "3",
        "Result": "watchdog", "StatusText": NASTY,
    }  # fmt: skip
    text = "\n".join(lines_of({"unit": facts, "pid": 7, "agent": answer}))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "started anew 3 times, last end: watchdog" in text
    assert "up 1 d 1 h" in text
    assert "1 look, 2 bundles listed; " in text
    assert text.count("[/]") >= 25
    for other, words in (
        (None, "systemd does not run here"),
        ({"LoadState": "not-found"}, "not installed"),
        ({"problem": "timed out"}, "systemd does not answer: timed out"),
    ):
        assert words in next(lines_of({"unit": other, "pid": None, "agent": None}))
