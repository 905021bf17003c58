from __future__ import annotations

import json

import pytest

from camagent.cli.watch import _show

FACTS = {"current": "1.0.0", "trial": None, "previous": None, "stored": ["1.0.0"], "rollback_index": 0, "last_refusal": None}
REFUSAL = {"code": "ROLLBACK", "what": "older", "fix": "newer", "version": "0.9.0", "time": 0.0}


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
    assert capsys.readouterr().out.rstrip("\n").split("  ")[-1].removeprefix("cam-01/bundle/state").strip() == told
