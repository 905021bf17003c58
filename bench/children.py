"""The measured processes: decode alone, the model alone, and what people write first. Each prints "frame" per frame."""

from __future__ import annotations

import json
import sys
import time

from camagent.backends import BackendOptions
from camagent.backends.onnx import session_options


def say() -> None:
    sys.stdout.write("frame\n")
    sys.stdout.flush()


def decode(url: str, fps: float) -> None:
    """(a) demux and decode every frame, use none."""
    del fps
    import av

    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        container.streams.video[0].thread_count = 1
        for _ in container.decode(video=0):
            say()


def model(path: str, fps: float) -> None:
    """(b) `session.run` on one fixed tensor at the stream's pace."""
    import numpy as np
    import onnxruntime as ort

    session = ort.InferenceSession(path, session_options(BackendOptions()), providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    tensor = np.random.default_rng(0).random(spec.shape, np.float32)
    due = time.monotonic()
    while True:
        session.run(None, {spec.name: tensor})
        say()
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))


def plain(url: str, path: str, port: str) -> None:
    """(d) the script that every tutorial ends with: VideoCapture, letterbox, ONNX Runtime, paho."""
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
    capture = cv2.VideoCapture(url)
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
        scores = out[0, 0] ** 0.6 * out[0, 5:].max(axis=0) ** 0.4
        rows, columns = np.nonzero(scores > 0.65)
        found = [{"score": float(scores[y, x]), "cell": [int(x), int(y)]} for y, x in zip(rows, columns, strict=True)]
        client.publish("plain/detections", json.dumps({"time": time.time(), "detections": found}), qos=1)
        say()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "plain":
        plain(*arguments)
    else:
        {"decode": decode, "model": model}[name](arguments[0], float(arguments[1]))
