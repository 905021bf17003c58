"""The Debian package's recipe, without building it: what tests/camera installs and starts is built from this."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from camagent import unit

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = ROOT / "debian"
SCRIPTS = [*sorted(DEBIAN.glob("camagent.p*")), DEBIAN / "build", DEBIAN / "fill-environment"]
COPYRIGHT = (DEBIAN / "copyright").read_text("utf-8")
# for arm64 alone; what it puts beside others, its own needs included
ELSEWHERE = {"rknn-toolkit-lite2": {"rknnlite", "psutil", "ruamel"}}


def wheels(name: str = "camagent", seen: set[str] | None = None) -> Iterator[str]:
    """Every distribution that camagent needs to run, as far as it is installed here."""
    seen = set() if seen is None else seen
    for line in distribution(name).requires or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        key = needed.name.lower().replace("_", "-")
        if key not in seen:
            seen.add(key)
            yield key
            try:
                yield from wheels(key, seen)
            except PackageNotFoundError:
                assert key in ELSEWHERE, f"{key} is needed and not installed"


def tops(name: str) -> set[str]:
    """Folders and modules that a wheel puts beside others."""
    files = distribution(name).files or ()
    found = {path.parts[0] for path in files if ".dist-info" not in path.parts[0] and path.parts[0] != ".."}
    return {top for top in found if not top.startswith("__") and not top.endswith(".pth")}


def listed(top: str) -> bool:
    """Whether a paragraph of debian/copyright covers this folder or module."""
    patterns = re.findall(r"^Files: \S+/site-packages/(\S+?)(?:/\*|\*)$", COPYRIGHT, re.MULTILINE)
    return any(top == pattern or top.startswith((pattern, f"_{pattern}")) for pattern in patterns)


def test_its_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert (DEBIAN / "changelog").read_text("utf-8").startswith(f"camagent ({project}) ")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_its_scripts_are_sound(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "set -e" in text
    subprocess.run(["sh", "-n", str(path)], check=True)
    if path.name.startswith("camagent."):
        assert text.count("#DEBHELPER#") == 1, "debhelper's own lines would be lost"


def test_it_brings_what_service_install_brings() -> None:
    rules = (DEBIAN / "rules").read_text("utf-8")
    for place in unit.PLACES:
        assert f"systemd/{place.source}" in rules, f"{place.source} is in no package"
    assert unit.COMMAND in rules


@pytest.mark.parametrize("name", sorted({*wheels(), *ELSEWHERE}))
def test_every_wheel_in_it_stands_in_its_copyright(name: str) -> None:
    missing = {top for top in ELSEWHERE.get(name) or tops(name) if not listed(top)}
    assert not missing, f"debian/copyright says nothing of {', '.join(sorted(missing))} ({name})"


def test_what_is_under_a_licence_of_its_own_stands_in_its_copyright() -> None:
    for name in ("av", "opencv-python-headless", "numpy"):
        for path in distribution(name).files or ():
            library = re.match(r"(lib[A-Za-z0-9_+-]+?)(?:-[0-9a-f]{8}|-[0-9A-Za-z.-]+)?\.(?:[0-9.]+\.)?so", path.name)
            if library and path.parts[0].endswith(".libs"):
                stem = library[1].removesuffix("p-r0")
                assert stem in COPYRIGHT, f"debian/copyright says nothing of {path}"
    assert "FFmpeg" in COPYRIGHT
    assert re.search(r"librknnrt is not in this package", COPYRIGHT)


@pytest.mark.parametrize(("python", "code"), [("3.11", 0), ("3.9", 1), ("3.13", 1), (None, 0)])
def test_another_python_is_told_in_one_sentence_before_anything_is_unpacked(
    tmp_path: Path, python: str | None, code: int
) -> None:
    script = (DEBIAN / "camagent.preinst").read_text("utf-8").replace("#PYTHON_VERSION#", "3.11").replace("#DEBHELPER#", "")
    if python:  # where there is none, its package comes in the same go
        stand_in = tmp_path / "python3"
        stand_in.write_text(f"#!/bin/sh\necho {python}\n")
        stand_in.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script, "preinst", "install"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.count("\n") == code
    assert not code or f"for Python 3.11 and this system has {python}" in done.stderr
