"""Witnesses that the self-test calls: stored boxes, another provider, paint over what was found, a closer look.

Each on analytic models of the laboratory, at seeds whose form of the fault is what the witness is for.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.selftest_jobs import Job, build, prepare
from camagent.selftest import axis_live, box_relations, erasure, relations, truncation
from camagent.selftest.examination import Examination
from camagent.selftest.examine import examine
from camagent.selftest.ladder import HEALTHY_BUDGET, Count
from camagent.selftest.provider import CPU
from camagent.selftest.report import Cause, Report
from camagent.selftest.statistics import PictureFacts
from tests.lab import draw
from tests.lab.rig import Rig

FACTS = PictureFacts(luma_mean=110, luma_spread=20, luma_low=20, luma_high=230, chroma=8, colour=40, shear=0, shear_gain=0)


@pytest.fixture(autouse=True, scope="module")
def lab() -> None:
    prepare()


def rig_of(fault: str, seed: int) -> Rig:
    built = build(Job("fault", fault, seed))
    assert built is not None
    return built[0]


def report_of(fault: str, seed: int) -> Report:
    return examine(rig_of(fault, seed).case())


def first(fault: str, seed: int) -> Cause:
    return report_of(fault, seed).causes[0]


def opened(rig: Rig) -> Examination:
    exam = Examination(rig.case(), Count())
    exam.open()
    return exam


def test_the_cpu_alone_is_a_witness_against_another_provider() -> None:
    named = first("ep-specific-bug/plain", 1)
    assert (named.id, named.alternatives, named.fix_verified) == ("ep-specific-bug", (), True)
    assert f"seen with {CPU} alone" in named.evidence


def test_anchors_are_told_from_the_stored_boxes_without_a_variant() -> None:
    report = report_of("anchors-wrong/plain", 5)
    assert report.causes[0].id == "anchors-wrong"
    assert "boxes now, of then" in report.causes[0].evidence
    assert not report.trials


@pytest.mark.parametrize(
    ("slope", "offset", "cause"),
    [
        ((1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0), None),
        ((1.0, 1.0, 0.5, 0.6), (0.0, 0.0, 0.0, 0.0), "anchors-wrong"),
        ((2.0, 2.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0), "stride-or-order-wrong"),
        ((1.0, 1.0, 1.0, 1.0), (0.0, -40.0, 0.0, 0.0), "pad-placement-wrong"),
        ((0.004, 0.005, 0.004, 0.005), (0.0, 0.0, 0.0, 0.0), None),  # another unit: the search says which
    ],
)
def test_lines_of_boxes_now_over_boxes_then(slope: tuple[float, ...], offset: tuple[float, ...], cause: str | None) -> None:
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.uniform(0, 300, (200, 4)), rng.random((200, 3))], axis=1)[None].astype(np.float32)
    now = rows.copy()
    now[..., :4] = now[..., :4] * np.array(slope, np.float32) + np.array(offset, np.float32)
    found = box_relations.explain("yolov5", [now], [rows])
    assert (found.id if found else None) == cause


def test_other_scores_say_nothing_of_boxes() -> None:
    rng = np.random.default_rng(4)
    rows = rng.random((1, 200, 7)).astype(np.float32)
    assert box_relations.explain("yolov5", [rng.random((1, 200, 7)).astype(np.float32)], [rows]) is None


def test_what_stays_when_it_is_painted_over_lies_elsewhere() -> None:
    named = first("output-transposed/refused", 3)  # a square grid: every label is seen, at the wrong place
    assert (named.id, named.fix_verified) == ("output-transposed", True)
    assert "still there when painted over" in named.evidence


def test_healthy_boxes_go_with_the_paint() -> None:
    tried = 0
    for seed in range(30):
        rig = draw.healthy(seed)
        if rig.deployed.manifest.task != "detect":
            continue
        exam = opened(rig)
        try:
            assert erasure.explain(exam) is None, seed
            tried += exam.count.used > 1
        finally:
            exam.close()
    assert tried >= 5


def test_rows_are_only_exchanged_where_the_head_cannot_read_them_as_they_are() -> None:
    named = first("output-transposed/refused", 4)
    assert (named.id, named.evidence["fits the stored one when"]) == ("output-transposed", "rows and columns exchanged")
    assert first("objectness-assumed/told v5", 0).id in {"objectness-assumed", "head-family-mismatch"}


def test_a_threshold_in_the_graph_leaves_strong_cells_as_they_were() -> None:
    named = first("embedded-nms-threshold/plain", 7)
    assert named.id == "embedded-nms-threshold"
    assert named.evidence["cells that became 0"] > named.evidence["cells as they were"]


@pytest.mark.parametrize(
    ("fault", "seed"),
    [("int8-calibration-bad/plain", 0), ("board-differs-from-simulator/plain", 1), ("wrong-or-untrained-weights/plain", 0)],
)
def test_three_that_look_alike_are_told_apart_by_range_order_and_size_of_scores(fault: str, seed: int) -> None:
    named = first(fault, seed)
    assert named.id == fault.partition("/")[0]
    assert len(named.alternatives) == 2


def test_a_runtime_that_truncates_is_found_and_one_that_does_not_is_left_alone() -> None:
    exam = opened(rig_of("dtype-mismatch/truncated", 1))
    found = truncation.explain(exam, exam.deployed(exam.known[0]).tensor)
    assert found is not None
    assert found.id == "dtype-mismatch"
    exam = opened(draw.healthy(1))
    assert truncation.explain(exam, exam.deployed(exam.known[0]).tensor) is None


def test_a_size_that_a_free_model_wants_is_found_though_all_is_seen() -> None:
    report = report_of("input-size-mismatch/taken", 3)
    assert [one.id for one in report.causes] == ["input-size-mismatch"]
    assert report.causes[0].fix_verified is True


def test_strides_are_blamed_where_the_model_tells_its_layout() -> None:
    assert first("noncontiguous-input/plain", 0).id == "noncontiguous-input"
    assert first("layout-nchw-nhwc/same bytes", 1).id == "layout-nchw-nhwc"


@pytest.mark.parametrize("form", ["clipped", "washed out"])
def test_a_range_is_undone_once_and_twice(form: str) -> None:
    named = [first(f"colour-range-or-matrix/{form}", seed) for seed in (1, 2, 3)]
    assert [one.id for one in named] == ["colour-range-or-matrix"] * 3


def test_small_things_are_looked_at_more_closely() -> None:
    report = report_of("wrong-stream-profile/plain", 6)  # so small that no box passes the floor
    assert report.causes[0].id == "wrong-stream-profile"
    assert report.inferences <= 2 * HEALTHY_BUDGET


def test_infrared_is_told_from_another_view_by_its_colour() -> None:
    assert first("night-ir-domain/plain", 1).id == "night-ir-domain"
    assert first("view-domain/squeezed", 1).id == "view-domain"


def test_pictures_drawn_on_grey_are_told_from_smear() -> None:
    assert first("missing-reference-grey/plain", 5).id == "missing-reference-grey"
    assert first("packet-loss-smear/plain", 5).id == "packet-loss-smear"


def test_a_tinted_picture_is_not_held_for_another_range() -> None:
    tinted = PictureFacts(
        luma_mean=110, luma_spread=20, luma_low=20, luma_high=230, chroma=60, colour=90, shear=0, shear_gain=0
    )
    causes = [{way.cause for way in axis_live.ways(facts)} for facts in (FACTS, tinted)]
    assert causes[0] - causes[1] == {"colour-range-or-matrix", "chroma-order-wrong"}


def test_views_are_parts_of_the_picture_around_the_place() -> None:
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[70:80, 100:110] = 255
    closer = next(way for way in axis_live.ways(FACTS) if way.axis == "V:closer")
    views = closer.change(pixels, (100 / 120, 70 / 90, 110 / 120, 80 / 90))
    assert [view.pixels.shape[:2] for view in views] == [(45, 60), (30, 40), (20, 26)]
    assert all((view.pixels == 255).any() for view in views)
    assert not views[0].may_be((0.0, 0.0, 0.5, 0.5)), "what fills half of the view was never small"
    assert len(closer.change(pixels, None)) == 4


def test_correlations_of_shifted_rows_need_more_than_a_background_that_is_always_one() -> None:
    rng = np.random.default_rng(5)
    things = np.where(rng.random(600) < 0.02, rng.random(600), 0.0)
    stored = np.stack([1 - things, things], axis=1)[None].astype(np.float32)
    shifted = np.roll(stored, 1, axis=1)
    assert relations._kept(stored, stored) == pytest.approx(1.0)
    assert relations._kept(shifted, stored) < 0.5
