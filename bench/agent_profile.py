"""The agent with a clock around its steps: CPU microseconds per frame of each, by thread. Written when it ends.

    python -m bench.agent_profile FILE.json run -c camagent.toml

What is called inside another step is not listed beside it, so the parts add up; what is in none of them is the thread's rest.
A pair of clock readings costs about a microsecond, and that is left in.
"""

from __future__ import annotations

import atexit
import functools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import thread_time_ns
from typing import Any

# thread, what it is, where it is found
STEPS: tuple[tuple[str, str, str], ...] = (
    ("reader", "decoder", "camagent.sources.decoder:Decoder.decode"),
    ("reader", "arrival: time stamps, pace, overload", "camagent.sources.session:Session._arrival"),
    ("reader", "hand over: frame, slot", "camagent.sources.session:Session._hand_over"),
    ("worker", "session.run", "camagent.backends.onnx:OnnxBackend.infer"),
    ("worker", "preprocess: swscale, colours, tensor", "camagent.preprocess:Preprocessor.prepare"),
    ("worker", "head", "camagent.heads.fastestdet:FastestDet.decode"),
    ("worker", "filters, suppression among them", "camagent.filters:apply"),
    ("worker", "picture check", "camagent.picture_check:PictureCheck.see"),
    ("worker", "NaN search, once a second", "camagent.steps:invalid_values"),
    ("worker", "counters", "camagent.health:CameraCounters.inferred"),
    ("worker", "message", "camagent.camera:CameraRunner._publish"),
    ("worker", "tracker", "camagent.happenings:Happenings.track"),
    ("worker", "events, counts", "camagent.happenings:Happenings.see"),
    ("worker", "what time alone ends", "camagent.happenings:Happenings.turn"),
    ("worker", "waiting for the next frame", "camagent.slot:Slot.wait"),
    ("worker", "its turn at the backend: waits", "camagent.waiting_line:Line.enter"),
    ("worker", "its turn at the backend: ends", "camagent.waiting_line:Line.exit"),
    ("worker", "trial and model looked after", "camagent.camera:CameraRunner._is_ready"),
    ("network", "poll, read, PUBACK", "camagent.mqtt.link:Link.step"),
    ("network", "choose, write", "camagent.mqtt.client:MqttClient.pump"),
    ("main", "twice a second: reasons, outbox, trials", "camagent.pipeline:Agent._tick"),
)
WARM = 20
FRAMES = "camagent.steps:Steps.run"
_THREADS = {"reader": "-reader", "worker": "-worker", "network": "mqtt", "main": "MainThread"}


class Clocks:
    """CPU nanoseconds and calls by step, and of whole threads; the first `warm` frames and all before them are left out."""

    def __init__(self, warm: int = WARM) -> None:
        self.spent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.threads: dict[str, tuple[int, int]] = {}  # name -> its clock at the first and the newest step
        self._warming = warm

    def around(self, place: str) -> None:
        """Replaces a function by one that is timed."""
        module, _, name = place.partition(":")
        owner: Any = import_module(module)
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, self._timed(getattr(owner, last), place))

    def _timed(self, function: Callable[..., Any], place: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                self._note(place, began, thread_time_ns())

        return timed

    def _note(self, place: str, began: int, now: int) -> None:
        if self._warming:  # loading and the first frames are no frame's cost
            self._warming -= place == FRAMES
            return
        self.spent[place] += now - began
        self.calls[place] += 1
        name = threading.current_thread().name
        first, _ = self.threads.get(name, (began, now))
        self.threads[name] = first, now

    def table(self) -> dict[str, Any]:
        """Microseconds per frame: the steps, and what of each thread is in none of them."""
        frames = max(1, self.calls[FRAMES])
        steps: list[dict[str, Any]] = [
            {"thread": thread, "step": step, "us": self.spent[place] / frames / 1e3, "calls": self.calls[place] / frames}
            for thread, step, place in STEPS
        ]
        for thread, end in _THREADS.items():
            clocks = (last - first for name, (first, last) in self.threads.items() if name.endswith(end))
            whole = sum(clocks) / frames / 1e3
            listed = sum(row["us"] for row in steps if row["thread"] == thread)
            steps.append({"thread": thread, "step": "the rest of the thread", "us": max(0.0, whole - listed), "calls": 1.0})
        return {"frames": frames, "steps": steps}


def main() -> None:
    target, *arguments = sys.argv[1:]
    clocks = Clocks()
    for place in (*(place for _, _, place in STEPS), FRAMES):
        clocks.around(place)
    atexit.register(lambda: Path(target).write_text(json.dumps(clocks.table())))
    sys.argv = ["camagent", *arguments]
    import_module("camagent.cli").main()


if __name__ == "__main__":
    main()
