"""The proof must fail where a pass is wrong: each kind of difference, and graphs that were really broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph import fold_pad, optimize
from firmware_pkg.graph.network import Network
from firmware_pkg.graph.optimize import Optimised, optimise
from firmware_pkg.graph.passes import Change, ClassMaps, Outputs
from firmware_pkg.graph.proof import enlarged, judge
from firmware_pkg.graph.registry import PASSES, Wishes
from signing.errors import CodedError
from tests.support.graphs import Array, Graph, inputs_of, run, types
from tests.support.segformer import segformer

USUAL = [name for name, place in PASSES.items() if place.usual]


def judged(old: Array, new: Array) -> tuple[bool, str]:
    verdict = judge(Change(1), [[old]], [[new]])
    return verdict.holds, verdict.kind


FLOATS = np.linspace(-4, 9, 1000, dtype=np.float32).reshape(10, 100)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: a.copy(), (True, "bit-equal")),
        (lambda a: a + np.float32(1e-5), (True, "tolerance")),
        (lambda a: a + np.float32(2e-3), (False, "tolerance")),
        (lambda a: np.where(a == a[3, 4], a + 1, a), (False, "tolerance")),
        (lambda a: np.where(a == a[3, 4], np.nan, a), (False, "tolerance")),
        (lambda a: np.where(a == a[3, 4], np.inf, a), (False, "tolerance")),
        (lambda a: a.T, (False, "shape")),
        (lambda a: a[None], (False, "shape")),
    ],
)  # fmt: skip
def test_numbers(change: Callable[[Array], Array], expected: tuple[bool, str]) -> None:
    assert judged(FLOATS, change(FLOATS).astype(np.float32)) == expected


def test_numbers_that_are_none_have_to_stay_none() -> None:
    odd = FLOATS.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    assert judged(odd, odd.copy()) == (True, "bit-equal")
    assert judged(odd, odd + np.float32(1e-6)) == (True, "tolerance")
    other = odd.copy()
    other[0, 1] = -np.inf
    other[5, 5] += np.float32(1e-6)
    assert judged(odd, other) == (False, "tolerance")
    assert not judged(odd, np.nan_to_num(odd))[0]


def test_whole_numbers() -> None:
    ids = np.arange(10_000).reshape(100, 100)
    few, many = ids.copy(), ids.copy()
    few[0, :10] += 1
    many[0, :11] += 1
    assert judged(ids, few) == (True, "ids")
    assert judged(ids, many) == (False, "ids")


def test_a_lost_output_is_no_proof() -> None:
    assert not judge(Change(1), [[FLOATS, FLOATS]], [[FLOATS]]).holds


def test_one_wrong_picture_of_several_is_enough() -> None:
    wrong = judge(Change(1), [[FLOATS], [FLOATS], [FLOATS]], [[FLOATS], [FLOATS + 1], [FLOATS]])
    assert not wrong.holds


def maps(large: Array, small: Array) -> bool:
    change = Change(1, maps=ClassMaps(lambda outputs: outputs[0], lambda outputs: outputs[0]))
    return judge(change, [[large]], [[small]]).holds


def test_a_map_of_nothing_but_boundaries_proves_nothing() -> None:
    small = np.indices((8, 8)).sum(axis=0) % 2
    assert not maps(np.kron(small, np.ones((4, 4), int)), small)


def test_a_map_on_the_very_grid_has_no_excuse() -> None:
    small = np.zeros((40, 40), int)
    small[:, 20:] = 1
    other = small.copy()
    other[:, 20] = 0
    assert maps(small, small)
    assert not maps(small, other)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)), scale=st.integers(1, 5), channels=st.integers(2, 4),
    coordinates=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]), seed=st.integers(0, 999),
)  # fmt: skip
def test_inside_pixels_have_the_class_of_their_neighbours(
    cells: tuple[int, int], scale: int, channels: int, coordinates: str, seed: int
) -> None:  # fmt: skip
    """The theorem that the class map's proof rests on, against ONNX Runtime's own interpolation."""
    graph = Graph(seed)
    height, width = cells
    shape = (1, channels, height * scale, width * scale)
    model = graph.model(
        graph.resize(graph.op("Identity", graph.input([1, channels, height, width])), shape, coordinates=coordinates)
    )
    logits = inputs_of(model, seed)[0]
    large, small = run(model, logits)[0][0].argmax(axis=0), logits[0].argmax(axis=0)
    if coordinates == "pytorch_half_pixel" and scale == 1 and 1 in cells:
        return
    nearest, inside = enlarged(small, large.shape, coordinates)
    np.testing.assert_array_equal(nearest[inside], large[inside])


# -- passes in a row --------------------------------------------------------------------------------------------------------


def runner(model: bytes) -> list[Outputs]:
    import onnx

    made = onnx.load_model_from_string(model)
    return [run(made, *inputs_of(made, seed)) for seed in (1, 2)]


def optimised(names: list[str], wishes: Wishes | None = None, **options: object) -> Optimised:
    model = segformer(**options)  # type: ignore[arg-type]
    return optimise(model.SerializeToString(), names, wishes or Wishes("full"), runner, lambda _: None)


def test_all_usual_passes_together() -> None:
    done = optimised(USUAL, tail=False)
    assert done.proved
    kept = [one.name for one in done.passes if one.status == "kept"]
    assert kept == ["fold-constants", "low-resolution-head", "cancel-transposes"], "every product became a convolution"
    assert done.whole is not None
    assert done.whole.measured["error"] < 1e-5
    assert done.after["Transpose"] < done.before["Transpose"]
    assert sum(done.after.values()) < sum(done.before.values())


def test_a_pass_that_is_wrong_is_undone_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: Network, wishes: Wishes) -> Change:
        made = fold_pad.apply(network, wishes)
        conv = next(node for node in network.nodes if node.type == "Conv")
        conv.attributes["pads"] = [0, 1, 2, 1]
        return Change(made.places + 1)

    monkeypatch.setattr(optimize, "pass_of", lambda name: wrong if name == "fold-pad" else _real(name))
    done = optimised(["fold-pad", "low-resolution-head"], tail=False)
    assert not done.proved
    refused, kept = done.passes
    assert (refused.status, kept.status) == ("refused", "kept")
    assert "largest error" in refused.why
    assert refused.verdict is not None
    assert refused.verdict.holds is False
    assert done.whole is not None
    assert done.whole.holds, "what was proved stays"


_real = optimize.pass_of


def test_a_pass_that_breaks_down_is_undone_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: Network, wishes: Wishes) -> Change:
        del network, wishes
        raise RuntimeError("cannot \x1b[31m this")

    monkeypatch.setattr(optimize, "pass_of", lambda name: broken if name == "fold-pad" else _real(name))
    done = optimised(["fold-pad"], tail=False)
    assert [one.status for one in done.passes] == ["refused"]
    assert done.passes[0].why == "RuntimeError: cannot \\x1b[31m this"
    assert done.whole is None


def test_a_model_that_the_runtime_does_not_take_is_undone_and_told() -> None:
    class Unfit(CodedError):
        code = "UNFIT"

    calls = list[int]()

    def run_once(model: bytes) -> list[Outputs]:
        calls.append(len(model))
        if len(calls) > 1:
            raise Unfit("no such operator", evidence={"it says": "Conv"}, fix="none")
        return runner(model)

    done = optimise(segformer(tail=False).SerializeToString(), ["low-resolution-head"], Wishes(), run_once, lambda _: None)
    assert [one.status for one in done.passes] == ["refused"]
    assert done.passes[0].why == "no such operator: it says = Conv"


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"not a model at all", b"\x3a\x02\x08\x01"])
def test_bytes_that_are_no_model(data: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="not ONNX"):
        optimise(data, USUAL, Wishes(), runner, lambda _: None)


def test_nothing_to_do_gives_the_model_back() -> None:
    graph = Graph()
    model = graph.model(graph.op("Relu", graph.conv(graph.input([1, 3, 8, 8]), 3, 4, 3)))
    done = optimise(model.SerializeToString(), USUAL, Wishes(), runner, lambda _: None)
    assert done.model == model.SerializeToString()
    assert done.proved
    assert done.whole is None
    assert done.before == done.after == types(model)
    assert {one.status for one in done.passes} == {"nothing"}
