"""SegFormer-B0 with random weights, exported as a beginner would: upsampled to the picture, Softmax, ArgMax.

    python bench/make_segformer.py OUT.onnx [--classes 19] [--size 512] [--exporter dynamo|legacy]

Needs torch, transformers and (for dynamo) onnxscript, and nothing of camagent: any Python that has them will do. Biases and
statistics are random, too, where the library starts with zeros and ones, so that nothing may be left out unnoticed; and the
last layer is scaled so that all classes occur.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

OPSET = {"dynamo": 18, "legacy": 17}  # Rockchip's converter takes 12 to 19


class Naive(nn.Module):  # type: ignore[misc,unused-ignore]
    """Picture -> class ids of its size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Any) -> Any:
        logits = self.model(pixel_values=picture).logits
        large = nn.functional.interpolate(logits, size=picture.shape[2:], mode="bilinear", align_corners=False)
        return large.softmax(dim=1).argmax(dim=1)


def random_model(classes: int) -> Any:
    torch.manual_seed(0)
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm | nn.BatchNorm2d) and module.bias is not None:
                module.bias.add_(torch.randn(module.bias.shape, generator=generator) * 0.1)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
                module.running_var.mul_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
                module.weight.mul_(torch.rand(module.weight.shape, generator=generator) + 0.5)
    return even(model, generator)


def even(model: Any, generator: Any) -> Any:
    """The last layer scaled and shifted so that every class wins somewhere: else a random network sees one class everywhere."""
    with torch.no_grad():
        patches = torch.rand(1, 3, 12, 12, generator=generator)
        picture = nn.functional.interpolate(patches, size=512, mode="bicubic").clamp(0, 1)
        logits = model(pixel_values=picture).logits
        mean, deviation = logits.mean(dim=(0, 2, 3)), logits.std(dim=(0, 2, 3))
        last = model.decode_head.classifier
        last.weight.div_(deviation[:, None, None, None])
        last.bias.sub_(mean).div_(deviation)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--exporter", choices=sorted(OPSET), default="dynamo")
    args = parser.parse_args()
    options: dict[str, Any] = {"opset_version": OPSET[args.exporter], "dynamo": args.exporter == "dynamo"}
    if options["dynamo"]:
        options["external_data"] = False
    picture = torch.rand(1, 3, args.size, args.size)
    names = {"input_names": ["pixel_values"], "output_names": ["classes"]}
    torch.onnx.export(Naive(random_model(args.classes)).eval(), (picture,), args.out, **names, **options)


if __name__ == "__main__":
    main()
