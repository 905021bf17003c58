"""What the model's rungs leave for the page: pictures with boxes, the input as the model takes it, scores, tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camagent.errors import CodedError
from camagent.frame import Frame
from camagent.pipeline import FilterRule
from camagent.selftest import exhibits, statistics
from camagent.selftest.examination import Examination, Run
from camagent.selftest.known import Known
from camagent.selftest.report import Cause, Exhibit, Histogram, Mark, TensorFacts
from camagent.selftest.structure import best_per_cell
from firmware_pkg.manifest import Manifest

PICTURES = 2  # of golden and of live ones: a page that can be mailed


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Everything for the page."""

    exhibits: tuple[Exhibit, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    tensors: tuple[TensorFacts, ...] = ()


def golden(exam: Examination, causes: Sequence[Cause]) -> Shown:
    """The first golden pictures as deployed; their input as the model wants it, where a contract that helps was found."""
    pictures: list[Exhibit] = []
    histograms: list[Histogram] = []
    tensors: list[TensorFacts] = []
    wanted = next((cause.change.manifest for cause in causes if cause.change and cause.change.manifest), None)
    for known in exam.known[:PICTURES]:
        run = exam.deployed(known)
        pictures += _picture(exam, f"Golden picture {known.name}", known.frame, run, known)
        spec = wanted.input if wanted else exam.manifest.input
        words = "as the model takes it" if wanted else "under the manifest"
        pictures.append(exhibits.as_seen(f"Input of {known.name}, {words}", run.tensor, spec))
        tensors.append(statistics.tensor_facts(f"{known.name} input", run.tensor))
        names = [spec.name for spec in exam.open().outputs]
        tensors += [statistics.tensor_facts(f"{known.name} {name}", out) for name, out in zip(names, run.outputs, strict=False)]
        histograms += _histogram(exam.manifest, known.name, run)
    return Shown(tuple(pictures), tuple(histograms), tuple(tensors))


def live(exam: Examination, looked: Sequence[tuple[Frame, Run]]) -> Shown:
    """The first live frames with what is seen at the bundle's threshold, and their scores."""
    pictures: list[Exhibit] = []
    histograms: list[Histogram] = []
    for index, (frame, run) in enumerate(looked[:PICTURES]):
        pictures += _picture(exam, f"Live frame {index + 1}", frame, run, None)
        histograms += _histogram(exam.manifest, f"live frame {index + 1}", run)
    return Shown(tuple(pictures), tuple(histograms))


def _picture(exam: Examination, title: str, frame: Frame, run: Run, known: Known | None) -> list[Exhibit]:
    manifest = exam.manifest
    rule = FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou)
    try:
        outcome = exam.read(manifest, run, rule).outcome
    except (CodedError, ValueError, IndexError, TypeError):  # a head that cannot read these outputs draws nothing
        return []
    expect = known.expect if known else ()
    declared = ", ".join(f"{count} {label}" for label, count in known.declared.items()) if known else ""
    caption = f"Should show: {declared}." if declared else ""
    return [exhibits.picture(title, frame, outcome, manifest.label_names, expect=expect, caption=caption)]


def _histogram(manifest: Manifest, name: str, run: Run) -> list[Histogram]:
    scores = best_per_cell(manifest, run.outputs)
    if not scores.size:
        return []
    marks = [Mark("min_score", manifest.thresholds.min_score), Mark("best", float(scores.max()))]
    return [exhibits.histogram(f"Best score per cell, {name}", scores, marks)]
