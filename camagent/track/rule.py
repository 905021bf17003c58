"""What the tracker goes by. None of it is configured: docs/tracking.md says what each is good for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrackRule:
    """Times in seconds; lengths and speeds in longer sides of the object's box."""

    # certainty
    certain_hits: int = 3  # finds at `min_score` or above; two, where frames are so far apart that they ..
    certain_s: float = 0.2  # .. span this: a flash in three frames of 25 a second is no object
    sure_hits: int = 2  # or so many finds of a high score, however close together
    doubtful_s: float = 0.5  # what is not certain is forgotten after this ..
    doubtful_frames: float = 2.5  # .. or this many frames, where they come more slowly
    # memory
    remembered_s: float = 3.0  # a certain object that nothing is found of
    remembered_frames: float = 3.5
    faint_s: float = 10.0  # one of which only faint things are found
    outside_s: float = 0.5  # one that has left the picture ..
    outside_frames: float = 1.5
    # association: overlap (IoU) of a detection and the predicted box, both grown by what is not known
    overlap: float = 0.2
    faint_overlap: float = 0.5
    other_class: float = 0.5  # of another class, and not grown
    same_thing: float = 0.8  # two boxes of one frame that overlap more than this are one thing, whatever their classes
    grown: float = 0.5  # standard deviations ..
    most_grown: float = 2.0  # .. of at most this each
    stray: float = 0.3  # per second between frames: who walks and stops in between is not where they were expected
    # motion
    noise: float = 0.06  # standard deviation of a detector's edges
    first_speed: float = 1.5  # per second: how fast something may be that was seen once
    unrest: float = 0.4  # per second, after a second: how far a speed strays
    resize: float = 0.3  # how much less sizes change than places
    # class
    vote_kept: float = 0.98  # of all votes before, with each new one
