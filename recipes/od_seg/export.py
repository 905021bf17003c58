"""Checkpoint -> ONNX with one input and two outputs, as the head `od-seg` reads them."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from recipes.od_seg import shape
from recipes.od_seg.network import Activated, OdSegNet, Unit

OPSET = 13  # the oldest that has what is needed: vendors' converters lag behind


def to_onnx(network: OdSegNet) -> bytes:
    """The network with its sigmoids, batch normalisation folded into the convolutions."""
    network = folded(copy.deepcopy(network).eval())
    target = io.BytesIO()
    picture = torch.zeros(1, 3, shape.HEIGHT, shape.WIDTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs nothing but torch is called the old one
        torch.onnx.export(Activated(network), (picture,), target, opset_version=OPSET, dynamo=False,
                          input_names=["image"], output_names=["boxes", "masks"])  # fmt: skip
    return target.getvalue()


def folded(network: Any) -> Any:
    """Batch normalisation becomes part of the convolution before it, in place; the network must be in eval mode."""
    for module in network.modules():
        if isinstance(module, Unit):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
    return network
