"""What is to be done about an action: pure. The store's word and what is remembered go in, the next state comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec.structs import replace

from camagent.errors import ActionUnsupported, CodedError, TrialEnded, printable
from camagent.integrations import hawkbit_words as words
from camagent.integrations import turned_away
from camagent.integrations.hawkbit_memory import Doing, Item, Known, Memory, Verdict
from camagent.integrations.hawkbit_read import Artifact, Deployment
from firmware_pkg.addresses import Prefix, Url, literal
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.limits import BUNDLE_BYTES
from firmware_pkg.slots import Refusal, Slots

BUNDLES = 8  # of one action
MOST_TRIES = 10  # downloads begun for one action, over restarts
SUFFIX = ".cambundle"
# what may be otherwise at the next attempt, whoever the bundle is: nothing of it is remembered against a digest
# a defect too: whoever assigns the file again means it
PASSING: Final = turned_away.PASSING | {"BACKEND_FAILED", "INTERNAL"}
# of DOWNLOAD_FAILED's reasons those that another attempt may mend
_WORTH_ANOTHER: Final = frozenset({"unreachable", "broken", "too-slow", "deadline", "tls", "changed"})

SlotsOf: TypeAlias = Callable[[str], Slots]  # a bundle's name -> what the store knows of it


def begin(found: Deployment, memory: Memory, *, slots_of: SlotsOf, circumstances: str) -> Doing:
    """What becomes of an action that was just fetched. Raises StateError where the store cannot be asked."""
    try:
        items = _items(found)
        _require_installable(found)
    except ActionUnsupported as exc:
        return over(Doing(action=found.id, phase="over"), words.of_error(exc))
    items = tuple(_as_stored(item, memory.known, slots_of) for item in items)
    items = _from_history(items, found.history, slots_of)
    doing = Doing(action=found.id, phase="ready", items=items)
    for item in items:
        verdict = memory.refused.get(item.sha256 or "") if item.state == "pending" else None
        if verdict is not None and verdict.circumstances == circumstances:
            return over(doing, _refused_before(verdict))
    if all(item.state == "done" for item in items):
        return over(doing, words.done(*(f"{item.name} {item.version}: is in force already" for item in items)))
    if all(item.state != "pending" for item in items):
        return replace(doing, phase="trial")
    if "skip" in {found.download, found.update}:
        said = "waits for the maintenance window: download and installation are one step here"
        return replace(doing, phase="waiting", owed=words.told(said))
    unproven = [item.filename for item in items if item.sha256 is None]
    said = f"the server gives no sha256 of {', '.join(unproven)}: its size and the signature in it decide" if unproven else ""
    return replace(doing, owed=words.told(f"accepted: {len(items)} bundle{'s' * (len(items) != 1)}", said))


def waited(doing: Doing, found: Deployment) -> Doing:
    """The same action, looked at again while it waits for its window."""
    allowed = "skip" not in {found.download, found.update}
    return replace(doing, phase="ready", owed=words.told("the maintenance window is open")) if allowed else doing


def judged(doing: Doing, slots_of: SlotsOf) -> Doing:
    """What the store says of the bundles on trial. Raises StateError where it cannot be asked."""
    items = tuple(_judged(item, slots_of) for item in doing.items)
    for item in items:
        if isinstance(item, Refusal):
            return over(doing, words.refused(item.code, item.what, item.fix))
    kept = tuple(item for item in items if isinstance(item, Item))
    if all(item.state == "done" for item in kept):
        return over(replace(doing, items=kept), words.done(*(f"{item.name} {item.version}: {item.note}" for item in kept)))
    return replace(doing, items=kept)


def installed(doing: Doing, index: int, answer: Mapping[str, object]) -> Doing:
    """The store has taken a bundle: `answer` is the Service's."""
    name, version, digest = (str(answer[key]) for key in ("name", "version", "digest"))
    outcome = str(answer["outcome"])
    note = "is in force already" if outcome == "current" else f"stored; {answer.get('hint', '')}"
    made = replace(
        doing.items[index],
        state="trial" if outcome == "trial" else "done",
        name=name,
        version=version,
        digest=digest,
        note=note,
    )
    items = (*doing.items[:index], made, *doing.items[index + 1 :])
    said = words.on_trial(name, version, digest) if outcome == "trial" else f"{name} {version}: {note}"
    pending = any(item.state == "pending" for item in items)
    progress = words.Progress(sum(item.state != "pending" for item in items), len(items))
    return replace(
        doing, items=items, phase="ready" if pending else "trial", tries=0, owed=replace(words.told(said), progress=progress)
    )


def not_installed(doing: Doing, exc: CodedError) -> Doing:
    """A bundle was refused, or could not be fetched."""
    if isinstance(exc, DownloadFailed) and exc.evidence.get("reason") in _WORTH_ANOTHER and doing.tries < MOST_TRIES:
        said = f"the download failed and will be tried again ({doing.tries} of {MOST_TRIES}): {exc.what}"
        return replace(doing, phase="ready", owed=words.told(said))
    return over(doing, words.of_error(exc))


def exhausted(doing: Doing) -> Doing:
    """It was begun so often, and never came to an end: power cuts, or a death that nobody could tell of."""
    exc = DownloadFailed(
        "the download was begun again and again and never came to its end",
        evidence={"attempts": doing.tries, "allowed": MOST_TRIES},
        fix="look into the journal for what ends the agent or its connection, then assign the distribution set again",
    )
    return over(doing, words.of_error(exc))


def over(doing: Doing, report: words.Report) -> Doing:
    """The last word."""
    return replace(doing, phase="over", owed=report, final=report)


def prefix_for(url: Url, base: Url, download_from: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    """From where this file may come: the server itself, what the configuration lists, else one other https host by its name.

    Raises:
        ActionUnsupported: that is none of them.
    """
    if url.origin == base.origin:
        return (Prefix(Url(base.scheme, base.host, base.port, (), "")),)
    if download_from:
        if any(entry.covers(url) for entry in download_from):
            return download_from
        raise _elsewhere(url, "fleet.hawkbit.download_from has no entry for that place")
    if url.scheme != "https":
        raise _elsewhere(url, "another server is asked over https only")
    if literal(url.host) is not None:
        raise _elsewhere(url, "another server is asked by its name; addresses must stand in fleet.hawkbit.download_from")
    return (Prefix(Url(url.scheme, url.host, url.port, (), "")),)


def lasting(exc: CodedError) -> bool:
    """Whether this refusal speaks against the file itself, as things are here."""
    return exc.code not in PASSING


def _items(found: Deployment) -> tuple[Item, ...]:
    items = []
    for number, chunk in enumerate(found.chunks, 1):
        if len(chunk) != 1:
            names = ", ".join(printable(one.filename, 60) for one in chunk[:4]) or "none"
            raise _not_ours(f"software module {number} has {len(chunk)} files and not one", names)
        items.append(_item(chunk[0]))
    if not 0 < len(items) <= BUNDLES:
        raise _not_ours(f"the distribution set has {len(items)} software modules", f"1 to {BUNDLES} are installed")
    return tuple(items)


def _item(one: Artifact) -> Item:
    name = printable(one.filename, 100)
    if not one.filename.endswith(SUFFIX):
        raise _not_ours(f"{name} is no {SUFFIX} file", name)
    if one.url is None:
        raise _not_ours(f"{name} has no download link that can be used", "neither download nor download-http")
    if not 0 < one.size <= BUNDLE_BYTES:
        raise _not_ours(f"{name} has a size that no bundle has", f"{one.size} bytes")
    return Item(filename=name, url=str(one.url), size=one.size, sha256=one.sha256)


def _require_installable(found: Deployment) -> None:
    if found.window is None and "skip" in {found.download, found.update}:
        raise ActionUnsupported(
            "the action is to be downloaded and not installed; a bundle that may not be installed is not kept here",
            evidence={"download": found.download, "update": found.update},
            fix="assign the distribution set as forced or soft; the bundle is tried before it is trusted in any case",
        )


def _not_ours(what: str, found: str) -> ActionUnsupported:
    return ActionUnsupported(
        f"nothing was installed: {what}",
        evidence={"expected": f"software modules with one {SUFFIX} file each", "found": found},
        fix="build the distribution set of modules that hold one signed bundle each",
    )


def _elsewhere(url: Url, why: str) -> ActionUnsupported:
    return ActionUnsupported(
        f"the file is not fetched: {why}",
        evidence={"found": f"{url.scheme}://{url.authority}"},
        fix="serve it from the hawkBit server, or write that place into fleet.hawkbit.download_from on the device",
    )


def _refused_before(verdict: Verdict) -> words.Report:
    said = "this very file was refused here before and was not fetched again; agent, device and trust root are the same"
    return replace(verdict.report, details=words.fitting((*verdict.report.details, said)))


def _as_stored(item: Item, known: Mapping[str, Known], slots_of: SlotsOf) -> Item:
    """A file that was installed here before is not fetched again while the store still runs it."""
    found = known.get(item.sha256 or "")
    return item if found is None else _found(item, found, slots_of)


def _from_history(items: tuple[Item, ...], history: tuple[str, ...], slots_of: SlotsOf) -> tuple[Item, ...]:
    """After a loss of memory: what this very action is known to have put on trial. Only for an action of one bundle."""
    if len(items) != 1 or items[0].state != "pending":
        return items
    for name, version, digest in words.trial_of(history):
        made = _found(items[0], Known(name=name, version=version, digest=digest), slots_of)
        if made.state != "pending":
            return (made,)
    return items


def _found(item: Item, known: Known, slots_of: SlotsOf) -> Item:
    slots = slots_of(known.name)
    running = slots.running
    if running is None or running.digest != known.digest:
        return item
    state = "trial" if slots.trial else "done"
    return replace(item, state=state, name=known.name, version=running.version, digest=known.digest, note="is in force already")


def _judged(item: Item, slots_of: SlotsOf) -> Item | Refusal:
    if item.state != "trial":
        return item
    slots = slots_of(item.name)
    if slots.trial and slots.trial.digest == item.digest:
        return item
    if item.digest in slots.confirmed:
        return replace(item, state="done", note="confirmed")
    why = slots.refused.get(item.digest)
    if why is not None:
        return replace(why, what=f"{item.name} {item.version} was taken back: {why.what}")
    running = slots.running
    exc = TrialEnded(
        f"{item.name} {item.version} was taken back before its trial was over",
        evidence={"runs now": running.version if running else "nothing"},
        fix="see the device's audit log for who has done it; assign the distribution set again if it is still wanted",
    )
    return Refusal.of(exc, item.version, 0.0)
