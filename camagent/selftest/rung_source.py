"""Does the camera send pictures, and do they change? Pure judgement of what was measured while the source was watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from statistics import median

from camagent.pipeline import rgb_pixels
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Change, Status, Tell, Value
from camagent.selftest.sample import LiveSample, SourceFacts, damaged
from camagent.selftest.statistics import LOOK, PictureFacts, picture_facts

# Sensor noise makes two pictures of a live still scene differ, at the latest when a key frame codes the whole picture anew:
# so many equal ones, over so long and past a key frame, are one picture repeated.
FROZEN_PICTURES, FROZEN_S = 12, 3.0
FROZEN_GOPS = 1.2  # intervals between key frames: the stretch then holds one
FROZEN_BLIND_S = 12.0  # without a second key frame: a codec that saves where nothing moves looks so too
MID_GREY, NEAR_GREY = 128, 8  # luma of a picture that was never received, and how near to it what moves leaves the mean
FAINT, FAINT_BLIND = 6.0, 20.0  # its contrast at most, and where not one key frame came besides
DULL = 4.0  # its chroma
KEY_WAIT_S = 10.0  # a restart or the wait for a key frame below this is no fault
LONG_GOP_S = 20.0
GAP_S, GAP_STEPS = 2.0, 5.0  # a hole in the time line: so long, and so many usual steps
# what a source may complain of by itself, and what cannot be told from it by these measurements
_OWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stream-unreachable": ("stream-unreachable", ()),
    "transport-mismatch": ("transport-mismatch", ()),
    "stream-client-limit": ("stream-client-limit", ("stream-stalled",)),
    "stream-stalled": ("stream-stalled", ("stream-client-limit",)),
    "stream-ended": ("stream-stalled", ("stream-client-limit",)),
}
_OTHER = {"tcp": "udp", "udp": "tcp", "auto": "udp"}


class SourceRung:
    """`live` is None where no source belongs to what is tested."""

    id = "source"

    def __init__(self, live: LiveSample | None) -> None:
        self._live = live

    def run(self, tell: Tell) -> Outcome:
        """Spends no time: the source was watched before."""
        del tell
        if self._live is None:
            return Outcome("skip", {"why": "no camera belongs to this test"})
        live = self._live
        shown = [picture_facts(rgb_pixels(frame, LOOK)) for frame in live.frames] if damaged(live.facts) else []
        return judge(live.facts, shown, other_works=bool(live.frames) and not live.facts.decoded)


def judge(facts: SourceFacts, shown: Sequence[PictureFacts] = (), *, other_works: bool = False) -> Outcome:
    """What these numbers mean.

    Args:
        facts: of the source.
        shown: of its pictures, where the decoder has complained.
        other_works: the same stream gave pictures over the other transport.
    """
    measured = _measured(facts)
    if not facts.decoded:
        return _nothing(facts, measured, other_works=other_works)
    damage, gop = _damage(facts, shown, measured), _gop(facts, measured)
    if facts.state != "running" and facts.reason:
        return Outcome("fail", measured, (_own(facts, measured),))
    frozen = _frozen(facts, measured)
    causes = tuple(cause for cause in (frozen, damage, gop) if cause is not None)
    hint = bool(measured.get("damaged")) or "gap" in measured or (facts.key_interval or 0.0) > LONG_GOP_S or facts.overloads
    status: Status = "fail" if causes else "warn" if hint or facts.reconnects else "pass"
    return Outcome(status, measured, causes)


def _measured(facts: SourceFacts) -> dict[str, Value]:
    measured: dict[str, Value] = {
        "state": facts.state, "seconds": round(facts.seconds, 1), "packets": facts.packets, "decoded": facts.decoded,
        "decoder_errors": facts.decoder_errors, "damaged": facts.corrupt + facts.decoder_errors,
        "reconnects": facts.reconnects, "overloads": facts.overloads, "different_pictures": len(set(facts.fingerprints)),
    }  # fmt: skip
    if facts.damaged_keys:
        measured["damaged_key_frames"] = f"{facts.damaged_keys} of {facts.key_frames}"
    if facts.key_interval is not None:
        measured["key_interval"] = round(facts.key_interval, 2)
    if facts.transport:
        measured["transport"] = facts.transport
    if facts.reason:
        measured |= {"reason": facts.reason, "sentence": facts.sentence}
    steps = [later - earlier for earlier, later in pairwise(facts.pts)]
    if steps:
        usual = median(steps)
        measured["fps"] = round(1 / usual, 2) if usual > 0 else None
        if max(steps) > max(GAP_S, GAP_STEPS * usual) or min(steps) < 0:
            measured["gap"] = round(max(steps), 2) if min(steps) >= 0 else "the time line runs backwards"
    return measured


def _nothing(facts: SourceFacts, measured: Mapping[str, Value], *, other_works: bool) -> Outcome:
    if facts.reason in _OWN:
        return Outcome("fail", measured, (_own(facts, measured, other_works=other_works),))
    if not facts.packets:
        if facts.reason:  # a file that cannot be played, a decoder that does not open
            return Outcome("fail", measured, (_cause("stream-unreachable", measured),))
        what = f"the camera was still being asked after {facts.seconds:.0f} s"
        also = ("stream-client-limit",) if facts.transport else ()
        return Outcome("fail", measured, (_cause("stream-unreachable", {**measured, "what": what}, also),))
    if facts.decoder_errors or facts.corrupt:
        return Outcome("fail", measured, (_smear(facts, measured, ("missing-reference-grey",)),))
    waited = f"packets came for {facts.seconds:.0f} s and no key frame that a picture could begin with"
    if facts.seconds < KEY_WAIT_S and facts.reason is None:
        return Outcome("warn", {**measured, "what": waited}, undecided=f"{waited}; watch it for longer")
    return Outcome("fail", measured, (_cause("smart-codec-on", {**measured, "what": waited}, ("missing-reference-grey",)),))


def _own(facts: SourceFacts, measured: Mapping[str, Value], *, other_works: bool = False) -> Cause:
    assert facts.reason is not None
    name, also = _OWN.get(facts.reason, ("stream-stalled", ()))
    if name == "transport-mismatch":
        other = _OTHER.get(facts.transport, "auto")
        change = Change(config={"transport": other}, words=f"transport: {facts.transport or 'tcp'} -> {other}")
        return _cause(name, measured, also, change, fix_verified=True if other_works else None)
    return _cause(name, measured, also)


def _frozen(facts: SourceFacts, measured: Mapping[str, Value]) -> Cause | None:
    """A file may well hold one picture; of a camera, equal pictures while its time goes on are a picture that stands still.

    Only the newest stretch counts: an encoder that is given one picture again and again refines it for some key frames.
    """
    equal = equal_at_the_end(facts.fingerprints)
    times = facts.pts[-equal:] if equal else ()
    if not facts.transport or equal < FROZEN_PICTURES or len(times) != equal or any(b <= a for a, b in pairwise(times)):
        return None
    lasted = times[-1] - times[0]
    past_a_key = facts.key_interval is not None and lasted >= FROZEN_GOPS * facts.key_interval
    what = f"the last {equal} pictures, {lasted:.1f} s of the stream's own time, are the same to the bit"
    if past_a_key and lasted >= FROZEN_S:
        return _cause("stream-frozen", {**measured, "what": what})
    if lasted >= FROZEN_BLIND_S:
        return _cause("stream-frozen", {**measured, "what": what}, ("smart-codec-on",), send=(CAUSES["smart-codec-on"].ask,))
    return None


def equal_at_the_end(marks: Sequence[int]) -> int:
    """How many of the newest fingerprints are one and the same number."""
    return sum(1 for _ in takewhile(lambda mark: mark == marks[-1], reversed(marks)))


def _damage(facts: SourceFacts, shown: Sequence[PictureFacts], measured: Mapping[str, Value]) -> Cause | None:
    if not damaged(facts):
        return None
    contrast = FAINT if facts.key_interval is not None else FAINT_BLIND
    if sum(_drawn_on_grey(one, contrast) for one in shown) * 2 > len(shown):
        told = {**measured, "luma": round(median(one.luma_mean for one in shown), 1), "of a picture that never came": MID_GREY}
        return _cause("missing-reference-grey", told, ("packet-loss-smear",))
    return _smear(facts, measured, ("missing-reference-grey",))


def _drawn_on_grey(one: PictureFacts, contrast: float) -> bool:
    """What moves, drawn on the grey that a decoder shows where it has nothing."""
    return abs(one.luma_mean - MID_GREY) < NEAR_GREY and one.luma_spread < contrast and one.chroma < DULL


def _smear(facts: SourceFacts, measured: Mapping[str, Value], also: tuple[str, ...]) -> Cause:
    tcp = Change(config={"transport": "tcp"}, words=f"transport: {facts.transport} -> tcp")
    proved = {"the same stream over tcp": "undamaged"} if facts.sound_over == "tcp" else {}
    change = tcp if facts.transport == "udp" else None
    return _cause("packet-loss-smear", {**measured, **proved}, also, change, fix_verified=True if proved else None)


def _gop(facts: SourceFacts, measured: Mapping[str, Value]) -> Cause | None:
    """Long GOPs alone do no harm while frames flow; with holes in the time line they are the codec's saving mode."""
    if facts.key_interval is None or facts.key_interval <= LONG_GOP_S or "gap" not in measured:
        return None
    return _cause("smart-codec-on", measured, send=(CAUSES["smart-codec-on"].ask,))


def _cause(
    name: str, evidence: Mapping[str, Value], also: tuple[str, ...] = (), change: Change | None = None, *,
    fix_verified: bool | None = None, send: tuple[str, ...] = (),
) -> Cause:  # fmt: skip
    known = CAUSES[name]
    return Cause(name, known.layer, known.fix, evidence, also, fix_verified, send, change)
