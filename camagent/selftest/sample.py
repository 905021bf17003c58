"""What a live source gave while it was watched: a few stored frames, and numbers about all of them. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from camagent.frame import Frame


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source over the time that it was watched."""

    state: str  # running | waiting-source, as in health
    reason: str | None = None  # the source's own code: stream-unreachable, stream-stalled ..
    sentence: str = ""  # and its words
    seconds: float = 0.0  # how long it was watched
    packets: int = 0
    decoded: int = 0
    decoder_errors: int = 0
    corrupt: int = 0  # frames that the decoder itself calls damaged
    key_frames: int = 0
    damaged_keys: int = 0  # of these, as the decoder says
    reconnects: int = 0
    key_interval: float | None = None  # seconds between key frames; None where fewer than two were seen
    transport: str = ""  # tcp | udp | auto; "" for files
    pts: tuple[float, ...] = ()  # seconds, of every decoded frame in order
    fingerprints: tuple[int, ...] = ()  # of the decoded luma of the same frames: equal numbers, equal pictures
    overloads: int = 0  # how often the decoder could not keep up
    sound_over: str = ""  # the other transport, where the same stream was watched over it for a moment and came undamaged


@dataclass(frozen=True, slots=True, eq=False)
class LiveSample:
    """Stored frames of a source, privacy masks filled, oldest first, spread over the time that it was watched."""

    frames: tuple[Frame, ...] = ()  # at most MOST_FRAMES
    facts: SourceFacts = field(default_factory=lambda: SourceFacts("running"))


MOST_FRAMES = 8

SMEAR_SHARE, SMEAR_PICTURES = 0.2, 10  # damaged among all: a short glitch of the network stays below
SMEAR_KEYS = 2  # damaged, and every other one of all: the pictures between them are smeared, and no decoder says so


def damaged(facts: SourceFacts) -> bool:
    """Whether the decoder complains of so many pictures that the stream is what is wrong."""
    count = facts.corrupt + facts.decoder_errors
    many = count >= SMEAR_PICTURES and count >= SMEAR_SHARE * (facts.decoded + facts.decoder_errors)
    return many or (facts.damaged_keys >= SMEAR_KEYS and 2 * facts.damaged_keys >= facts.key_frames)
