"""Puts one camera's self-test together: its configuration, its bundle, its pictures, its model, its way to the broker.

What differs between a workstation, a machine without a daemon and a running agent is a `Site`; the ladder is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from camagent import vitals
from camagent.config import Camera, Config
from camagent.errors import CodedError
from camagent.pipeline import BackendOptions, UsableBundle
from camagent.selftest.case import Case
from camagent.selftest.examine import examine
from camagent.selftest.ladder import RUNGS, Count, Outcome, Rung, climb, ordered
from camagent.selftest.report import LAYERS, Cause, Exhibit, Report, Status, StepReport, Tell, Value, Verdict
from camagent.selftest.rung_bundle import BundleRung, refused
from camagent.selftest.rung_source import SourceRung
from camagent.selftest.sample import LiveSample

MODEL_RUNGS = ("backend", "golden-tensor", "golden-picture", "live", "filters")
ROOM_FACTOR, ROOM_BYTES = 4, 64 << 20  # what a second copy of a model needs, beside one that runs
_BADNESS: Mapping[Status, int] = {"skip": 0, "pass": 1, "warn": 2, "fail": 3}


class Site(Protocol):
    """Where a test goes on: what it looks at, and whom it speaks through."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    @property
    def monotonic(self) -> Callable[[], float]:
        """Seconds that never step."""
        ...

    def configuration(self, camera: Camera) -> Rung:
        """The first rung."""
        ...

    def bundle(self, camera: Camera) -> BundleRung:
        """The second."""
        ...

    def capture(self, camera: Camera, tell: Tell) -> LiveSample:
        """Pictures of the camera. Raises CodedError where there is no such source."""
        ...

    def system(self, camera: Camera, named: Callable[[], Sequence[Cause]]) -> Rung:
        """What of the trouble is the agent's or the machine's own; `named`: the causes found so far."""
        ...

    def delivery(self, camera: Camera, bundle: UsableBundle | None, live: LiveSample) -> Rung:
        """The last one."""
        ...

    def has_room(self, bundle: UsableBundle) -> bool:
        """Whether memory holds this model once more, beside whatever runs."""
        ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """A rung that has nothing to stand on; `undecided` where that leaves the question open."""

    id: str
    why: str
    undecided: str = ""

    def run(self, tell: Tell) -> Outcome:
        """Spends nothing."""
        del tell
        return Outcome("skip", {"why": self.why}, undecided=self.undecided)


def camera_report(site: Site, camera: Camera, tell: Tell) -> Report:
    """The whole ladder for one camera. Never raises for what is wrong with what it tests; bounded in time."""
    subject: dict[str, Value] = {"camera": camera.name}
    parts: list[Report] = []

    def climbed(*rungs: Rung) -> None:
        parts.append(climb(rungs, Count(), site.monotonic, tell, subject))

    began = site.monotonic()
    bundle_rung = site.bundle(camera)
    climbed(site.configuration(camera), bundle_rung)
    live = site.capture(camera, tell)
    bundle = bundle_rung.bundle
    parts.append(_model(site, camera, bundle, live, tell))
    if not any(step.id == "source" for part in parts for step in part.steps):
        climbed(SourceRung(live))
    climbed(site.system(camera, lambda: [cause for part in parts for cause in part.causes]))
    climbed(site.delivery(camera, bundle, live))
    made = folded(parts)
    steps = tuple(replace(step, seconds=step.seconds + live.facts.seconds * (step.id == "source")) for step in made.steps)
    return replace(made, steps=steps, seconds=site.monotonic() - began)


def bundle_report(
    bundle: UsableBundle, options: BackendOptions, camera: Camera | None, tell: Tell, monotonic: Callable[[], float]
) -> Report:
    """The model alone, on a workstation. `camera` lends its filters and masks."""
    examined = examine(Case(bundle, options, camera), tell, monotonic=monotonic)
    manifest = bundle.manifest
    loaded = Outcome(
        "pass" if bundle.signature == "verified" else "warn",
        {"name": manifest.name, "version": manifest.version, "signature": bundle.signature, "backend": bundle.artifact.backend},
    )
    there = {"bundle", *(step.id for step in examined.steps)}
    why = "a bundle is tested on a workstation: there is no camera and no broker"
    rest: list[Rung] = [_Told("bundle", loaded), *(Skipped(name, why) for name in RUNGS if name not in there)]
    return folded([examined, climb(rest, Count(), monotonic, lambda _: None, {})])


@dataclass(frozen=True, slots=True)
class _Told:
    """A rung that was climbed elsewhere."""

    id: str
    outcome: Outcome

    def run(self, tell: Tell) -> Outcome:
        del tell
        return self.outcome


def refused_report(exc: CodedError, monotonic: Callable[[], float]) -> Report:
    """A bundle file that may not run, or is none."""
    why = "no model was loaded: see the step bundle"
    rungs: list[Rung] = [Skipped(name, why) if name != "bundle" else _Told(name, refused(exc, {})) for name in RUNGS]
    return climb(rungs, Count(), monotonic, lambda _: None, {})


def _model(site: Site, camera: Camera, bundle: UsableBundle | None, live: LiveSample, tell: Tell) -> Report:
    """The rungs between backend and filters, or why they are skipped."""
    options = BackendOptions.of(site.config)
    if bundle is not None and site.has_room(bundle):
        return examine(Case(bundle, options, camera, live), tell, monotonic=site.monotonic)
    if bundle is None:
        rungs: list[Rung] = [Skipped(name, "no bundle may run here: see the step before") for name in MODEL_RUNGS]
    else:
        why = f"memory does not hold the model twice: {vitals.memory_available() >> 20} MiB are free"
        rungs = [Skipped(name, why, undecided=why) for name in MODEL_RUNGS]
    return climb(rungs, Count(), site.monotonic, lambda _: None, {})


def has_room(bundle: UsableBundle) -> bool:
    """Whether the model can be opened once more without the machine running out of memory."""
    return vitals.memory_available() >= len(bundle.model) * ROOM_FACTOR + ROOM_BYTES


def folded(parts: Sequence[Report]) -> Report:
    """Parts of one ladder as one report: steps in the ladder's order, those with one name made one; causes upstream first."""
    steps: dict[str, StepReport] = {}
    for step in (step for part in parts for step in part.steps):
        known = steps.get(step.id)
        steps[step.id] = step if known is None else _both(known, step)
    order = {name: index for index, name in enumerate(RUNGS)}
    rows = sorted(steps.values(), key=lambda step: order.get(step.id, len(order)))
    return _joined(parts, tuple(rows), tuple(ordered([cause for part in parts for cause in part.causes])))


def gathered(reports: Mapping[str, Report]) -> Report:
    """The reports of several cameras as one: every step and cause says whose it is."""
    if len(reports) == 1:
        return next(iter(reports.values()))
    steps, causes, exhibits = list[StepReport](), list[Cause](), list[Exhibit]()
    for name, report in reports.items():
        steps += [replace(step, measured={"camera": name, **step.measured}) for step in report.steps]
        causes += [replace(cause, evidence={"camera": name, **cause.evidence}) for cause in report.causes]
        exhibits += [replace(exhibit, title=f"{name}: {exhibit.title}") for exhibit in report.exhibits]
    causes.sort(key=lambda cause: LAYERS.index(cause.layer))
    made = _joined(tuple(reports.values()), tuple(steps), tuple(causes))
    subject = {"cameras": {name: dict(report.subject) for name, report in reports.items()}}
    return replace(made, exhibits=tuple(exhibits), subject=subject)


def _joined(parts: Sequence[Report], steps: tuple[StepReport, ...], causes: tuple[Cause, ...]) -> Report:
    subject: dict[str, Value] = {}
    for part in parts:
        subject |= part.subject
    return Report(
        verdict=_worst([part.verdict for part in parts]),
        causes=causes,
        steps=steps,
        inferences=sum(part.inferences for part in parts),
        seconds=sum(part.seconds for part in parts),
        trials=tuple(trial for part in parts for trial in part.trials),
        exhibits=tuple(exhibit for part in parts for exhibit in part.exhibits),
        histograms=tuple(histogram for part in parts for histogram in part.histograms),
        tensors=tuple(tensor for part in parts for tensor in part.tensors),
        subject=subject,
    )


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    """A fault outweighs what could not be decided, and that outweighs health."""
    ranked: tuple[Verdict, ...] = ("fault", "inconclusive", "healthy")
    return next((verdict for verdict in ranked if verdict in verdicts), "healthy")


def _both(first: StepReport, second: StepReport) -> StepReport:
    status = max(first.status, second.status, key=lambda status: _BADNESS[status])
    return StepReport(first.id, status, {**first.measured, **second.measured}, first.seconds + second.seconds)
