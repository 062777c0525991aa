"""Train the SegFormer mini (semantic) on synthetic scenes, or judge the shipped one.

Usage::

    OMP_NUM_THREADS=1 taskset -c 0 python -m tools.train_segformer_mini --minutes 80 --checkpoint /tmp/segformer.pt
    python -m tools.train_segformer_mini --evaluate
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from fixtures.scenes import LABELS, STUFF, Scene
from tools.training import (
    MINI,
    batch_of,
    evaluation_scenes,
    input_side,
    label_names,
    monitoring_scenes,
    print_by_label,
    run,
    square,
    squares,
    training_scenes,
    write_hub_folder,
)

SIDE = 192
SMALL_SIDE = 128
SMALL_UNTIL = 0.64
FOLDER = MINI / "segformer"
PROCESSOR = {"image_processor_type": "SegformerImageProcessor"}


def make_model() -> SegformerForSemanticSegmentation:
    """A fresh model of about half a million parameters."""
    config = SegformerConfig(
        depths=[1, 2, 3, 1],
        hidden_sizes=[16, 32, 64, 96],
        num_attention_heads=[1, 2, 4, 6],
        decoder_hidden_size=96,
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        **label_names(),
    )
    return SegformerForSemanticSegmentation(config)


def make_target(scene: Scene, cells: int) -> Tensor:
    """Shares of each label in each cell of the logits' grid, float32 [L, cells, cells]."""
    fine = cv2.resize(scene.labels.astype(np.uint8), (2 * cells, 2 * cells), interpolation=cv2.INTER_NEAREST_EXACT)
    one_hot = functional.one_hot(torch.from_numpy(fine.astype(np.int64)), len(LABELS))
    return functional.avg_pool2d(one_hot.permute(2, 0, 1).float(), 2)


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy and dice over the labels in the batch; logits and truth [B, L, h, w]."""
    chance = logits.softmax(1)
    present = truth.sum((0, 2, 3)) > 0
    overlap = (2 * (chance * truth).sum((0, 2, 3)) + 1) / ((chance + truth).sum((0, 2, 3)) + 1)
    return _cross_entropy(logits, truth) + (1 - overlap[present]).mean()


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    error = functional.cross_entropy(logits, truth, reduction="none")
    thing = truth[:, len(STUFF) :].sum(1)
    # Stuff fills most of a picture and is easy: each side counts the same.
    return (error * (1 - thing)).sum() / (1 - thing).sum().clamp(min=1) + (error * thing).sum() / thing.sum().clamp(min=1)


def label_ious(model: nn.Module, scenes: Iterable[Scene], side: int) -> NDArray[np.float64]:
    """IoU of each label over all scenes, the way the model is used."""
    confusion = np.zeros((len(LABELS), len(LABELS)))
    for scene in scenes:
        with torch.inference_mode():
            logits = model(pixel_values=batch_of([scene], (side, side))).logits
        found = functional.interpolate(logits, size=scene.stuff.shape, mode="bilinear")[0].argmax(0).numpy()
        pairs = scene.labels * len(LABELS) + found
        confusion += np.bincount(pairs.ravel(), minlength=confusion.size).reshape(confusion.shape)
    hit = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hit
    ious: NDArray[np.float64] = np.full(len(LABELS), np.nan)
    np.divide(hit, union, out=ious, where=union > 0)
    return ious


def evaluate(count: int) -> None:
    """Print the mean IoU of the shipped weights."""
    model = SegformerForSemanticSegmentation.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ious = label_ious(model, evaluation_scenes(count), input_side(FOLDER))
    print_by_label(ious)
    print(f"mean IoU {np.nanmean(ious):.4f} on {count} unseen scenes")


class Semantic:
    """The task of this family: small inputs first, which are three times as quick to learn shapes from."""

    side = SMALL_SIDE

    def examples(self, rng: Generator, count: int) -> list[Scene]:
        """Scenes to scale and a half larger."""
        return training_scenes(rng, count, squares(self.side, self.side * 3 // 2))

    def loss(self, model: nn.Module, scenes: Sequence[Scene], fraction: float) -> Tensor:
        """Loss on a batch."""
        self.side = SMALL_SIDE if fraction < SMALL_UNTIL else SIDE
        truth = torch.stack([make_target(scene, self.side // 4) for scene in scenes])
        return loss_of(model(batch_of(scenes, (self.side, self.side))).logits, truth)

    def figure(self, model: nn.Module) -> float:
        """Mean IoU."""
        return float(np.nanmean(label_ious(model, monitoring_scenes(), self.side)))

    def export(self, model: nn.Module) -> None:
        """Write the hub folder."""
        write_hub_folder(model, FOLDER, square(self.side), PROCESSOR)


def main() -> None:
    """Command line."""
    run(__doc__, peak=2.5e-3, evaluate=evaluate, make=make_model, task=lambda _: Semantic())


if __name__ == "__main__":
    main()
