"""What the broker's answers and silences mean. Pure: facts in, an Outcome out. No missing echo alone ever accuses anybody."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from camagent.probing import MqttState
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Status, Value

SHORT_LIVES = 2  # so often accepted and hung up on in the time of a test, while a client with another id stood
MANY_SHORT_LIVES, RECENT_S = 3, 60.0  # of a client that has run for longer: so often, and the present connection this young
_NAME_UNKNOWN = "of the broker is not known"  # mqtt/wire.py's words
BROKER_LOG = 'the broker\'s log of this minute: does it say "Denied PUBLISH" for this client id and topic? Or use MQTT 5'


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What became of a message of ours. `outcome`: the broker's word, None for none."""

    topic: str
    size: int  # bytes
    outcome: str | None  # acknowledged | refused | too_large | set_aside
    detail: str  # the broker's words
    echoed: bool  # a second client has received it


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """Everything that the verdict about a connected client is judged by."""

    broker: str
    user: str
    state: MqttState
    topics: tuple[TopicFacts, ...]
    reading: str  # why the second client may hear nothing, "" where it may
    observer_stood: bool  # the second client kept its connection
    typical_bytes: int = 0  # of a message with ten objects
    is_new: bool = True  # the client was made for this test


def judge(facts: DeliveryFacts) -> Outcome:
    """Delivered, not delivered, or not to be decided here."""
    measured = _measured(facts)
    causes = _one_per_id([cause for topic in facts.topics if (cause := _denied(topic, facts)) is not None])
    state = facts.state
    if not causes and _is_rivalled(facts):
        causes = [_clash(state, facts.broker)]
    if causes:
        return Outcome("fail", measured, tuple(causes))
    open_topics = [topic.topic for topic in facts.topics if not topic.echoed]
    silent = [topic.topic for topic in facts.topics if not topic.echoed and topic.outcome is None]
    if silent:
        what = f"{facts.broker} has neither acknowledged nor delivered: {', '.join(silent)}"
        return Outcome("warn", {**measured, "what": what}, undecided=what)
    if open_topics and state.protocol != "5":
        return _undecidable(facts, measured, open_topics)
    if open_topics:
        measured["acl"] = _acl_line(facts.user, open_topics)
    limit = state.maximum_packet
    tight = limit is not None and limit < facts.typical_bytes
    if tight:
        measured["note"] = f"a message with ten objects has about {facts.typical_bytes} bytes, the broker takes {limit}"
    status: Status = "warn" if tight or state.short_lives or state.refused else "pass"
    return Outcome(status, measured)


def unreached(state: MqttState, broker: str, addresses: Sequence[str], *, in_container: bool) -> Outcome:
    """Why there is no connection. `addresses`: what the broker's host name stands for."""
    detail = state.detail or f"no answer ({state.state})"
    evidence: dict[str, Value] = {
        "broker": broker, "detail": detail, "addresses": list(addresses), "attempts": state.attempts,
    }  # fmt: skip
    code = state.code or "mqtt-unreachable"
    also: tuple[str, ...] = ()
    if state.clashes or (state.connects and state.short_lives >= SHORT_LIVES):
        return Outcome("fail", evidence, (_clash(state, broker),))
    if code not in CAUSES:
        code = "mqtt-unreachable"
    if code == "mqtt-unreachable" and state.state != "refused":
        if _NAME_UNKNOWN in detail:
            code, also = "mqtt-wrong-host", ("mqtt-unreachable",)
        elif addresses and all(_is_loopback(address) for address in addresses):
            also = ("mqtt-wrong-host",)
            evidence["loopback"] = "of the container itself" if in_container else "this machine itself"
    known = CAUSES[code]
    fix = f"{known.fix}; {state.fix}" if state.fix and state.fix != known.fix else known.fix
    return Outcome("fail", evidence, (Cause(code, known.layer, fix, evidence, also),))


def _is_rivalled(facts: DeliveryFacts) -> bool:
    """A broker that restarts ends every connection; one that ends ours alone, again and again, gives it to somebody else."""
    state = facts.state
    if facts.is_new:
        return bool(state.clashes) or (state.short_lives >= SHORT_LIVES and facts.observer_stood)
    recent = state.connected_s is None or state.connected_s < RECENT_S
    taken = state.last_end is not None and state.last_end.code == "mqtt-client-id-clash"
    return recent and facts.observer_stood and (taken or state.short_lives >= MANY_SHORT_LIVES)


def _measured(facts: DeliveryFacts) -> dict[str, Value]:
    state = facts.state
    measured: dict[str, Value] = {
        "broker": facts.broker, "protocol": state.protocol, "connects": state.connects,
        "topics": {topic.topic: _in_words(topic, state) for topic in facts.topics},
    }  # fmt: skip
    if facts.reading:
        measured["reading"] = facts.reading
    if state.commands_retained:
        measured["retained commands ignored"] = state.commands_retained
    if state.maximum_packet is not None:
        measured["maximum packet"] = state.maximum_packet
    if state.rejection is not None and state.rejection.topic not in {topic.topic for topic in facts.topics}:
        measured["also refused"] = f"{state.rejection.topic}: {state.rejection.detail}"
    return measured


def _in_words(topic: TopicFacts, state: MqttState) -> str:
    if topic.echoed:
        return "delivered: a second client has received it"
    if topic.outcome == "acknowledged":
        return "delivered, reading back not permitted" if state.protocol == "5" else "acknowledged, which says nothing here"
    return f"{topic.outcome}: {topic.detail}" if topic.outcome else "no answer"


def _denied(topic: TopicFacts, facts: DeliveryFacts) -> Cause | None:
    """A refusal in the broker's own words, or a message that it does not take."""
    if topic.echoed or topic.outcome not in {"refused", "too_large", "set_aside"}:
        return None
    evidence: dict[str, Value] = {
        "topic": topic.topic, "broker says": topic.detail, "user": facts.user or "none given", "bytes": topic.size,
        "protocol": facts.state.protocol,
    }  # fmt: skip
    if topic.outcome == "refused":
        known = CAUSES["mqtt-acl-denied"]
        fix = f"{known.fix}: {_acl_line(facts.user, [topic.topic], 'write')}"
        return Cause("mqtt-acl-denied", known.layer, fix, evidence)
    rejection = facts.state.rejection
    named = rejection.code if rejection is not None and rejection.topic == topic.topic else ""
    if topic.outcome == "too_large" or named == "mqtt-packet-too-big":
        known = CAUSES["mqtt-packet-too-big"]
        evidence["limit"] = facts.state.maximum_packet
        return Cause("mqtt-packet-too-big", known.layer, known.fix, evidence)
    known = CAUSES["mqtt-acl-denied"]
    return Cause("mqtt-acl-denied", known.layer, known.fix, evidence, ("mqtt-packet-too-big",))


def _one_per_id(causes: Sequence[Cause]) -> list[Cause]:
    """Several topics with one fault are one cause with a list of topics."""
    first: dict[str, Cause] = {}
    for cause in causes:
        seen = first.setdefault(cause.id, cause)
        if seen is not cause:
            topics = [*seen.evidence.get("topics", [seen.evidence["topic"]]), cause.evidence["topic"]]
            fix = f"{seen.fix}; topic write {cause.evidence['topic']}" if cause.id == "mqtt-acl-denied" else seen.fix
            first[cause.id] = replace(seen, evidence={**seen.evidence, "topics": topics}, fix=fix)
    return list(first.values())


def _undecidable(facts: DeliveryFacts, measured: Mapping[str, Value], topics: Sequence[str]) -> Outcome:
    """MQTT 3.1.1 acknowledges what it throws away; without an echo nobody but the broker knows."""
    known = CAUSES["mqtt-acl-denied"]
    evidence = {"topics": list(topics), "protocol": facts.state.protocol, "user": facts.user or "none given"}
    what = f"MQTT {facts.state.protocol} acknowledges refused messages too, and no second client saw: {', '.join(topics)}"
    fix = f"{known.fix}, or let it read the topic too, so that the self-test can see: {_acl_line(facts.user, topics)}"
    cause = Cause("mqtt-acl-denied", known.layer, fix, evidence, send=(BROKER_LOG,))
    return Outcome("warn", {**measured, "what": what}, (cause,), undecided=what)


def _clash(state: MqttState, broker: str) -> Cause:
    known = CAUSES["mqtt-client-id-clash"]
    return Cause("mqtt-client-id-clash", known.layer, known.fix, {
        "broker": broker, "taken over": state.clashes, "accepted and soon closed": state.short_lives,
        "connections": state.connects, "last end": state.last_end.detail if state.last_end else None,
        "a second client with a random id": "kept its connection",
    })  # fmt: skip


def _acl_line(user: str, topics: Sequence[str], right: str = "read") -> str:
    """As mosquitto's acl_file has it."""
    return "; ".join([f"user {user}" if user else "(anonymous)", *(f"topic {right} {topic}" for topic in topics)])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
