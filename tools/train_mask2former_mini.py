"""Train the Mask2Former mini (panoptic) on synthetic scenes, or judge the shipped one.

Usage::

    OMP_NUM_THREADS=1 taskset -c 1 python -m tools.train_mask2former_mini --minutes 95 --checkpoint /tmp/mask2former.pt
    python -m tools.train_mask2former_mini --evaluate

Queries learn slowly when every query competes for every object. Here each stuff class owns a query, and the others sit on
a grid of anchors: the Hungarian cost prefers the anchor next to an object. Only the training knows: the model is a plain
Mask2Former.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SwinConfig,
)

from fixtures.scenes import LABELS, STUFF, Scene
from tools.panoptic_quality import PanopticQuality, Segment
from tools.training import (
    MINI,
    batch_of,
    evaluation_scenes,
    label_names,
    monitoring_scenes,
    print_by_label,
    run,
    square,
    squares,
    training_scenes,
    write_hub_folder,
)

SIDE = 128
GRID = 5
TARGET = SIDE // 2
FOLDER = MINI / "mask2former"
PROCESSOR = {"image_processor_type": "Mask2FormerImageProcessor", "num_labels": len(LABELS), "ignore_index": 255}

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT, DENSE_WEIGHT = 4.0, 5.0, 5.0, 2.0
NO_OBJECT_WEIGHT = 0.15
ANCHOR_COST = 1.0


def make_model() -> Mask2FormerForUniversalSegmentation:
    """A fresh model of about a million parameters."""
    swin = SwinConfig(
        image_size=SIDE,
        embed_dim=24,
        depths=[1, 2, 4, 1],
        num_heads=[1, 2, 4, 8],
        window_size=8,
        drop_path_rate=0.0,
        use_absolute_embeddings=True,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        hidden_dim=64,
        feature_size=64,
        mask_feature_size=64,
        encoder_feedforward_dim=128,
        dim_feedforward=128,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=len(STUFF) + GRID * GRID,
        **label_names(),
    )
    return Mask2FormerForUniversalSegmentation(config)


@dataclass(frozen=True)
class Outputs:
    """Class logits [B, Q, L + 1] and mask logits [B, Q, h, w] of each decoder layer; what the teaching heads say."""

    classes: list[Tensor]
    masks: list[Tensor]
    offsets: Tensor
    labels: list[Tensor]


class Trainee(nn.Module):  # type: ignore[misc]
    """The model, and dense heads on the pixel decoder's features that only serve to teach them."""

    def __init__(self) -> None:
        super().__init__()
        self.mask2former = make_model()
        self.offsets = nn.Conv2d(64, 2, 1)
        self.labels = nn.ModuleList(nn.Conv2d(64, len(LABELS), 1) for _ in range(3))

    def forward(self, pixel_values: Tensor) -> Outputs:
        """Everything that has a loss."""
        out = self.mask2former.model(pixel_values=pixel_values, output_hidden_states=True)
        states = out.transformer_decoder_intermediate_states
        classes = [self.mask2former.class_predictor(state.transpose(0, 1)) for state in states]
        finest = out.pixel_decoder_last_hidden_state
        features = [*out.pixel_decoder_hidden_states[1:], finest]
        labels = [head(feature) for head, feature in zip(self.labels, features, strict=True)]
        return Outputs(classes, list(out.masks_queries_logits), self.offsets(finest), labels)


@dataclass(frozen=True)
class Target:
    """What one picture shows: label ids [N], soft masks [N, T, T], centres (x, y) [N, 2] in 0 to 1."""

    labels: Tensor
    masks: Tensor
    centres: Tensor


def segments_of(scene: Scene) -> list[Segment]:
    """The truth of a scene: its visible stuff, then its objects."""
    labels = scene.labels
    stuff = [(i, labels == i) for i in range(len(STUFF))]
    return [(i, mask) for i, mask in stuff if mask.any()] + [(item.label_id, item.mask) for item in scene.objects]


def make_target(scene: Scene) -> Target:
    """The target of a scene at half the input's side."""
    segments = segments_of(scene)
    masks = [cv2.resize(m.astype(np.float32), (TARGET, TARGET), interpolation=cv2.INTER_AREA) for _, m in segments]
    stacked = torch.from_numpy(np.stack(masks))
    axis = (torch.arange(TARGET) + 0.5) / TARGET
    area = stacked.sum((1, 2)).clamp(min=1e-3)
    x, y = (stacked.sum(1) * axis).sum(1) / area, (stacked.sum(2) * axis).sum(1) / area
    return Target(torch.tensor([label for label, _ in segments]), stacked, torch.stack([x, y], 1))


def _anchors() -> Tensor:
    axis = (torch.arange(GRID) + 0.5) / GRID
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def assign(classes: Sequence[Tensor], masks: Sequence[Tensor], index: int, target: Target) -> Tensor:
    """The query of each segment [N]: fixed for stuff; for things the best by the cost summed over layers."""
    queries = target.labels.clone()
    things = torch.nonzero(target.labels >= len(STUFF))[:, 0]
    if len(things) == 0:
        return queries
    small = functional.avg_pool2d(target.masks[things], 2).flatten(1)
    gap = torch.cdist(_anchors(), target.centres[things]) * GRID
    cost = ANCHOR_COST * gap.square() * len(classes)
    for layer_classes, layer_masks in zip(classes, masks, strict=True):
        chance = layer_classes[index, len(STUFF) :].softmax(-1)
        cost = cost + _mask_cost(layer_masks[index, len(STUFF) :].flatten(1), small)
        cost = cost - CLASS_WEIGHT * chance[:, target.labels[things]]
    rows, columns = linear_sum_assignment(cost.numpy())
    queries[things[torch.from_numpy(columns)]] = torch.from_numpy(rows) + len(STUFF)
    return queries


def _mask_cost(logits: Tensor, truth: Tensor) -> Tensor:
    inside = -functional.logsigmoid(logits) @ truth.T - functional.logsigmoid(-logits) @ (1 - truth).T
    chance = logits.sigmoid()
    overlap = (2 * chance @ truth.T + 1) / (chance.sum(1)[:, None] + truth.sum(1)[None] + 1)
    return MASK_WEIGHT * inside / logits.shape[1] + DICE_WEIGHT * (1 - overlap)


def loss_of(outputs: Outputs, targets: Sequence[Target], dense_weight: float) -> Tensor:
    """Class, mask and dice loss on every layer under one assignment, and the dense losses."""
    classes, masks = outputs.classes, outputs.masks
    with torch.no_grad():
        pairs = [assign(classes, masks, i, target) for i, target in enumerate(targets)]
    rows = torch.cat([torch.full_like(pair, i) for i, pair in enumerate(pairs)])
    queries = torch.cat(pairs)
    wanted = torch.full(classes[0].shape[:2], len(LABELS))
    wanted[rows, queries] = torch.cat([target.labels for target in targets])
    truth = torch.cat([target.masks for target in targets])
    loss = dense_weight * dense_loss(outputs, targets)
    for layer_classes, layer_masks in zip(classes, masks, strict=True):
        loss = loss + _class_loss(layer_classes, wanted) + _mask_loss(layer_masks[rows, queries], truth)
    return loss


def _class_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    weight = torch.ones(len(LABELS) + 1)
    weight[-1] = NO_OBJECT_WEIGHT
    return CLASS_WEIGHT * functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)


def _mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    fine = functional.interpolate(logits[:, None], size=truth.shape[-2:], mode="bilinear")[:, 0]
    cross = functional.binary_cross_entropy_with_logits(fine, truth)
    chance = fine.sigmoid()
    overlap = (2 * (chance * truth).sum((1, 2)) + 1) / (chance.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return MASK_WEIGHT * cross + DICE_WEIGHT * (1 - overlap).mean()


def dense_loss(outputs: Outputs, targets: Sequence[Target]) -> Tensor:
    """Per cell: which label, on three grids, and where the centre of its thing lies."""
    loss = torch.stack([_label_loss(logits, targets) for logits in outputs.labels]).sum()
    owners = [_owners(target, outputs.offsets.shape[-1]) for target in targets]
    centres = torch.stack([target.centres[owner] for target, owner in zip(targets, owners, strict=True)])
    error = (outputs.offsets - 4 * centres.permute(0, 3, 1, 2)).abs().sum(1)
    on_thing = torch.stack([target.labels[owner] for target, owner in zip(targets, owners, strict=True)]) >= len(STUFF)
    return loss + 2 * error[on_thing].sum() / on_thing.sum().clamp(min=1)


def _label_loss(logits: Tensor, targets: Sequence[Target]) -> Tensor:
    wanted = torch.stack([target.labels[_owners(target, logits.shape[-1])] for target in targets])
    error = functional.cross_entropy(logits, wanted, reduction="none")
    on_thing = wanted >= len(STUFF)
    # Stuff fills most of a picture and is easy: each side counts the same.
    return error[~on_thing].mean() + error[on_thing].sum() / on_thing.sum().clamp(min=1)


def _owners(target: Target, cells: int) -> Tensor:
    return functional.avg_pool2d(target.masks, TARGET // cells).argmax(0)


class Panoptic:
    """The task of this family."""

    def examples(self, rng: Generator, count: int) -> list[Scene]:
        """Scenes to scale, a half larger and twice as large."""
        return training_scenes(rng, count, squares(128, 192, 256))

    def loss(self, model: nn.Module, scenes: Sequence[Scene], fraction: float) -> Tensor:
        """Loss on a batch; the dense head teaches less and less."""
        targets = [make_target(scene) for scene in scenes]
        return loss_of(model(batch_of(scenes, (SIDE, SIDE))), targets, DENSE_WEIGHT * (1 - 0.8 * fraction))

    def figure(self, model: nn.Module) -> float:
        """Panoptic quality."""
        return panoptic_quality(model.mask2former, monitoring_scenes()).mean

    def export(self, model: nn.Module) -> None:
        """Write the hub folder."""
        write_hub_folder(model.mask2former, FOLDER, square(SIDE), PROCESSOR)


def make_trainee() -> Trainee:
    """A fresh trainee; positions start as sines, from which the anchors are easily told apart."""
    trainee = Trainee()
    embeddings = trainee.mask2former.model.pixel_level_module.encoder.swin.embeddings
    embeddings.position_embeddings.data[0] = _sines(SIDE // 4, embeddings.position_embeddings.shape[-1])
    return trainee


def _sines(cells: int, channels: int) -> Tensor:
    axis = (torch.arange(cells) + 0.5) / cells
    waves = torch.arange(1, channels // 4 + 1) * (torch.pi / 2)
    curve = torch.cat([torch.sin(axis[:, None] * waves), torch.cos(axis[:, None] * waves)], 1)
    y = curve[:, None].expand(cells, cells, -1)
    x = curve[None].expand(cells, cells, -1)
    return torch.cat([y, x], 2).reshape(cells * cells, channels) * 0.2


def panoptic_quality(model: Mask2FormerForUniversalSegmentation, scenes: Iterable[Scene]) -> PanopticQuality:
    """The figure on some scenes, by transformers' own panoptic post-processing."""
    processor: Any = Mask2FormerImageProcessor()
    quality = PanopticQuality(len(LABELS))
    for scene in scenes:
        with torch.inference_mode():
            out = model(pixel_values=batch_of([scene], (SIDE, SIDE)))
        result = processor.post_process_panoptic_segmentation(
            out, label_ids_to_fuse=set(range(len(STUFF))), target_sizes=[scene.stuff.shape]
        )[0]
        quality.add(_segments(result), segments_of(scene))
    return quality


def _segments(result: dict[str, Any]) -> list[Segment]:
    ids: NDArray[np.int64] = result["segmentation"].numpy()
    # A fused segment is listed once for every query that went into it.
    return list({info["id"]: (info["label_id"], ids == info["id"]) for info in result["segments_info"]}.values())


def evaluate(count: int) -> None:
    """Print the panoptic quality of the shipped weights."""
    model = Mask2FormerForUniversalSegmentation.from_pretrained(FOLDER, dtype=torch.float32).eval()
    quality = panoptic_quality(model, evaluation_scenes(count))
    print_by_label(quality.by_class)
    print(f"PQ {quality.mean:.4f}, SQ {quality.segmentation_quality:.4f} on {count} unseen scenes")


def main() -> None:
    """Command line."""
    run(__doc__, peak=1e-3, evaluate=evaluate, make=make_trainee, task=lambda _: Panoptic())


if __name__ == "__main__":
    main()
