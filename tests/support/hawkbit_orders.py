"""What an operator orders, and what the server has heard of it in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.bundles import make_signed
from tests.support.hawkbit import Action, Hawkbit
from tests.support.hawkbit_device import Device

BUNDLE = "blobs-2.0.0.cambundle"


def data_of(folder: Path, version: str = "2.0.0", **options: Any) -> bytes:
    """The same bytes every time: signatures are not."""
    made = folder / "made"
    made.mkdir(exist_ok=True)
    path = made / f"{options.get('name', 'blobs')}-{version}.cambundle"
    return path.read_bytes() if path.exists() else make_signed(made, version=version, **options).read_bytes()


def assign(hawkbit: Hawkbit, device: Device, **options: Any) -> Action:
    return hawkbit.assign((BUNDLE, data_of(device.folder)), **options)


def failure_of(action: Action) -> dict[str, Any]:
    """The one last word, which is a failure: its details as a dictionary, and `number`."""
    assert action.finals == ["failure"]
    last = action.statuses[-1]
    found = dict(line.split(": ", 1) for line in last["details"] if ": " in line)
    assert found["what"]
    assert found["fix"]
    return {**found, "number": last["code"]}


def executions(action: Action) -> list[str]:
    return [status["execution"] for status in action.statuses]


def is_well(device: Device) -> bool:
    return device.state() == "idle" and device.session.facts.code is None
