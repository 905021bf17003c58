"""Network -> ONNX with one input and one output, as the head `classify` reads it."""

from __future__ import annotations

import copy
import io
import warnings

import torch

from recipes.classify.dataset import INPUT
from recipes.classify.network import ResNet
from recipes.od_seg.export import OPSET, folded


def to_onnx(network: ResNet) -> bytes:
    """Logits out, batch normalisation folded into the convolutions."""
    ready = folded(copy.deepcopy(network).eval())
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs nothing but torch is called the old one
        torch.onnx.export(ready, (torch.zeros(1, 3, INPUT, INPUT),), target, opset_version=OPSET, dynamo=False,
                          input_names=["image"], output_names=["logits"])  # fmt: skip
    return target.getvalue()
