"""An environment with a stand-in for rknn-toolkit2 (rknn_stub.py), and wheels of it for pip to install."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

from camagent.rockchip.environment import NEEDED, VERSION

_STUB = Path(__file__).with_name("rknn_stub.py").read_text("utf-8")
_YAML = """import json
class YAML:
    def __init__(self, typ): pass
    def load(self, path): return json.loads(path.read_text())
"""
_FILES = {"rknn/__init__.py": "", "rknn/api.py": _STUB, "ruamel/__init__.py": "", "ruamel/yaml/__init__.py": _YAML}


def fake_environment(folder: Path, version: str = VERSION) -> Path:
    """A virtual environment that has the stand-in; numpy and onnx are borrowed from the tests' own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name, text in (_FILES | _about("rknn-toolkit2", version)).items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def wheels(folder: Path) -> Path:
    """Wheels of everything that the environment is made of: the stand-in, and empty ones that borrow from the tests' own."""
    folder.mkdir(parents=True, exist_ok=True)
    borrowed = {"borrowed.pth": sysconfig.get_path("purelib") + "\n"}
    for requirement in (f"rknn-toolkit2=={VERSION}", *NEEDED):
        name, version = _first(requirement)
        files = _FILES if name == "rknn-toolkit2" else borrowed if name == "torch" else {}
        _wheel(folder, name, version, files)
    return folder


def _first(requirement: str) -> tuple[str, str]:
    """A version that a requirement takes."""
    for sign in ("==", "<=", ">=", "<"):
        name, found, version = requirement.partition(sign)
        if found:
            return name, "1.0" if sign == "<" else version.partition(",")[0]
    return requirement, "1.0"


def _about(name: str, version: str) -> dict[str, str]:
    folder = f"{name.replace('-', '_').replace('.', '_')}-{version}.dist-info"
    return {f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}


def _wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    stem = f"{name.replace('-', '_').replace('.', '_')}-{version}"
    tag = f"{stem}.dist-info/WHEEL"
    content = {**files, **_about(name, version), tag: "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},,\n" for path in content) + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, text in {**content, f"{stem}.dist-info/RECORD": record}.items():
            archive.writestr(path, text)
