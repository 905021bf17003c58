"""Chrome's trace event format, as ui.perfetto.dev reads it: what a file must be, event by event, and that spans nest."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema

_ID = {"type": "integer", "minimum": 0}  # Perfetto counts other ones as flow_invalid_id
_WHERE = {"pid": {"type": "integer"}, "tid": {"type": "integer"}, "name": {"type": "string", "minLength": 1}}
_TIME = {"type": "integer"}  # whole microseconds: fractions overlap by a nanosecond once they are counted in them
_NAMING = {"enum": ["process_name", "thread_name"]}
# by phase: complete events, metadata, and the two ends of an arrow
SCHEMAS: dict[str, dict[str, Any]] = {
    "X": {
        "required": ["name", "cat", "ph", "ts", "dur", "pid", "tid"],
        "properties": {**_WHERE, "ts": _TIME, "dur": {**_TIME, "minimum": 0}, "cat": {"type": "string"},
                       "args": {"type": "object"}, "ph": {}},
        "additionalProperties": False,
    },
    "M": {
        "required": ["name", "ph", "pid", "tid", "args"],
        "properties": {**_WHERE, "name": {"enum": ["process_name", "thread_name", "thread_sort_index"]},
                       "args": {"type": "object"}, "ph": {}},
        "additionalProperties": False,
        "if": {"properties": {"name": _NAMING}},
        "then": {"properties": {"args": {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}}},
        "else": {"properties": {"args": {"required": ["sort_index"], "properties": {"sort_index": {"type": "integer"}}}}},
    },
    "s": {
        "required": ["name", "cat", "ph", "ts", "pid", "tid", "id"],
        "properties": {**_WHERE, "ts": _TIME, "cat": {"type": "string"}, "id": _ID, "ph": {}}, "additionalProperties": False,
    },
    "f": {
        "required": ["name", "cat", "ph", "ts", "pid", "tid", "id", "bp"],
        "properties": {**_WHERE, "ts": _TIME, "cat": {"type": "string"}, "id": _ID, "bp": {"const": "e"}, "ph": {}},
        "additionalProperties": False,
    },
}  # fmt: skip
Event = dict[str, Any]


def events_of(path: Path) -> list[Event]:
    """The events of a file in either form, array or object. Fails where it is not one that the viewers take."""
    document = json.loads(path.read_text("utf-8"))
    events: list[Event] = document if isinstance(document, list) else document["traceEvents"]
    if isinstance(document, dict):
        assert document.get("displayTimeUnit") in ("ms", "ns")
    for event in events:
        assert event.get("ph") in SCHEMAS, event
        jsonschema.validate(event, SCHEMAS[event["ph"]])
    _rows_are_named(events)
    _spans_nest(events)
    _arrows_hold(events)
    return events


def spans(events: list[Event]) -> list[Event]:
    return [event for event in events if event["ph"] == "X"]


def rows(events: list[Event]) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}


def _rows_are_named(events: list[Event]) -> None:
    assert {event["tid"] for event in events if event["ph"] != "M"} <= set(rows(events))
    assert any(event["name"] == "process_name" for event in events)


def _spans_nest(events: list[Event]) -> None:
    """Spans of one row follow each other or lie inside each other; a viewer drops what only overlaps."""
    by_row = defaultdict(list)
    for event in spans(events):
        by_row[event["pid"], event["tid"]].append((event["ts"], -event["dur"], event["name"]))
    for found in by_row.values():
        open_ends: list[int] = []
        for start, negative, name in sorted(found):
            end = start - negative
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1], f"{name} at {start} reaches out of the span that it began in"
            open_ends.append(end)


def _arrows_hold(events: list[Event]) -> None:
    """Each end of an arrow has the other one, and lies in a span of its row."""
    ends = {phase: {event["id"]: event for event in events if event["ph"] == phase} for phase in "sf"}
    assert ends["s"].keys() == ends["f"].keys()
    for event in (*ends["s"].values(), *ends["f"].values()):
        inside = (one for one in spans(events) if one["tid"] == event["tid"])
        assert any(one["ts"] <= event["ts"] <= one["ts"] + one["dur"] for one in inside), event
    for key, start in ends["s"].items():
        assert start["ts"] <= ends["f"][key]["ts"]
