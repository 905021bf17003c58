"""One copy of the weights for all cameras of one model (camagent/backends/shared.py)."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from camagent.backends import Backend, BackendOptions, Parallel, calls_at_once, open_backend
from camagent.backends.onnx import OnnxBackend
from camagent.backends.shared import SHELF, Held, Shelf, hold_backend, may_share
from camagent.errors import BackendError
from camagent.filters import FilterRule
from camagent.models import usable
from camagent.steps import Steps
from tests.support.bundles import SIDE, blob_document, blob_model, parsed

MODEL, OPTIONS = blob_model(), BackendOptions()
PICTURES = [np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32) for seed in range(4)]


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    gc.collect()
    before = len(SHELF)
    yield
    assert len(SHELF) == before


def inner(backend: Backend) -> OnnxBackend:
    assert isinstance(backend, Held)
    assert isinstance(backend._backend, OnnxBackend)
    return backend._backend


def test_the_same_bytes_with_the_same_options_are_opened_once_and_freed_with_the_last() -> None:
    first, second = hold_backend("onnx", MODEL, OPTIONS), hold_backend("onnx", bytes(MODEL), OPTIONS)
    assert inner(first) is inner(second)
    session = weakref.ref(inner(first)._session)
    first.close()
    first.close()
    second.infer(PICTURES[0])
    with pytest.raises(BackendError, match="closed"):
        first.infer(PICTURES[0])
    second.close()
    gc.collect()
    assert session() is None
    again = hold_backend("onnx", MODEL, OPTIONS)
    again.infer(PICTURES[0])
    again.close()


@pytest.mark.parametrize("other", [BackendOptions(2), BackendOptions(extra={"session.use_env_allocators": "0"})])
def test_other_options_are_another_session(other: BackendOptions) -> None:
    first, second = hold_backend("onnx", MODEL, OPTIONS), hold_backend("onnx", MODEL, other)
    assert inner(first) is not inner(second)
    first.close()
    second.close()


def test_what_does_not_open_is_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(BackendError):
            hold_backend("onnx", b"no model", OPTIONS)


def test_many_threads_on_one_session_get_their_own_answers() -> None:
    alone = open_backend("onnx", MODEL, OPTIONS)
    expected = [alone.infer(picture)[0] for picture in PICTURES]

    def work(index: int) -> bool:
        held = hold_backend("onnx", MODEL, OPTIONS)
        try:
            return all(np.array_equal(held.infer(PICTURES[index])[0], expected[index]) for _ in range(200))
        finally:
            held.close()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_cameras_that_come_at_the_same_moment_open_one() -> None:
    together = threading.Barrier(4, timeout=20)

    def hold(_: int) -> Backend:
        together.wait()
        return hold_backend("onnx", MODEL, OPTIONS)

    with ThreadPoolExecutor(4) as pool:
        held = list(pool.map(hold, range(4)))
    assert len({id(inner(one)) for one in held}) == 1
    for one in held:
        one.close()


def test_only_the_cpu_of_onnxruntime_is_shared() -> None:
    assert may_share(OnnxBackend, OPTIONS)
    assert not may_share(OnnxBackend, BackendOptions(providers=("CUDAExecutionProvider", "CPUExecutionProvider")))


def test_a_strangers_backend_is_opened_for_every_camera_unless_it_says_otherwise() -> None:
    class Silent:
        def __init__(self, model: bytes, options: BackendOptions) -> None:
            pass

    class Willing(Silent):
        @staticmethod
        def shareable(options: BackendOptions) -> bool:
            return options.device == "here"

    class Heir(OnnxBackend):
        pass

    assert not may_share(Heir, OPTIONS)
    assert not may_share(Silent, OPTIONS)
    assert not may_share(Willing, OPTIONS)
    assert may_share(Willing, BackendOptions(device="here"))


def test_what_a_backend_says_of_itself_is_passed_on() -> None:
    class Wide:
        inputs: tuple[Any, ...] = ()
        outputs: tuple[Any, ...] = ()
        warnings = ("old driver",)
        calls_at_once = 3
        closed = 0

        def infer(self, tensor: Any) -> Any:
            return [tensor]

        def close(self) -> None:
            self.closed += 1

    shelf, wide = Shelf(), Wide()
    held = [shelf.hold("key", lambda: wide) for _ in range(2)]
    assert isinstance(held[0], Parallel)
    assert (calls_at_once(held[1]), held[1].warnings) == (3, ("old driver",))
    for one in held:
        assert wide.closed == 0
        one.close()
    assert wide.closed == 1
    assert calls_at_once(open_backend("onnx", MODEL, OPTIONS)) == 1


def test_contexts_of_an_npu_stay_in_their_pool() -> None:
    from camagent.backends.rknn import RknnBackend

    assert not may_share(RknnBackend, OPTIONS)


def test_steps_of_several_cameras_share_the_session_and_keep_their_own_buffers() -> None:
    document = parsed(blob_document({"model.onnx": MODEL}))
    made = usable(document, document.artifacts[0], MODEL)
    steps = [Steps(made, FilterRule(0.5, 0.5), OPTIONS) for _ in range(2)]
    assert inner(steps[0].backend) is inner(steps[1].backend)
    assert steps[0]._preprocessor is not steps[1]._preprocessor
    for one in steps:
        one.close()
