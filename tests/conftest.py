"""Two tiers. `full` tests run at the issues' counts and say how long they take: `@pytest.mark.full(seconds=120)`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["CAMAGENT_LANG"] = "en"  # whatever the developer reads: here and in every child

DEFAULT_SECONDS = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-budget", type=float, default=None, help="seconds of full tests to run; the longest are left out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --full-budget: the shortest full tests first, as many as fit; what is left out is printed, never silent."""
    budget = config.getoption("--full-budget")
    if budget is None:
        return
    full = sorted((item for item in items if item.get_closest_marker("full")), key=seconds_of)
    spent = 0.0
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in full:
        spent += seconds_of(item)
        (kept if spent <= budget else left_out).append(item)
    items[:] = [item for item in items if not item.get_closest_marker("full")] + kept
    config.hook.pytest_deselected(items=left_out)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if left_out and reporter:
        reporter.write_line(f"no time for {len(left_out)} full tests: {', '.join(item.name for item in left_out)}")


def seconds_of(item: pytest.Item) -> float:
    marker = item.get_closest_marker("full")
    return float(marker.kwargs.get("seconds", DEFAULT_SECONDS)) if marker else 0.0


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures with one, two and three red blobs, and a blue one each: a camera for models of blobs."""
    from tests.support.bundles import blob_picture

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(blob_picture(red=1 + number))
    return folder
