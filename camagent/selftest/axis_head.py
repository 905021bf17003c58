"""What the outputs may mean instead: every reading of the same tensors, at no inference. One row per assumption.

A row is an axis, the cause that it stands for, and the manifests that differ from the deployed one in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from camagent.errors import CodedError
from camagent.labels import COCO80
from camagent.pipeline import head_of, heads_for
from camagent.selftest.anatomy import Arrays, parts_of
from camagent.selftest.param_table import PARAMS
from firmware_pkg.manifest import HeadSpec, Manifest

_MOST_CLASSES = 2000
_ALIKE_IN_ROWS = {"yolov5", "yolov7"}  # decoded in the graph, YOLOv7's output is YOLOv5's


@dataclass(frozen=True, slots=True)
class Further:
    """Another assumption that is changed with the first."""

    cause: str
    words: str


@dataclass(frozen=True, slots=True)
class Variant:
    """The deployed contract with one or more assumptions changed."""

    axis: str  # V:rgb-bgr
    cause: str
    manifest: Manifest
    words: str  # color: bgr -> rgb
    others: tuple[str, ...] = ()  # causes that the same change would cure
    more: tuple[Further, ...] = ()  # where several assumptions are changed
    intake: str = ""  # how the tensor's memory is moved on its way in; see memory_order.py
    exhaust: str = ""  # and that of the outputs on their way out
    measured: bool = False  # read off a stored tensor
    guessed: bool = False  # nothing speaks for it but that it helps: what explains the boxes themselves goes before

    def then(self, second: Variant) -> Variant:
        """Both changes, where `second` was derived from this one's manifest."""
        return self._with(second, second.manifest)

    def beside(self, reading: Variant) -> Variant:
        """Both changes, where `reading` was derived from the deployed manifest and changes head or labels only."""
        return self._with(reading, replaced(self.manifest, head=reading.manifest.head, labels=reading.manifest.labels))

    def _with(self, second: Variant, manifest: Manifest) -> Variant:
        more = (*self.more, Further(second.cause, second.words), *second.more)
        words = f"{self.words}; {second.words}"
        return Variant(f"{self.axis}+{second.axis}", self.cause, manifest, words, self.others, more,
                       self.intake or second.intake, self.exhaust or second.exhaust, self.measured)  # fmt: skip


def params(manifest: Manifest, outputs: Arrays) -> Iterator[Variant]:
    """One param of the head changed, where these outputs' numbers allow it."""
    parts = parts_of(manifest.head.name, outputs)
    for name, param in PARAMS.get(manifest.head.name, {}).items():
        now = manifest.head.params.get(name, param.default)
        for value, (cause, gate) in param.values.items():
            if value not in (now, param.default if name not in manifest.head.params else None) and gate(parts):
                yield _with_param(manifest, name, value, now, cause)


def double(manifest: Manifest, outputs: Arrays) -> Iterator[Variant]:
    """Two params changed at once: an export that ends elsewhere often differs in scores and boxes."""
    singles = list(params(manifest, outputs))
    for index, first in enumerate(singles):
        for second in singles[index + 1 :]:
            changed = dict(second.manifest.head.params)
            own = {key: value for key, value in changed.items() if manifest.head.params.get(key) != value}
            if any(
                key in own
                for key in first.manifest.head.params
                if first.manifest.head.params[key] != manifest.head.params.get(key)
            ):
                continue
            head = HeadSpec(name=manifest.head.name, params={**first.manifest.head.params, **own})
            yield Variant(
                f"{first.axis}+{second.axis}", first.cause, replaced(manifest, head=head), f"{first.words}; {second.words}",
                more=(Further(second.cause, second.words),) if second.cause != first.cause else (),
            )  # fmt: skip


def replaced(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with other fields."""
    made: Manifest = msgspec.structs.replace(manifest, **changes)
    return made


def _changed(manifest: Manifest, variant: Variant) -> dict[str, Any]:
    before = manifest.head.params
    return {key: value for key, value in variant.manifest.head.params.items() if before.get(key) != value}


def _with_param(manifest: Manifest, param: str, value: Any, before: Any, cause: str) -> Variant:
    head = HeadSpec(name=manifest.head.name, params={**manifest.head.params, param: value})
    return Variant(
        f"V:param-{param}-{value}", cause, replaced(manifest, head=head), f"head.params.{param}: {before} -> {value}"
    )


def other_heads(manifest: Manifest, outputs: Arrays) -> Iterator[Variant]:
    """Every other family of the same task that reads these outputs otherwise."""
    rows = any(output.ndim == 3 for output in outputs)
    for name in heads_for(manifest.task):
        if name != manifest.head.name and not (rows and {name, manifest.head.name} == _ALIKE_IN_ROWS):
            made = replaced(manifest, head=HeadSpec(name=name))
            yield Variant(f"V:head-{name}", _family(manifest.head.name, name), made, f"head: {manifest.head.name} -> {name}")


def _family(declared: str, right: str) -> str:
    """v5 and v8 rows differ in one column, the objectness."""
    return "objectness-assumed" if {declared, right} == {"yolov5", "yolov8"} else "head-family-mismatch"


def shifted_labels(manifest: Manifest, said: Sequence[str] = ()) -> Iterator[Variant]:
    """Labels shifted by one; the place that becomes free goes to a label that is said to be on a picture and is not listed."""
    names = manifest.label_names
    if len(names) < 2:
        return
    spare = next((label for label in said if label not in names), "unknown")
    for step, made in ((1, (*names[1:], spare)), (-1, (spare, *names[:-1]))):
        yield Variant(f"V:label{step:+d}", "label-offset", replaced(manifest, labels=made), f"labels: shifted by {step:+d}")


def counted_labels(manifest: Manifest, outputs: Arrays, said: Sequence[str] = ()) -> Iterator[Variant]:
    """The head takes another number of labels: the list is cut or filled, or it is COCO's where the count says so.

    `said`: labels that somebody says are on a known picture; those that the list lacks fill it first.
    """
    if fits(manifest, outputs):
        return
    names = manifest.label_names
    missing = [label for label in said if label not in names]
    for count in _counts(outputs):
        more = (*names, *missing, *(f"class {index}" for index in range(len(names) + len(missing), count)))
        lists = [("V:label-count", more[:count]), ("V:label-count-last", more[-count:])]
        lists += [("V:label-coco80", COCO80)] if count == len(COCO80) else []
        for axis, labels in lists:
            made = replaced(manifest, labels=labels)
            if fits(made, outputs):
                words = f"labels: {len(names)} -> {count}" + (" (coco80)" if axis.endswith("coco80") else "")
                yield Variant(axis, "class-count-mismatch", made, words)


def _counts(outputs: Arrays) -> list[int]:
    """Numbers of classes that these shapes may mean."""
    sides = {side for output in outputs for side in output.shape[1:]}
    return sorted({side - less for side in sides for less in (0, 1, 4, 5) if 0 < side - less <= _MOST_CLASSES} | {1, 2})


def fits(manifest: Manifest, outputs: Arrays) -> bool:
    """Whether the manifest's head takes these outputs with the manifest's labels."""
    try:
        head_of(manifest, outputs)
    except CodedError:  # what it says is of no interest: another reading is looked for
        return False
    return True
