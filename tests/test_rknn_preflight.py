"""What is compared before a Rockchip model is loaded: one plain sentence per mismatch, with both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camagent.backends.rknn_preflight import doubts, driver_doubts, refined, require, version
from camagent.backends.rknn_words import CANNOT_OPEN
from camagent.errors import BackendError, NpuAbsent
from camagent.npu import Npu
from firmware_pkg.rknn_file import RknnFacts

FACTS = RknnFacts(("rk3588",), "2.3.2", (), (), 6)
BOARD = Npu("rk3588", ("radxa,rock-5b", "rockchip,rk3588"), ("/dev/dri/renderD129",), (), reachable=True, tree_status="okay",
            driver="0.9.8", runtime="/usr/lib/librknnrt.so", misplaced="", runtime_version="2.3.2")  # fmt: skip
CLOSED = ("/dev/dri/renderD129 crw-rw---- 0:105",)


def refused(facts: RknnFacts, board: Npu) -> BackendError:
    with pytest.raises(BackendError) as caught:
        require(facts, board)
    return caught.value


@pytest.mark.parametrize(
    ("target", "soc"),
    [
        ("rk3588", "rk3588"), ("rk3588", "rk3588s"), ("rk3588", "RK3588F"), ("rk3566", "rk3568"), ("rk3566", "rk3566"),
        ("rk3568", "rk3566"), ("rk3576", "rk3576"), ("rv1126b", "rv1126b"),
    ],
)  # fmt: skip
def test_equal_socs_are_one(target: str, soc: str) -> None:
    require(replace(FACTS, targets=(target,)), replace(BOARD, soc=soc))


@pytest.mark.parametrize(
    ("board", "code", "both"),
    [
        (replace(BOARD, soc="", compatible=(), files=()), "NPU_ABSENT", ("unknown", "none")),
        (replace(BOARD, soc="bcm2711", files=()), "NPU_ABSENT", ("bcm2711", "rk3588")),
        (replace(BOARD, soc="rk3568"), "MODEL_FILE_BAD", ("rk3568", "rk3588")),
        (replace(BOARD, files=()), "NPU_ABSENT", ("/dev/rknpu", "rk3588")),
        (replace(BOARD, files=(), tree_status="disabled"), "NPU_ABSENT", ("switched off", "disabled")),
        (replace(BOARD, closed=CLOSED, reachable=False), "NPU_PERMISSION_DENIED", ("renderD129 crw-rw----", "uid ")),
        (replace(BOARD, runtime="", runtime_version=""), "NPU_RUNTIME_MISSING", ("/usr/lib/librknnrt.so", "2.3.2")),
        (replace(BOARD, runtime="", misplaced="/usr/lib64/librknnrt.so"), "NPU_RUNTIME_MISSING",
         ("found = /usr/lib64/librknnrt.so", "looked for = /usr/lib/librknnrt.so")),
        (replace(BOARD, runtime_version="1.4.0"), "RUNTIME_VERSION_MISMATCH", ("1.4.0", "format 6")),
        (replace(BOARD, runtime_version="1.5.0"), "RUNTIME_VERSION_MISMATCH", ("1.5.0", "1.5.2")),
    ],
)  # fmt: skip
def test_each_mismatch_is_one_sentence_with_both_sides(board: Npu, code: str, both: tuple[str, str]) -> None:
    error = refused(FACTS, board)
    assert error.code == code
    for side in both:
        assert side in error.render()
    assert error.evidence
    assert error.fix


def test_what_is_furthest_up_speaks_first() -> None:
    nothing = replace(BOARD, soc="", files=(), runtime="", runtime_version="", closed=CLOSED, reachable=False)
    assert refused(FACTS, nothing).code == "NPU_ABSENT"
    assert refused(FACTS, replace(nothing, soc="rk3568")).code == "MODEL_FILE_BAD"
    assert refused(FACTS, replace(nothing, soc="rk3588", files=BOARD.files)).code == "NPU_PERMISSION_DENIED"


def test_a_soc_of_tomorrow_runs_what_names_it() -> None:
    """A SoC that is not in the table, with an NPU file of Rockchip's driver: the file's own words decide."""
    require(replace(FACTS, targets=("rk3688",)), replace(BOARD, soc="rk3688"))
    assert refused(FACTS, replace(BOARD, soc="rk3688")).code == "MODEL_FILE_BAD"


def test_formats_and_versions_that_are_not_known_are_left_to_the_runtime() -> None:
    require(replace(FACTS, format_version=7), BOARD)
    require(FACTS, replace(BOARD, runtime_version=""))
    require(replace(FACTS, format_version=4), replace(BOARD, runtime_version="1.5.0"))


@pytest.mark.parametrize(
    ("toolkit", "runtime", "lite", "sentences"),
    [
        ("2.3.2", "2.3.2", "2.3.2", 0), ("2.3.2", "2.3.0", "2.3.2", 0), ("1.6.2-source_code", "2.3.2", "2.3.2", 0),
        ("2.3.0+81f21f4d", "2.0.0", "2.0.0", 1), ("2.3.2", "2.3.2", "2.5.0", 1), ("2.3.2", "2.0.0", "2.3.2", 2),
        ("2.3.2", "", "2.3.2", 0), ("2.3.2", "2.3.2", "", 0), ("nonsense", "2.3.2", "2.3.2", 0),
    ],
)  # fmt: skip
def test_versions_that_need_not_matter_are_told(toolkit: str, runtime: str, lite: str, sentences: int) -> None:
    told = doubts(replace(FACTS, toolkit=toolkit), runtime, lite)
    assert len(told) == sentences
    assert all(runtime in sentence for sentence in told)


@pytest.mark.parametrize(("driver", "sentences"), [("0.9.8", 0), ("0.8.8", 0), ("0.8.2", 1), ("0.7.2", 1), ("", 0)])
def test_an_old_driver_is_told(driver: str, sentences: int) -> None:
    assert len(driver_doubts(driver, "2.3.2")) == sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [("2.3.2 (429f97ae6b@2025-04-09)", (2, 3, 2)), ("1.6.0+81f21f4d", (1, 6, 0)), ("2.0.0b0", (2, 0, 0)), ("v0.9.8", (0, 9, 8)),
     ("", ()), ("2.3", ())],
)  # fmt: skip
def test_versions_are_read_as_they_are_written(text: str, parts: tuple[int, ...]) -> None:
    assert version(text) == parts


def test_insmod_is_told_apart_from_rights() -> None:
    said = NpuAbsent(CANNOT_OPEN, evidence={"the runtime says": "need to insmod rknpu dirver!"}, fix="")
    assert refined(said, replace(BOARD, files=())).code == "NPU_ABSENT"
    assert refined(said, replace(BOARD, closed=CLOSED)).code == "NPU_PERMISSION_DENIED"
    assert refined(said, BOARD).code == "NPU_SUBMIT_FAILED"
    assert "insmod" in refined(said, BOARD).render()
    other = BackendError("x", fix="y")
    assert refined(other, BOARD) is other
