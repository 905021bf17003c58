"""Training in torch: another look of every picture in each step, clipped gradients, one cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from camagent.errors import InputError
from recipes.classify.dataset import Samples
from recipes.classify.network import ResNet
from recipes.classify.weights import Checkpoint, Fit, backbone

_SHIFT = 5  # pixels that a look is moved at most
_KEPT = 0.3  # of the learning rate, for a backbone that knows something already


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. `clip`: the greatest length of the gradient."""

    steps: int = 600
    batch: int = 32
    rate: float = 4e-3
    seed: int = 1
    clip: float = 5.0
    threads: int = 1


def fresh(classes: int, seed: int) -> ResNet:
    """A network that knows nothing; the same for the same seed."""
    torch.manual_seed(seed)
    return ResNet(classes)


def fill(network: ResNet, checkpoint: Checkpoint) -> Fit:
    """Loads what fits, in place. Raises WeightsMisfit where the backbone is another."""
    fit = backbone(checkpoint, {name: tuple(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(np.array(checkpoint.arrays[name])) for name in fit.taken}, strict=False)
    return fit


def arrays(network: ResNet) -> dict[str, NDArray[np.generic]]:
    """By name, as a checkpoint keeps them."""
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def train(network: ResNet, samples: Samples, settings: Settings, tell: Callable[[float], object], *,
          knows: bool = False) -> ResNet:  # fmt: skip
    """Trains in place on the CPU. `tell` hears the loss of every step; `knows`: the backbone was loaded. Raises InputError."""
    if len(samples.class_ids) < 2:
        raise InputError("there is nothing to train on", evidence={"pictures": len(samples.class_ids)}, fix="give pictures")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    pictures = torch.from_numpy(samples.pictures).permute(0, 3, 1, 2)
    wanted = torch.from_numpy(samples.class_ids)
    rates = [settings.rate * (_KEPT if knows else 1.0), settings.rate]
    groups = [{"params": part.parameters(), "lr": rate}
              for part, rate in zip((network.backbone, network.head), rates, strict=True)]  # fmt: skip
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=max(settings.steps, 20), pct_start=0.2)
    network.train()
    for _ in range(settings.steps):
        chosen = torch.from_numpy(random.integers(0, len(wanted), settings.batch))
        loss = functional.cross_entropy(network(look(pictures[chosen], random)), wanted[chosen], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimiser.step()
        schedule.step()
        tell(loss.item())
    network.eval()
    return network


def look(pictures: Any, random: np.random.Generator) -> Any:
    """(n, 3, 64, 64) bytes -> floats 0..1: mirrored, moved, in another light."""
    shown = pictures.float() / 255
    for axis in (2, 3):
        flipped = torch.from_numpy(random.random(len(shown)) < 0.5)[:, None, None, None]
        shown = torch.where(flipped, shown.flip(axis), shown)
    across, down = random.integers(0, 2 * _SHIFT + 1, 2).tolist()
    height, width = shown.shape[2:]
    shown = functional.pad(shown, (_SHIFT,) * 4, mode="replicate")[:, :, down : down + height, across : across + width]
    light = random.uniform(0.7, 1.3, (len(shown), 1, 1, 1)) * random.normal(1, 0.06, (len(shown), 3, 1, 1))
    return (shown * torch.from_numpy(light.astype(np.float32))).clamp(0, 1)


def share_right(network: ResNet, samples: Samples) -> float:
    """0..1: the share of pictures whose best score is their class's."""
    with torch.no_grad():
        scores = network.eval()(torch.from_numpy(samples.pictures).permute(0, 3, 1, 2).float() / 255)
    return float((scores.argmax(1).numpy() == samples.class_ids).mean())
