"""Another board's device tree, device files, runtime, thermal and NPU files below a folder: what CAMAGENT_SYSROOT shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FAKE_RKNNLITE = str(Path(__file__).parent / "fake_rknnlite")
RK3588 = ("radxa,rock-5b", "rockchip,rk3588")
RK3568 = ("rockchip,rk3568-evb1-ddr4-v10", "rockchip,rk3568")
ZONES = {"soc-thermal": 51_500, "npu-thermal": 44_384, "battery": 90_000}


@dataclass(frozen=True)
class Board:
    """`runtime` None: no librknnrt.so. `node`: the NPU's device file, "" for none."""

    compatible: Sequence[str] = RK3588
    node: str = "dri/renderD129"
    runtime: str | None = "2.3.2"
    driver: str = "0.9.8"
    load: str = "NPU load:  Core0: 12%, Core1:  0%, Core2:  3%,\n"
    devfreq: str = "7@1000000000Hz"
    zones: Mapping[str, int] = field(default_factory=lambda: ZONES)
    status: str = "okay"

    def write(self, root: Path) -> Path:
        _file(root, "sys/firmware/devicetree/base/compatible", "".join(f"{name}\0" for name in self.compatible))
        _file(root, "sys/firmware/devicetree/base/npu@fdab0000/status", f"{self.status}\0")
        if self.node:
            _file(root, f"dev/{self.node}", "")
        if self.node.startswith("dri/"):
            _file(root, f"sys/class/drm/{Path(self.node).name}/device/uevent", "DRIVER=RKNPU\nOF_NAME=npu\n")
        _file(root, "dev/dri/renderD128", "")
        _file(root, "sys/class/drm/renderD128/device/uevent", "DRIVER=rockchip-drm\n")
        if self.runtime is not None:
            library = root / "usr/lib/librknnrt.so"
            library.parent.mkdir(parents=True, exist_ok=True)
            library.write_bytes(b"\x7fELF" + bytes(5000) + f"librknnrt version: {self.runtime} (429f97ae6b@2025)\0".encode())
        if self.driver:
            _file(root, "sys/kernel/debug/rknpu/version", f"RKNPU driver: v{self.driver}\n")
        if self.load:
            _file(root, "sys/kernel/debug/rknpu/load", self.load)
        if self.devfreq:
            _file(root, "sys/class/devfreq/fdab0000.npu/load", self.devfreq)
            _file(root, "sys/class/devfreq/fdab0000.npu/cur_freq", "1000000000\n")
        for number, (kind, value) in enumerate(self.zones.items()):
            _file(root, f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
            _file(root, f"sys/class/thermal/thermal_zone{number}/temp", f"{value}\n")
        return root


def _file(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
