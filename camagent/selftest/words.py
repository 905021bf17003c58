"""A report in words, for terminal and page alike: pure text, every foreign string printable.

`tongue`: the reader's language. Names and values of what was measured are the same in every one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from camagent.errors import printable
from camagent.language import ENGLISH, Tongue
from camagent.selftest.causes import CAUSES
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


def headline(report: Report, tongue: Tongue = ENGLISH) -> str:
    """The verdict in one or two sentences."""
    if report.verdict == "healthy":
        left_out = tongue.listed(printable(step.id, 64) for step in report.steps if step.status == "skip")
        fine = tongue.say("Healthy: no fault found. If nothing is published, there was nothing to see.")
        return f"{fine} {tongue.say('Not checked: {steps}.', steps=left_out)}" if left_out else fine
    if report.verdict == "fault":
        first = printable(report.causes[0].id, 64) if report.causes else "?"
        more = len(report.causes) - 1
        if not more:
            return tongue.say("Fault found: {cause}.", cause=first)
        behind = "Fault found: {cause}, and {more} more behind it. Mend the first, then run again."
        return tongue.say(behind, cause=first, more=more)
    if report.causes:
        return tongue.say("Inconclusive: this device alone cannot decide. What to send stands below.")
    steps = tongue.listed(printable(step.id, 64) for step in report.steps if step.status in ("fail", "skip"))
    unsure = "Inconclusive: no fault found, but not everything could be checked: {steps}."
    return tongue.say(unsure, steps=steps or tongue.say("see the steps"))


def subject(report: Report, tongue: Tongue = ENGLISH) -> tuple[str, str]:
    """What was tested, and the versions and facts around it: `fastestdet 1.0.0, camera front` and `python = 3.11.9`."""
    facts = report.body()["subject"]
    bundle = " ".join(shown(facts.pop(key)) for key in ("bundle", "version") if facts.get(key))
    camera = tongue.say("camera {name}", name=shown(facts.pop("camera"))) if facts.get("camera") else ""
    return ", ".join(filter(None, (bundle, camera))), pairs(facts)


def means(cause: Cause, tongue: Tongue = ENGLISH) -> str:
    """The cause in one sentence."""
    known = tongue.cause(cause.id)
    return known.means if known else meaning(cause.id)


def layer(cause: Cause, tongue: Tongue = ENGLISH) -> str:
    """Where the cause sits."""
    name = tongue.name("layers", cause.layer, "")
    return f"{name} {cause.layer}" if name else printable(cause.layer, 32)


def fix(cause: Cause, tongue: Tongue = ENGLISH) -> tuple[str, str]:
    """What to do; and, in another language, the English sentence where it says more than that cause's fix in general."""
    known, said = tongue.cause(cause.id), printable(cause.fix, 1000)
    if known is None:
        return said, ""
    return known.fix, "" if cause.id in CAUSES and cause.fix == CAUSES[cause.id].fix else said


def send(cause: Cause, tongue: Tongue = ENGLISH) -> list[str]:
    """What to send, where this device cannot decide."""
    known = tongue.cause(cause.id)
    return [known.ask if known and item == CAUSES[cause.id].ask else item for item in cause.send]


def alternatives(cause: Cause, tongue: Tongue = ENGLISH) -> str:
    """The other members of its set; empty where it stands alone."""
    return tongue.listed(printable(name, 64) for name in cause.alternatives)


def fix_state(cause: Cause, tongue: Tongue = ENGLISH) -> str:
    """Whether the fix was tried, and what came of it."""
    if cause.fix_verified:
        return tongue.say("fix verified: golden and held-back pictures came back")
    if cause.fix_verified is None:
        return tongue.say("fix not verified: it could not be tried here")
    return tongue.say("fix not verified: it was tried, and not every picture came back")


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


def cost(report: Report, tongue: Tongue = ENGLISH) -> str:
    """`31 inferences, 4.2 s`."""
    values = {"count": report.inferences, "seconds": f"{report.seconds:.1f}"}
    if report.inferences == 1:
        return tongue.say("{count} inference, {seconds} s", **values)
    return tongue.say("{count} inferences, {seconds} s", **values)


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
