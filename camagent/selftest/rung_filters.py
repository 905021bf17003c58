"""The camera's own filters, one at a time: which of them lets nothing through of what the model sees?

A label list, a threshold or a least area that removes every detection is named, wanted or not: it is the answer to "why do I
see nothing". A zone that merely is empty is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from camagent.config import Camera, Filter
from camagent.errors import CodedError
from camagent.frame import Detections, detections_of
from camagent.pipeline import FilterRule, rule_for
from camagent.selftest.examination import Examination, Run
from camagent.selftest.ladder import Outcome
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause, Change, Tell, Value

_BEHIND = 0.4  # a threshold of the bundle stands before the camera's filters


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the model sees on one picture at the bundle's own threshold, before any filter of the camera."""

    run: Run
    found: Detections


@dataclass(frozen=True, slots=True)
class _Suspect:
    """One filter: the rule with it alone, the rule without it, and the value that undoes it."""

    cause: str
    key: str
    value: Value
    undone: Value
    alone: FilterRule
    without: FilterRule
    evidence: Mapping[str, Value]


class FiltersRung:
    """Judged on golden pictures and on live frames, which cost nothing more: they have been inferred."""

    id = "filters"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam

    def run(self, tell: Tell) -> Outcome:
        """No inference."""
        exam, camera = self._exam, self._exam.case.camera
        if camera is None:
            return Outcome("skip", {"why": "no camera configuration"})
        if not exam.opened or not exam.model_trusted:
            return Outcome("skip", {"why": "the model does not see its golden pictures yet"})
        tell("the camera's filters")
        rule = self._rule(camera)
        golden = self._seen([exam.deployed(known) for known in exam.known])
        live = self._seen([run for _, run in exam.live])
        measured: dict[str, Value] = {
            "min_score": rule.min_score, "labels": list(camera.filter.labels) or "all", "min_area": rule.min_area,
            "zones": len(rule.zones), "golden": self._left(golden, rule), "live": self._left(live, rule),
        }  # fmt: skip
        measured |= {"under": "the fix above, in memory"} if exam.under_fix else {}
        if self._passes(live, rule):
            return Outcome("pass", measured)
        causes = self._blamed(golden, live, rule)
        return Outcome("fail" if causes else "pass", measured, tuple(causes))

    def _rule(self, camera: Camera) -> FilterRule:
        manifest = self._exam.manifest
        thresholds = manifest.thresholds
        return rule_for(camera, manifest.label_names, manifest.label_groups, thresholds.min_score, thresholds.nms_iou)

    def _seen(self, runs: Sequence[Run]) -> list[Seen]:
        """Pictures on which the model sees anything at all."""
        manifest = self._exam.manifest
        rule = FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou)
        made = []
        for run in runs:
            try:
                found = detections_of(self._exam.read(manifest, run, rule).outcome)
            except (CodedError, ValueError, IndexError):  # the golden rung has judged these outputs
                continue
            if found is not None and len(found):
                made.append(Seen(run, found))
        return made

    def _left(self, seen: Sequence[Seen], rule: FilterRule) -> dict[str, int]:
        return {"seen": sum(len(one.found) for one in seen), "kept": sum(self._kept(one, rule) for one in seen)}

    def _kept(self, one: Seen, rule: FilterRule) -> int:
        found = detections_of(self._exam.read(self._exam.manifest, one.run, rule).outcome)
        return 0 if found is None else len(found)

    def _passes(self, seen: Sequence[Seen], rule: FilterRule) -> bool:
        return any(self._kept(one, rule) for one in seen)

    def _blamed(self, golden: Sequence[Seen], live: Sequence[Seen], rule: FilterRule) -> list[Cause]:
        """The filters that alone remove everything, on live frames where anything is seen there, else on golden pictures."""
        pictures = live or golden
        if not pictures:
            return []
        where = "live frames" if live else "golden pictures"
        total = f"{sum(len(one.found) for one in pictures)} objects on {len(pictures)} {where}"
        found = [
            self._accused(one, total, verified=self._passes(pictures, one.without))
            for one in _suspects(self._exam, pictures, golden, rule)
            if not self._passes(pictures, one.alone)
        ]
        if not found and live and rule.zones:
            found += self._of_zones(live, rule)
        return found

    def _accused(self, one: _Suspect, total: str, *, verified: bool) -> Cause:
        words = f"{one.key}: {one.value} -> {one.undone}"
        evidence = {"seen": total, one.key: one.value, **one.evidence, "change": words}
        change = Change(config={one.key: one.undone}, words=words)
        return cause(one.cause, evidence, change=change, verified=verified, margin=_BEHIND)

    def _of_zones(self, live: Sequence[Seen], rule: FilterRule) -> list[Cause]:
        """Objects that lie in a zone, but not with the point that counts."""
        anywhere = replace(rule, zones=tuple(replace(zone, anchor="any") for zone in rule.zones))
        centre = replace(rule, zones=tuple(replace(zone, anchor="center") for zone in rule.zones))
        if not self._passes(live, centre) or any(zone.anchor in ("any", "center") for zone in rule.zones):
            return []
        inside = sum(self._kept(one, anywhere) for one in live)
        evidence = {
            "objects that touch a zone": inside, "with their centre in it": sum(self._kept(one, centre) for one in live),
            "with the anchor in it": 0, "anchors": sorted({zone.anchor for zone in rule.zones}),
        }  # fmt: skip
        change = Change(config={"zone.*.anchor": "center"}, words='zone anchor -> "center"')
        return [cause("zone-anchor-point", evidence, change=change, verified=True, margin=0.5)]


def _suspects(exam: Examination, pictures: Sequence[Seen], golden: Sequence[Seen], rule: FilterRule) -> list[_Suspect]:
    own = exam.manifest.thresholds.min_score
    free = FilterRule(min(rule.min_score, own), rule.nms_iou)
    scores = np.concatenate([one.found.scores for one in pictures])
    areas = np.concatenate([(one.found.boxes[:, 2:] - one.found.boxes[:, :2]).prod(axis=1) for one in pictures])
    labels = _labels_of(pictures, exam)
    said = _labels_of(golden, exam)  # what is seen where the answer is known; live pictures have chance finds, too
    configured = exam.case.camera.filter if exam.case.camera else Filter()
    no_zones = replace(rule, zones=())
    return [
        _Suspect("threshold-too-high", "filter.min_score", rule.min_score, own, replace(free, min_score=rule.min_score),
                 replace(no_zones, min_score=own), {"best score": round(float(scores.max()), 3)}),
        _Suspect("class-filter-excludes", "filter.labels", list(configured.labels), said or labels,
                 replace(free, class_ids=rule.class_ids), replace(no_zones, class_ids=None), {"labels seen": labels}),
        _Suspect("min-area-filter", "filter.min_area", rule.min_area, 0, replace(free, min_area=rule.min_area),
                 replace(no_zones, min_area=0.0), {"largest area": round(float(areas.max()))}),
    ]  # fmt: skip


def _labels_of(pictures: Sequence[Seen], exam: Examination) -> list[str]:
    names = exam.manifest.label_names
    return sorted({names[int(index)] for one in pictures for index in one.found.class_ids})
