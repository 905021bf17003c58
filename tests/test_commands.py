from __future__ import annotations

from camagent.commands import COMMAND_S, DetectSwitches


def test_the_last_word_counts_and_only_the_two_words_are_words() -> None:
    switches = DetectSwitches()
    assert switches.note("front", b"OFF")
    assert switches.note("front", b"ON")
    assert switches.note("back", b"OFF")
    for wrong in (b"", b"on", b"ON ", b"1", b'{"state":"ON"}', b"\xff" * 4000):
        assert not switches.note("front", wrong)
    assert dict(switches.due(0.0)) == {"front": True, "back": False}
    assert dict(switches.due(1.0)) == {}


def test_at_most_five_turns_a_second_and_none_is_forgotten() -> None:
    switches = DetectSwitches()
    turned = []
    for step in range(100):  # a flood: 100 commands in one second
        now = step * 0.01
        switches.note("front", b"ON" if step % 2 else b"OFF")
        turned += list(switches.due(now))
    assert len(turned) <= 1 / COMMAND_S + 1
    assert dict(switches.due(2.0)) == {"front": True}
