"""A bundle that does not see what it should: the settings under which the model would, found by the self-test's own search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from camagent.cli.head_param import as_options
from camagent.errors import printable
from camagent.pipeline import usable
from firmware_pkg.manifest import Manifest, Triple


@dataclass(frozen=True, slots=True)
class Advice:
    """`options`: of `bundle create`, changed; `rest`: settings that it has no option for; `verified` on held-back pictures."""

    causes: tuple[str, ...]
    options: tuple[str, ...]
    rest: str
    verified: bool


def advise(made: Manifest, files: Mapping[str, bytes]) -> Advice | None:
    """What to change; None where no setting brings the objects back. `files`: model and golden members by path."""
    from camagent.selftest.case import Case
    from camagent.selftest.examine import examine

    artifact = next((one for one in made.artifacts if one.backend == "onnx"), None)
    if artifact is None:
        return None
    golden = {path: data for path, data in files.items() if path.startswith("golden/")}
    report = examine(Case(replace(usable(made, artifact, files[artifact.path]), golden=golden)))
    found = next((cause for cause in report.causes if cause.change is not None and cause.change.manifest is not None), None)
    if found is None or found.change is None or found.change.manifest is None:
        return None
    options, rest = _options(made, found.change.manifest)
    return Advice(tuple(cause.id for cause in report.causes), options, rest, bool(found.fix_verified))


def words(advice: Advice | None, output: Path) -> str:
    """The advice, or that there is none, for people."""
    if advice is None:
        return (
            "  The bundle does not see what it should, and no setting that was tried mends it: check --head, --labels and the\n"
            f"  model itself. 'camagent selftest --bundle {printable(output)}' shows what was measured."
        )
    proof = "; verified on pictures that were held back" if advice.verified else ""
    lines = [f"  The bundle does not see what it should: {', '.join(advice.causes)}{proof}."]
    lines += [f"  The model sees it with: {' '.join(advice.options)}"] if advice.options else []
    if advice.rest:
        lines.append(
            f"  The model sees it with {advice.rest}: 'camagent selftest --bundle {printable(output)} --apply' writes that"
        )
    return "\n".join(lines)


def _options(old: Manifest, new: Manifest) -> tuple[tuple[str, ...], str]:
    """The difference as options of `bundle create`, and what they cannot say."""
    before, after = old.input, new.input
    options: list[str] = []
    if (before.width, before.height) != (after.width, after.height):
        options.append(f"--size {after.width}x{after.height}")
    if before.color != after.color:
        options.append(f"--color {after.color}")
    if before.scale != after.scale:
        options.append(f"--scale {after.scale:.9g}")
    options += [f"--{name} {_triple(getattr(after, name))}" for name in ("mean", "std") if _differ(before, after, name)]
    if before.resize != after.resize:
        options.append(f"--resize {after.resize}")
    if old.head.name != new.head.name:
        options.append(f"--head {new.head.name}")
    if new.head.params != old.head.params:
        options += as_options(new.head.params)
    if old.thresholds.min_score != new.thresholds.min_score:
        options.append(f"--min-score {new.thresholds.min_score:g}")
    rest = []
    if old.labels != new.labels:
        rest.append(f"labels: {len(old.labels)} -> {len(new.labels)}, {', '.join(new.label_names[:3])} ..")
    if before.placement != after.placement:
        rest.append(f"input.placement: {after.placement}")
    return tuple(options), "; ".join(rest)


def _differ(before: object, after: object, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _triple(values: Triple) -> str:
    return ",".join(f"{value:.9g}" for value in values)
