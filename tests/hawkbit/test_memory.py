"""What a device knows of its actions after a restart, and after it has lost its memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from camagent.integrations import hawkbit_memory
from tests.support.hawkbit import Hawkbit
from tests.support.hawkbit_device import Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of
from tests.support.http_server import Files, Request, Server, head


def test_an_agent_that_lost_its_memory_finds_it_in_the_actions_history(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    (device.folder / "state" / hawkbit_memory.FILE_NAME).unlink()
    device.again()
    device.until(lambda: device.state() == "trial")
    assert hawkbit.count("GET", "artifacts") == 1, "not fetched again: the action's history says what it has brought"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2}', b"\xff", b'{"doing": {"action": 1}}'])
def test_a_damaged_memory_is_begun_anew(device: Device, hawkbit: Hawkbit, content: bytes) -> None:
    (device.folder / "state" / hawkbit_memory.FILE_NAME).write_bytes(content)
    device.again()
    assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")


def test_another_server_is_another_matter(device: Device, hawkbit: Hawkbit) -> None:
    assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.keys["tenant"] = "OTHER"
    device.again()
    assert device.memory.doing is None
    assert device.memory.known, "what the file of a sha256 is called does not depend on who offers it"


def test_a_stop_cuts_a_download_and_the_next_life_begins_anew(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, extra={"ballast.bin": bytes(300_000)})
    reached = threading.Event()

    def half(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}") + data[:100_000])
        reached.set()
        server.over.wait(10)

    hawkbit.files[BUNDLE] = half
    action = hawkbit.assign((BUNDLE, data))
    thread = threading.Thread(target=device.turns, args=(1,))
    thread.start()
    assert reached.wait(10)
    device.session.stop()
    thread.join(1.0)
    assert not thread.is_alive(), "within a second"
    memory = device.memory.doing
    assert memory is not None
    assert memory.phase == "fetching"
    hawkbit.files[BUNDLE] = Files(data)
    device.again()
    device.until(lambda: device.state() == "trial")
    assert "begins anew after an interruption, attempt 2" in action.details
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
