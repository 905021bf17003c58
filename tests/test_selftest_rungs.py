"""Configuration, bundle and the agent's own trouble: each rung alone, and how parts become one report. And the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camagent import config_file
from camagent.config import Camera
from camagent.config_file import Loaded
from camagent.errors import CodedError, InputError, StateError, Unreachable
from camagent.pipeline import UsableBundle
from camagent.selftest import run
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import Count, Outcome, climb
from camagent.selftest.report import Cause, Change, Exhibit, Histogram, Mark, Report, StepReport, TensorFacts, Trial
from camagent.selftest.rung_bundle import BundleRung
from camagent.selftest.rung_configuration import Asked, ConfigurationRung, Running, SwitchFacts, SystemRung
from camagent.selftest.wire import Receiver, events
from firmware_pkg.errors import NotStored, UnsignedNotAllowed
from tests.support.bundles import blob_document, parsed

FRONT = Camera(name="front", url="x", bundle="blobs", fps=10.0)


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "camagent.toml"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[camera]]\nname = "front"\nurl = "x"\n')
    return config_file.load(path)


def said(rung: Any) -> Outcome:
    outcome: Outcome = rung.run(lambda _: None)
    return outcome


def ids(outcome: Outcome) -> list[str]:
    return [cause.id for cause in outcome.causes]


def test_the_file_that_runs_is_the_file_that_stands_there(loaded: Loaded) -> None:
    assert loaded.path is not None
    path = loaded.path

    def rung(asked: Asked | None = None) -> ConfigurationRung:
        return ConfigurationRung(loaded, FRONT, None, read_again=lambda: config_file.load(path), asked=asked)

    assert said(rung()).status == "pass"
    text = path.read_text()
    path.write_text(text + "# a remark\n")
    noted = said(rung())
    assert (noted.status, ids(noted)) == ("warn", [])
    path.write_text(text + "fps = 3\n")
    changed = said(rung())
    assert ids(changed) == ["wrong-config-loaded"]
    assert loaded.digest[:12] in changed.causes[0].evidence["agent runs"]
    path.write_text(text + "fsp = 3\n")
    broken = said(rung())
    assert ids(broken) == ["wrong-config-loaded"]
    assert "fsp" in broken.causes[0].evidence["file now"]
    path.write_text(text)
    assert ids(said(rung(Asked(str(path), "of an overlay that not everybody may read")))) == []
    assert ids(said(rung(Asked("/elsewhere/camagent.toml", loaded.digest)))) == []
    assert ids(said(rung(Asked("/elsewhere/camagent.toml", "another")))) == ["wrong-config-loaded"]


def test_a_switch_is_told_with_who_and_when(loaded: Loaded) -> None:
    off = said(ConfigurationRung(loaded, FRONT, SwitchFacts(on=False, since=1.7e9, by="mqtt")))
    assert (off.status, ids(off), off.undecided) == ("warn", [], "")
    assert off.measured["reason"] == "disabled-by-request"
    assert "mqtt switched detection off on 2023-11-14 22:13:20 UTC" in off.measured["answer"]
    assert said(ConfigurationRung(loaded, FRONT, SwitchFacts(on=True, since=0.0, by="configuration"))).status == "pass"


RUNNING = Running(None, "", inferred=100, fps=10.0, total_ms=40.0, counters={"decoded": 100, "dropped": 0})
BACKEND = Cause("npu-submit-failed", "backend", "fix")


@pytest.mark.parametrize(
    ("running", "others", "named"),
    [
        (None, [], []),
        (RUNNING, [], []),
        (replace(RUNNING, total_ms=5000.0), [], ["too-slow-stale-frames"]),
        (replace(RUNNING, fps=0.4, counters={"decoded": 100, "dropped": 90}), [], ["too-slow-stale-frames"]),
        (replace(RUNNING, fps=0.4), [], []),  # the source itself gives no more
        (replace(RUNNING, fps=5.0, counters={"decoded": 100, "dropped": 50}), [], []),  # slower than asked for, and in time
        (replace(RUNNING, inferred=2, total_ms=5000.0), [], []),  # it has just begun
        (replace(RUNNING, reason="inference-failing", errors={"BACKEND_FAILED": 9}), [], ["error-swallowed"]),
        (replace(RUNNING, reason="inference-failing", errors={"BACKEND_FAILED": 9}), [BACKEND], []),
        (replace(RUNNING, errors={"COMMAND_INVALID": 3}), [], []),
    ],
)
def test_trouble_of_the_agents_own(loaded: Loaded, running: Running | None, others: list[Cause], named: list[str]) -> None:
    outcome = said(SystemRung(loaded.config, FRONT, running, lambda: others))
    assert (outcome.status, ids(outcome)) == ("fail" if named else "pass", named)


def test_a_machine_without_memory(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camagent.vitals.memory_available", lambda: 3 << 20)
    assert ids(said(SystemRung(loaded.config, FRONT, None, list))) == ["memory-exhausted"]


def bundle(signature: Any = "verified") -> UsableBundle:
    manifest = parsed(blob_document({"model.onnx": b""}))
    return UsableBundle(manifest, manifest.artifacts[0], b"", signature, "d" * 64)


def refusing(exc: CodedError) -> Callable[[Camera], UsableBundle]:
    def load(_: Camera) -> UsableBundle:
        raise exc

    return load


@pytest.mark.parametrize(
    ("exc", "named"),
    [
        (NotStored("there is none", evidence={"camera": "front"}, fix="install it"), ["no-bundle"]),
        (InputError("no such file", fix="name one"), ["no-bundle"]),
        (UnsignedNotAllowed("it is not signed", evidence={"path": "x"}, fix="sign it"), ["bundle-refused"]),
        (StateError("the disk says no", fix="mend it"), []),
    ],
)
def test_a_bundle_that_may_not_run(exc: CodedError, named: list[str]) -> None:
    rung = BundleRung(FRONT, refusing(exc), dict, allowed=False)
    outcome = said(rung)
    assert (outcome.status, ids(outcome), rung.bundle) == ("fail", named, None)
    assert outcome.measured["code"] == exc.code
    for cause in outcome.causes:
        assert (cause.fix, cause.evidence["what"]) == (exc.fix, exc.what)
        assert cause.layer == CAUSES[cause.id].layer
    assert bool(outcome.undecided) == (not named)


def test_a_bundle_that_may_run() -> None:
    rung = BundleRung(FRONT, lambda _: bundle(), lambda: {"root": 3, "warning": None}, allowed=False)
    assert (said(rung).status, rung.bundle is not None) == ("pass", True)
    assert said(BundleRung(FRONT, lambda _: bundle("unsigned"), dict, allowed=True)).status == "warn"
    soon = {"root": 3, "warning": "the trust root expires in 9 days"}
    assert said(BundleRung(FRONT, lambda _: bundle(), lambda: soon, allowed=False)).status == "warn"

    def damaged() -> dict[str, Any]:
        raise StateError("the root is damaged", fix="")

    assert said(BundleRung(FRONT, lambda _: bundle(), damaged, allowed=False)).measured["warning"].endswith("damaged")


def test_parts_of_a_ladder_become_one_report() -> None:
    first = report("fault", Cause("mqtt-unreachable", "publish", "f"), steps=("delivery", "configuration"))
    second = report("inconclusive", Cause("no-bundle", "system", "f"), steps=("configuration",), status="fail")
    made = run.folded([first, second])
    assert made.verdict == "fault"
    assert [cause.id for cause in made.causes] == ["no-bundle", "mqtt-unreachable"]
    assert [(step.id, step.status, step.seconds) for step in made.steps] == [
        ("configuration", "fail", 2.0), ("delivery", "pass", 1.0),
    ]  # fmt: skip
    assert made.inferences == 6
    assert run.folded([report("healthy"), report("inconclusive")]).verdict == "inconclusive"
    both = run.gathered({"front": first, "back": first})
    assert [cause.evidence["camera"] for cause in both.causes] == ["front", "back"], "one camera hides no other"
    assert run.gathered({"front": first}) is first


def report(verdict: Any, *causes: Cause, steps: tuple[str, ...] = (), status: Any = "pass") -> Report:
    return Report(verdict, causes, tuple(StepReport(name, status, {"n": 1}, 1.0) for name in steps), 3, 2.0)


def test_a_defect_of_ours_in_a_rung_is_told_and_the_others_go_on() -> None:
    class Broken:
        id = "delivery"

        def run(self, tell: Any) -> Outcome:
            raise ZeroDivisionError

    made = climb([Broken(), run.Skipped("live", "nothing")], Count(), lambda: 0.0, lambda _: None, {})
    assert (made.verdict, [step.status for step in made.steps]) == ("inconclusive", ["fail", "skip"])


def test_a_whole_report_travels_over_the_socket() -> None:
    manifest = parsed(blob_document({"model.onnx": b""}))
    cause = Cause("channel-order-swapped", "preprocess", "f", {"n": np.float32(0.5), "a": np.arange(2)}, ("x",), True,
                  ("log",), Change(manifest, {"filter.min_score": 0.3}, "bgr -> rgb"), 0.5)  # fmt: skip
    full = replace(
        report("fault", cause, steps=("live",)), trials=(Trial("V:rgb-bgr", "x", 0.25, "d"),),
        exhibits=(Exhibit("a", b"\xff\xd8\0", "c"), Exhibit("b", b"\x89PNG")),
        histograms=(Histogram("h", (0.0, 1.0), (3,), (Mark("t", 0.4),)),),
        tensors=(TensorFacts("t", (1, 3), "float32", 0.0, None, 0.0, 0.0, 2, 0.5),),
    )  # fmt: skip
    receiver = Receiver()
    for event in events(full):
        line = json.dumps(event)
        assert len(line) < 4 << 20
        assert receiver.take(json.loads(line))
    assert not receiver.take({"state": "working"})
    back = receiver.report()
    assert back.body() == full.body()
    assert back.causes[0].change is not None
    assert back.causes[0].change.manifest == manifest
    assert [(exhibit.title, exhibit.image) for exhibit in back.exhibits] == [("a", b"\xff\xd8\0"), ("b", b"\x89PNG")]
    assert back.histograms[0].marks == full.histograms[0].marks
    with pytest.raises(Unreachable, match="cannot be read"):
        receiver.take({"report": {"verdict": "perhaps"}})
    with pytest.raises(Unreachable, match="no report"):
        Receiver().report()
