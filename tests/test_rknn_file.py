"""What a Rockchip model says of itself: the nine real files, files with scales, and damaged ones."""

from __future__ import annotations

import contextlib
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.rknn_file import read_rknn
from tests.support.bundles import blob_model
from tests.support.data import shared
from tests.support.rknn_models import container, rknn_file

NAMES = [f"multiple_input_{soc}" for soc in ("RK3562", "RK3566_RK3568", "RK3576", "RK3588", "RV1126B")]
NAMES += [f"pp_human_segv2_{soc}" for soc in ("RK3562", "RK3566_RK3568", "RK3576", "RK3588")]
GOOD: dict[str, Any] = {
    "target_platform": ["rk3588"], "version": "2.3.2",
    "norm_tensor": [{"tensor_id": 0, "size": [1, 3, 8, 8], "dtype": {"vx_type": "int8"}, "url": "images"}],
    "graph": [{"left": "input", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 0}],
}  # fmt: skip


@cache
def real(name: str) -> bytes:
    return shared(f"rknn/{name}.rknn").read_bytes()


def described(**changes: Any) -> bytes:
    return container(json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize("name", NAMES)
def test_real_files_name_what_they_take_and_give(name: str) -> None:
    facts = read_rknn(real(name))
    inputs = {one.name: (one.shape, one.dtype) for one in facts.inputs}
    outputs = {one.name: (one.shape, one.dtype) for one in facts.outputs}
    assert facts.format_version == 6
    if name.startswith("multiple"):
        assert inputs == {"input.1": ((1, 1, 128, 128), "int8"), "input": ((1, 3, 128, 128), "int8")}
        assert outputs == {"8": ((1, 8, 128, 128), "int8")}
    else:
        assert inputs == {"x": ((1, 3, 192, 192), "int8")}
        assert outputs == {"argmax_0.tmp_0": ((1, 192, 192), "unknown")}  # the file does not say it
    assert {one.scale for one in (*facts.inputs, *facts.outputs)} == {None}  # nor these


def test_scale_and_zero_point_are_read_where_they_are() -> None:
    data = rknn_file(blob_model(), targets=("rk3566", "rk3568"), quantised={"scale": [0.25], "zero_point": [-128]})
    facts = read_rknn(data)
    assert (facts.targets, facts.outputs[0].scale, facts.outputs[0].zero_point) == (("rk3566", "rk3568"), 0.25, -128)
    assert facts.inputs[0].scale is None
    assert read_rknn(rknn_file(blob_model(), quantised={"scale": 0.5, "zero_point": 3})).outputs[0].scale == 0.5


def test_one_scale_per_channel_is_no_scale_of_the_tensor() -> None:
    assert read_rknn(rknn_file(blob_model(), quantised={"scale": [0.25, 0.5]})).outputs[0].scale is None


@pytest.mark.parametrize(
    "changes",
    [
        {"target_platform": "rk3588"}, {"target_platform": [3588]}, {"target_platform": None}, {"version": 2}, {"graph": {}},
        {"norm_tensor": [{"tensor_id": 0, "size": [1, -3], "dtype": {}}]}, {"norm_tensor": []},
        {"norm_tensor": [{"tensor_id": 0, "size": ["1"], "dtype": {}}]},
        {"norm_tensor": [{"tensor_id": 0, "size": [1e400], "dtype": {}}]},
        {"norm_tensor": [{"tensor_id": 0, "size": [1], "dtype": {"scale": "0.5"}}]},
    ],
)  # fmt: skip
def test_a_description_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read_rknn(described(**changes))
    assert caught.value.fix


def test_nesting_ends_in_a_refusal() -> None:
    with pytest.raises(ManifestInvalid):
        read_rknn(container(b"[" * 100_000))


@pytest.mark.parametrize("name", NAMES)
def test_a_real_file_cut_anywhere_is_refused(name: str) -> None:
    whole = real(name)
    for length in (0, 3, 4, 15, 16, 23, 24, 63, 64, 71, len(whole) // 2, len(whole) - 1400, len(whole) - 1):
        with pytest.raises(ManifestInvalid):
            read_rknn(whole[:length])


@given(st.data())
def test_any_byte_of_a_real_file_may_be_another(data: st.DataObject) -> None:
    whole = bytearray(real("multiple_input_RK3588"))
    near = st.integers(0, 80) | st.integers(len(whole) - 1360, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(near)] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ManifestInvalid):
        read_rknn(bytes(whole))


_ODD: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "x\x1b[2J",
    [],
    [[]],
    [1.5],
    {},
    {"dtype": 3},
    [{"tensor_id": 0}],
    [{"left": "input"}],
]
_ROWS = st.fixed_dictionaries(
    {"tensor_id": st.sampled_from(_ODD), "size": st.sampled_from(_ODD), "dtype": st.sampled_from(_ODD)}
)


@given(st.sampled_from(list(GOOD)), st.sampled_from(_ODD) | st.lists(_ROWS, max_size=2), st.integers(0, 2**64 - 1))
def test_any_json_is_read_or_refused(key: str, value: Any, version: int) -> None:
    with contextlib.suppress(ManifestInvalid):
        read_rknn(container(json.dumps({**GOOD, key: value}).encode(), version=version))
