"""What RKNNLite prints when it fails, as seen in public threads, and what it is taken for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from camagent.backends.rknn_words import explained

TAIL = (
    "E Catch exception when init runtime!",
    "E Traceback (most recent call last):",
    '  File "rknnlite/api/rknn_lite.py", line 157, in init_runtime',
    "    self.rknn_runtime.build_graph(self.rknn_data, self.load_model_in_npu)",
    "Exception: RKNN init failed. error code: {}",
)
# harmless, and printed at every start
TALK = (
    "W rknn-toolkit-lite2 version: 2.3.2",
    "I RKNN: [14:34:00.921] RKNN Runtime Information, librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)",
    "W RKNN: [14:34:00.930] query RKNN_QUERY_INPUT_DYNAMIC_RANGE error, rknn model is static shape type",
    "W Query dynamic range failed. Ret code: RKNN_ERR_MODEL_INVALID. (If it is a static shape RKNN model, please ignore ..)",
)


def failing(code: str, *lines: str) -> list[str]:
    return [*TALK, *(f"E RKNN: [14:34:00.922] {line}" for line in lines), *(line.format(code) for line in TAIL)]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (failing("RKNN_ERR_FAIL", "6, 1", "Invalid RKNN model version 6", "rknn_init, load model failed!"),
         "RUNTIME_VERSION_MISMATCH"),
        (failing("RKNN_ERR_MODEL_INVALID", "6, 4", "Invalid RKNN model version 6"), "RUNTIME_VERSION_MISMATCH"),
        (failing("RKNN_ERR_FAIL", "Mismatch driver version, librknnrt requires driver version >= 0.9.2, but you have driver "
                 "version: 0.7.2 which is incompatible!"), "RUNTIME_VERSION_MISMATCH"),
        (failing("RKNN_ERR_FAIL", "Unsupport CPU op: CumSum in this librknnrt.so, please try to register custom op"),
         "RUNTIME_VERSION_MISMATCH"),
        (failing("RKNN_ERR_FAIL", "failed to open rknpu module, need to insmod rknpu dirver!", "failed to open rknn device!"),
         "NPU_ABSENT"),
        (failing("RKNN_ERR_FAIL", "The rknn model does not match the RKNPU hardware version!", "load model failed!"),
         "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_FAIL", "parseRKNN: invalid RKNN_MAGIC!", "parseRKNN from buffer: Invalid RKNN fromat!"),
         "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_FAIL", "Invalid RKNN format", "rknn_init, load model failed!"), "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_MODEL_INVALID", "rknn_init, load model failed!"), "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_TARGET_PLATFORM_UNMATCH"), "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_DECRYPT_FAILED"), "MODEL_FILE_BAD"),
        (failing("RKNN_ERR_MALLOC_FAIL", "failed to allocate memory, size: 40960000"), "MEMORY_EXHAUSTED"),
        (failing("RKNN_ERR_TIMEOUT"), "NPU_HUNG"),
        (failing("RKNN_ERR_FAIL", "failed to submit!, op id: 1, op name: Conv:Conv_0, flags: 0x5"), "NPU_SUBMIT_FAILED"),
        (failing("RKNN_ERR_INPUT_INVALID"), "NPU_SUBMIT_FAILED"),
        (["E Catch exception when init runtime!", "Exception: Can not find dynamic library on RK3588!",
          "Please download the librknnrt.so from https:// .."], "NPU_RUNTIME_MISSING"),
        (["OSError: /usr/lib/librknnrt.so: wrong ELF class: ELFCLASS32"], "NPU_RUNTIME_MISSING"),
        (["Exception: Please specify the target in init_runtime!"], "NPU_ABSENT"),
        (["Exception: E Unsupport inputs[0].dtype: float64"], "NPU_SUBMIT_FAILED"),
        (["OSError: librknnrt.so: cannot open shared object file: No such file or directory"], "NPU_RUNTIME_MISSING"),
        (failing("RKNN_ERR_FAIL"), "NPU_SUBMIT_FAILED"),
        ([], "NPU_SUBMIT_FAILED"),
        (list(TALK), "NPU_SUBMIT_FAILED"),  # its MODEL_INVALID is no reason
    ],
)  # fmt: skip
def test_public_threads_failures_are_told_apart(lines: Sequence[str], code: str) -> None:
    error = explained("init_runtime", -1, lines, {"model": "for rk3588"})
    assert error.code == code
    assert error.fix
    assert (error.evidence["returned"], error.evidence["model"]) == ("-1", "for rk3588")


@pytest.mark.parametrize(
    ("returned", "code", "name"),
    [
        (-2, "NPU_HUNG", "RKNN_ERR_TIMEOUT"), (-3, "NPU_ABSENT", "RKNN_ERR_DEVICE_UNAVAILABLE"),
        (-4, "MEMORY_EXHAUSTED", "RKNN_ERR_MALLOC_FAIL"), (-5, "NPU_SUBMIT_FAILED", "RKNN_ERR_PARAM_INVALID"),
        (-6, "MODEL_FILE_BAD", "RKNN_ERR_MODEL_INVALID"), (-7, "NPU_SUBMIT_FAILED", "RKNN_ERR_CTX_INVALID"),
        (-8, "NPU_SUBMIT_FAILED", "RKNN_ERR_INPUT_INVALID"), (-9, "NPU_SUBMIT_FAILED", "RKNN_ERR_OUTPUT_INVALID"),
        (-10, "MODEL_FILE_BAD", "RKNN_ERR_DEVICE_UNMATCH"),
        (-11, "RUNTIME_VERSION_MISMATCH", "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL"),
        (-12, "RUNTIME_VERSION_MISMATCH", "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION"),
        (-13, "MODEL_FILE_BAD", "RKNN_ERR_TARGET_PLATFORM_UNMATCH"), (7, "NPU_SUBMIT_FAILED", None),
    ],
)  # fmt: skip
def test_every_return_code_is_explained(returned: int, code: str, name: str | None) -> None:
    error = explained("load_rknn", returned, [], {})
    assert (error.code, error.evidence.get("code")) == (code, name)


def test_the_evidence_is_the_runtimes_own_line() -> None:
    error = explained("init_runtime", -1, failing("RKNN_ERR_FAIL", "6, 1", "Invalid RKNN model version 6"), {})
    assert "Invalid RKNN model version 6" in str(error.evidence["the runtime says"])
    assert "Traceback" not in error.render()
    assert error.evidence["code"] == "RKNN_ERR_FAIL"
