"""Every cause that can be named: one line each. Adding one: this line, the rung that names it, a test, a docs paragraph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from camagent.selftest.report import Layer


@dataclass(frozen=True, slots=True)
class Known:
    """A cause in general: where it sits, what the user is told, and whether a device can decide it."""

    layer: Layer
    fix: str
    ask: str = ""  # what to send where this device cannot decide


CAUSES: Mapping[str, Known] = MappingProxyType({
    # source
    "stream-unreachable": Known("source", "mend host, port, path or credentials of the camera's url"),
    "stream-client-limit": Known("source", "close other clients of the camera, or raise its connection limit"),
    "transport-mismatch": Known("source", 'set the camera\'s transport explicitly: "tcp" or "udp"'),
    "stream-stalled": Known("source", "check network and camera; the agent reconnects by itself"),
    "stream-frozen": Known("source", "restart the camera's stream; update its firmware"),
    "smart-codec-on": Known("source", "switch off H.264+/H.265+/Smart codec in the camera", "the camera's encoder settings"),
    "wrong-stream-profile": Known("source", "use the main stream or a larger network input"),
    "orientation-wrong": Known("source", "rotate the camera's picture (corridor mode) or the stream"),
    "night-ir-domain": Known("source", "add light, or train on infrared pictures",
                             "10-50 labelled frames from this camera at night"),
    "view-domain": Known("source", "train on this view", "10-50 labelled frames from this camera"),
    "lens-dark-or-covered": Known("source", "uncover and clean the lens, check exposure and light"),
    # decode
    "packet-loss-smear": Known("decode", 'use transport = "tcp", a better link or a lower bit rate'),
    "missing-reference-grey": Known("decode", "wait for a key frame; set a shorter key-frame interval in the camera"),
    "frame-geometry-wrong": Known("decode", "let the decoder tell width and height"),
    "row-stride-ignored": Known("decode", "crop by the buffer's stride, not by its width"),
    "scaler-reject-or-shift": Known("decode", "fall back to the software scaler"),
    "colour-range-or-matrix": Known("decode", "pass colour range and matrix on explicitly"),
    "chroma-order-wrong": Known("decode", "declare NV12 or NV21 as the decoder gives it"),
    # preprocess
    "channel-order-swapped": Known("preprocess", "build the bundle with the other --color"),
    "scale-missing": Known("preprocess", "build the bundle with --scale 0.00392157"),
    "scale-doubled": Known("preprocess", "build the bundle with --scale 1: the model normalises by itself"),
    "scale-not-wanted": Known("preprocess", "build the bundle with --scale 1: the model wants 0..255"),
    "mean-std-wrong": Known("preprocess", "build the bundle with the training's --mean and --std"),
    "preprocess-also-in-graph": Known("preprocess", "drop --scale, --mean and --std: the model's graph begins with them"),
    "layout-nchw-nhwc": Known("preprocess", "declare the layout that the model's input has"),
    "noncontiguous-input": Known("preprocess", "copy the input to contiguous memory"),
    "dtype-mismatch": Known("preprocess", "declare the input type that the model has"),
    "input-size-mismatch": Known("preprocess", "take width and height from the model"),
    "hw-swapped": Known("preprocess", "exchange the input's width and height"),
    "letterbox-vs-stretch": Known("preprocess", "build the bundle with the --resize of the training"),
    "pad-placement-wrong": Known("preprocess", "place the letterbox's padding as in training"),
    "aux-input-wrong": Known("preprocess", "have the model exported with the picture as its only input",
                                           "the model's export command"),
    # backend
    "int8-concat-collapse": Known("backend", "export with separate heads (boxes and scores apart), or keep the output in fp16"),
    "int8-head-compressed": Known("backend", "export with six outputs, or lower the threshold"),
    "int8-calibration-bad": Known("backend", "quantise again with the deployment's preprocessing",
                                  "the float model, the build script and the list of calibration pictures"),
    "fp16-overflow": Known("backend", "use int8 or a hybrid, rescale the layer, or update the runtime"),
    "constant-output": Known("backend", "have the model exported and its bundle built anew: in this file the answer does not "
                                        "depend on the picture"),
    "board-differs-from-simulator": Known("backend", "update the NPU's library and driver on this device, and have the "
                                                     "model converted with the tool of the same version",
                                          "the simulator's outputs for the golden tensor"),
    "multi-core-wrong": Known("backend", "pin the model to one NPU core"),
    "shared-context-race": Known("backend", "give every thread a context of its own"),
    "stale-inference-state": Known("backend", "open a new session per picture, or update the runtime"),
    "runtime-version-mismatch": Known("backend", "update librknnrt.so and the NPU's driver on this device together, or "
                                                 "have the model converted with an older rknn-toolkit2"),
    "model-file-bad": Known("backend", "transfer the model again, built for this SoC"),
    "npu-submit-failed": Known("backend", "update driver and kernel; restart the device"),
    "npu-absent": Known("backend", "use the onnx backend: this device has no NPU that is known"),
    "npu-permission-denied": Known("backend", "add the agent's user to the NPU's group (udev rule 70-camagent.rules)"),
    "npu-runtime-missing": Known("backend", "install the Python package rknn-toolkit-lite2, and put Rockchip's "
                                            "librknnrt.so into /usr/lib"),
    "npu-hung": Known("backend", "restart the device; update the driver"),
    "ep-specific-bug": Known("backend", 'set [onnx] providers = ["CPUExecutionProvider"], or pin another version'),
    "quant-params-ignored": Known("backend", "dequantise once, with the tensor's own scale and zero point"),
    "output-stride-or-layout": Known("backend", "honour the output's strides and layout"),
    "wrong-or-untrained-weights": Known("backend", "check training and file",
                                        "the source model's result on the golden picture, and the training log"),
    # head
    "head-family-mismatch": Known("head", "choose the head that fits the outputs, or export what it decodes"),
    "output-transposed": Known("head", "transpose the output at export"),
    "objectness-assumed": Known("head", "choose the head with or without objectness as the model has it"),
    "sigmoid-missing": Known("head", "apply the sigmoid once: the outputs are logits"),
    "sigmoid-twice": Known("head", "remove one sigmoid: the outputs are probabilities already"),
    "box-format-wrong": Known("head", "build the bundle with --head-param order=xyxy or order=xywh, whichever is not in "
                                      "force now"),
    "box-scale-wrong": Known("head", "build the bundle with --head-param boxes=normalized or boxes=pixels, whichever is "
                                     "not in force now"),
    "anchors-wrong": Known("head", "give the anchors of the training", "the anchors file, or the training checkpoint"),
    "stride-or-order-wrong": Known("head", "sort the outputs by grid size"),
    "decode-done-twice": Known("head", "the graph decodes already: choose the decoded form of the head"),
    "class-count-mismatch": Known("head", "give the label list that the model was trained with"),
    "single-class-halved": Known("head", "use objectness alone: the class column is a constant"),
    "embedded-nms-threshold": Known("head", "export again with a lower threshold in the graph's NMS"),
    "multi-output-order": Known("head", "tell the outputs apart by shape, not by position"),
    "mask-branch-degraded": Known("head", "quantise the mask branch apart"),
    "seg-all-background": Known("head", "check the argmax axis and the normalisation of the map"),
    # filter
    "threshold-too-high": Known("filter", "lower min_score"),
    "hidden-score-floor": Known("filter", "lower the inner score floor"),
    "temporal-confirmation": Known("filter", "ask for fewer confirmations, or raise fps"),
    "tracker-threshold-gap": Known("filter", "align the tracker's thresholds"),
    "class-filter-excludes": Known("filter", "add the class to the camera's filter labels"),
    "label-offset": Known("filter", "give the label list with the right first index (background row or not)"),
    "zone-coordinates-wrong": Known("filter", "give the zone's polygon in 0..1 of the picture"),
    "zone-anchor-point": Known("filter", 'draw the zone where the feet are, or set its anchor to "center"'),
    "mask-or-motion-gate": Known("filter", "make the privacy mask smaller or move it: on the page, or in [[camera.mask]]"),
    "min-area-filter": Known("filter", "lower min_area"),
    "nms-timeout-or-topk": Known("filter", "raise the camera's min_score, so that fewer places are left to look at"),
    "detection-disabled-remotely": Known("filter", "send ON to <camera>/cmd/detect"),
    # publish
    "mqtt-acl-denied": Known("publish", "let the broker's ACL permit this user to write the topic"),
    "mqtt-client-id-clash": Known("publish", "give every agent an id of its own"),
    "mqtt-packet-too-big": Known("publish", "raise the broker's maximum packet size"),
    "mqtt-topic-or-payload-mismatch": Known("publish", "align prefix and case of the topic with the receiver",
                                            "one captured message and the receiver's configuration"),
    "mqtt-wrong-host": Known("publish", "name the broker's address in mqtt.url; inside a container loopback is the container"),
    "mqtt-unreachable": Known("publish", "check mqtt.url, the broker and the network"),
    "mqtt-auth-refused": Known("publish", "mend mqtt.username and mqtt.password_file"),
    "tls-clock-wrong": Known("publish", "set the clock: the broker's certificate is not valid yet, or not any more, by it"),
    "tls-untrusted": Known("publish", "give the broker's authority as mqtt.ca_file"),
    # system
    "error-swallowed": Known("system", "read the errors counted in health and the log"),
    "too-slow-stale-frames": Known("system", "use a smaller model, fewer threads beside it, or a lower fps"),
    "wrong-config-loaded": Known("system", "send SIGHUP, or name the right file: the agent runs another configuration"),
    "memory-exhausted": Known("system", "run fewer models, or a smaller one"),
    "no-bundle": Known("system", "install a bundle of that name: camagent bundle install F.cambundle -c camagent.toml"),
    "bundle-refused": Known("system", "see the refusal's own fix, and docs/refusals.md"),
})  # fmt: skip
