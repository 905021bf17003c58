"""The board below CAMAGENT_SYSROOT: its SoC, device files, runtime, driver, load and temperatures, and what is not told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from camagent import npu, vitals
from firmware_pkg import soc
from tests.support.board import Board
from tests.support.other_user import as_other_user, open_folder


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CAMAGENT_SYSROOT", str(tmp_path))
    return lambda **facts: Board(**facts).write(tmp_path)


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        (("radxa,rock-5b", "rockchip,rk3588"), "rk3588"),
        (("xunlong,orangepi-5", "rockchip,rk3588s"), "rk3588s"),
        (("rockchip,rk3568-evb1-ddr4-v10", "rockchip,rk3568"), "rk3568"),
        (("rockchip,rk3568", "vendor,camera-board"), "rk3568"),  # not last
        (("rockchip,rk3588s-orangepi-5",), "rk3588s"),  # the board alone
        (("FriendlyElec,NanoPi", "Rockchip,RK3576"), "rk3576"),
        (("rockchip,rv1126b-evb", "rockchip,rv1126b"), "rv1126b"),
        (("rockchip,rk3566-radxa-zero3", "rockchip,rk3566"), "rk3566"),
        (("raspberrypi,4-model-b", "brcm,bcm2711"), "bcm2711"),
        (("no comma at all",), ""),
        ((), ""),
    ],
)
def test_the_soc_is_found_in_any_entry(show: Any, compatible: tuple[str, ...], name: str) -> None:
    show(compatible=compatible)
    assert vitals.device() == name
    assert soc.named_in(compatible) == name


@pytest.mark.parametrize(("name", "cores"), [("rk3588", 3), ("RK3588S", 3), ("rk3588f", 3), ("rk3576", 2), ("rk3568", 1)])
def test_cores_are_the_socs(show: Any, name: str, cores: int) -> None:
    show(compatible=(f"rockchip,{name}",))
    assert npu.look().cores == cores


def test_a_board_tells_all_there_is(show: Any) -> None:
    show()
    seen = npu.look()
    assert (seen.soc, seen.files, seen.closed, seen.reachable) == ("rk3588", ("/dev/dri/renderD129",), (), True)
    assert (seen.driver, seen.runtime, seen.runtime_version) == ("0.9.8", "/usr/lib/librknnrt.so", "2.3.2")
    assert npu.health() == {
        "soc": "rk3588", "cores": 3, "present": True, "load": [12, 0, 3], "load_of": "driver", "frequency": 1_000_000_000,
        "temperature": 44.384, "driver": "0.9.8",
    }  # fmt: skip


def test_load_is_the_clocks_where_debugfs_is_roots(show: Any) -> None:
    show(load="", driver="")
    told = npu.health()
    assert (told["load"], told["load_of"], told["driver"]) == ([7], "devfreq", None)


def test_what_is_not_told_is_null(show: Any) -> None:
    show(load="", devfreq="", driver="", node="", zones={"soc-thermal": 40_000})
    told = npu.health()
    assert told["present"] is False
    assert {told[key] for key in ("load", "load_of", "frequency", "temperature", "driver")} == {None}


def test_a_workstation_has_no_npu_in_health(show: Any) -> None:
    show(compatible=("raspberrypi,4-model-b", "brcm,bcm2711"), node="")
    assert npu.health() == {}
    assert npu.health("rk3588")["cores"] == 3  # as configured


@pytest.mark.parametrize("words", ["NPU load:  Core0:", "-", "999999999999999999999999", "\0\0"])
def test_strange_words_of_a_kernel_are_no_numbers(show: Any, words: str) -> None:
    show(load=words, devfreq=words, driver=words)
    assert npu.health()["load"] is None


def test_a_temperature_is_found_by_type_and_a_battery_is_no_soc(show: Any) -> None:
    show()
    assert vitals.temperature() == 51.5  # not the battery's 90
    assert npu.temperature() == 44.384


def test_a_zone_without_a_telling_type_is_better_than_none(show: Any) -> None:
    show(zones={"acpitz": 27_800, "iwlwifi": 40_000})
    assert vitals.temperature() == 40.0
    assert npu.temperature() is None


@pytest.mark.parametrize("node", ["dri/renderD129", "dri/card1", "rknpu"])
def test_the_npus_device_file_is_told_from_the_displays(show: Any, node: str) -> None:
    show(node=node)
    assert npu.look().files == (f"/dev/{node}",)


@pytest.mark.parametrize("folder", ["usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/local/lib"])
def test_a_library_in_another_place_is_found_there(show: Any, folder: str) -> None:
    root = show(runtime=None)
    (root / folder).mkdir(parents=True)
    (root / folder / "librknnrt.so").write_bytes(b"x")
    assert (npu.look().runtime, npu.look().misplaced) == ("", f"/{folder}/librknnrt.so")


def test_a_library_without_a_version_is_there_all_the_same(show: Any) -> None:
    root = show()
    (root / "usr/lib/librknnrt.so").write_bytes(b"")
    assert (npu.look().runtime, npu.look().runtime_version) == ("/usr/lib/librknnrt.so", "")


_LOOK = "import sys; from camagent import npu; seen = npu.look(); print(seen.reachable, *seen.closed)"


@pytest.mark.parametrize("node", ["dri/renderD129", "rknpu"])
def test_a_file_that_this_user_may_not_open_is_seen_and_named(node: str) -> None:
    prefix = as_other_user()
    with open_folder() as place:
        root = replace(Board(), node=node).write(place)
        (root / "dev" / node).chmod(0o600)
        command, shown = [*prefix, sys.executable, "-c", _LOOK], {**os.environ, "CAMAGENT_SYSROOT": str(root)}
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, env=shown)
    assert said.stdout.split() == ["False", f"/dev/{node}", "-rw-------", "0:0"], said.stderr
