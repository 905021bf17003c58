"""Which track is which of a frame's boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from camagent.boxes import Box, overlap
from camagent.track.assignment import assign
from camagent.track.neighbours import Neighbours
from camagent.track.rule import TrackRule


class Expected(NamedTuple):
    """Where a track should be by now.

    What has moved out of its box since is still near it (C-BIoU, Yang et al., WACV 2023, arXiv 2211.14317, where margins are
    fixed shares of the box; here they are what a prediction does not know).
    """

    box: Box
    margin: float  # pixels that it may be off by, on every side
    class_id: int


def pair(
    expected: Sequence[Expected], boxes: Sequence[Box], class_ids: Sequence[int], least: float, rule: TrackRule
) -> list[int | None]:
    """Per track its row among `boxes`, None where it finds nothing; no row twice.

    Worth is how far the overlap exceeds `least`, where both have grown; between classes `rule.other_class`, where none has.
    """
    near = Neighbours(boxes)
    rows: list[dict[int, float]] = []
    for box, margin, class_id in expected:
        edges: dict[int, float] = {}
        for row in near.of(box, margin):
            alike = class_ids[row] == class_id
            worth = overlap(box, boxes[row], margin) - least if alike else overlap(box, boxes[row]) - rule.other_class
            if worth > 0:
                edges[row] = worth
        rows.append(edges)
    return assign(rows, len(boxes))
