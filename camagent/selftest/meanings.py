"""What each cause means, in one sentence, for terminal and page. docs/self-test.md says more about each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MEANINGS: Mapping[str, str] = MappingProxyType({
    # source
    "stream-unreachable": "The camera refuses the connection, denies the login, or does not answer.",
    "stream-client-limit": "The camera accepts the connection and sends no media: it serves as many clients as it can.",
    "transport-mismatch": "The stream comes over one of TCP and UDP only, and the other one is asked for.",
    "stream-stalled": "The session is up, but no packet has arrived for longer than stall_timeout.",
    "stream-frozen": "Packets and their times go on, but every decoded picture is the same, down to the last bit.",
    "smart-codec-on": "The camera's smart codec leaves long gaps between pictures or key frames.",
    "wrong-stream-profile": "Objects are only a few pixels high by the time the model sees them.",
    "orientation-wrong": "The picture lies on its side or on its head; turned upright, the model sees on it.",
    "night-ir-domain": "The camera gives a grey infrared picture, and the model was not trained on such pictures.",
    "view-domain": "The model sees well on its golden pictures and weakly from where this camera hangs.",
    "lens-dark-or-covered": "The pictures are black or flat: nothing could be seen on them.",
    # decode
    "packet-loss-smear": "Packets are lost on the way, and the decoder fills the gaps with smear.",
    "missing-reference-grey": "The decoder lacks the pictures that others refer to, and shows grey until the next key frame.",
    "frame-geometry-wrong": "Width and height do not fit the bytes of a frame, and the picture is green or sheared.",
    "row-stride-ignored": "Rows of the decoder's buffer are longer than the picture is wide, and the rest was read as picture.",
    "scaler-reject-or-shift": "The hardware scaler refuses or shifts pictures, and an old one stays in its buffer.",
    "colour-range-or-matrix": "Luma is read in the wrong range or with the wrong matrix, and the picture is washed out.",
    "chroma-order-wrong": "U and V are exchanged: brightness is right, and colours are turned around.",
    # preprocess
    "channel-order-swapped": "Red and blue are exchanged before the model sees the picture.",
    "scale-missing": "The model wants 0..1 and gets 0..255.",
    "scale-doubled": "The picture is scaled down twice, in the agent and in the model, and arrives almost black.",
    "scale-not-wanted": "The model wants 0..255 and gets a picture that is almost black to it.",
    "mean-std-wrong": "Mean and standard deviation are not those of the training.",
    "preprocess-also-in-graph": "The model's graph normalises by itself, and the agent has done it already.",
    "layout-nchw-nhwc": "Planes are read as pixels or pixels as planes: the model sees stripes.",
    "noncontiguous-input": "The runtime reads the input's memory past its strides, and sees another picture than Python does.",
    "dtype-mismatch": "The input was turned into another number type, and with it almost every difference is gone.",
    "input-size-mismatch": "The manifest's input size is not the model's.",
    "hw-swapped": "Width and height of the input are exchanged.",
    "letterbox-vs-stretch": "The picture is fitted into the input in another way than in training.",
    "pad-placement-wrong": "The letterbox's padding lies elsewhere than in training.",
    "aux-input-wrong": "The model asks for a second input beside the picture, and gets nothing or the wrong thing there.",
    # backend
    "int8-concat-collapse": "Boxes and scores were quantised with one scale, and every score is rounded to zero.",
    "int8-head-compressed": "Quantisation squeezes the scores: they come in few steps and never reach the threshold.",
    "int8-calibration-bad": "The quantised model answers something else than the float model to the very same input.",
    "fp16-overflow": "The outputs hold NaN or infinity: a number was too large for half precision.",
    "constant-output": "The model gives the same answer whatever picture it is shown.",
    "board-differs-from-simulator": (
        "Shown the very same picture, this device calculates other numbers than were stored when the bundle was built."
    ),
    "multi-core-wrong": "The outputs are wrong only while several NPU cores work on one picture.",
    "shared-context-race": "Results of another picture or camera come back, because threads share one context.",
    "stale-inference-state": "The first picture's result comes back for every later one.",
    "runtime-version-mismatch": (
        "The NPU's library or driver on this device is older than the tool that the model was converted with."
    ),
    "model-file-bad": "The model file is damaged, or built for another SoC.",
    "npu-submit-failed": "The NPU's driver refuses jobs, and those pictures have no result.",
    "npu-absent": "This device has no NPU that the agent knows.",
    "npu-permission-denied": "The agent's user may not open the NPU's device file.",
    "npu-runtime-missing": "The software that runs models on the NPU is not installed on this device, or cannot be loaded.",
    "npu-hung": "The NPU took a job and did not come back.",
    "ep-specific-bug": "One execution provider computes wrong outputs, and the CPU computes right ones.",
    "quant-params-ignored": "Quantised numbers are read without their scale and zero point, or with a wrong one.",
    "output-stride-or-layout": "The outputs' memory has padding or another layout than it was read with.",
    "wrong-or-untrained-weights": "Everything on the way is right, and the model sees nothing on any picture.",
    # head
    "head-family-mismatch": "The outputs are not what the manifest's head decodes.",
    "output-transposed": "Rows and columns of the output are exchanged, so coordinates are read as scores.",
    "objectness-assumed": "The head reads an objectness column that the model does not have, or misses one that it has.",
    "sigmoid-missing": "The outputs are logits, and the head reads them as probabilities.",
    "sigmoid-twice": "A sigmoid was applied to probabilities, and every score lies between 0.50 and 0.73.",
    "box-format-wrong": (
        "The model gives two corners of each box, and they are read as its centre and its size, or the other way round."
    ),
    "box-scale-wrong": (
        "The model gives the places of boxes as shares of the picture (0 to 1), and they are read as pixels, or the "
        "other way round."
    ),
    "anchors-wrong": "The anchors are not those of the training: boxes lie right and have the wrong size.",
    "stride-or-order-wrong": "The output grids are taken in the wrong order or with the wrong stride.",
    "decode-done-twice": "The graph decodes its boxes, and the head decodes them once more.",
    "class-count-mismatch": "The label list is not as long as the model has classes.",
    "single-class-halved": "The class column of a one-class model is a constant, and halves every score.",
    "embedded-nms-threshold": "The graph has an NMS of its own, and its threshold is above the agent's.",
    "multi-output-order": "The outputs come in another order than the head takes them.",
    "mask-branch-degraded": "Boxes are right and masks empty: the mask coefficients are almost all zero.",
    "seg-all-background": "Every pixel is given to the background, although the map's values differ.",
    # filter
    "threshold-too-high": "The model sees the objects, and min_score lies above their scores.",
    "hidden-score-floor": "A second score limit inside the chain cuts off what min_score would let through.",
    "temporal-confirmation": "Objects must be seen more often in a row than they are seen.",
    "tracker-threshold-gap": "Objects whose scores lie between the tracker's two thresholds are lost.",
    "class-filter-excludes": "The camera's filter labels leave out every class that is seen.",
    "label-offset": "The label list is shifted against the model's class ids.",
    "zone-coordinates-wrong": "A zone's polygon does not lie in the picture.",
    "zone-anchor-point": "Objects are in the zone, but the point that counts, their feet by default, is not.",
    "mask-or-motion-gate": "A privacy mask lies over the place where the objects are: the model sees nothing but grey there.",
    "min-area-filter": "Every object that is seen is smaller than min_area.",
    "nms-timeout-or-topk": (
        "The model points at more places than are looked at in one picture, so true objects among them are left out."
    ),
    "detection-disabled-remotely": "Somebody switched detection off over MQTT, and it stays off over restarts.",
    # publish
    "mqtt-acl-denied": "The broker refuses to pass on what the agent publishes: its user may not write this topic.",
    "mqtt-client-id-clash": "Another client uses the agent's id, and each one throws the other out.",
    "mqtt-packet-too-big": "Messages are larger than the broker takes.",
    "mqtt-topic-or-payload-mismatch": "Messages arrive at the broker, in another topic or form than is listened for.",
    "mqtt-wrong-host": "There is no broker at the address that mqtt.url names.",
    "mqtt-unreachable": "The broker does not answer.",
    "mqtt-auth-refused": "The broker turns down user name or password.",
    "tls-clock-wrong": "This device's clock lies outside the time for which the broker's certificate is valid.",
    "tls-untrusted": "The broker's certificate is not signed by an authority that is trusted here.",
    # system
    "error-swallowed": "Pictures fail with errors, and only an empty result is left of them.",
    "too-slow-stale-frames": "The device is slower than the stream, and most pictures are dropped or come late.",
    "wrong-config-loaded": "The agent runs another configuration or model than the files say.",
    "memory-exhausted": "There is not enough memory for the model.",
    "no-bundle": "There is no bundle of that name on this device.",
    "bundle-refused": "The bundle is refused, and so nothing runs.",
})  # fmt: skip


def meaning(cause: str) -> str:
    """One sentence; for an id that is not known, that."""
    return MEANINGS.get(cause, "A cause that this version has no words for.")
