from __future__ import annotations

import json

import pytest

from camagent.cli.watch import _is_news, _show

FACTS = {"current": "1.0.0", "trial": None, "previous": None, "stored": ["1.0.0"], "rollback_index": 0, "last_refusal": None}
REFUSAL = {"code": "ROLLBACK", "what": "older", "fix": "newer", "version": "0.9.0", "time": 0.0}

OBJECT = {
    "id": "1795687943.267335-5fbb3v", "label": "person", "top_score": 0.876, "current_zones": ["gate", "yard"],
    "start_time": 10.0, "end_time": None, "stationary": False,
}  # fmt: skip
ENDED = {**OBJECT, "current_zones": [], "stationary": True, "end_time": 22.4}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"schema": "camagent.bundle-state/1", "bundles": {}}, "no bundle is stored"),
        ({"schema": "camagent.bundle-state/1", "bundles": {"faces": FACTS}}, "faces 1.0.0"),
        (
            {
                "schema": "camagent.bundle-state/1",
                "bundles": {"faces": {**FACTS, "trial": "1.0.0"}, "cars": {**FACTS, "current": None, "last_refusal": REFUSAL}},
            },
            "faces 1.0.0, on trial; cars runs no version, refused 0.9.0: ROLLBACK",
        ),
        (
            {"schema": "camagent.events/1", "type": "new", "before": OBJECT, "after": OBJECT},
            "new person 0.88 in gate, yard (1795687943.267335-5fbb3v)",
        ),
        (
            {"schema": "camagent.events/1", "type": "end", "before": OBJECT, "after": ENDED},
            "end person 0.88, stationary, after 12 s (1795687943.267335-5fbb3v)",
        ),
        ({"schema": "camagent.count/1", "label": "person", "count": 2}, "2 person"),
        ({"schema": "camagent.count/1", "label": "person", "count": 0, "zone": "gate"}, "0 person in gate"),
        (
            {"schema": "camagent.count/1", "label": "person", "count": "x"},
            '(not what its schema says) {"schema": "camagent.count/1", "label": "person", "count": "x"}',
        ),
        ({"schema": "camagent.selftest/1", "verdict": "healthy", "causes": []}, "self-test: healthy"),
        ({"schema": "camagent.selftest/1", "verdict": "fault", "causes": [{"id": "frozen"}]}, "self-test: fault: frozen"),
        ({"Frame": [{"@UtcTime": "2021-10-05T15:13:27.321Z"}]}, "ONVIF metadata: no objects"),
        ({"Frame": [{"Object": [{"@ObjectId": 1}]}]}, "ONVIF metadata: 1 object"),
        ({"Frame": [{"Object": 5}]}, '(not what its schema says) {"Frame": [{"Object": 5}]}'),
        ({"schema": "camagent.selftest/1"}, '(not what its schema says) {"schema": "camagent.selftest/1"}'),
    ],
)
def test_states_are_told_in_words(body: object, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    _show("cam-01/bundle/state", json.dumps(body).encode(), None, as_json=False)
    assert capsys.readouterr().out.rstrip("\n").split("cam-01/bundle/state")[-1].replace("  ", " ").strip() == told


def test_a_picture_is_told_by_its_size_and_a_cleared_topic_as_that(capsys: pytest.CaptureFixture[str]) -> None:
    for payload in (b"\xff\xd8\xff\xe0" + b"\x00" * 996, b""):
        _show("cam-01/front/snapshot", payload, None, as_json=False)
        _show("cam-01/front/snapshot", payload, None, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(a picture of 1000 bytes)")
    assert json.loads(lines[1]) == {"topic": "cam-01/front/snapshot", "body": "(a picture of 1000 bytes)"}
    assert lines[2].endswith("(cleared)")
    assert json.loads(lines[3])["body"] == ""


def test_counts_of_0_are_shown_only_where_something_was_there() -> None:
    counted: set[str] = set()

    def news(topic: str, number: int) -> bool:
        body = {"schema": "camagent.count/1", "label": "x", "count": number}
        return _is_news(topic, json.dumps(body, separators=(",", ":")).encode(), counted)

    assert [news("a", 0), news("a", 1), news("b", 0), news("a", 0), news("a", 0)] == [False, True, False, True, False]
    assert _is_news("c", b'{"schema":"camagent.detections/1"}', counted)
