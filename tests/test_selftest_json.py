from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest

from camagent.selftest import schema
from camagent.selftest.report import SCHEMA, Report, StepReport, Trial
from tests.support import reports
from tests.test_errors import NASTY

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "camagent.selftest-1.schema.json"


def as_json(report: Report) -> Any:
    """What a client reads, by strict JSON both ways: no NaN, nothing but JSON's own types."""
    body = report.body()
    made = json.loads(json.dumps(body, allow_nan=False))
    assert msgspec.json.decode(msgspec.json.encode(body)) == made
    jsonschema.validate(made, json.loads(PUBLISHED.read_text("utf-8")))
    msgspec.convert(made, schema.SelftestBody)
    return made


@pytest.mark.parametrize("report", [reports.faulty(), reports.healthy(), reports.undecided(reports.WEIGHTS)])
def test_reports_are_what_the_schema_says(report: Report) -> None:
    made = as_json(report)
    assert made["schema"] == SCHEMA
    assert made["verdict"] == report.verdict


def test_the_fields_of_the_contract_are_there() -> None:
    made = as_json(reports.faulty())
    assert {"schema", "verdict", "causes", "steps", "inferences", "seconds"} <= set(made)
    assert made["causes"][0] == {
        "id": "channel-order-swapped", "layer": "preprocess", "alternatives": ["chroma-order-wrong"],
        "evidence": dict(reports.SWAPPED.evidence), "fix": reports.SWAPPED.fix, "fix_verified": True, "send": [],
    }  # fmt: skip
    assert made["steps"][0] == {"id": "configuration", "status": "pass", "measured": {"cameras": 1}, "seconds": 0.01}
    assert made["tensors"][0]["nan"] == 3


@pytest.mark.parametrize("text", NASTY)
def test_hostile_strings_and_odd_numbers_become_json(text: str) -> None:
    made = as_json(reports.hostile(text))
    flat = json.dumps(made, ensure_ascii=False)
    assert flat.isprintable()
    assert made["variants"][0]["margin"] is None
    assert made["tensors"][0]["max"] is None
    evidence = made["causes"][0]["evidence"]
    assert (evidence["nan"], evidence["inf"], evidence["many"]) == ("nan", "inf", [[0.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5), (np.float64(0.25), 0.25), (np.int64(7), 7), (np.bool_(1), True), (np.array([1, 2]), [1, 2]),
        (np.array(3.0), 3.0), (np.float64("nan"), "nan"), ((1, (2.0, None)), [1, [2.0, None]]), (b"\x00", "b'\\x00'"),
        (np.array(["\x1b"]), ["\\x1b"]), ({1: {"a": True}}, {"1": {"a": True}}), (Path("x/y"), "x/y"), (1 / 3, 0.333333),
    ],
)  # fmt: skip
def test_values_that_rungs_measure_become_plain_ones(value: object, plain: object) -> None:
    step = StepReport("live", "pass", {"value": value})
    made = as_json(replace(reports.healthy(), steps=(step,)))["steps"][0]["measured"]["value"]
    assert made == plain
    assert type(made) is type(plain)


def test_the_schema_refuses_what_is_wrong() -> None:
    published = json.loads(PUBLISHED.read_text("utf-8"))
    good = as_json(reports.faulty())
    cause = good["causes"][0]
    for change in (
        {"schema": "other"}, {"verdict": "maybe"}, {"inferences": -1}, {"causes": [{**cause, "layer": "cloud"}]},
        {"causes": [{**cause, "alternatives": ["a", "b", "c"]}]}, {"steps": [{"id": "live"}]},
    ):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, published)


def test_time_and_agent_may_stand_in_it_as_over_mqtt() -> None:
    made = {**as_json(reports.healthy()), "time": 1700000000.5, "agent": "cam-01"}
    jsonschema.validate(made, json.loads(PUBLISHED.read_text("utf-8")))
    assert msgspec.convert(made, schema.SelftestBody).agent == "cam-01"


def test_margins_are_rounded_python_floats() -> None:
    made = replace(reports.healthy(), trials=(Trial("V:a", "scale-missing", np.float64(1 / 3)),)).body()
    assert type(made["variants"][0]["margin"]) is float
