"""`cmd/bundle` and `cmd/selftest`: from whoever can publish, so suspected. Policy alone, then over a real broker."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.commands import (
    COMMAND_BYTES,
    IDS,
    REFUSALS,
    Accepted,
    CommandAnswer,
    CommandGate,
    Decision,
    Ignored,
    Refused,
    any_delay,
)
from firmware_pkg.addresses import Prefix
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.limits import BUNDLE_BYTES
from firmware_pkg.order import Limits, Order, Rules
from firmware_pkg.transfer import download
from tests.support.broker import running, subscribed, wait_for
from tests.support.http_server import refusing, serving, trap
from tests.support.proxy import Proxy
from tests.support.sending import sending

ALLOWED = [Prefix.parse("https://updates.example/models/")]
GOOD: dict[str, Any] = {"url": "https://updates.example/models/a.cambundle", "sha256": "ab" * 32, "size": 1000}
TOPIC = "p/cmd/bundle"


def gate(**options: Any) -> CommandGate:
    return CommandGate(ALLOWED, **{"delay": lambda spread: spread / 2, **options})


def command(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None}).encode()


def refused(decision: Decision) -> Refused:
    assert isinstance(decision, Refused), decision
    assert decision.what
    assert decision.fix
    return decision


def accepted(decision: Decision) -> Accepted:
    assert isinstance(decision, Accepted), decision
    return decision


# -- policy ---------------------------------------------------------------------------------------------------------------


def test_a_good_command_is_accepted_with_its_order() -> None:
    found = accepted(gate().judge("bundle", command(id="17"), 0.0))
    assert found.order == Order(GOOD["url"], GOOD["sha256"], 1000)
    assert (found.id, found.delay_s) == ("17", 0.0)
    assert accepted(gate().judge("bundle", command(spread_s=600), 0.0)).delay_s == 300
    assert accepted(gate().judge("bundle", command(), 0.0)).id is None


def test_a_self_test_is_an_empty_message_or_an_id() -> None:
    for payload, name in ((b"", None), (b"{}", None), (b'{"id": "x"}', "x")):
        assert accepted(gate().judge("selftest", payload, 0.0)) == Accepted("selftest", name, None, 0.0)
    for payload in (b"run", b"[]", b'{"id": 1}', b'{"url": "x"}', b"null"):
        assert refused(gate().judge("selftest", payload, 0.0)).code == "COMMAND_INVALID"


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{}", b"ON", b"null", b"[]", b"\xff\xfe", b"{" * 4000, b'{"a":' * 600, command()[:-1], command() + b"x",
        command(url=None), command(sha256=None), command(size=None), command(url=1), command(sha256="AB" * 32),
        command(sha256="ab" * 31), command(sha256="ab" * 32 + "\n"), command(size=0), command(size=-1), command(size=1.5),
        command(size="1000"), command(size=True), command(size=BUNDLE_BYTES + 1), command(size=10**30), command(spread_s=-1),
        command(spread_s=86401), command(spread_s="1"), command(id=""), command(id="x" * 65), command(id=17),
        command(id="a\x1b[2J"), command(id="a\u202eb"), command(force=True), command(token="x"), command(extra={"a": 1}),
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_command_is_refused(payload: bytes) -> None:
    found = refused(gate().judge("bundle", payload, 0.0))
    assert found.code == "COMMAND_INVALID"
    assert found.what.isprintable()


def test_the_id_is_repeated_where_it_can_be_shown() -> None:
    assert refused(gate().judge("bundle", command(id="17", size=0), 0.0)).id == "17"
    assert refused(gate().judge("bundle", command(id="17", url="https://evil/x"), 0.0)).id == "17"
    for payload in (
        command(id="a\x1bb", size=0),
        command(id="x" * 65),
        command(id=5),
        b'{"id": "x"',
        b'{"id":"x","a":' + b"[" * 3000,
    ):
        assert refused(gate().judge("bundle", payload, 0.0)).id is None


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/models/x", "http://169.254.169.254/x", "file:///etc/passwd", "gopher://x/", "https://updates.example/models/../x",
     "https://updates.example.evil/models/x", "http://updates.example/models/x", "https://updates.example@evil/models/x", ""],
)  # fmt: skip
def test_a_url_outside_the_list_is_refused_at_once_and_costs_no_turn(url: str) -> None:
    judge = gate()
    assert refused(judge.judge("bundle", command(url=url, id="1"), 0.0)).code == "DOWNLOAD_FAILED"
    assert accepted(judge.judge("bundle", command(id="1"), 0.1)), "what was refused has used up neither id nor minute"


def test_without_a_list_nothing_is_allowed_and_a_new_list_counts_at_once() -> None:
    judge = CommandGate()
    assert refused(judge.judge("bundle", command(), 0.0)).code == "DOWNLOAD_FAILED"
    judge.allowed = tuple(ALLOWED)
    assert accepted(judge.judge("bundle", command(), 0.0))


def test_a_retained_or_long_command_is_counted_and_not_answered() -> None:
    judge = gate()
    assert judge.judge("bundle", command(), 0.0, retained=True) == Ignored("COMMAND_RETAINED")
    assert judge.judge("bundle", b" " * (COMMAND_BYTES + 1), 0.0) == Ignored("COMMAND_TOO_LONG")
    longest = command(id="1").ljust(COMMAND_BYTES)
    assert accepted(judge.judge("bundle", longest, 0.0))


def test_one_at_a_time_and_once_a_minute_per_kind() -> None:
    judge = gate()
    accepted(judge.judge("bundle", command(id="1"), 0.0))
    assert refused(judge.judge("bundle", command(id="2"), 10.0)).code == "BUSY"
    accepted(judge.judge("selftest", b"", 10.0))
    judge.done("bundle")
    early = refused(judge.judge("bundle", command(id="2"), 59.0))
    assert early.code == "COMMAND_TOO_OFTEN"
    assert "1 s" in early.fix
    accepted(judge.judge("bundle", command(id="2"), 60.0))
    assert refused(judge.judge("bundle", command(id="3"), 1000.0)).code == "BUSY", "as long as it takes"
    assert refused(judge.judge("selftest", b"", 1000.0)).code == "BUSY"


def test_an_id_is_obeyed_once_also_after_a_restart() -> None:
    judge = gate()
    accepted(judge.judge("bundle", command(id="1"), 0.0))
    judge.done("bundle")
    assert judge.judge("bundle", command(id="1"), 100.0) == Ignored("COMMAND_REPEATED")
    assert judge.judge("selftest", b'{"id": "1"}', 100.0) == Ignored("COMMAND_REPEATED")
    again = gate(seen=judge.seen)
    assert again.judge("bundle", command(id="1"), 0.0) == Ignored("COMMAND_REPEATED")


def test_a_thousand_ids_are_remembered_and_only_accepted_ones() -> None:
    judge = gate(seen=[f"old{number}" for number in range(5000)])
    assert len(judge.seen) == IDS
    for number in range(IDS):
        accepted(judge.judge("bundle", command(id=str(number)), number * 60.0))
        judge.done("bundle")
        judge.judge("bundle", command(id=f"flood{number}"), number * 60.0 + 1)  # too often: not remembered
    assert judge.seen == tuple(str(number) for number in range(IDS))


def test_a_flood_is_answered_a_few_times_and_counted() -> None:
    judge = gate()
    found = [judge.judge("bundle", b"nonsense", step * 0.001) for step in range(1000)]
    assert sum(isinstance(decision, Refused) for decision in found) == REFUSALS
    assert found[-1] == Ignored("COMMAND_FLOOD")
    assert accepted(judge.judge("bundle", command(), 1.0)), "a flood of nonsense does not keep a good command out"
    assert isinstance(judge.judge("bundle", b"nonsense", 11.0), Refused)


def test_delays_lie_within_the_spread_and_differ() -> None:
    delays = {any_delay(10.0) for _ in range(100)}
    assert len(delays) > 90
    assert all(0 <= delay <= 10 for delay in delays)
    assert max(delays) - min(delays) > 5


def test_of_many_threads_one_command_is_accepted() -> None:
    judge, found, together = gate(), list[Decision](), threading.Barrier(8)

    def ask(number: int) -> None:
        together.wait()
        found.append(judge.judge("bundle", command(id=str(number)), 0.0))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(decision, Accepted) for decision in found) == 1


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
KEYS = st.sampled_from([*GOOD, "id", "spread_s"]) | st.text(max_size=5)
JSONISH = st.recursive(
    LEAVES | st.sampled_from(list(GOOD.values())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner)
        | st.builds(lambda more: {**GOOD, **more}, st.dictionaries(KEYS, inner, max_size=2))
    ),
    max_leaves=10,
)


@given(st.binary(max_size=100) | JSONISH.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_decided_and_what_is_said_can_be_shown(payload: bytes) -> None:
    found = gate().judge("bundle", payload, 0.0)
    if isinstance(found, Refused):
        assert (found.what + found.fix + (found.id or "")).isprintable()
    if isinstance(found, Accepted):
        assert found.order is not None
        assert ALLOWED[0].url.host in found.order.url


def test_answers_carry_id_code_and_time_and_nothing_from_the_server() -> None:
    with serving(refusing(404, "X: geheim")) as server:
        url = server.url("/x")
        rules = Rules(allowed=(Prefix.parse(url),), limits=Limits(first_tries=0))
        with pytest.raises(DownloadFailed) as caught, download(Order(url, "ab" * 32, 10), rules) as source:
            source.read()
    answer = CommandAnswer.of_failure("17", caught.value, 5.0)
    assert (answer.id, answer.code, answer.time) == ("17", "DOWNLOAD_FAILED", 5.0)
    assert "geheim" not in msgspec.json.encode(answer).decode()
    start = CommandAnswer.of(accepted(gate().judge("bundle", command(id="17", spread_s=60), 0.0)), 5.0)
    assert (start.code, start.what) == (None, "accepted, starts in 30 s")
    said = CommandAnswer.of(refused(gate().judge("bundle", command(id="17", size=0), 0.0)), 5.0)
    assert (said.id, said.code) == ("17", "COMMAND_INVALID")
    assert CommandAnswer.of_success("17", "x 1.0 runs\x1b", 5.0).what == "x 1.0 runs\\x1b"


# -- over a broker --------------------------------------------------------------------------------------------------------


def retained_command(tmp_path: Path, reconnects: int, *, live: bool, version: int) -> None:
    decisions: list[Decision] = []
    with (
        serving(trap) as trapped, running(tmp_path) as broker, subscribed(broker.port, "nothing") as other,
        Proxy(broker.port) as proxy,
    ):  # fmt: skip
        url = trapped.url("/models/x")
        judge = CommandGate([Prefix.parse(url)])

        def publish() -> None:
            other.client.publish(TOPIC, command(url=url, id="1"), 1, retain=True).wait_for_publish(5)

        if not live:
            publish()
        with sending(tmp_path, proxy.port, version=version) as agent:
            agent.client._on_command = lambda _topic, said: decisions.append(judge.judge("bundle", said, 0.0))
            agent.client.subscribe([TOPIC])
            agent.wait_connected()
            wait_for(lambda: _hears(other, decisions))
            if live:
                publish()
                wait_for(lambda: agent.client.snapshot().commands_retained == 1, what="the flag is seen")
            for _ in range(reconnects):
                connects = agent.client.snapshot().connects
                proxy.cut()
                proxy.restore()
                wait_for(lambda before=connects: agent.client.snapshot().connects > before)  # type: ignore[misc]
                heard = len(decisions)
                wait_for(lambda before=heard: _hears(other, decisions, before))  # type: ignore[misc]
            if version == 4:  # 3.1.1 sends it again at every connect, flagged
                assert agent.client.snapshot().commands_retained >= reconnects
        assert not any(isinstance(decision, Accepted) for decision in decisions)
        assert any(isinstance(decision, Refused) for decision in decisions), "what is not retained does arrive"
    assert trapped.connections == 0


# retained before the agent listens, and while it listens: MQTT 5 shows the flag then because we ask for it, 3.1.1 never does
WAYS = pytest.mark.parametrize(("live", "version"), [(False, 5), (True, 5), (False, 4)])


@WAYS
def test_a_retained_command_over_three_reconnects_reaches_nobody(tmp_path: Path, live: bool, version: int) -> None:
    retained_command(tmp_path, 3, live=live, version=version)


@pytest.mark.full(seconds=8)
@WAYS
def test_a_retained_command_over_20_reconnects_reaches_nobody(tmp_path: Path, live: bool, version: int) -> None:
    retained_command(tmp_path, 20, live=live, version=version)


def _hears(other: Any, decisions: list[Decision], before: int = 0) -> bool:
    """The agent listens: it was told nonsense and has heard it."""
    other.client.publish(TOPIC, b"nonsense", 1).wait_for_publish(5)
    return len(decisions) > before
