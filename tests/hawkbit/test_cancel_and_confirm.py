"""What an operator changes his mind about, and what waits for a word."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from camagent.integrations.hawkbit_book import Patience
from tests.support.hawkbit import Hawkbit
from tests.support.hawkbit_device import DOWNLOAD, REQUEST, Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of
from tests.support.http_server import Request, Server, head


def test_cancelled_before_the_installation_begins(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, update="skip", window="unavailable")
    device.until(lambda: device.state() == "waiting")
    hawkbit.cancel(action)
    device.until(lambda: action.cancellations)
    (answer,) = action.cancellations
    assert (answer["execution"], answer["result"]["finished"]) == ("closed", "success")
    assert action.state == "closed"
    device.turns(5)
    assert device.state() == "idle"
    assert hawkbit.count("GET", "artifacts") == 0


def test_cancelled_after_the_installation_began_is_rejected_and_goes_on(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    hawkbit.cancel(action)
    device.until(lambda: action.cancellations)
    (answer,) = action.cancellations
    assert (answer["execution"], answer["details"]) == ("rejected", ["a bundle of it is installed already"])
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]


def test_cancelled_in_the_middle_of_the_download(device: Device, hawkbit: Hawkbit) -> None:
    data = data_of(device.folder, extra={"ballast.bin": bytes(300_000)})
    waiting, go_on = threading.Event(), threading.Event()

    def half(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}") + data[:100_000])
        waiting.set()
        go_on.wait(10)
        for at in range(100_000, 250_000, 10_000):
            wire.sendall(data[at : at + 10_000])
            server.over.wait(0.02)

    hawkbit.files[BUNDLE] = half
    device.patience = Patience(progress_s=0.0, download=DOWNLOAD, request=REQUEST)
    device.again()
    action = hawkbit.assign((BUNDLE, data))

    def cancelling() -> None:
        assert waiting.wait(10)
        hawkbit.cancel(action)
        go_on.set()

    thread = threading.Thread(target=cancelling)
    thread.start()
    device.until(lambda: action.cancellations)
    thread.join()
    assert [answer["execution"] for answer in action.cancellations] == ["closed"]
    assert action.finals == []
    assert "downloading: " in action.details
    assert device.desk.runs() == "1.0.0"
    assert not list((device.folder / "state" / "bundles" / ".staging").glob("*")), "nothing is left of it"
    device.turns(5)
    assert device.state() == "idle"
    assert not device.errors["DOWNLOAD_FAILED"]


def test_a_cancellation_of_something_else_is_accepted_once(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    hawkbit.cancel(action)
    device.turns(5)
    assert [answer["execution"] for answer in action.cancellations] == ["closed"]
    assert device.memory.doing is None


def test_an_assignment_that_wants_confirmation_gets_it(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device, state="waiting")
    device.until(lambda: device.state() == "trial")
    assert [answer["confirmation"] for answer in action.confirmations] == ["confirmed"]


def test_a_denied_assignment_stays_open_and_is_denied_once(tmp_path: Path, hawkbit: Hawkbit) -> None:
    device = Device(tmp_path / "device", hawkbit.url, keys={"confirmation": "denied"})
    action = assign(hawkbit, device, state="waiting")
    device.turns(5)
    device.again()
    device.turns(5)
    assert [answer["confirmation"] for answer in action.confirmations] == ["denied"]
    assert action.confirmations[0]["details"] == ["denied: fleet.hawkbit.confirmation"]
    assert hawkbit.count("GET", "deploymentBase") == 0
    device.keys["confirmation"] = "confirmed"
    device.again()
    device.until(lambda: hawkbit.count("GET", "deploymentBase"))
    assert [answer["confirmation"] for answer in action.confirmations] == ["denied", "confirmed"], "its owner changed his mind"
