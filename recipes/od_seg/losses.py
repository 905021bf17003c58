"""What training makes small: wrong boxes, wrong classes, cells that see what is not there, areas that do not fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from recipes.od_seg import shape

_WEIGHTS = {"box": 2.0, "objectness": 1.0, "class": 0.6, "areas": 2.0}


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Fitted samples of one step, on the device."""

    pictures: Any  # (n, 3, 288, 512) uint8
    cells: Any  # (m, 4) int64: sample, slot, row, column
    boxes: Any  # (m, 4) float32: x1 y1 x2 y2, pixels of the input
    class_ids: Any  # (m,) int64
    areas: Any  # (n, 144, 256) uint8, places in the list of labels


def losses(boxes: Any, masks: Any, batch: Batch, count: int) -> dict[str, Any]:
    """The parts of the loss, weighted, from the logits of both outputs in float32; `count`: box classes."""
    cells = boxes.reshape(len(boxes), shape.SLOTS, shape.BOX + count, *shape.GRID).permute(0, 1, 3, 4, 2)
    sample, slot, row, column = batch.cells.unbind(1)
    mine = cells[sample, slot, row, column]
    overlap = ciou(_decoded(mine, row, column), batch.boxes)
    wanted = torch.zeros_like(cells[..., 4])
    wanted[sample, slot, row, column] = overlap.detach().clamp(0, 1)
    there = max(1, len(mine))
    classes = functional.one_hot(batch.class_ids, count).to(mine.dtype) * 0.98 + 0.01
    parts = {
        "box": (1 - overlap).sum() / there,
        "objectness": _quality_focal(cells[..., 4], wanted).sum() / there,
        "class": functional.binary_cross_entropy_with_logits(mine[:, shape.BOX :], classes, reduction="sum") / there,
        "areas": _areas(masks, batch.areas, count),
    }
    return {name: value * _WEIGHTS[name] for name, value in parts.items()}


def ciou(one: Any, other: Any) -> Any:
    """Complete intersection over union of boxes (n, 4), (n,), -1..1 (Zheng et al., 2020)."""
    left_top, right_bottom = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(1)
    size, size2 = (one[:, 2:] - one[:, :2]).clamp(min=1e-3), (other[:, 2:] - other[:, :2]).clamp(min=1e-3)
    iou = shared / (size.prod(1) + size2.prod(1) - shared)
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    apart = ((one[:, :2] + one[:, 2:] - other[:, :2] - other[:, 2:]) ** 2).sum(1) / 4
    angle = torch.atan(size2[:, 0] / size2[:, 1]) - torch.atan(size[:, 0] / size[:, 1])
    form = 4 / math.pi**2 * angle**2
    weight = (form / (1 - iou + form + 1e-7)).detach()
    return iou - apart / (around**2).sum(1).clamp(min=1e-3) - weight * form


def _decoded(values: Any, row: Any, column: Any) -> Any:
    """Logits of cells -> boxes in pixels of the input, as the head does it."""
    place = torch.sigmoid(values[:, :4])
    cell = torch.stack([column, row], 1)
    middle = (2 * place[:, :2] - 0.5 + cell) * shape.STRIDE
    half = place[:, 2:] ** 2 * torch.tensor([shape.WIDTH / 2, shape.HEIGHT / 2], device=values.device)
    return torch.cat([middle - half, middle + half], 1)


def _quality_focal(logits: Any, wanted: Any) -> Any:
    """Cross-entropy that forgets the cells it has right, against a soft target (Li et al., 2020)."""
    plain = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return plain * (torch.sigmoid(logits) - wanted).abs() ** 2


def _areas(masks: Any, areas: Any, first: int) -> Any:
    """Cross-entropy and one minus Dice, over all areas."""
    ids = torch.arange(first, first + masks.shape[1], device=masks.device)
    wanted = (areas[:, None] == ids[:, None, None]).to(masks.dtype)
    plain = functional.binary_cross_entropy_with_logits(masks, wanted)
    seen = torch.sigmoid(masks)
    shared, both = (seen * wanted).sum((0, 2, 3)), seen.sum((0, 2, 3)) + wanted.sum((0, 2, 3))
    return plain + (1 - (2 * shared + 1) / (both + 1)).mean()
