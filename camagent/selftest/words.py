"""A report in words, for terminal and page alike: pure text, every foreign string printable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from camagent.errors import printable
from camagent.selftest.meanings import meaning
from camagent.selftest.report import Cause, Report, StepReport, Trial, Value

RUNG_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "configuration": "can the agent run with this configuration?",
        "bundle": "is the bundle trusted and whole?",
        "backend": "does the model open and compute?",
        "golden-tensor": "does the stored input give the stored outputs?",
        "golden-picture": "are the golden pictures seen, from file to box?",
        "source": "does the camera send pictures, and of something?",
        "live": "what does the model say to stored live pictures?",
        "filters": "do score, label, area and zone let objects through?",
        "delivery": "does what is published arrive at a second client?",
    }
)
_ITEMS = 12  # of a list or mapping inside one value


def headline(report: Report) -> str:
    """The verdict in one or two sentences."""
    if report.verdict == "healthy":
        left_out = [step.id for step in report.steps if step.status == "skip"]
        rest = f" Not checked: {', '.join(printable(name, 64) for name in left_out)}." if left_out else ""
        return f"Healthy: no fault found. If nothing is published, there was nothing to see.{rest}"
    if report.verdict == "fault":
        first = printable(report.causes[0].id, 64) if report.causes else "?"
        more = len(report.causes) - 1
        rest = f", and {more} more behind it. Mend the first, then run again." if more else "."
        return f"Fault found: {first}{rest}"
    if report.causes:
        return "Inconclusive: this device alone cannot decide. What to send stands below."
    open_steps = [printable(step.id, 64) for step in report.steps if step.status in ("fail", "skip")]
    return f"Inconclusive: no fault found, but not everything could be checked: {', '.join(open_steps) or 'see the steps'}."


def subject(report: Report) -> tuple[str, str]:
    """What was tested, and the versions and facts around it: `fastestdet 1.0.0, camera front` and `python = 3.11.9`."""
    facts = report.body()["subject"]
    bundle = " ".join(shown(facts.pop(key)) for key in ("bundle", "version") if facts.get(key))
    camera = f"camera {shown(facts.pop('camera'))}" if facts.get("camera") else ""
    return ", ".join(filter(None, (bundle, camera))), pairs(facts)


def means(cause: Cause) -> str:
    """The cause in one sentence."""
    return meaning(cause.id)


def alternatives(cause: Cause) -> str:
    """The other members of its set; empty where it stands alone."""
    return ", ".join(printable(name, 64) for name in cause.alternatives)


def fix_state(cause: Cause) -> str:
    """Whether the fix was tried, and what came of it."""
    if cause.fix_verified:
        return "fix verified: golden and held-back pictures came back"
    if cause.fix_verified is None:
        return "fix not verified: it could not be tried here"
    return "fix not verified: it was tried, and not every picture came back"


def change(cause: Cause) -> str:
    """The fix as a change: `input.color: bgr -> rgb`; empty where it is none that can be applied."""
    if cause.change is None:
        return ""
    keys = ", ".join(f"{printable(key, 64)} = {printable(value)}" for key, value in cause.change.config.items())
    return printable(cause.change.words, 400) or keys


def measured(step: StepReport) -> dict[str, Value]:
    """A step's numbers, by name, as JSON has them."""
    numbers: dict[str, Value] = step.report()["measured"]
    return numbers


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The variants, best first."""
    return sorted(trials, key=lambda trial: math.inf if math.isnan(trial.margin) else -trial.margin)


def cost(report: Report) -> str:
    """`31 inferences, 4.2 s`."""
    return f"{report.inferences} inference{'' if report.inferences == 1 else 's'}, {report.seconds:.1f} s"


def shown(value: Value, most: int = _ITEMS) -> str:
    """A value of a report's JSON as people read it; of lists and mappings at most so many items."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return pairs(value, most) or "none"
    if isinstance(value, list):
        listed = ", ".join(f"({shown(x, most)})" if isinstance(x, list | Mapping) else shown(x) for x in value[:most])
        return (f"{listed}, .. {len(value)} in all" if len(value) > most else listed) or "none"
    return printable(value, 1000)


def pairs(values: Mapping[str, Value], most: int = _ITEMS) -> str:
    """`a = 1, b (c = 2, d = 3)`."""
    listed = [pair(printable(key, 64), value, most) for key, value in list(values.items())[:most]]
    return ", ".join(listed) + (f", .. {len(values)} in all" if len(values) > most else "")


def pair(key: str, value: Value, most: int = _ITEMS) -> str:
    """`a = 1`, or `b (c = 2)` where the value has names of its own."""
    named = isinstance(value, Mapping) and value
    return f"{key} ({shown(value, most)})" if named else f"{key} = {shown(value, most)}"
