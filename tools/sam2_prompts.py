"""Prompts for SAM 2 on synthetic scenes: boxes, clicks, and corrections where an answer errs most."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fixtures.scenes import STUFF, Scene

PROMPTS = 6
"""Of each scene."""
ONLY_STUFF = 0.08
"""Share of prompts that mean any region, a piece of ground included, and not an object."""


@dataclass(frozen=True)
class Prompts:
    """P prompts: points [P, N, 2] in pixels of the input, labels [P, N], logits of an earlier answer [P, 1, S/4, S/4] or none."""

    points: Tensor
    labels: Tensor
    logits: Tensor | None = None

    def with_clicks(self, points: Tensor, labels: Tensor, logits: Tensor | None) -> Prompts:
        """One more click on each, points [P, 2] and labels [P]."""
        more = torch.cat([self.points, points[:, None]], 1), torch.cat([self.labels, labels[:, None]], 1)
        return Prompts(*more, logits)


def shrink(mask: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """A mask at half the input's side: the share of each cell that it covers, float32 [S/2, S/2]."""
    shares: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), (side // 2,) * 2, interpolation=cv2.INTER_AREA)
    return shares


def draw_targets(rng: Generator, scene: Scene, side: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """PROMPTS soft masks, float32 [P, S/2, S/2], and their labels: objects, now and then a piece of ground."""
    labels = scene.labels
    ground = [(labels == i, i) for i in range(len(STUFF)) if np.count_nonzero(labels == i) > 0.02 * labels.size]
    things = [(item.mask, item.label_id) for item in scene.objects] or ground
    known = [(shrink(mask, side), label) for mask, label in things + ground]
    order = rng.permutation(len(things)).tolist() * PROMPTS
    picked = [i if rng.random() > ONLY_STUFF else int(rng.integers(len(known))) for i in order[:PROMPTS]]
    return np.stack([known[i][0] for i in picked]), np.array([known[i][1] for i in picked])


def draw_boxes(rng: Generator, masks: NDArray[np.float32], jitter: float) -> Prompts:
    """A box around each mask [P, S/2, S/2], each side moved by up to a share of the box's size."""
    boxes = np.array([box_of(mask) for mask in masks], np.float32) * 2
    size = boxes[:, 2:] - boxes[:, :2]
    boxes += rng.uniform(-jitter, jitter, boxes.shape).astype(np.float32) * np.tile(size, 2)
    corners = torch.from_numpy(boxes.clip(0, 2 * masks.shape[1]).reshape(-1, 2, 2) - 0.5)
    return Prompts(corners, torch.tensor([[2, 3]]).expand(len(masks), 2))


def box_of(mask: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Corners of the cells that a soft mask covers by more than half."""
    inside = mask > 0.5 if (mask > 0.5).any() else mask == mask.max()
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def draw_clicks(rng: Generator, inside: NDArray[np.bool_], deep: float) -> NDArray[np.float32]:
    """A pixel in each region [P, S/2, S/2], float32 [P, 2] in pixels of the input; a share `deep` of them far from any border."""
    return np.array([_click(rng, region, rng.random() < deep) for region in inside], np.float32) * 2 - 0.5


def _click(rng: Generator, region: NDArray[np.bool_], deep: bool) -> tuple[float, float]:
    if not region.any():
        return float(rng.uniform(0, region.shape[1])), float(rng.uniform(0, region.shape[0]))
    if deep:
        depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    else:
        rows, columns = np.nonzero(region)
        at = int(rng.integers(len(rows)))
        y, x = rows[at], columns[at]
    return float(x + rng.random()), float(y + rng.random())


def correct(rng: Generator, prompts: Prompts, logits: Tensor, masks: Tensor, deep: float) -> Prompts:
    """One more click where an answer, logits [P, S/4, S/4], errs most against masks [P, S/2, S/2]; inside if it is right."""
    found = functional.interpolate(logits[:, None], size=masks.shape[1:], mode="bilinear")[:, 0].numpy() > 0
    truth = masks.numpy() > 0.5
    errors = np.stack([_largest_error(f, t) for f, t in zip(found, truth, strict=True)])
    clicks = torch.from_numpy(draw_clicks(rng, errors, deep))
    column, row = ((clicks + 0.5) / 2).long().clamp(0, masks.shape[1] - 1).unbind(1)
    positive = (masks[torch.arange(len(masks)), row, column] > 0.5).long()
    kept = logits[:, None].clamp(-32, 32) if rng.random() < 0.7 or deep == 1 else None
    return prompts.with_clicks(clicks, positive, kept)


def _largest_error(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    best, size = truth, 0
    for wrong in (found & ~truth, truth & ~found):
        count, parts, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
        if count > 1 and stats[1:, cv2.CC_STAT_AREA].max() > size:
            part = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            best, size = parts == part, stats[part, cv2.CC_STAT_AREA]
    return best
