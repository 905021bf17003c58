"""The hawkBit client against a stand-in for the server, over real sockets, with real bundles and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import make_signed
from tests.support.hawkbit import Hawkbit
from tests.support.hawkbit_device import Device


@pytest.fixture
def hawkbit() -> Iterator[Hawkbit]:
    made = Hawkbit()
    with made.listening():
        yield made


@pytest.fixture
def device(tmp_path: Path, hawkbit: Hawkbit) -> Device:
    """A device that runs blobs 1.0.0, confirmed."""
    made = Device(tmp_path, hawkbit.url)
    made.desk.install(make_signed(tmp_path, version="1.0.0"))
    made.desk.confirm()
    return made
