"""Training in torch: clipped gradients, an average of the weights, one cycle of the learning rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from camagent.errors import FileUnusable, InputError, printable
from recipes.od_seg.augment import augment
from recipes.od_seg.classes import Classes
from recipes.od_seg.losses import Batch, losses
from recipes.od_seg.network import OdSegNet, parameters
from recipes.od_seg.pack import Pack
from recipes.od_seg.targets import encode

_MOST_WORKERS = 16
_MEMORY = 0.999  # of the average, once there is something to remember
_FEWEST_STEPS = 20  # of a cycle of the learning rate: a tenth of it must be more than one step


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. `clip`: the greatest length of the gradient."""

    epochs: int = 40
    batch: int = 32
    rate: float = 2e-3
    seed: int = 1
    clip: float = 5.0
    device: str = "auto"  # auto, cpu, cuda
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one round over all samples came to."""

    number: int
    loss: float  # mean of the steps
    parts: Mapping[str, float]
    gradient: float  # the longest gradient before it was clipped
    clipped: float  # share of the steps in which it was
    seconds: float


class Looks:
    """The samples as torch's loader wants them: each epoch sees every sample in another way, the same for the same seed."""

    def __init__(self, samples: Pack, seed: int, *, plain: bool = False) -> None:
        """`plain`: as they are."""
        self.samples, self.seed, self.plain = samples, seed, plain

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Any, ...]:
        """Of (epoch, index): picture, cells, boxes, class ids, areas."""
        epoch, index = place
        sample = self.samples.sample(index)
        if not self.plain:
            sample = augment(sample, np.random.default_rng([self.seed, epoch, index]))
        wanted = encode(sample)
        return sample.picture, wanted.cells, wanted.boxes, wanted.class_ids, wanted.areas


class Order:
    """In which order an epoch sees the samples: another one each time, the same for the same seed."""

    def __init__(self, count: int, seed: int) -> None:
        """`epoch` is set from outside, before each round."""
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in np.random.default_rng([self.seed, self.epoch]).permutation(self.count).tolist():
            yield self.epoch, index


def train(samples: Pack, classes: Classes, settings: Settings, weights: Path | None, tell: Callable[[Epoch], None],
          step: Callable[[int, int], None] = lambda *_: None) -> OdSegNet:  # fmt: skip
    """Trains on `samples` and gives the averaged network, on the CPU. `tell` hears of every epoch, `step` of every step.

    Raises InputError: no samples, a device that is not there, or `weights` of another network.
    """
    if not len(samples) or not classes.areas:
        raise InputError("there is nothing to train on", evidence={"pictures": len(samples), "areas": ", ".join(classes.areas)},
                         fix="give labelled pictures and at least one area: the network has two outputs")  # fmt: skip
    torch.manual_seed(settings.seed)
    device = _device(settings.device)
    network = OdSegNet(classes)
    if weights is not None:
        _fill(network, weights, classes)
    network.to(device, memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=_average, use_buffers=True)
    order = Order(len(samples), settings.seed)
    loader = _loader(Looks(samples, settings.seed), order, settings)
    rounds = max(1, len(samples) // settings.batch)
    optimiser = torch.optim.AdamW(_groups(network), lr=settings.rate)
    steps = max(rounds * settings.epochs, _FEWEST_STEPS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps, pct_start=0.1)
    for epoch in range(settings.epochs):
        order.epoch = epoch
        tell(_epoch(network, average, loader, optimiser, schedule, settings, epoch, len(classes.boxes), step))
    trained: OdSegNet = average.module.cpu().eval()
    return trained


def save(path: Path, network: OdSegNet, classes: Classes) -> None:
    """Writes a checkpoint. Raises FileUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        torch.save({"boxes": classes.boxes, "areas": classes.areas, "weights": state}, path)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def restore(path: Path) -> tuple[OdSegNet, Classes]:
    """A checkpoint's network. Raises InputError."""
    found = _read(path)
    classes = Classes(tuple(found["boxes"]), tuple(found["areas"]))
    network = OdSegNet(classes)
    _fill(network, path, classes)
    return network.eval(), classes


def _epoch(network: Any, average: Any, loader: Any, optimiser: Any, schedule: Any, settings: Settings, number: int, count: int,
           step: Callable[[int, int], None]) -> Epoch:  # fmt: skip
    network.train()
    device = next(network.parameters()).device
    began, sums, lengths = time.monotonic(), torch.zeros(5, device=device), []
    for done, items in enumerate(loader, 1):
        batch = Batch(*(item.to(device, non_blocking=True) for item in items))
        pictures = batch.pictures.to(memory_format=torch.channels_last).float() / 255
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            boxes, masks = network(pictures)
        parts = losses(boxes.float(), masks.float(), batch, count)
        loss = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        lengths.append(nn.utils.clip_grad_norm_(network.parameters(), settings.clip).detach())
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        sums += torch.stack([loss, *parts.values()]).detach()
        step(done, len(loader))
    means = (sums / max(1, len(lengths))).tolist()
    long = torch.stack(lengths)
    return Epoch(number + 1, means[0], dict(zip(parts, means[1:], strict=True)), float(long.max()),
                 float((long > settings.clip).float().mean()), time.monotonic() - began)  # fmt: skip


def _loader(looks: Looks, order: Order, settings: Settings) -> Any:
    """Workers are started anew, once, not forked: see seeds.drawn."""
    workers = min(settings.workers, _MOST_WORKERS)
    return DataLoader(looks, settings.batch, sampler=order, num_workers=workers, collate_fn=collate, worker_init_fn=_alone,
                      multiprocessing_context="spawn" if workers else None, persistent_workers=workers > 0,
                      drop_last=len(looks) >= settings.batch, pin_memory=torch.cuda.is_available())  # fmt: skip


def _average(averaged: Any, current: Any, steps: Any) -> None:
    """Moves the averaged weights towards the current ones; the memory grows, or short trainings end as they began."""
    memory = ((1 + steps) / (10 + steps)).clamp(max=_MEMORY)
    for mine, new in zip(averaged, current, strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, 1 - memory)
        else:  # how many batches a normalisation has seen
            mine.copy_(new)


def _alone(worker: int) -> None:
    """One thread per worker: OpenCV would take all processors in each."""
    del worker
    cv2.setNumThreads(1)


def collate(items: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Samples of one step -> the fields of a Batch, on the CPU."""
    pictures, cells, boxes, class_ids, areas = zip(*items, strict=True)
    numbered = [np.concatenate([np.full((len(one), 1), index), one], axis=1) for index, one in enumerate(cells)]
    return (torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.from_numpy(np.concatenate(numbered)),
            torch.from_numpy(np.concatenate(boxes)), torch.from_numpy(np.concatenate(class_ids)),
            torch.from_numpy(np.stack(areas)))  # fmt: skip


def _groups(network: Any) -> list[dict[str, Any]]:
    """Weights shrink, biases and normalisation do not."""
    weights = list(network.parameters())
    return [{"params": [one for one in weights if one.ndim > 1], "weight_decay": 0.01},
            {"params": [one for one in weights if one.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip


def _device(wanted: str) -> Any:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise InputError("there is no CUDA device", evidence={"--device": wanted, "torch": torch.__version__},
                         fix="leave --device out: the CPU takes longer and does the same")  # fmt: skip
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:
        raise InputError(f"{printable(path)} is no checkpoint of this recipe: {printable(exc)}",
                         fix="give the .pt file that 'train' wrote") from exc  # fmt: skip
    return found


def _fill(network: OdSegNet, path: Path, classes: Classes) -> None:
    found = _read(path)
    theirs = Classes(tuple(found["boxes"]), tuple(found["areas"]))
    if theirs != classes:
        raise InputError(
            f"{printable(path)} was trained for other classes",
            evidence={"checkpoint": ", ".join(theirs.labels), "data set": ", ".join(classes.labels)},
            fix="train without --weights, or with the same classes in the same order",
        )
    network.load_state_dict(found["weights"])


__all__ = ["Epoch", "Looks", "Settings", "collate", "parameters", "restore", "save", "train"]
