"""`ultralytics predict` on a stream, and the model for it. Runs under an interpreter of its own that has ultralytics.

    PYTHON bench/peer_ultralytics.py export yolov8n.onnx          YOLOv8n with random weights
    PYTHON bench/peer_ultralytics.py run RTSP_URL MODEL PORT      predicts and publishes until it is ended

It knows nothing of camagent. The session options are those of the others: one thread, no spinning.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_load: Callable[[str], Any] = importlib.import_module  # what only the other interpreter has
TOPIC = "ultralytics/detections"
KEPT = 64
os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=tempfile.gettempdir())


def export(path: str) -> None:
    """YOLOv8n as its own exporter leaves it: 640x640, 80 classes."""
    _load("torch").manual_seed(0)
    os.chdir(tempfile.mkdtemp())
    made = _load("ultralytics").YOLO("yolov8n.yaml").export(format="onnx", imgsz=640, opset=17, simplify=False)
    shutil.move(made, path)


def alike() -> None:
    """Gives ONNX Runtime's sessions the options that the other peers run with."""
    ort = _load("onnxruntime")
    session = ort.InferenceSession

    def opened(path: Any, *_: Any, **__: Any) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for kind in ("intra", "inter"):
            options.add_session_config_entry(f"session.{kind}_op.allow_spinning", "0")
        return session(path, options, providers=["CPUExecutionProvider"])

    ort.InferenceSession = opened


def stamped() -> OrderedDict[int, float]:
    """Has OpenCV note the time stamp (seconds) of every picture it gives out, by the picture's identity."""
    cv2 = _load("cv2")
    seen: OrderedDict[int, float] = OrderedDict()

    base: Any = cv2.VideoCapture

    class Capture(base):  # type: ignore[misc]
        def retrieve(self, *args: Any) -> Any:
            ok, picture = super().retrieve(*args)
            seen[id(picture)] = self.get(cv2.CAP_PROP_PTS) / (self.get(cv2.CAP_PROP_FPS) or 1.0)
            if len(seen) > KEPT:
                seen.popitem(last=False)
            return ok, picture

    cv2.VideoCapture = Capture
    return seen


def run(url: str, path: str, port: str) -> None:
    """Predicts every new picture and publishes what was found."""
    stamps = stamped()
    alike()
    mqtt = _load("paho.mqtt.client")
    client = mqtt.Client(_load("paho.mqtt.enums").CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    model = _load("ultralytics").YOLO(path, task="detect")
    for result in model.predict(source=url, stream=True, imgsz=640, conf=0.4, verbose=False):
        found = json.loads(result.to_json())
        body = {"time": time.time(), "pts": stamps.get(id(result.orig_img)), "detections": found}
        client.publish(TOPIC, json.dumps(body), qos=1)


if __name__ == "__main__":
    word, *arguments = sys.argv[1:]
    if word == "export":
        export(*arguments)
    else:
        run(*arguments)
