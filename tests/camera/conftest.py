"""Boxes for the tests. They run when asked for with `-m box` (`make test-camera`), after `python -m tests.camera.prepare`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.camera import roots, times
from tests.camera.box import Box
from tests.camera.host import arch, lacking
from tests.camera.site import Site
from tests.support.bundles import make_signed

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A box takes minutes: none is started by accident."""
    if "box" in config.option.markexpr:
        return
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="a camera in a box: make test-camera"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in times.table(arch()) if times.TAKEN else ():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb of this checkout."""
    if reason := lacking(arch()):
        pytest.skip(reason)
    return roots.package(arch()) or pytest.skip("the package was not built: python -m tests.camera.prepare")


@pytest.fixture(scope="session")
def bare(package: Path) -> Path:
    """Root of a camera that has never heard of camagent."""
    folder = roots.base_of(arch())
    return folder if folder.is_dir() else pytest.skip("no root file system: python -m tests.camera.prepare")


@pytest.fixture(scope="session")
def prepared(package: Path) -> Path:
    """Root of a camera on which the package was installed, and nothing else done."""
    folder = roots.installed_of(arch(), package)
    return folder if folder.is_dir() else pytest.skip("the package is installed nowhere: python -m tests.camera.prepare")


@pytest.fixture(scope="session")
def running(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A camera that has run the bundle blobs 1.0.0 long enough to trust it. Every test leaves it detecting with that."""
    folder = tmp_path_factory.mktemp("running")
    with Box(prepared) as box, Site(box, folder) as place:
        times.took("boot of the box", box.boot())
        place.configure()
        place.restart()
        place.trust()
        done = place.push(make_signed(folder))
        assert done.returncode == 0, done.stderr
        place.confirmed("1.0.0")
        yield place


@pytest.fixture
def site(prepared: Path, tmp_path: Path) -> Iterator[Site]:
    """A camera that is on and configured, without a root and without a bundle."""
    with Box(prepared) as box, Site(box, tmp_path) as place:
        box.boot()
        place.configure()
        place.restart()
        yield place


@pytest.fixture(scope="session")
def library() -> str:
    """Where libraries lie in the box."""
    return {"arm64": "/usr/lib/aarch64-linux-gnu", "amd64": "/usr/lib/x86_64-linux-gnu"}[arch()]


@pytest.fixture(autouse=True)
def _no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands on the workstation see no board of a developer's."""
    for name in [name for name in os.environ if name.startswith("CAMAGENT_") and name != "CAMAGENT_BOX_ARCH"]:
        monkeypatch.delenv(name)
