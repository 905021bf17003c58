"""LinkNet (Chaurasia and Culurciello, 2017) with LeakyReLU, and a branch that sees objects after its fourth encoder block."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recipes.od_seg import shape
from recipes.od_seg.classes import Classes

SLOPE = 0.1  # of the LeakyReLU
_STEM, _WIDTHS, _BRANCH = 16, (24, 48, 96, 96), 64


class Unit(nn.Sequential):
    """Convolution, batch normalisation, LeakyReLU."""

    def __init__(
        self, inside: int, outside: int, side: int = 3, stride: int = 1, dilation: int = 1, *, last: bool = False
    ) -> None:
        """`last`: the sum that follows is activated instead."""
        steps = [nn.Conv2d(inside, outside, side, stride, side // 2 * dilation, dilation, bias=False), nn.BatchNorm2d(outside)]
        super().__init__(*steps, *([] if last else [nn.LeakyReLU(SLOPE, inplace=True)]))


class Residual(nn.Module):
    """Two convolutions beside a short cut, as in ResNet-18."""

    def __init__(self, inside: int, outside: int, stride: int, dilation: int) -> None:
        """`stride` and `dilation` of the first and of both."""
        super().__init__()
        self.body = nn.Sequential(Unit(inside, outside, 3, stride, dilation), Unit(outside, outside, 3, 1, dilation, last=True))
        plain = inside == outside and stride == 1
        self.cut = nn.Identity() if plain else Unit(inside, outside, 1, stride, last=True)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: Any) -> Any:
        """(n, inside, h, w) -> (n, outside, h / stride, w / stride)."""
        return self.act(self.body(x) + self.cut(x))


class Decoder(nn.Module):
    """LinkNet's decoder block: narrow, enlarge, widen. It enlarges by repeating pixels, which every 8-bit runtime has."""

    def __init__(self, inside: int, outside: int, factor: int) -> None:
        """`factor` 1 or 2."""
        super().__init__()
        self.factor = factor
        self.narrow, self.middle = Unit(inside, inside // 4, 1), Unit(inside // 4, inside // 4)
        self.widen = Unit(inside // 4, outside, 1)

    def forward(self, x: Any) -> Any:
        """(n, inside, h, w) -> (n, outside, h factor, w factor)."""
        x = self.narrow(x)
        if self.factor > 1:
            x = functional.interpolate(x, scale_factor=float(self.factor), mode="nearest")
        return self.widen(self.middle(x))


class OdSegNet(nn.Module):
    """One input (n, 3, 288, 512), 0..1, red first; boxes (n, A (5 + D), 18, 32) and masks (n, S, 144, 256) out, logits."""

    def __init__(self, classes: Classes) -> None:
        """For D = the classes' boxes and S = their areas."""
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.stem = Unit(3, _STEM, 3, 2)
        self.encoder1 = _encoder(_STEM, first, 2)
        self.encoder2 = _encoder(first, second, 2)
        self.encoder3 = _encoder(second, third, 2)
        self.encoder4 = _encoder(third, fourth, 1, dilation=2)  # LinkNet's would halve the grid again: too coarse for people
        self.branch = nn.Sequential(Unit(fourth, _BRANCH), Unit(_BRANCH, _BRANCH))
        self.boxes = nn.Conv2d(_BRANCH, shape.SLOTS * (shape.BOX + len(classes.boxes)), 1)
        self.decoder4, self.decoder3 = Decoder(fourth, third, 1), Decoder(third, second, 2)
        self.decoder2, self.decoder1 = Decoder(second, first, 2), Decoder(first, _STEM, 2)
        self.areas = nn.Sequential(Unit(_STEM, _STEM), nn.Conv2d(_STEM, len(classes.areas), 1))
        self._begin_sceptical(len(classes.boxes))

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Logits of both outputs."""
        one = self.encoder1(self.stem(x))
        two = self.encoder2(one)
        three = self.encoder3(two)
        four = self.encoder4(three)
        up = self.decoder4(four) + three
        up = self.decoder3(up) + two
        up = self.decoder2(up) + one
        return self.boxes(self.branch(four)), self.areas(self.decoder1(up))

    def _begin_sceptical(self, boxes: int) -> None:
        """Objectness starts near 0.01, or the many empty cells drown everything in the first steps (RetinaNet, 2017)."""
        with torch.no_grad():
            self.boxes.bias.view(shape.SLOTS, shape.BOX + boxes)[:, 4].fill_(-4.6)


class Activated(nn.Module):
    """The network as it is exported: everything in 0..1."""

    def __init__(self, network: OdSegNet) -> None:
        """Wraps it."""
        super().__init__()
        self.network = network

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Probabilities and box values of both outputs."""
        boxes, masks = self.network(x)
        return torch.sigmoid(boxes), torch.sigmoid(masks)


def parameters(network: nn.Module) -> int:
    """How many numbers it has learned."""
    return sum(weight.numel() for weight in network.parameters())


def _encoder(inside: int, outside: int, stride: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(Residual(inside, outside, stride, dilation), Residual(outside, outside, 1, dilation))
