"""The reason for an empty result, told from facts; and that every reason there is stands in docs/mqtt.md."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.health import Finding, Window
from camagent.picture_check import PictureFacts, Tone
from camagent.reasons import UNEXPLAINED, CameraFacts, Judge, reason

ROOT = Path(__file__).resolve().parents[1]
FUNNEL = ("candidates", "scored", "kept_by_nms", "kept_by_label", "kept_by_area", "kept_by_zone")
BLACK = PictureFacts(tone=Tone(0, 1, 2), dark_s=14.0)
STILL = PictureFacts(tone=Tone(20, 110, 200), still_s=14.0, still_frames=140)


def window(inferred: int = 100, errors: int = 0, score_max: float = 0.41, **more: Any) -> Window:
    funnel = {**dict.fromkeys(FUNNEL, 0), **{name: more.pop(name) for name in FUNNEL if name in more}}
    return Window(10.0, inferred, 0, errors, score_max, funnel, {"total": more.pop("total", 80.0)}, **more)


def facts(seen: Window, **changes: Any) -> CameraFacts:
    plain = CameraFacts("running", None, None, None, 0.1, 10.0, seen, detects=True, min_score=0.65, key_interval=1.0)
    return replace(plain, **changes)


BUSY = window(candidates=9, scored=5, kept_by_nms=4, kept_by_label=3, kept_by_area=2, kept_by_zone=1)


def code(judged: CameraFacts) -> str | None:
    found = reason(judged)
    return found.code if found else None


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (window(), "no-candidates"),
        (window(candidates=9), "all-below-threshold"),
        (window(candidates=9, scored=5, kept_by_nms=3), "all-filtered-by-label"),
        (window(candidates=9, scored=5, kept_by_nms=3, kept_by_label=2), "all-filtered-by-area"),
        (window(candidates=9, scored=5, kept_by_nms=3, kept_by_label=2, kept_by_area=1), "all-filtered-by-zone"),
        (window(inferred=0), "no-frames"),
        (window(inferred=0, errors=4), "inference-failing"),
        (window(searched=10, invalid=10), "model-output-invalid"),
        (window(searched=10, invalid=9), "no-candidates"),
        (window(searched=2, invalid=2), "no-candidates"),
        (window(total=2500.0), "too-slow"),
        (BUSY, None),
    ],
)
def test_the_first_stage_that_lets_nothing_through_is_named(seen: Window, expected: str | None) -> None:
    assert code(facts(seen)) == expected


def test_a_threshold_is_told_with_the_best_score() -> None:
    found = reason(facts(window(candidates=9)))
    assert found is not None
    assert "best score 0.410, threshold 0.65" in found.detail
    assert found.code in UNEXPLAINED


def test_an_empty_scene_is_healthy_only_for_a_model_that_was_seen_to_see() -> None:
    empty = window(candidates=9, score_max=0.2)
    assert code(facts(empty)) == "all-below-threshold"
    assert code(facts(empty, proven=True)) == "healthy-empty"
    assert code(facts(window(score_max=0.004), proven=True)) == "healthy-empty"
    just_missed = facts(window(candidates=9, score_max=0.6), proven=True)
    assert code(just_missed) == "all-below-threshold"
    filtered = facts(window(candidates=9, scored=1, kept_by_nms=1), proven=True)
    assert code(filtered) == "all-filtered-by-label", "a filter that removes everything is named, wanted or not"


def test_who_gets_clearly_less_than_it_asks_for_is_told_what_of_what_and_why() -> None:
    few: dict[str, Any] = {"inferred": 61, "crowded_out": 39}
    for seen in (replace(BUSY, **few), window(**few, candidates=9, score_max=0.2)):
        found = reason(facts(seen, sharing=4, proven=True))
        assert found is not None
        assert found.code == "backend-busy"
        assert "shared by 4 cameras and full: 6.1 of 10.0 frames per second" in found.detail
    assert code(facts(replace(BUSY, inferred=85, crowded_out=15), sharing=4)) is None, "a little less is no news"
    assert code(facts(replace(BUSY, **few), sharing=1)) is None, "nobody else is there"
    assert code(facts(replace(BUSY, **few), sharing=4, age_s=3.0)) is None, "everybody is loading"
    assert code(facts(window(inferred=0, crowded_out=5), sharing=4)) == "backend-busy", "it got nothing at all"


def test_who_was_told_of_a_full_backend_hears_of_its_end_when_there_is_clearly_enough() -> None:
    judge = Judge()

    def is_told(inferred: int, sharing: int = 4) -> bool:
        found = judge.reason(facts(replace(BUSY, inferred=inferred, crowded_out=100 - inferred), sharing=sharing))
        return found is not None and found.code == "backend-busy"

    told = [is_told(inferred) for inferred in (85, 79, 81, 79, 88, 89, 90, 81, 79)]
    assert told == [False, True, True, True, True, True, False, False, True]
    assert not is_told(85, sharing=1), "nobody else is there any more"


def test_what_is_wrong_is_told_before_what_is_only_seldom() -> None:
    crowded: dict[str, Any] = {"inferred": 61, "crowded_out": 39}
    assert code(facts(window(**crowded), sharing=4)) == "no-candidates"
    assert code(facts(replace(BUSY, **crowded), sharing=4, delivery=Finding("mqtt-acl-denied", "d"))) == "mqtt-acl-denied"


def test_upstream_speaks_first() -> None:
    broken = facts(
        window(inferred=0, errors=3), source=Finding("stream-unreachable", "s"), bundle=Finding("bundle-refused", "b"),
        delivery=Finding("mqtt-acl-denied", "d"), frame_age=None,
    )  # fmt: skip
    assert reason(replace(broken, state="off")) == Finding("disabled-by-request", "detection was switched off by a request")
    assert reason(broken) == broken.bundle
    assert reason(replace(broken, bundle=None)) == broken.source
    assert code(replace(broken, bundle=None, source=None, frame_age=11.0)) == "no-frames"


def test_what_passes_by_itself_is_no_finding() -> None:
    lost = Finding("stream-ended", "the server ended the session")
    glitch = facts(BUSY, source=lost, state="waiting-source", frame_age=4.0)
    assert reason(glitch) is None
    assert reason(replace(glitch, frame_age=10.5)) == lost
    started = facts(window(inferred=0), frame_age=None, age_s=3.0)
    assert code(started) == "starting"
    assert code(replace(started, age_s=10.5)) == "no-frames"
    assert code(facts(window(candidates=9, scored=1, kept_by_nms=1), age_s=3.0)) == "starting"
    refused = replace(started, source=Finding("stream-unreachable", "401"))
    assert code(refused) == "stream-unreachable", "a camera that says no will not change its mind"


def test_seen_and_delivered_is_no_reason_and_seen_but_not_delivered_is_one() -> None:
    busy = facts(BUSY)
    assert reason(busy) is None
    away = Finding("mqtt-unreachable", "connection refused")
    assert reason(replace(busy, delivery=away)) == away
    assert code(replace(busy, unanswered_s=8.0)) is None
    assert code(replace(busy, unanswered_s=11.0)) == "not-delivered"
    denied = Finding("mqtt-acl-denied", "not delivered: front/detections")
    assert reason(replace(busy, unanswered_s=11.0, delivery=denied)) == denied, "the exact word is better than the general one"


def test_maps_and_unchanged_classes_are_never_empty_but_their_picture_can_be_wrong() -> None:
    map_of_background = facts(window(), detects=False)
    assert reason(map_of_background) is None
    assert code(replace(map_of_background, picture=BLACK)) == "dark"
    assert code(replace(map_of_background, picture=STILL)) == "frozen"
    assert code(replace(map_of_background, window=window(searched=9, invalid=9))) == "model-output-invalid"
    assert code(replace(map_of_background, window=window(total=2500.0))) is None


def test_a_black_picture_is_told_only_while_nothing_is_seen_in_it_and_after_a_while() -> None:
    assert code(facts(window(candidates=3), picture=BLACK)) == "dark"
    assert code(facts(BUSY, picture=BLACK)) is None
    assert code(facts(window(candidates=3), picture=replace(BLACK, dark_s=8.0))) == "all-below-threshold"
    flat = reason(facts(window(), picture=replace(BLACK, tone=Tone(129, 130, 131))))
    assert flat is not None
    assert "one flat tone" in flat.detail


def test_a_frozen_stream_is_told_even_while_something_is_seen_in_it_and_a_file_never_is_one() -> None:
    assert code(facts(BUSY, picture=STILL)) == "frozen"
    assert code(facts(BUSY, picture=STILL, stream=False)) is None
    assert code(facts(BUSY, picture=replace(STILL, still_s=9.0))) is None
    assert code(facts(BUSY, picture=replace(STILL, still_frames=4))) is None


def test_a_picture_must_stand_still_over_a_key_frame_before_the_stream_counts_as_frozen() -> None:
    judged = facts(BUSY, picture=replace(STILL, still_s=17.0))
    assert code(judged) == "frozen"
    assert code(replace(judged, key_interval=12.0)) is None
    assert code(replace(judged, key_interval=None)) is None
    assert code(replace(judged, key_interval=None, picture=replace(STILL, still_s=31.0))) == "frozen"


def test_masks_over_everything_are_named() -> None:
    assert code(facts(window(), picture=PictureFacts(masked=0.99))) == "masked"
    assert code(facts(window(), picture=PictureFacts(masked=0.6))) == "no-candidates"


numbers = st.integers(min_value=0, max_value=9)


@st.composite
def any_facts(draw: st.DrawFn) -> CameraFacts:
    funnel = dict(zip(FUNNEL, sorted((draw(numbers) for _ in FUNNEL), reverse=True), strict=True))
    seen = window(draw(numbers), draw(numbers), draw(st.floats(0, 1)), **funnel)
    return facts(
        seen, frame_age=draw(st.none() | st.floats(0, 60)), detects=draw(st.booleans()), proven=draw(st.booleans()),
        age_s=draw(st.sampled_from([1.0, 60.0])),
    )  # fmt: skip


@given(judged=any_facts())
def test_nothing_seen_always_has_a_reason(judged: CameraFacts) -> None:
    found, seen = reason(judged), judged.window
    nothing = seen.inferred == 0 or (judged.detects and not judged.found)
    assert not nothing or found is not None
    assert found is None or found.detail
    frames_go_missing = judged.frame_age is not None and judged.frame_age > judged.patience_s
    if judged.settling and found is not None and not frames_go_missing and not (seen.errors and not seen.inferred):
        assert found.code == "starting"


def codes_in_use() -> set[str]:
    """Every code that some code path can put into `reason`."""
    found: set[str] = set()
    for path in (ROOT / "camagent").rglob("*.py"):
        if "selftest" in path.parts or "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="Finding"), args=[ast.Constant(value=str(text)), *_]):
                    found.add(text)
                case ast.Assign(targets=[ast.Name(id="reason")], value=ast.Constant(value=str(text))):
                    found.add(text)
                case ast.Assign(targets=[ast.Name()], value=ast.Constant(value=str(text))) if "mqtt" in path.parts:
                    if text.startswith(("mqtt-", "tls-")):
                        found.add(text)
    return found


def test_every_reason_stands_in_the_documentation() -> None:
    text = (ROOT / "docs" / "mqtt.md").read_text("utf-8").partition("## Reasons")[2].partition("\n## ")[0]
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    rows = {word for cell in cells for word in cell.split("`")[1::2]} - {"reason"}
    used = codes_in_use() | {f"all-filtered-by-{name}" for name in ("label", "area", "zone")} | {"no-bundle", "bundle-refused"}
    assert {"frozen", "stream-stalled", "stage-died", "mqtt-acl-denied"} <= used
    assert used == rows
