"""Answers of somebody who poses as the server, or has broken into it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.hawkbit import Hawkbit, breaking, dripping, endless, saying
from tests.support.hawkbit_device import Device
from tests.support.hawkbit_orders import assign, failure_of, is_well
from tests.support.http_server import Answer
from tests.test_errors import NASTY


def polluted(text: str) -> list[bytes]:
    """Answers to the root resource that hold a nasty string wherever one can stand."""
    made = [
        {"config": {"polling": {"sleep": text}}}, {"_links": {"deploymentBase": {"href": text}}}, {"_links": {text: text}},
        {"_links": {"cancelAction": text}}, {"_links": {"configData": {"href": f"http://{text}/x"}}}, {text: text},
    ]  # fmt: skip
    return [json.dumps(one).encode() for one in made]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_in_the_root_resource(device: Device, hawkbit: Hawkbit, text: str) -> None:
    answers = polluted(text)
    hawkbit.instead("/cam-01", *[saying(200, body) for body in answers])
    for _ in answers:
        device.turn()
        shown = json.dumps([device.session.facts.code, device.session.facts.detail], ensure_ascii=False)
        assert shown.isprintable()


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_in_an_action_are_told_back_tamed(device: Device, hawkbit: Hawkbit, text: str) -> None:
    """The stand-in refuses details that are not printable or hold markup."""
    action = hawkbit.assign((text + "<i>.cambundle.exe", b"x"))
    if not text.isascii() and text.encode(errors="ignore") == b"":  # half a character is no JSON
        assert device.turn() == 10
        assert device.session.facts.code == "HAWKBIT_ANSWER"
        return
    device.until(lambda: action.finals)
    assert failure_of(action)["code"] == "ACTION_UNSUPPORTED"


@pytest.mark.parametrize(
    "answer",
    [
        saying(200, b""), saying(200, b"[]"), saying(200, b"null"), saying(200, b"{" * 100_000), saying(200, b"\xff\xfe"),
        saying(200, b'{"_links": {"deploymentBase": {"href": "http://evil.example/x/deploymentBase/1"}}}'),
        saying(200, b'{"_links": {"deploymentBase": {"href": "/x/deploymentBase/.."}}}'),
        saying(200, b'{"_links": {"deploymentBase": {"href": "/x/deploymentBase/1;2"}}}'),
        saying(200, b'{"_links": []}'), saying(302, b"", "Location: http://evil.example/"), saying(200, b"x" * 300_000),
        saying(200, b"{}", "Content-Encoding: gzip"), saying(418), endless,
    ],
)  # fmt: skip
def test_answers_that_are_none(device: Device, hawkbit: Hawkbit, answer: Answer) -> None:
    hawkbit.instead("/cam-01", answer)
    assert device.turn() == 10
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    device.turn()
    assert is_well(device)


def test_an_etag_that_is_none_is_not_sent_back(device: Device, hawkbit: Hawkbit) -> None:
    hawkbit.instead("/cam-01", *[saying(200, b"{}", f"ETag: {etag}") for etag in ('"a"\r\n b', "x" * 300, '"é"', '"fine"')])
    for _ in range(5):
        device.turn()
        assert is_well(device)


@pytest.mark.parametrize("answer", [breaking, dripping, saying(200, b"")])
def test_connections_that_break_or_drip(device: Device, hawkbit: Hawkbit, answer: Answer) -> None:
    hawkbit.instead("/cam-01", answer)
    device.turn()
    assert device.session.facts.code in {"HAWKBIT_UNREACHABLE", "HAWKBIT_ANSWER"}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"id": "2", "deployment": {"download": "forced", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "now", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [{}] * 100}},
        {"id": ["1"], "deployment": {"download": "forced", "update": "forced", "chunks": []}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [
            {"artifacts": [{"filename": "a.cambundle", "size": -1}]}]}},
        {"id": "1", "deployment": {"download": "forced", "update": "forced", "chunks": [
            {"artifacts": [{"filename": "a.cambundle", "size": 1, "hashes": {"sha256": "../../etc/passwd"}}]}]}},
    ],
)  # fmt: skip
def test_deployments_that_are_none(device: Device, hawkbit: Hawkbit, body: dict[str, Any]) -> None:
    assign(hawkbit, device)
    hawkbit.instead("/deploymentBase/1", saying(200, json.dumps(body).encode()))
    device.turn()
    assert device.session.facts.code == "HAWKBIT_ANSWER"
    device.until(lambda: device.state() == "trial")


def test_a_forged_history_makes_nothing_true(device: Device, hawkbit: Hawkbit) -> None:
    """What the history says was put on trial is looked up in the store, and nothing else."""
    action = assign(hawkbit, device)
    forged = f"on trial: blobs 9.9.9, digest {'0' * 64}; on trial: ../../etc 1, digest {'1' * 64}"
    action.statuses.append({"execution": "proceeding", "result": {"finished": "none"}, "details": [forged]})
    device.until(lambda: device.state() == "trial")
    assert hawkbit.count("GET", "artifacts") == 1
    assert device.desk.runs() == "2.0.0"
