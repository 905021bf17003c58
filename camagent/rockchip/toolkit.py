"""The toolkit's process: started in a folder of its own, asked by pipes, waited for with a deadline, taken away at the end."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from camagent.errors import BackendError
from camagent.rockchip.complaints import progress, tail

Tell = Callable[[str], None]
Arrays = list[NDArray[Any]]
WORKER = Path(__file__).with_name("worker.py")
LOG = "log"
STOP_S = 5.0
_LOOK_S = 0.2  # how often the log is read for progress
_CHUNK = 1 << 20
_LINE_BYTES = 1 << 20
_END_BYTES = 8192
# what the environment's Python may know of ours: no secret is among it
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
_PASSED_PREFIXES = ("OMP_", "OPENBLAS_", "MKL_")


class StepFailed(BackendError):
    """The toolkit says no, dies or does not come back. `step` is where, `log` all that it printed."""

    def __init__(
        self, what: str, *, step: str, log: str, fix: str, evidence: Mapping[str, object], alive: bool = False
    ) -> None:
        super().__init__(what, fix=fix, evidence=evidence)
        self.step, self.log, self.alive = step, log, alive


class Toolkit:
    """One process. Belongs to one thread; use it as a context, or call `close`: a folder and a process are left otherwise."""

    def __init__(self, python: Path) -> None:
        """Starts the environment's Python. Raises BackendError where it cannot be started."""
        self.folder = Path(tempfile.mkdtemp(prefix="camagent-rknn-"))
        self._step = "start"
        command = [str(python), "-I", "-B", "-u", str(WORKER)]
        try:
            with (self.folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603  a list, no shell
                    command, cwd=self.folder, env=_surroundings(self.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=log, start_new_session=True, bufsize=0,
                )  # fmt: skip
        except OSError as exc:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise BackendError(
                f"the converter's Python cannot be started: {exc.strerror}", evidence={"python": python},
                fix="name another environment with CAMAGENT_RKNN_ENV, or delete this one: it is made anew",
            ) from exc  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._read = bytearray()

    def ask(
        self, request: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = (), *, within_s: float, tell: Tell = lambda _: None
    ) -> tuple[dict[str, Any], Arrays]:
        """What the worker answers. `tell` hears of steps and of the toolkit's own progress. Raises StepFailed.

        After a time-out or a death the process is gone, and so is whatever it had opened.
        """
        deadline = monotonic() + within_s
        whole = [np.ascontiguousarray(array) for array in arrays]
        head = {**request, "arrays": [{"dtype": str(array.dtype), "shape": array.shape} for array in whole]}
        self._step = str(request["do"])
        try:
            for part in (json.dumps(head).encode() + b"\n", *(array.tobytes() for array in whole)):
                self._write(part, deadline)
            while True:
                answer = json.loads(self._line(deadline, tell))
                if "step" not in answer:
                    break
                self._step = answer["step"]
                tell(self._step)
            given = [self._array(one, deadline) for one in answer.pop("arrays", ())]
        except TimeoutError as exc:
            self._end(signal.SIGKILL)
            raise self._failed(
                f"the toolkit does not come back from '{self._step}'", {"waited": f"{within_s:g} s"},
                "try again on a machine that is less busy, or with fewer calibration pictures",
            ) from exc  # fmt: skip
        except (EOFError, BrokenPipeError, ValueError) as exc:
            code = self._end(signal.SIGKILL)
            raise self._failed(
                f"the toolkit's process ended at '{self._step}'", {"ended by": _ending(code)},
                "see what its log says last; a model that another tool made may need other operators",
            ) from exc  # fmt: skip
        if "failed" in answer:
            self._step = answer["failed"]["step"]
            said = str(answer["failed"]["why"]).strip().splitlines() or [""]
            raise self._failed(
                f"the toolkit fails at '{self._step}'", {"raised": said[-1]}, "see what its log says", alive=True
            )  # fmt: skip
        return answer["done"], given

    @property
    def log(self) -> str:
        """All that the toolkit printed so far."""
        try:
            return (self.folder / LOG).read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """Ends the process and takes its folder away. May be called twice."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _failed(self, what: str, evidence: Mapping[str, object], fix: str, *, alive: bool = False) -> StepFailed:
        log = self.log
        return StepFailed(
            what, step=self._step, log=log, fix=fix, evidence={**evidence, "its log ends": tail(log)}, alive=alive
        )  # fmt: skip

    def _end(self, how: signal.Signals | None = None) -> int:
        """Kills the process; without a signal it is left alone, and then it goes by itself and takes its folder with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is None and how is not None:
            os.killpg(self._process.pid, how)
        self._process.stdin.close()
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        self._process.stdout.close()
        return code

    def _write(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._in, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._in, left[:_CHUNK]) :]
            except BlockingIOError:
                continue

    def _line(self, deadline: float, tell: Tell) -> bytes:
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > _LINE_BYTES:
                raise ValueError("no line")
            self._fill(deadline, tell)
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def _array(self, one: Mapping[str, Any], deadline: float) -> NDArray[Any]:
        dtype = np.dtype(one["dtype"])
        size = int(np.prod(one["shape"], dtype=np.int64)) * dtype.itemsize
        while len(self._read) < size:
            self._fill(deadline)
        array = np.frombuffer(bytes(self._read[:size]), dtype).reshape(one["shape"])
        del self._read[:size]
        return array

    def _fill(self, deadline: float, tell: Tell = lambda _: None) -> None:
        self._wait(self._out, select.POLLIN, deadline, tell)
        found = os.read(self._out, _CHUNK)
        if not found:
            raise EOFError
        self._read += found

    def _wait(self, descriptor: int, event: int, deadline: float, tell: Tell = lambda _: None) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(_LOOK_S * 1000):
            if monotonic() > deadline:
                raise TimeoutError
            if at := progress(self._last_words()):
                tell(f"{self._step}: {at}")

    def _last_words(self) -> str:
        """The log's end: it grows to megabytes, and its last progress bar is enough."""
        try:
            with (self.folder / LOG).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


def _surroundings(folder: Path) -> dict[str, str]:
    """Nothing that it writes lands at home, and no credentials reach it."""
    kept = {key: value for key, value in os.environ.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)}
    return kept | {"HOME": str(folder), "TMPDIR": str(folder)}


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
