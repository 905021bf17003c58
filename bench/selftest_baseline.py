"""What a person with a script does: try every setting, and believe the one that works if exactly one does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from camagent import golden
from camagent.errors import CodedError
from tests.lab.rig import Deployment, Rig, look, scene_frame

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def exactly_one(rig: Rig) -> str:
    """The cause whose variant alone brings the golden answer back; "" where none or several do."""
    pictures = [scene_frame(scene) for scene in rig.scenes]
    entries = rig.bundle().manifest.golden
    works = set()
    for cause, variant in _variants(rig.deployed):
        try:
            found = look(variant, None, pictures, rig.options)
        except (CodedError, ArithmeticError, ValueError, IndexError, TypeError):  # a variant that does not run does not work
            continue
        good = True
        for entry, seen in zip(entries, found, strict=True):
            wanted = entry.expect if rig.made_by == "right" else ()
            counted = Counter(item.label for item in seen)
            good &= golden.recall(wanted, seen, entry.min_iou) >= entry.min_recall
            good &= all(counted[label] >= count for label, count in entry.declared.items())
        if good:
            works.add(cause)
    return works.pop() if len(works) == 1 else ""


def _variants(deployed: Deployment) -> Iterator[tuple[str, Deployment]]:
    spec = deployed.manifest.input
    yield "channel-order-swapped", deployed.with_input(color="bgr" if spec.color == "rgb" else "rgb")
    yield "scale-missing", deployed.with_input(scale=1 / 255)
    yield "scale-not-wanted", deployed.with_input(scale=1.0)
    yield "mean-std-wrong", deployed.with_input(scale=1 / 255, mean=_IMAGENET[0], std=_IMAGENET[1])
    yield "preprocess-also-in-graph", deployed.with_input(scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    yield "layout-nchw-nhwc", deployed.with_input(layout="nhwc" if spec.layout == "nchw" else "nchw")
    yield "hw-swapped", deployed.with_input(width=spec.height, height=spec.width)
    for mode in ("letterbox", "stretch", "crop"):
        if mode != spec.resize:
            yield "letterbox-vs-stretch", deployed.with_input(resize=mode)
    limits = deployed.manifest.thresholds
    yield "threshold-too-high", deployed.with_manifest(thresholds=type(limits)(min_score=0.25, nms_iou=limits.nms_iou))
