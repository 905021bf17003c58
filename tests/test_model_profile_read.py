"""What other profilers wrote, in the forms that their versions have; and whatever else lies in such a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camagent.errors import InputError, printable
from camagent.profiling import reading
from camagent.profiling.findings import findings
from camagent.profiling.reading import read, read_file
from camagent.profiling.recording import Recording
from camagent.profiling.summary import Operator, Profile, summarise
from tests.support.recordings import (
    CONVERTERS_OWN,
    FORMS,
    OPERATORS,
    STATISTICS,
    SUMMARIES,
    V1,
    V2,
    V2_END,
    V2_HEAD,
    onnxruntime,
    statistic,
    summary,
)
from tests.test_errors import NASTY
from tests.test_model_profile import profiled, refused

Capture = pytest.CaptureFixture[str]

# -- Ascend -----------------------------------------------------------------------------------------------------------------


def of(text: str | bytes) -> Profile:
    return summarise(read(text.encode() if isinstance(text, str) else text, "f"), {})


def by_name(profile: Profile) -> dict[str, Operator]:
    return {one.name: one for one in profile.operators}


@pytest.mark.parametrize("version", SUMMARIES)
def test_op_summary_of_every_version_says_the_same(version: str) -> None:
    profile = of(summary(version))
    assert (profile.recording.form, profile.runs, profile.recording.skipped) == ("Ascend op_summary", 3, 0)
    assert [one.name for one in profile.operators] == [name for name, *_ in OPERATORS]
    softmax = by_name(profile)["/head/Softmax"]
    assert (softmax.kind, softmax.us, softmax.low, softmax.high, softmax.calls) == ("Softmax", 150, 140, 160, 1)
    assert softmax.shape == (1, 19, 512, 512)
    assert by_name(profile)["/encoder/patch/Conv"].weights == (4, 2, 16, 16)
    assert by_name(profile)["trans_TransData_7"].block == ("encoder", "block.0"), "it belongs to the block before it"
    assert profile.total == sum(us for *_, us, _, _ in OPERATORS) + 10 * len(OPERATORS)
    starts = [call.start for call in profile.recording.calls if call.start is not None]
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] == pytest.approx(3 * profile.total, rel=0.2), "microseconds, whatever the column's unit"


@pytest.mark.parametrize("version", STATISTICS)
def test_op_statistic_of_every_version_says_the_same(version: str) -> None:
    profile = of(statistic(version))
    assert (profile.recording.form, profile.runs, profile.recording.ordered) == ("Ascend op_statistic", None, False)
    assert [(row.name, row.types, row.calls, row.us) for row in profile.by_kind()] == [
        ("Transpose", ("TransposeD",), 1200, 3_100_000.5), ("ArgMax", ("ArgMaxD",), 10, 2_200_000),
        ("Layout", ("TransData",), 1600, 1_800_000), ("Softmax", ("SoftmaxV2",), 90, 1_400_000),
        ("MatMul", ("BatchMatMul",), 160, 1_000_000),
    ]  # fmt: skip
    assert profile.by_block() == ()


@pytest.mark.parametrize("text", [statistic("with the device"), summary("CANN 7 and 8"), summary("CANN 5 and 6")])
def test_the_field_reports_five_operators_yield_its_rewrites(text: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f.csv").write_text(text)
    document = profiled(capsys, "--read", tmp_path / "f.csv")
    assert document["passes"] == ["argmax-first", "low-resolution-head", "cancel-transposes", "rank-2-matmul"]
    advised = {kind: set[str]() for kind in ("TransposeD", "ArgMaxD", "TransData", "SoftmaxV2", "BatchMatMul")}
    for one in document["advice"]:
        for kind in one["types"]:
            advised[kind] |= set(one["passes"])
    assert advised == {
        "TransposeD": {"cancel-transposes"}, "TransData": {"cancel-transposes"}, "ArgMaxD": {"argmax-first"},
        "SoftmaxV2": {"argmax-first"}, "BatchMatMul": {"rank-2-matmul", "low-resolution-head"},
    }  # fmt: skip


def test_lines_without_a_time_are_counted_and_the_rest_is_read() -> None:
    text = summary("CANN 8.5 and 9", 1) + '0,1,9,3,broken,Conv2D,static,AI_CORE,1.0,N/A,0\n0,1\n,,\n"0,1,9'
    profile = of(text)
    assert (len(profile.operators), profile.recording.skipped) == (len(OPERATORS), 3)


def test_an_operator_that_is_called_twice_in_each_inference_counts_with_both() -> None:
    lines = [f"{name},Conv2D,AI_CORE,{start},{us}" for start, (name, us) in enumerate([("a", 5), ("b", 7), ("b", 9)] * 4)]
    profile = of(
        "\n".join(["Op Name,OP Type,Task Type,Task Start Time(us),Task Duration(us)", *lines, "a,Conv2D,AI_CORE,99,5"])
    )
    assert by_name(profile)["b"].calls in (1, 2)
    assert profile.total * (profile.runs or 0) == pytest.approx(4 * 21 + 5, rel=0.25)


# -- Rockchip ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_rockchips_layers_of_2_x(form: str) -> None:
    profile = of(FORMS[form].encode("utf-16-le" if "UTF-16" in form else "utf-8"))
    assert (profile.recording.form, profile.runs, profile.recording.skipped) == ("Rockchip table of layers", 1, 0)
    assert profile.total == 17794, "what the file itself says"
    found = by_name(profile)
    assert [one.type for one in profile.operators][:4] == ["InputOperator", "Conv", "Pad", "ConvLeakyRelu"]
    assert found["/decoder/norm/InstanceNormalization"].us == 12950, "a long type pushes its line to the right"
    assert found["/Softmax"].kind == "Softmax"
    conv = found["/encoder/conv1/Conv"]
    assert (conv.kind, conv.place, conv.shape, conv.weights) == ("Conv", "NPU", (1, 64, 256, 256), (64, 3, 3, 3))
    assert found[""].us == 402, "one without a name"
    assert conv.block == ("encoder", "conv1")


def test_rockchips_layers_of_1_x() -> None:
    profile = of(V1)
    assert profile.total == 814
    assert [(one.name, one.type, one.us) for one in profile.operators] == [
        ("data", "InputOperator", 21), ("conv1", "ConvRelu", 391), ("prob", "exSoftmax13", 402),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (V1[V1.index("OpType           Call") :], [("Conv", 12011, 35), ("Softmax", 402, 1)]),
        (V2_END[V2_END.index("OpType") :], [("Input/Output", 4, 1)]),
    ],
)
def test_the_ranking_alone_will_do(text: str, kinds: list[tuple[str, float, int]]) -> None:
    profile = of(text)
    assert profile.recording.form == "Rockchip ranking of types"
    assert [(row.name, row.us, row.calls) for row in profile.by_kind()] == kinds


def test_what_runs_on_the_cpu_beside_an_npu_is_told() -> None:
    advised = {one.advice.id: one for one in findings(of(V2))}
    assert advised["on-the-cpu"].types == ("cstInstanceNormalization_1_128_32_32", "Resize", "exSoftmax13")
    assert "input-and-output" not in advised


def test_the_converters_own_table_has_no_times() -> None:
    with pytest.raises(InputError, match="has no times") as caught:
        read(CONVERTERS_OWN.encode(), "f")
    assert "perf_debug=True" in caught.value.fix


def test_a_shortened_table_is_read_too() -> None:
    profile = of("ID   OpType   DataType Target Time(us)\n1  InputOperator UINT8 CPU 17\n2  ConvClip INT8 NPU 331\n....\n")
    assert [(one.type, one.us) for one in profile.operators] == [("InputOperator", 17), ("ConvClip", 331)]


# -- ONNX Runtime -----------------------------------------------------------------------------------------------------------


def test_onnx_runtimes_profile_without_its_first_inference() -> None:
    profile = of(json.dumps(onnxruntime()))
    assert (profile.runs, profile.recording.left_out, profile.median) == (3, 1, 176)
    found = by_name(profile)
    assert {name: one.us for name, one in found.items()} == {"/a/Conv": 100, "/a/Relu": 20, "/Softmax": 50}
    assert (found["/a/Conv"].weights, found["/a/Conv"].shape, found["/a/Conv"].place) == ((8, 8, 1, 1), (1, 8, 4, 4), "CPU")


def test_two_inferences_both_count() -> None:
    profile = of(json.dumps(onnxruntime(2)))
    assert (profile.runs, profile.recording.left_out) == (2, 0)
    assert by_name(profile)["/a/Conv"].high == 200


@pytest.mark.parametrize("cut", [0.5, 0.9, 0.99])
def test_a_file_whose_process_was_killed_is_read_as_far_as_it_goes(cut: float) -> None:
    text = "[\n" + ",\n".join(json.dumps(one) for one in onnxruntime(8)) + "\n]\n"
    profile = of(text[: int(len(text) * cut)])
    assert by_name(profile)["/a/Conv"].us == 100
    assert profile.recording.skipped <= 1


def test_events_in_an_object_and_without_model_runs() -> None:
    nodes = [one for one in onnxruntime() if one["cat"] == "Node"]
    profile = of(json.dumps({"traceEvents": nodes}))
    assert (profile.runs, by_name(profile)["/a/Conv"].us) == (4, 100)


# -- whatever else ----------------------------------------------------------------------------------------------------------

BROKEN: dict[str, bytes] = {
    "empty": b"", "blank": b"  \n\n", "zeros": b"\0" * 5000, "prose": b"it is slow\n" * 50,
    "only a head": summary("CANN 7 and 8").splitlines()[0].encode(), "only Rockchip's head": V2_HEAD.encode(),
    "no times": b"Op Name,OP Type,Task Duration(us)\na,Conv,N/A\nb,Conv,nan\nc,Conv,-3\nd,Conv,inf\n",
    "all times zero": b"OP Type,Count,Total Time(us)\nConv,3,0\n", "an empty list": b"[]", "no events": b'[{"ph": "X"}]',
    "another trace": b'{"traceEvents": [{"ph": "X", "name": "frame", "ts": 1, "dur": 2, "tid": 1}]}',
    "deep": b'[{"ph":1,"args":' + b"[" * 100_000, "numbers": b'["ph", 1, 2]', "a number": b'{"ph": 1e999}',
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "quotes": b'Op Name,OP Type,Task Duration(us)\n"""' + b'"' * 9999,
    "a huge cell": b"Op Name,OP Type,Task Duration(us)\n" + b"x" * 300_000 + b",Conv,1\n",
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_profile_is_a_sentence(what: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "f").write_bytes(BROKEN[what])
    assert "error[INPUT_UNREADABLE]" in refused(capsys, 2, "--read", tmp_path / "f")


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.csv"
    with path.open("wb") as file:
        file.truncate(reading.LIMIT_BYTES + 1)
    with pytest.raises(InputError, match="too long"):
        read_file(path)
    monkeypatch.setattr(reading, "LIMIT_LINES", 10)
    path.write_text(summary("CANN 7 and 8"))
    with pytest.raises(InputError, match="too long"):
        read_file(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([summary("CANN 7 and 8"), statistic("with the device"), V2, V1, json.dumps(onnxruntime(2))]),
    st.lists(st.tuples(st.floats(0, 1), st.text(max_size=6)), max_size=8),
)
def test_damage_is_read_or_refused(text: str, damages: list[tuple[float, str]]) -> None:
    for place, other in damages:
        at = int(place * len(text))
        text = text[:at] + other + text[at + len(other) + 1 :]
    try:
        recording: Recording = read(text.encode("utf-8", "replace"), "f")
    except InputError as exc:
        lines = exc.render().split("\n")
    else:
        profile = summarise(recording, {})
        assert profile.total > 0
        lines = [word for one in findings(profile) for word in (one.advice.says, *one.advice.passes)]
    assert lines == [printable(line, 3000) for line in lines]


@pytest.mark.parametrize("text", NASTY)
def test_names_from_a_file_stay_text(text: str, tmp_path: Path, capsys: Capture) -> None:
    cell = '"' + text.replace('"', '""').replace("\r", " ").replace("\n", " ") + '"'
    rows = "\n".join(f"{cell},{cell},AI_CORE,{start},5,{cell}" for start in range(3))
    path, page = tmp_path / "f.csv", tmp_path / "p.html"
    path.write_text(
        f"Op Name,OP Type,Task Type,Task Start Time(us),Task Duration(us),Output Shapes\n{rows}\n", "utf-8", "replace"
    )
    document = profiled(capsys, "--read", path, "--html", page)
    assert document["operators_ms"] == pytest.approx(0.005)
    assert "<script" not in page.read_text("utf-8")
    assert all(name == printable(name) for one in document["operators"] for name in (one["name"], one["type"]))
