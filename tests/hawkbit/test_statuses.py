"""401, 409, 410, 429 and their like: what each ends, and how soon the server is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.hawkbit import Hawkbit, saying
from tests.support.hawkbit_device import Device
from tests.support.hawkbit_orders import BUNDLE, assign, data_of, executions, is_well
from tests.support.http_server import Request, Server, head


def test_401_is_told_and_the_server_is_not_hammered(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.token = "TargetToken another"
    waits = [device.turn() for _ in range(8)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert device.session.facts.code == "HAWKBIT_UNAUTHORISED"
    assert "token" in str(device.session.facts.detail)
    assert "abc" not in str(device.session.facts)
    assert device.errors["HAWKBIT_UNAUTHORISED"] == 8
    (device.folder / "token").write_text("another")
    device.turn()
    assert is_well(device), "the file is read anew every time"
    (device.folder / "token").unlink()
    device.turn()
    assert device.session.facts.code == "HAWKBIT_UNAUTHORISED"
    assert "cannot be used" in str(device.session.facts.detail)


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize("part", ["/controller/v1/cam-01", "/deploymentBase/1", "/feedback"])
def test_come_back_later_is_obeyed(device: Device, hawkbit: Hawkbit, status: int, part: str) -> None:
    action = assign(hawkbit, device)
    method = "POST" if part == "/feedback" else "GET"
    hawkbit.instead(part, saying(status, b"", "Retry-After: 77"), saying(status), method=method)
    waits = []
    for _ in range(20):
        waits.append(device.turn())
        if device.state() == "trial":
            break
    assert 78 in waits, "as long as the server says"
    device.desk.confirm()
    device.until(lambda: action.finals)
    assert action.finals == ["success"]
    assert executions(action) == ["proceeding", "proceeding", "closed"]
    assert device.errors["HAWKBIT_BUSY"] == 2


def test_410_ends_it_before_anything_is_installed(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)

    def gone(server: Server, request: Request, wire: Any) -> None:
        action.state = "closed"
        wire.sendall(head(410, "Content-Length: 0"))

    hawkbit.instead("/feedback", gone, method="POST")
    device.turns(5)
    assert hawkbit.count("GET", "artifacts") == 0
    assert device.memory.doing is None
    assert device.desk.runs() == "1.0.0"


def test_410_to_the_last_word_is_the_end_of_it(device: Device, hawkbit: Hawkbit) -> None:
    action = assign(hawkbit, device)
    device.until(lambda: device.state() == "trial")
    device.desk.confirm()
    action.state = "closed"
    device.turns(5)
    assert [status["result"]["finished"] for status in action.late] == ["success"]
    assert device.memory.doing is None
    assert device.desk.runs() == "2.0.0"


@pytest.mark.parametrize("status", [400, 422])
def test_words_that_the_server_does_not_take_are_left_out(device: Device, hawkbit: Hawkbit, status: int) -> None:
    action = hawkbit.assign((BUNDLE, data_of(device.folder, "3.0.0", signers=("stranger",))))
    hawkbit.instead("/feedback", hawkbit.obey, saying(status), method="POST")
    device.until(lambda: action.finals)
    assert action.finals == ["failure"]
    assert (action.statuses[-1]["code"], action.statuses[-1]["details"]) == (205, [])


def test_a_wrong_tenant_is_a_sentence(tmp_path: Path, hawkbit: Hawkbit) -> None:
    device = Device(tmp_path / "device", hawkbit.url, keys={"tenant": "NOBODY"})
    waits = [device.turn() for _ in range(3)]
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    assert "no such tenant" in str(device.session.facts.detail)
    assert waits == [10, 20, 40]


def test_a_server_that_is_not_there_is_asked_less_and_less_often(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", "http://127.0.0.1:9")
    waits = [device.turn() for _ in range(9)]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert device.session.facts.code == "HAWKBIT_UNREACHABLE"
    assert device.session.facts.polled is None
