"""Which advice follows from which operators; what kinds and blocks they belong to. Pure functions on made-up recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from camagent.profiling.advice_table import ADVICE
from camagent.profiling.blocks import ROOT, Part, cut, paths, title
from camagent.profiling.families import FAMILIES, FAMILY_OF
from camagent.profiling.findings import findings, passes
from camagent.profiling.kinds import KINDS, kind_of
from camagent.profiling.recording import Call, Recording
from camagent.profiling.summary import Profile, summarise
from firmware_pkg.graph import PASSES

ROOT_FOLDER = Path(__file__).resolve().parents[1]


def profile(*calls: Call, ordered: bool = True) -> Profile:
    return summarise(Recording("onnxruntime", "made up", calls, 1, ordered=ordered), {})


def call(kind: str, us: float, name: str = "", **more: object) -> Call:
    return Call(kind, us, name or f"/{kind}_{us}", **more)  # type: ignore[arg-type]


def advised(found: Profile) -> dict[str, tuple[str, ...]]:
    return {one.advice.id: one.advice.passes for one in findings(found)}


# -- kinds ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("Transpose", "Transpose TransposeD exTranspose Permute ConfusionTransposeD TRANSPOSE"),
        ("Layout", "TransData ReorderInput ReorderOutput exDataConvert"),
        ("ArgMax", "ArgMax ArgMaxD ArgMaxV2 cstArgMax ArgMaxWithValue"),
        ("Softmax", "Softmax SoftmaxV2 exSoftmax13 LogSoftmax"),
        ("MatMul", "MatMul BatchMatMul BatchMatMulV2 FusedMatMul exMatMul"),
        ("Gemm", "Gemm MatMulV2 MatMulV3 FullyConnection"),
        ("Conv", "Conv Conv2D Conv2DCompress ConvRelu ConvExSwish ConvAddRelu DepthwiseConv2D FusedConv QLinearConv"),
        ("ConvTranspose", "ConvTranspose Conv2DTransposeD Conv2DBackpropInputD"),
        ("Resize", "Resize Upsample ResizeBilinearV2D ResizeNearestNeighborV2 SyncResizeBilinearV2"),
        ("Concat", "Concat ConcatD ConcatV2D"),
        ("Split", "Split SplitD SplitVD StridedSliceD StridedSliceV2 Slice"),
        ("Pad", "Pad PadD PadV3D MirrorPad"),
        ("Pool", "MaxPool MaxPoolV3 AvgPoolV2 AveragePool GlobalAveragePool Pooling"),
        (
            "Normalization",
            "LayerNormalization LayerNorm exNorm cstInstanceNormalization_1_128_32_32 BNInferenceD BatchNormalization",
        ),
        ("Activation", "Relu PRelu exSwish exGelu Gelu LeakyRelu Clip"),
        ("Reduce", "ReduceMean ReduceMeanD ReduceSumD"),
        ("Gather", "Gather GatherV2 GatherV2D"),
        ("Input/Output", "InputOperator OutputOperator"),
        ("Quantize", "QuantizeLinear AscendDequant"),
        ("Suppression", "NonMaxSuppression NonMaxSuppressionV3 TopK TopKD TopKV2"),
        ("Other", "Mystery D V2 ex 13"),
    ],
)
def test_tools_names_become_one(kind: str, types: str) -> None:
    assert {name: kind_of(name) for name in types.split()} == dict.fromkeys(types.split(), kind)


def test_every_kind_has_a_colour_and_every_advice_a_kind() -> None:
    assert set(FAMILY_OF) == KINDS
    assert sum(len(family.kinds) for family in FAMILIES) == len(KINDS)
    for advice in ADVICE:
        assert set(advice.kinds) | set(advice.beside) <= KINDS, advice.id
        assert set(advice.passes) <= set(PASSES), advice.id
    assert len({advice.id for advice in ADVICE}) == len(ADVICE)
    assert {name for advice in ADVICE for name in advice.passes} == set(PASSES), "a pass that nothing ever leads to"


def test_the_manual_tells_every_advice() -> None:
    text = (ROOT_FOLDER / "docs" / "profile.md").read_text("utf-8")
    assert [one.id for one in ADVICE if f"`{one.id}`" not in text] == []
    assert [name for name in PASSES if f"`{name}`" not in text] == []


# -- advice -----------------------------------------------------------------------------------------------------------------

NAIVE = (  # SegFormer as it is exported: attention, a head at high resolution, softmax and argmax at full size
    call("Conv", 100, "/encoder/Conv", weights=(32, 3, 7, 7)), call("MatMul", 40, "/encoder/attn/MatMul", shape=(1, 8, 64, 64)),
    call("Softmax", 60, "/encoder/attn/Softmax"), call("Gemm", 20, "/head/proj.0/Gemm"), call("Resize", 30, "/head/Resize"),
    call("Gemm", 20, "/head/proj.1/Gemm"), call("Transpose", 50, "/head/Transpose"), call("Resize", 30, "/head/Resize_1"),
    call("Concat", 10, "/head/Concat"), call("ReorderInput", 5, "reorder"),
    call("Conv", 80, "/head/fuse/Conv", weights=(256, 512, 1, 1)),
    call("Conv", 20, "/head/classify/Conv", weights=(19, 256, 1, 1)), call("Resize", 40, "/Resize"),
    call("Softmax", 120, "/Softmax"), call("ArgMax", 70, "/ArgMax"),
)  # fmt: skip


def test_a_naive_segformer() -> None:
    found = findings(profile(*NAIVE))
    about = {one.advice.id: one.about for one in found}
    assert about["head-at-high-resolution"] == ("/head/fuse/Conv", "/head/Resize", "/head/Resize_1")
    assert about["softmax-before-argmax"] == ("/Softmax",), "attention's own stays"
    assert about["map-enlarged-at-the-end"] == ("/Resize",)
    assert about["argmax-at-full-size"] == ("/ArgMax",)
    assert about["transposes"] == ("/head/Transpose",)
    assert "batched-product-of-one" not in about, "8 heads are a batch"
    assert "transformer-head" not in about, "what is upsampled is known here"
    assert passes(found) == ("argmax-first", "low-resolution-head", "cancel-transposes")
    shares = [one.share for one in found]
    assert shares == sorted(shares, reverse=True)
    assert next(one for one in found if one.advice.id == "head-at-high-resolution").us == 150


def test_a_3x3_layer_does_not_commute_with_enlarging() -> None:
    calls = [one if one.name != "/head/fuse/Conv" else call("Conv", 80, weights=(256, 512, 3, 3)) for one in NAIVE]
    assert "head-at-high-resolution" not in advised(profile(*calls))


def test_one_enlarged_map_beside_a_large_one_is_no_reason() -> None:
    """As in the neck of a YOLO: the other map is large anyway."""
    calls = [one for one in NAIVE if one.name != "/head/Resize_1"]
    assert "head-at-high-resolution" not in advised(profile(*calls))


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([call("MatMul", 50, shape=(1, 16384, 64)), call("Conv", 50)], {"batched-product-of-one": ("rank-2-matmul",)}),
        ([call("MatMul", 50, shape=(1, 8, 64, 64)), call("Conv", 50)], {}),
        ([call("Pad", 5), call("Conv", 50), call("Add", 45)], {"padding": ("fold-pad",)}),
        ([call("Pad", 1), call("Conv", 50), call("Add", 49)], {}),
        ([call("Shape", 1), call("Cast", 1), call("Conv", 50), call("Add", 48)], {"shape-arithmetic": ("fold-constants",)}),
        ([call("Conv", 50), call("Sigmoid", 9), call("Mul", 29), call("Concat", 12)], {"outputs-joined": ("split-heads",)}),
        ([call("Concat", 12), call("Conv", 50), call("Add", 38)], {}),
        ([call("Conv", 50), call("Sigmoid", 49), call("ArgMax", 1)], {"sigmoid-before-argmax": ("argmax-first",)}),
        ([call("Conv", 50), call("Add", 40), call("TopK", 10)], {"suppression": ()}),
        ([call("Conv", 90), call("Relu", 10)], {"convolutions": ()}),
        ([call("Relu", 50), call("Conv", 50)], {}),
        ([call("Conv", 50, place="NPU"), call("Mul", 50, place="CPU")], {"on-the-cpu": ()}),
        ([call("Conv", 50, place="CPU"), call("Mul", 50, place="CPU")], {}),
        ([call("Conv", 50, place="AI_CORE"), call("Mul", 50, place="AI_CPU")], {"on-the-cpu": ()}),
        ([call("Conv", 50, place="NPU"), call("OutputOperator", 50, place="CPU")], {"input-and-output": ()}),
    ],
)
def test_one_finding_at_a_time(calls: list[Call], expected: dict[str, tuple[str, ...]]) -> None:
    assert advised(profile(*calls)) == expected


def test_where_the_order_is_not_known_the_end_may_be_anywhere() -> None:
    calls = (Call("Conv2D", 50), Call("SoftmaxV2", 50))
    assert advised(profile(*calls, ordered=False)) == {"softmax-before-argmax": ("argmax-first",)}


# -- blocks -----------------------------------------------------------------------------------------------------------------


def test_nameless_operators_belong_to_the_block_before_them() -> None:
    names = ["token_1", "/a/b/Conv", "ReorderOutput_token_2", "/a/c/MatMul/MatMulAddFusion", "/Softmax", "token_3"]
    assert paths([Part(name, 1) for name in names], {}) == [("a", "b"), ("a", "b"), ("a", "b"), ("a", "c"), (), ()]


def test_names_that_the_model_file_explains() -> None:
    known = {"conv2d": ("stem",), "node_view": ("stem", "act")}
    parts = [Part("conv2d_nchwc", 5), Part("node_view", 5), Part("x", 1)]
    assert paths(parts, known) == [("stem",), ("stem", "act"), ("stem", "act")]


def test_a_table_of_blocks_shows_the_heavy_ones_in_their_parts() -> None:
    times = {("net", "head"): 10.0, (): 5.0}
    for stage in range(4):
        for block in range(6):
            times["net", f"stage.{stage}", f"block.{block}", "attn"] = 100.0 if stage == 2 else 1.0
    shown = set(cut(times).values())
    assert {("net", "stage.0"), ("net", "stage.1"), ("net", "stage.3"), ("net", "head"), ROOT} <= shown
    assert {path for path in shown if path[:2] == ("net", "stage.2")} == {
        ("net", "stage.2", f"block.{block}") for block in range(6)
    }
    assert title(("net", "head")) == "/net/head"


@pytest.mark.parametrize("blocks", [1, 30, 2000])
def test_a_table_of_blocks_stays_short(blocks: int) -> None:
    times: dict[tuple[str, ...], float] = {(f"a.{block % 7}", f"b.{block}"): float(block) for block in range(blocks)}
    rows = set(cut(times).values())
    assert 1 <= len(rows) <= max(24, min(blocks, 7))
    assert set(cut(times)) == set(times)
