"""Health as Prometheus metrics, in base units: a pure function of what `GET /api/status` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from camagent.health import BOUNDS_MS, FUNNEL
from camagent.web.desk import Spent

Body: TypeAlias = Mapping[str, Any]
CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES = ("running", "waiting-source", "waiting-bundle", "off", "failed")
_FRAMES = ("decoded", "dropped", "inferred")
_OBJECTS = (*FUNNEL, "tracked")
_NOT_OUTCOMES = frozenset({"packets", "decoded", "dropped", "inferred", *_OBJECTS})
_SLOTS = ("current", "trial", "previous")


def text(status: Body, spent: Mapping[str, Spent]) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once([*of_agent(status.get("agent", {})), *of_bundles(status), *of_cameras(status, spent)]))
    return bytes(generate_latest(registry))


class _Once(Collector):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """As made."""
        return self._metrics


def of_agent(agent: Body) -> Iterator[Metric]:
    """The agent and the machine under it."""
    if not agent:
        return
    about = GaugeMetricFamily("camagent_info", "The agent, as labels.", labels=["agent", "version"])
    about.add_metric([agent["agent"], agent["version"]], 1)
    yield about
    outbox, mqtt, npu, disk, trust = (agent.get(key) or {} for key in ("outbox", "mqtt", "npu", "disk", "trust"))
    for name, words, value in (
        ("camagent_uptime_seconds", "Since the agent started.", agent["uptime"]),
        ("camagent_temperature_celsius", "Of the SoC.", agent["temperature"]),
        ("camagent_disk_free_bytes", "On the file system of state_dir.", disk.get("free")),
        ("camagent_disk_size_bytes", "Of the file system of state_dir.", disk.get("total")),
        (
            "camagent_trust_expires_timestamp_seconds",
            "When the trust root expires: no new installs then.",
            trust.get("expires"),
        ),
        ("camagent_mqtt_connected", "1 while the broker has accepted the agent.", mqtt.get("state") == "connected"),
        ("camagent_outbox_messages", "Open: made and not acknowledged yet.", outbox.get("messages")),
        ("camagent_outbox_bytes", "Of open messages.", outbox.get("bytes")),
        ("camagent_outbox_oldest_seconds", "Age of the oldest open message.", outbox.get("oldest_s")),
        ("camagent_npu_temperature_celsius", "Of the NPU.", npu.get("temperature")),
        ("camagent_npu_frequency_hertz", "The NPU's clock.", npu.get("frequency")),
    ):
        yield from _gauge(name, words, value)
    load = GaugeMetricFamily("camagent_npu_load_ratio", "Busy share of each core, or of all as core 0.", labels=["core"])
    for core, percent in enumerate(npu.get("load") or ()):
        load.add_metric([str(core)], percent / 100)
    yield from _where_any(load)
    state = GaugeMetricFamily("camagent_mqtt_state", "1 for the state that the connection is in.", labels=["state"])
    state.add_metric([str(mqtt.get("state", "unknown"))], 1)
    yield state
    dropped = CounterMetricFamily("camagent_outbox_dropped", "Messages lost because the outbox was full.", labels=["lane"])
    for lane, facts in (outbox.get("lanes") or {}).items():
        dropped.add_metric([lane], facts.get("dropped", 0))
    yield dropped
    yield from _errors({"": agent.get("errors", {})}, "camagent_agent_errors", "Counted and survived by the agent, by code.")


def of_bundles(status: Body) -> Iterator[Metric]:
    """What is in the store."""
    made = GaugeMetricFamily("camagent_bundle_info", "Bundles of the store, as labels.", labels=["name", "version", "slot"])
    for name, facts in status.get("bundles", {}).items():
        for slot in _SLOTS:
            if facts.get(slot):
                made.add_metric([name, facts[slot], slot], 1)
    yield made


def of_cameras(status: Body, spent: Mapping[str, Spent]) -> Iterator[Metric]:
    """One sample per camera of everything that its `health` says."""
    cameras: Mapping[str, Body] = {body["camera"]: body for body in status.get("cameras", ())}
    yield _per_camera(cameras, "camagent_packets", "Read from the source.", lambda body: body["counters"]["packets"])
    yield _frames(cameras)
    waited = CounterMetricFamily("camagent_turn_wait_seconds", "Waited for a turn at a shared backend.", labels=["camera"])
    for name, body in cameras.items():
        if body.get("turns"):
            waited.add_metric([name], body["turns"]["waited_s"])
    yield from _where_any(waited)
    yield _counted(cameras, "camagent_objects", "Objects that each stage has let through.", "stage", _OBJECTS)
    yield _counted(cameras, "camagent_messages", "Results handed to delivery, and what became of them.", "outcome", None)
    yield _per_camera(cameras, "camagent_reconnects", "Of the source.", lambda body: body["reconnects"])
    yield from _errors({name: body["errors"] for name, body in cameras.items()}, "camagent_errors", "Survived, by code.")
    yield _latency(spent)
    yield _states(cameras)
    reason = GaugeMetricFamily("camagent_camera_reason", "1 for why nothing is seen or delivered.", labels=["camera", "reason"])
    model = GaugeMetricFamily(
        "camagent_model_info", "What looks, as labels.", labels=["camera", "name", "version", "backend", "signature"]
    )
    age = GaugeMetricFamily("camagent_frame_age_seconds", "Since the newest frame arrived.", labels=["camera"])
    best = GaugeMetricFamily("camagent_score_max", "Best raw score of the last seconds, 0 to 1.", labels=["camera"])
    for name, body in cameras.items():
        reason.add_metric([name, body["reason"] or "none"], 1)
        if body["model"]:
            model.add_metric([name, *(body["model"][key] for key in ("name", "version", "backend", "signature"))], 1)
        for family, key in ((age, "frame_age"), (best, "score_max")):
            if body[key] is not None:
                family.add_metric([name], body[key])
    yield from (reason, model, age, best)
    yield from _gauge("camagent_resident_memory_bytes", "Of the whole agent.", next((b["rss"] for b in cameras.values()), None))


def _per_camera(cameras: Mapping[str, Body], name: str, words: str, value: Callable[[Body], float]) -> Metric:
    made = CounterMetricFamily(name, words, labels=["camera"])
    for camera, body in cameras.items():
        made.add_metric([camera], value(body))
    return made


def _frames(cameras: Mapping[str, Body]) -> Metric:
    made = _counted(cameras, "camagent_frames", "Decoded, dropped because the model was busy, inferred.", "stage", _FRAMES)
    for name, body in cameras.items():
        made.add_metric([name, "crowded_out"], (body.get("turns") or {}).get("crowded_out", 0))
    return made


def _counted(
    cameras: Mapping[str, Body], name: str, words: str, label: str, keys: tuple[str, ...] | None
) -> CounterMetricFamily:
    """`keys` of the counters; without any, those that say what became of messages."""
    made = CounterMetricFamily(name, words, labels=["camera", label])
    for camera, body in cameras.items():
        for key in keys or sorted(set(body["counters"]) - _NOT_OUTCOMES):
            made.add_metric([camera, key], body["counters"].get(key, 0))
    return made


def _latency(spent: Mapping[str, Spent]) -> Metric:
    made = HistogramMetricFamily(
        "camagent_latency_seconds", "Of inferred frames, per step of their way.", labels=["camera", "step"]
    )
    bounds = [*(str(bound / 1e3) for bound in BOUNDS_MS), "+Inf"]
    for camera, steps in spent.items():
        for step, lasted in steps.items():
            made.add_metric([camera, step], list(zip(bounds, accumulate(lasted.counts), strict=True)), lasted.seconds)
    return made


def _states(cameras: Mapping[str, Body]) -> Metric:
    made = GaugeMetricFamily("camagent_camera_state", "1 for the state that the camera is in.", labels=["camera", "state"])
    for camera, body in cameras.items():
        for state in STATES:
            made.add_metric([camera, state], body["state"] == state)
    return made


def _errors(by_camera: Mapping[str, Mapping[str, int]], name: str, words: str) -> Iterator[Metric]:
    labels = ["code"] if "" in by_camera else ["camera", "code"]
    made = CounterMetricFamily(name, words, labels=labels)
    for camera, counted in by_camera.items():
        for code, number in counted.items():
            made.add_metric([code] if camera == "" else [camera, code], number)
    yield made


def _gauge(name: str, words: str, value: float | None) -> Iterator[Metric]:
    """Nothing where nothing is known: a zero would be a lie."""
    if value is not None:
        yield GaugeMetricFamily(name, words, value=float(value))


def _where_any(family: Metric) -> Iterator[Metric]:
    if family.samples:
        yield family
