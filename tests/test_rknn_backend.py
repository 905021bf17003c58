"""Backend `rknn` on a stand-in for RKNNLite that fails, prints and leaks as the real one does (tests/support/fake_rknnlite)."""

from __future__ import annotations

import gc
import json
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from camagent.backends import Backend, BackendOptions, Cautious, open_backend
from camagent.backends import rknn as rknn_module
from camagent.backends.garbage import COLLECT_EVERY
from camagent.errors import BackendError, NpuHung
from camagent.vitals import rss_bytes
from tests.support.board import FAKE_RKNNLITE, RK3568, Board
from tests.support.bundles import SIDE, blob_model
from tests.support.rknn_models import container, rknn_file

MODEL = rknn_file(blob_model())
RNG = np.random.default_rng(3)
PICTURE = (RNG.random((1, SIDE, SIDE, 3)) * 255).astype(np.uint8)
Open: TypeAlias = Callable[..., Backend]


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda **habits: monkeypatch.setenv("FAKE_RKNN", json.dumps(habits))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("CAMAGENT_SYSROOT", str(tmp_path))
    return lambda **facts: Board(**facts).write(tmp_path)


@pytest.fixture
def opened(board: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens models on an RK3588, and closes what a test leaves open."""
    board()
    monkeypatch.syspath_prepend(FAKE_RKNNLITE)
    from rknnlite.api import forget

    forget()
    kept: list[Backend] = []

    def open_one(model: bytes = MODEL, **options: Any) -> Backend:
        kept.append(open_backend("rknn", model, BackendOptions(**options)))
        return kept[-1]

    yield open_one
    for one in kept:
        one.close()
    assert not rknn_module._POOLS


def asked(method: str) -> list[dict[str, Any]]:
    from rknnlite.api import calls

    return [said for name, said in calls if name == method]


def looked(backend: Backend, tensor: Any) -> Any:
    (output,) = backend.infer(tensor)
    return output


def expected(pixels: Any) -> Any:
    import onnxruntime as ort

    session = ort.InferenceSession(blob_model(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": np.moveaxis(pixels, 3, 1).astype(np.float32)})[0]


# -- what goes in and comes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int8"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_bytes_and_floats_by_pixel_and_by_plane(opened: Open, dtype: str, layout: str) -> None:
    pixels = (PICTURE // 2).astype(dtype)
    tensor = pixels if layout == "nhwc" else np.ascontiguousarray(np.moveaxis(pixels, 3, 1))
    backend = opened()
    assert backend.inputs[0].takes(tensor.shape, dtype)
    output = looked(backend, tensor)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected(pixels), rtol=1e-5)


def test_what_it_says_of_its_tensors(opened: Open) -> None:
    backend = opened()
    assert [(one.name, one.shape, one.dtype) for one in backend.inputs] == [("image", (1, SIDE, SIDE, 3), "uint8")]
    assert [(one.name, one.shape, one.dtype) for one in backend.outputs] == [("grid", (1, 7, 4, 4), "float32")]
    assert not backend.inputs[0].takes((1, SIDE, SIDE, 3), "float64")
    assert not backend.inputs[0].takes((1, 3, SIDE, 32), "uint8")


def test_integers_are_dequantised_by_the_files_numbers(opened: Open, behave: Callable[..., None]) -> None:
    behave(outputs="int8", scale=0.02, zero_point=-3)
    small = PICTURE // 128
    output = looked(opened(rknn_file(blob_model(), quantised={"scale": [0.02], "zero_point": [-3]})), small)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, np.clip(expected(small), -2.5, 2.6), atol=0.0101)


def test_integers_of_unknown_scale_are_refused_with_the_reason(opened: Open, behave: Callable[..., None]) -> None:
    behave(outputs="int8")
    backend = opened()
    with pytest.raises(BackendError) as caught:
        backend.infer(PICTURE)
    assert caught.value.code == "QUANT_PARAMS_IGNORED"


def test_integers_that_are_no_quantised_numbers_stay(opened: Open, behave: Callable[..., None]) -> None:
    behave(outputs="int8", scale=1.0, zero_point=0)
    (output,) = opened(rknn_file(blob_model(), dtype="")).infer(PICTURE // 128)  # an ArgMax in the graph: class ids
    assert output.dtype == np.int8


def test_the_runtimes_reused_buffers_do_not_leak_into_older_answers(opened: Open) -> None:
    backend = opened()
    first = backend.infer(PICTURE)[0]
    kept = first.copy()
    backend.infer(PICTURE // 3)
    np.testing.assert_array_equal(first, kept)


def test_an_older_rknnlite_without_reuse_outputs_works(opened: Open, behave: Callable[..., None]) -> None:
    behave(reuses=False)
    np.testing.assert_allclose(looked(opened(), PICTURE), expected(PICTURE), rtol=1e-5)


def test_the_model_is_given_as_a_sealed_file(opened: Open) -> None:
    opened()
    (loaded,) = asked("load_rknn")
    assert loaded["path"].startswith("/proc/self/fd/")


# -- what goes wrong ----------------------------------------------------------------------------------------------------------


def refused(open_one: Callable[[], object]) -> BackendError:
    with pytest.raises(BackendError) as caught:
        open_one()
    assert caught.value.evidence
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"compatible": ("brcm,bcm2711",), "node": ""}, "NPU_ABSENT"), ({"node": ""}, "NPU_ABSENT"),
        ({"status": "disabled", "node": ""}, "NPU_ABSENT"), ({"compatible": RK3568}, "MODEL_FILE_BAD"),
        ({"runtime": None}, "NPU_RUNTIME_MISSING"), ({"runtime": "1.4.0"}, "RUNTIME_VERSION_MISMATCH"),
    ],
)  # fmt: skip
def test_nothing_is_loaded_where_it_cannot_run(
    opened: Open, board: Callable[..., Path], tmp_path: Path, facts: dict[str, Any], code: str
) -> None:
    import shutil

    shutil.rmtree(tmp_path)
    board(**facts)
    assert refused(opened).code == code
    assert not asked("load_rknn")


def test_a_damaged_file_is_the_models_fault(opened: Open) -> None:
    assert refused(lambda: opened(MODEL[:-50])).code == "MODEL_FILE_BAD"
    assert refused(lambda: opened(container(b"{}"))).code == "MODEL_FILE_BAD"


def test_without_rknnlite_that_is_said(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != FAKE_RKNNLITE])
    for name in [name for name in sys.modules if name.split(".")[0] == "rknnlite"]:
        monkeypatch.delitem(sys.modules, name)
    error = refused(opened)
    assert error.code == "NPU_RUNTIME_MISSING"
    assert "rknn-toolkit-lite2" in error.render()


@pytest.mark.parametrize(
    ("habits", "code"),
    [
        ({"fails": "load_rknn"}, "NPU_SUBMIT_FAILED"), ({"fails": "init_runtime"}, "NPU_SUBMIT_FAILED"),
        ({"fails": "init_runtime", "says": ["E RKNN: [1] failed to allocate memory"]}, "MEMORY_EXHAUSTED"),
        ({"fails": "init_runtime", "says": ["E RKNN: [1] parseRKNN: invalid RKNN_MAGIC!"]}, "MODEL_FILE_BAD"),
        ({"fails": "init_runtime", "says": ["E RKNN: [1] failed to open rknpu module, need to insmod rknpu dirver!"]},
         "NPU_SUBMIT_FAILED"),  # its file is there and may be opened
        ({"runtime": "1.4.0"}, "RUNTIME_VERSION_MISMATCH"),  # another librknnrt than the one in /usr/lib was loaded
        ({"soc": "rk3576"}, "MODEL_FILE_BAD"),
    ],
)  # fmt: skip
def test_what_the_runtime_prints_is_the_evidence(
    opened: Open, behave: Callable[..., None], habits: dict[str, Any], code: str
) -> None:
    behave(**habits)
    error = refused(opened)
    assert error.code == code
    if habits.get("says"):
        assert habits["says"][0] in str(error.evidence["the runtime says"])
    assert "toolkit 2.3.2" in error.evidence["model"]
    assert "librknnrt 2.3.2" in error.evidence["this device"]
    assert asked("release")


def test_none_is_an_error_with_a_reason_and_the_next_frame_may_work(opened: Open, behave: Callable[..., None]) -> None:
    says = "E RKNN: [1] failed to submit!, op id: 1, op name: Conv:Conv_0"
    behave(fails="inference", after=2, says=[says])
    backend = opened()
    backend.infer(PICTURE)
    backend.infer(PICTURE)
    first, second = refused(lambda: backend.infer(PICTURE)), refused(lambda: backend.infer(PICTURE))
    assert {first.code, second.code} == {"NPU_SUBMIT_FAILED"}
    assert first.evidence["returned"] == "None"
    assert says in str(second.evidence["the runtime says"])  # the second time it is listened to


@pytest.mark.parametrize(("code", "name"), [(-1, "NPU_SUBMIT_FAILED"), (-2, "NPU_HUNG"), (-4, "MEMORY_EXHAUSTED")])
def test_a_code_that_rknnlite_overlooks_is_not(opened: Open, behave: Callable[..., None], code: int, name: str) -> None:
    """RKNNLite 2.5.0 hands out the outputs of the run before, as if nothing had happened."""
    behave(run=code, after=1)
    backend = opened()
    backend.infer(PICTURE)
    error = refused(lambda: backend.infer(PICTURE // 2))
    assert (error.code, error.evidence["returned"]) == (name, str(code))


@pytest.mark.parametrize("method", ["load_rknn", "init_runtime", "inference"])
def test_what_rknnlite_raises_is_an_error_with_its_words(opened: Open, behave: Callable[..., None], method: str) -> None:
    behave(fails=method, raises="librknnrt.so: undefined symbol: rknn_dup_context")
    error = refused(lambda: opened().infer(PICTURE))
    assert (error.code, error.evidence["call"]) == ("NPU_SUBMIT_FAILED", method)
    assert "undefined symbol" in error.evidence["returned"]
    behave()
    opened(rknn_file(blob_model(0.5))).infer(PICTURE)  # nothing that failed stands in the way


def test_a_type_that_no_runtime_takes_is_said(opened: Open) -> None:
    error = refused(lambda: opened().infer(PICTURE.astype(np.float64)))
    assert error.evidence["input"] == f"(1, {SIDE}, {SIDE}, 3) float64"


def test_the_words_of_a_failure_are_heard_whichever_context_fails_next(opened: Open, behave: Callable[..., None]) -> None:
    says = "E RKNN: [1] failed to submit!"
    behave(fails="inference", says=[says])
    cameras = [opened(), opened(), opened()]
    refused(lambda: cameras[0].infer(PICTURE))
    assert says in str(refused(lambda: cameras[0].infer(PICTURE)).evidence["the runtime says"])


def test_versions_that_need_not_matter_are_warnings(
    opened: Open, board: Callable[..., Path], behave: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    board(runtime="2.0.0", driver="")
    behave(runtime="2.0.0", driver="0.8.2")
    backend = opened()
    assert isinstance(backend, Cautious)
    warnings = backend.warnings
    assert len(warnings) == 3  # the model's toolkit, rknn-toolkit-lite2 and the driver are of other versions
    for words in ("toolkit 2.3.2", "librknnrt is 2.0.0", "driver is 0.8.2"):
        assert words in "\n".join(warnings)
        assert words in caplog.text


def test_words_of_the_runtime_stay_off_stdout(opened: Open, capfd: pytest.CaptureFixture[str]) -> None:
    opened().infer(PICTURE)
    out, err = capfd.readouterr()
    assert out == ""
    assert "librknnrt version: 2.3.2" in err  # passed on, not swallowed
    assert "rknn-toolkit-lite2 version" in err


# -- cores and cameras --------------------------------------------------------------------------------------------------------


def test_a_core_mask_only_where_there_are_cores(opened: Open, board: Callable[..., Path], behave: Callable[..., None]) -> None:
    opened()
    assert [one["core_mask"] for one in asked("init_runtime")] == [1]
    board(compatible=RK3568)
    behave(soc="rk3566", cores=1)
    opened(rknn_file(blob_model(), targets=("rk3566",)))
    assert [one["core_mask"] for one in asked("init_runtime")] == [1, 0]


@pytest.mark.parametrize(("soc", "contexts"), [("rk3588", 3), ("rk3576", 2), ("rk3566", 1)])
def test_cameras_share_as_many_contexts_as_there_are_cores(
    opened: Open, board: Callable[..., Path], behave: Callable[..., None], soc: str, contexts: int
) -> None:
    board(compatible=(f"rockchip,{soc}",))
    behave(soc=soc, cores=contexts)
    model = rknn_file(blob_model(), targets=(soc,))
    cameras = [opened(model) for _ in range(5)]
    masks = [one["core_mask"] for one in asked("init_runtime")]
    assert masks == ([1, 2, 4][:contexts] if contexts > 1 else [0])
    for camera in cameras[:-1]:
        camera.close()
        camera.close()  # twice does no harm
    assert len(asked("release")) == contexts - 1
    np.testing.assert_allclose(looked(cameras[-1], PICTURE), expected(PICTURE), rtol=1e-5)
    cameras[-1].close()
    assert len(asked("release")) == contexts


def test_other_models_take_the_idle_cores(opened: Open) -> None:
    first = opened()
    opened(rknn_file(blob_model(0.9)))
    opened(rknn_file(blob_model(0.8)))
    first.close()
    opened(rknn_file(blob_model(0.7)))
    assert [one["core_mask"] for one in asked("init_runtime")] == [1, 2, 4, 1]


def test_many_cameras_at_once_get_their_own_answers(opened: Open, behave: Callable[..., None]) -> None:
    """The stand-in raises where two threads are in one context."""
    behave(seconds=0.002)
    cameras = [opened() for _ in range(6)]
    pictures = [np.roll(PICTURE, 5 * number, axis=1) for number in range(6)]

    def look(number: int) -> None:
        wanted = expected(pictures[number])
        for _ in range(40):
            np.testing.assert_allclose(looked(cameras[number], pictures[number]), wanted, rtol=1e-5)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(look, range(6)))


def test_a_camera_that_leaves_while_it_infers_frees_its_context_afterwards(opened: Open, behave: Callable[..., None]) -> None:
    behave(seconds=0.5)
    camera = opened()
    thread = threading.Thread(target=camera.infer, args=(PICTURE,))
    thread.start()
    while not rknn_module._POOLS or next(iter(rknn_module._POOLS.values()))._idle:
        pass
    camera.close()
    assert not asked("release")
    thread.join()
    assert len(asked("release")) == 1


def test_a_hung_context_is_named_by_those_who_wait(
    opened: Open, board: Callable[..., Path], behave: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camagent.backends.rknn_pool.BUSY_S", 0.2)
    board(compatible=RK3568)
    behave(soc="rk3566", cores=1, seconds=1.5)
    model = rknn_file(blob_model(), targets=("rk3566",))
    busy, waiting = opened(model), opened(model)
    thread = threading.Thread(target=busy.infer, args=(PICTURE,))
    thread.start()
    while next(iter(rknn_module._POOLS.values()))._idle:
        pass
    with pytest.raises(NpuHung) as caught:
        waiting.infer(PICTURE)
    assert caught.value.evidence["contexts"] == "1"
    thread.join()
    waiting.infer(PICTURE)


def test_a_failed_opening_leaves_no_member_behind(opened: Open, behave: Callable[..., None]) -> None:
    behave(fails="init_runtime")
    for _ in range(4):
        refused(opened)
    behave()
    opened()
    assert asked("init_runtime")[-1]["core_mask"] == 1  # no core is taken by what did not open


# -- memory -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reuses", [True, False])
def test_the_runtimes_reference_cycles_are_collected(opened: Open, behave: Callable[..., None], reuses: bool) -> None:
    behave(reuses=reuses)
    backend = opened()
    for _ in range(300):
        backend.infer(PICTURE)
    gc.collect()
    before = rss_bytes()
    for _ in range(2000):
        backend.infer(PICTURE)
    assert rss_bytes() - before < COLLECT_EVERY * 42_430 + (8 << 20)  # 2000 x 42 kB are 81 MiB


def test_the_stand_in_leaks_as_the_real_one_does(opened: Open) -> None:
    """Otherwise the test above proves nothing."""
    from rknnlite.api import RKNNLite

    opened()
    lite = RKNNLite()
    lite.rknn_data = MODEL
    assert lite.init_runtime() == 0
    gc.collect()
    tracemalloc.start()  # not the process's size: what earlier tests have freed is used first
    for _ in range(2000):
        lite.inference(inputs=[PICTURE])
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lite.release()
    gc.collect()
    assert grown > 48 << 20
