"""Losses of the Grounding DINO mini: every cell and every query near an object is taught, not one matched query for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SPANNED = (1.8, 7.0)
"""How many cells of a level an object may span whose centre that level is taught to find."""


@dataclass(frozen=True)
class Asked:
    """Prompts of B scenes: ids and mask [B, T]; objects' boxes [N, 4] (centre, size; shares of the side); what each token means.

    `means` is bool [N, T] for each scene: whether a token belongs to a phrase that means the object.
    """

    ids: Tensor
    mask: Tensor
    boxes: list[Tensor]
    means: list[Tensor]


def focal(logits: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Sum of the sigmoid focal loss (Lin et al. 2017) over the counted entries."""
    safe = logits.masked_fill(~counted, 0.0)
    target = wanted.to(safe.dtype)
    error = functional.binary_cross_entropy_with_logits(safe, target, reduction="none")
    chance = safe.sigmoid()
    missed = torch.where(wanted, 1 - chance, chance)
    return (torch.where(wanted, 0.3, 0.7) * missed**2 * error * counted).sum()


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes [..., 4] given by centre and size, one to one."""
    low_one, high_one = one[..., :2] - one[..., 2:] / 2, one[..., :2] + one[..., 2:] / 2
    low_other, high_other = other[..., :2] - other[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2
    both = (torch.minimum(high_one, high_other) - torch.maximum(low_one, low_other)).clamp(min=0).prod(-1)
    hull = (torch.maximum(high_one, high_other) - torch.minimum(low_one, low_other)).clamp(min=0).prod(-1)
    either = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - both
    iou = both / either.clamp(min=1e-6)
    return iou, iou - (hull - either) / hull.clamp(min=1e-6)


def box_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Sum over pairs of box logits [P, 4] and true boxes [P, 4]."""
    found = logits.sigmoid()
    return 5 * (found - boxes).abs().sum() + 2 * (1 - overlap(found, boxes)[1]).sum()


def owners(boxes: Tensor, levels: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """For each cell of all levels, int64 [S]: whose centre it has to find, and whose box it may learn; -1 for nobody's."""
    centre, inside = [], []
    for height, width in levels:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        cells = torch.tensor([width, height])
        away = (torch.stack([x, y], -1).reshape(-1, 1, 2) - boxes[None, :, :2]).abs()
        far = (away * cells).amax(-1)
        spanned = (boxes[:, 2:] * cells).amax(-1)
        fits = (spanned > SPANNED[0]) & (spanned < SPANNED[1])
        centre.append(_nearest(far, (far < 1.0) & fits))
        inside.append(_nearest(far, (away < boxes[None, :, 2:] * 0.35).all(-1) & (spanned > 1)))
    return torch.cat(centre), torch.cat(inside)


def _nearest(far: Tensor, allowed: Tensor) -> Tensor:
    if not far.shape[1]:
        return torch.full(far.shape[:1], -1)
    nearest, at = far.masked_fill(~allowed, torch.inf).min(1)
    return torch.where(nearest.isfinite(), at, -1)


def proposal_loss(found: Any, asked: Asked, levels: Sequence[tuple[int, int]]) -> Tensor:
    """The encoder's proposals, taught like a plain detector: the cells in the middle of an object find it."""
    total, hits = torch.zeros(()), 1
    length = asked.ids.shape[1]
    for at, boxes in enumerate(asked.boxes):
        said, coordinates = found.enc_outputs_class[at, :, :length], found.enc_outputs_coord_logits[at]
        centre, inside = owners(boxes, levels)
        wanted = _wanted(asked.means[at], centre)
        total = total + focal(said, wanted, asked.mask[at].bool().expand_as(wanted))
        hits += int(wanted.any(-1).sum())
        learns = (inside >= 0) & coordinates.isfinite().all(-1)
        if learns.any():
            total = total + box_loss(coordinates[learns], boxes[inside[learns]]) * 20 / int(learns.sum())
    return total / hits


def _wanted(means: Tensor, owner: Tensor) -> Tensor:
    """Which tokens each cell or query should match, bool [S, T]."""
    if not len(means):
        return torch.zeros(len(owner), means.shape[1], dtype=torch.bool)
    return means[owner.clamp(min=0)] & (owner >= 0)[:, None]


def decoder_loss(stages: Sequence[tuple[Tensor, Tensor, Tensor]], asked: Asked) -> Tensor:
    """Every query that is on an object has to say so and to fit its box."""
    total, hits = torch.zeros(()), 1
    for said, coordinates, start in stages:
        for at, boxes in enumerate(asked.boxes):
            owner, sure = _matched(start[at], coordinates[at], boxes)
            wanted = _wanted(asked.means[at], owner)
            total = total + focal(said[at], wanted, asked.mask[at].bool()[None] & sure[:, None])
            hits += int(wanted.any(-1).sum())
            if (owner >= 0).any():
                total = total + box_loss(coordinates[at][owner >= 0], boxes[owner[owner >= 0]]) * 5 / int((owner >= 0).sum())
    return total / hits


def _matched(start: Tensor, coordinates: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The object that each query is on, int64 [Q] or -1, and whether that is clear, bool [Q]."""
    count = len(start)
    if not len(boxes):
        return torch.full((count,), -1), torch.ones(count, dtype=torch.bool)
    with torch.no_grad():
        before = overlap(start[:, None].expand(-1, len(boxes), -1), boxes[None].expand(count, -1, -1))[0]
        after = overlap(coordinates.sigmoid()[:, None].expand(-1, len(boxes), -1), boxes[None].expand(count, -1, -1))[0]
        best, at = torch.maximum(before, after).max(1)
        return torch.where(best > 0.5, at, -1), (best > 0.5) | (best < 0.4)
