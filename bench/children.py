"""The measured processes: decode alone, the model alone, and what people write first.

Each prints "frame" per frame, and the milliseconds that it took where there is nothing else in it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from camagent.backends import BackendOptions
from camagent.backends.onnx import session_options


def say(ms: float | None = None) -> None:
    sys.stdout.write("frame\n" if ms is None else f"frame {ms:.3f}\n")
    sys.stdout.flush()


def decode(url: str, fps: float) -> None:
    """(a) demux and decode every frame, use none."""
    del fps
    import av

    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        container.streams.video[0].thread_count = 1
        for packet in container.demux(video=0):
            began = time.perf_counter()
            frames = packet.decode()
            took = (time.perf_counter() - began) * 1e3
            for _ in frames:
                say(took)


def model(path: str, fps: float) -> None:
    """(b) `session.run` on one fixed tensor at the stream's pace."""
    import numpy as np
    import onnxruntime as ort

    session = ort.InferenceSession(path, session_options(BackendOptions()), providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    tensor = np.random.default_rng(0).random(spec.shape, np.float32)
    due = time.monotonic()
    while True:
        began = time.perf_counter()
        session.run(None, {spec.name: tensor})
        say((time.perf_counter() - began) * 1e3)
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))


def plain(url: str, path: str, port: str, threads: str) -> None:
    """(d) the script that every tutorial ends with: VideoCapture, letterbox, ONNX Runtime, paho.

    `threads` of the decoder: 0 leaves OpenCV's default, which is one for every core.
    """
    import cv2
    import numpy as np
    import onnxruntime as ort
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    session = ort.InferenceSession(path, session_options(BackendOptions()), providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    height, width = spec.shape[2:]
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, int(threads)] if int(threads) else [])
    fps = capture.get(cv2.CAP_PROP_FPS)
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        scale = min(width / frame.shape[1], height / frame.shape[0])
        size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
        canvas = np.full((height, width, 3), 114, np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(frame, size)
        tensor = (canvas.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        (out,) = session.run(None, {spec.name: np.ascontiguousarray(tensor)})
        found = cells(out[0]) if out.ndim == 4 else objects(out[0])
        body = {"time": time.time(), "pts": capture.get(cv2.CAP_PROP_PTS) / fps, "detections": found}
        client.publish("plain/detections", json.dumps(body), qos=1)
        say()


def cells(out: Any) -> list[dict[str, Any]]:
    """FastestDet, (85, rows, columns)."""
    import numpy as np

    scores = out[0] ** 0.6 * out[5:].max(axis=0) ** 0.4
    rows, columns = np.nonzero(scores > 0.65)
    return [{"score": float(scores[y, x]), "cell": [int(x), int(y)]} for y, x in zip(rows, columns, strict=True)]


def objects(out: Any) -> list[dict[str, Any]]:
    """YOLOv8, (84, cells)."""
    import cv2

    rows = out.T
    best, ids = rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1)
    rows, ids, best = rows[best > 0.4], ids[best > 0.4], best[best > 0.4]
    boxes = [[float(x - w / 2), float(y - h / 2), float(w), float(h)] for x, y, w, h in rows[:, :4]]
    kept = cv2.dnn.NMSBoxes(boxes, best.tolist(), 0.4, 0.45)
    return [{"score": float(best[i]), "class": int(ids[i]), "box": boxes[i]} for i in kept]


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "plain":
        plain(*arguments)
    else:
        {"decode": decode, "model": model}[name](arguments[0], float(arguments[1]))
