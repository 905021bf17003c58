"""Messages in one line, for people who look at a terminal."""

from __future__ import annotations

from collections import Counter

from camagent.bodies import Body, ClassificationBody, DetectionsBody, SegmentationBody
from camagent.errors import printable

_SHOWN = 6


def summary(body: Body) -> str:
    """What a frame's message says: `2 person (0.91, 0.88), 1 bus (0.79)`."""
    match body:
        case DetectionsBody():
            counts = Counter(item.label for item in body.detections)
            parts = []
            for label, count in counts.most_common(_SHOWN):
                scores = ", ".join(f"{item.score:.2f}" for item in body.detections if item.label == label)
                parts.append(f"{count} {printable(label, 64)} ({scores})")
            return ", ".join(parts) or "nothing"
        case SegmentationBody():
            return ", ".join(f"{printable(item.label, 64)} {item.share:.1%}" for item in body.classes[:_SHOWN]) or "nothing"
        case ClassificationBody():
            return ", ".join(f"{printable(item.label, 64)} {item.score:.2f}" for item in body.top[:_SHOWN])
        case _:
            return body.schema
