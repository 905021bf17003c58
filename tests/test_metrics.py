"""/metrics as Prometheus reads it: names, base units, labels, and nothing where nothing is known."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from camagent.health import Durations
from camagent.web import metrics
from camagent.web.desk import Spent
from tests.test_contracts import ROOT

COUNTERS = {
    "packets": 100, "decoded": 90, "dropped": 5, "inferred": 80, "candidates": 70, "scored": 60, "kept_by_nms": 50,
    "kept_by_label": 40, "kept_by_area": 30, "kept_by_zone": 20, "tracked": 18, "published": 15, "acknowledged": 12,
    "refused": 1,
}  # fmt: skip

MODEL = {"name": "blobs", "version": "1.0.0", "backend": "onnx", "signature": "verified"}


def camera(name: str = "front", **changes: Any) -> dict[str, Any]:
    return {
        "camera": name, "state": "running", "reason": None, "counters": COUNTERS, "score_max": 0.9, "frame_age": 0.1,
        "reconnects": 2, "rss": 1000, "model": MODEL, "errors": {"STAGE_DIED": 3}, **changes,
    }  # fmt: skip


def agent(**changes: Any) -> dict[str, Any]:
    lanes = {"events": {"dropped": 0}, "detections": {"dropped": 4}}
    return {
        "agent": "cam-01", "version": "0.1.0", "uptime": 60.5, "temperature": 51.0, "disk": {"free": 10, "total": 20},
        "trust": {"expires": 2e9}, "mqtt": {"state": "connected"}, "errors": {"COMMAND_RETAINED": 1},
        "outbox": {"messages": 3, "bytes": 400, "oldest_s": 1.5, "lanes": lanes},
        "npu": {"load": [10, 50], "temperature": 60.0, "frequency": 900_000_000}, **changes,
    }  # fmt: skip


def read(status: dict[str, Any], spent: dict[str, Spent] | None = None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.text(status, spent or {}).decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.name.startswith("camagent_") for family in families)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def labels(**pairs: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))


def test_what_is_lost_and_waited_for_at_a_shared_backend() -> None:
    turns = {"cameras": 4, "at_once": 1, "asked_fps": 10.0, "crowded_out": 3, "waited_s": 2.5}
    found = read({"agent": agent(), "cameras": [camera(turns=turns), camera("back", turns=None)], "bundles": {}})
    assert found["camagent_frames_total", labels(camera="front", stage="crowded_out")] == 3
    assert found["camagent_frames_total", labels(camera="back", stage="crowded_out")] == 0
    assert found["camagent_turn_wait_seconds_total", labels(camera="front")] == 2.5
    assert ("camagent_turn_wait_seconds_total", labels(camera="back")) not in found


def test_every_number_of_health_is_there_in_base_units() -> None:
    bundles = {"blobs": {"current": "1.0.0", "trial": None, "previous": "0.9.0"}}
    status = {"agent": agent(), "cameras": [camera()], "bundles": bundles}
    found = read(status, {"front": {"infer": Durations((0, 0, 0, 0, 30, 45, *[0] * 6, 5), 4.0)}})
    for name, tags, value in (
        ("camagent_info", {"agent": "cam-01", "version": "0.1.0"}, 1), ("camagent_uptime_seconds", {}, 60.5),
        ("camagent_temperature_celsius", {}, 51), ("camagent_npu_load_ratio", {"core": "1"}, 0.5),
        ("camagent_npu_temperature_celsius", {}, 60), ("camagent_outbox_messages", {}, 3),
        ("camagent_outbox_oldest_seconds", {}, 1.5),
        ("camagent_outbox_dropped_total", {"lane": "detections"}, 4), ("camagent_mqtt_connected", {}, 1),
        ("camagent_mqtt_state", {"state": "connected"}, 1), ("camagent_trust_expires_timestamp_seconds", {}, 2e9),
        ("camagent_bundle_info", {"name": "blobs", "version": "0.9.0", "slot": "previous"}, 1),
        ("camagent_packets_total", {"camera": "front"}, 100),
        ("camagent_frames_total", {"camera": "front", "stage": "dropped"}, 5),
        ("camagent_frames_total", {"camera": "front", "stage": "inferred"}, 80),
        ("camagent_objects_total", {"camera": "front", "stage": "kept_by_zone"}, 20),
        ("camagent_objects_total", {"camera": "front", "stage": "tracked"}, 18),
        ("camagent_messages_total", {"camera": "front", "outcome": "acknowledged"}, 12),
        ("camagent_latency_seconds_sum", {"camera": "front", "step": "infer"}, 4),
        ("camagent_latency_seconds_count", {"camera": "front", "step": "infer"}, 80),
        ("camagent_latency_seconds_bucket", {"camera": "front", "step": "infer", "le": "0.01"}, 0),
        ("camagent_latency_seconds_bucket", {"camera": "front", "step": "infer", "le": "0.02"}, 30),
        ("camagent_latency_seconds_bucket", {"camera": "front", "step": "infer", "le": "5.0"}, 75),
        ("camagent_latency_seconds_bucket", {"camera": "front", "step": "infer", "le": "+Inf"}, 80),
        ("camagent_camera_state", {"camera": "front", "state": "running"}, 1),
        ("camagent_camera_state", {"camera": "front", "state": "failed"}, 0),
        ("camagent_camera_reason", {"camera": "front", "reason": "none"}, 1),
        ("camagent_model_info", {"camera": "front", **MODEL}, 1),
        ("camagent_errors_total", {"camera": "front", "code": "STAGE_DIED"}, 3),
        ("camagent_agent_errors_total", {"code": "COMMAND_RETAINED"}, 1), ("camagent_reconnects_total", {"camera": "front"}, 2),
        ("camagent_frame_age_seconds", {"camera": "front"}, 0.1), ("camagent_score_max", {"camera": "front"}, 0.9),
        ("camagent_resident_memory_bytes", {}, 1000), ("camagent_disk_free_bytes", {}, 10),
    ):  # fmt: skip
        assert found[name, labels(**tags)] == value, name


def test_what_is_not_known_is_left_out() -> None:
    bare = camera(model=None, score_max=None, frame_age=None, reason="no-frames", state="waiting-source")
    status = {"agent": agent(temperature=None, npu={}, mqtt={"state": "refused"}, trust={}), "cameras": [bare], "bundles": {}}
    names = {name for name, _ in read(status)}
    assert not names & {
        "camagent_temperature_celsius", "camagent_npu_load_ratio", "camagent_model_info", "camagent_score_max",
        "camagent_frame_age_seconds", "camagent_trust_expires_timestamp_seconds",
    }  # fmt: skip
    assert read(status)["camagent_mqtt_connected", ()] == 0
    assert read(status)["camagent_camera_reason", labels(camera="front", reason="no-frames")] == 1


def test_the_manual_has_a_row_for_every_metric() -> None:
    status = {"agent": agent(), "cameras": [camera()], "bundles": {"blobs": {"current": "1.0.0"}}}
    found = read(status, {"front": {"infer": Durations()}})
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert {name for name, _ in found if f"`{name}`" not in page} == set()
    bounds = [float(dict(tags)["le"]) for name, tags in found if name == "camagent_latency_seconds_bucket"]
    assert f"up to {', '.join(f'{bound:g}' for bound in bounds[:-1])} s and above" in page


def test_labels_with_quotes_and_line_ends_come_through() -> None:
    nasty = 'a"b\\c\nd'
    model = {"name": nasty, "version": "1", "backend": "onnx", "signature": "unsigned"}
    found = read({"agent": agent(), "cameras": [camera(model=model)]})
    assert [dict(tags)["name"] for name, tags in found if name == "camagent_model_info"] == [nasty]


def test_nothing_is_known_before_an_agent_runs() -> None:
    assert read({}) == {}
