"""Train the SAM 2 mini (boxes and clicks to masks) on synthetic scenes, or judge the shipped one.

Usage::

    OMP_NUM_THREADS=1 taskset -c 1 python -m tools.train_sam2_mini --minutes 150 --checkpoint /tmp/sam2.pt
    python -m tools.train_sam2_mini --evaluate

A model that only hears whether its masks are right stays on a plateau for a long time: it has to learn at once to see and to
look where the prompt points. Dense heads on the embeddings (labels, and the way to the object's centre) teach it to see, and
attention between prompt and picture starts with equal projections of both positions, which lets it look where it is told. Heads
on the decoder's tokens, which tell the object's label and box, teach it to carry what it saw there to the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

from fixtures.scenes import LABELS, Scene
from tools.sam2_modules import MaskDecoder, VisionEncoder
from tools.sam2_prompts import PROMPTS, Prompts, box_of, correct, draw_boxes, draw_clicks, draw_targets, shrink
from tools.training import (
    MINI,
    batch_of,
    enlarged,
    evaluation_scenes,
    input_side,
    monitoring_scenes,
    run,
    square,
    training_scenes,
    write_hub_folder,
)

STAGES = ((0.4, 128), (0.75, 192), (1.0, 256))
"""Until which share of the time which side in pixels: shapes are learned quickly on small pictures, borders on large ones."""
CHANNELS = 128
FOLDER = MINI / "sam2"
PROCESSOR = {"image_processor_type": "Sam2ImageProcessor"}
CORRECTIONS_FROM = 0.25


def side_at(fraction: float) -> int:
    """Side of the input in pixels after a share of the time."""
    return next(side for until, side in STAGES if fraction < until or until == 1)


def make_model(side: int = STAGES[-1][1]) -> Any:
    """A fresh model of about 1.5 million parameters for inputs of a side in pixels."""
    dims = [24, 48, 96, 192]
    backbone = Sam2HieraDetConfig(
        image_size=[side, side],
        hidden_size=dims[0],
        num_attention_heads=1,
        blocks_per_stage=[1, 1, 3, 1],
        embed_dim_per_stage=dims,
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 8, 8],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=dims[::-1],
        backbone_feature_sizes=[[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        fpn_hidden_size=CHANNELS,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=CHANNELS, image_size=side, patch_size=16)
    decoder = Sam2MaskDecoderConfig(hidden_size=CHANNELS, mlp_dim=256, num_attention_heads=4, iou_head_hidden_dim=128)
    return Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))


def initialise(model: Any) -> None:
    """Random weights of useful size (the library's are made for loading), equal positions, equal projections of positions."""
    for name, value in model.named_parameters():
        if name.endswith(("pos_embed", "pos_embed_window")):
            nn.init.trunc_normal_(value, std=0.02)
        elif name.endswith(".weight") and value.dim() >= 2 and "embed" not in name:
            nn.init.xavier_uniform_(value) if value.dim() == 2 else nn.init.kaiming_uniform_(value, a=5**0.5)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)
    transformer = model.mask_decoder.transformer
    for layer in transformer.layers:
        _equal_projections(layer.cross_attn_token_to_image, 1.7)
        _equal_projections(layer.cross_attn_image_to_token, 1.0)
    _equal_projections(transformer.final_attn_token_to_image, 1.7)


def _equal_projections(attention: Any, gain: float) -> None:
    weight = nn.init.orthogonal_(torch.empty_like(attention.q_proj.weight)) * gain
    attention.q_proj.weight.data.copy_(weight)
    attention.k_proj.weight.data.copy_(weight)


class Trainee(nn.Module):  # type: ignore[misc]
    """The model, and heads that only serve to teach it: on its embeddings to see, on its tokens to know what is meant."""

    def __init__(self) -> None:
        super().__init__()
        self.sam = make_model()
        with torch.no_grad():
            initialise(self.sam)
        widths = (CHANNELS // 8, CHANNELS // 4, CHANNELS)
        self.heads = nn.ModuleList(nn.Conv2d(width, len(LABELS) + 2, 1) for width in widths)
        self.told = nn.ModuleList(nn.Linear(CHANNELS, len(LABELS) + 4) for _ in range(2))

    @property
    def side(self) -> int:
        """Of the input, in pixels."""
        return int(self.sam.prompt_encoder.input_image_size)

    def take(self, side: int) -> None:
        """Other inputs from now on; no weight depends on the side."""
        prompt = self.sam.prompt_encoder
        prompt.input_image_size = side
        prompt.image_embedding_size, prompt.mask_input_size = (side // 16,) * 2, (side // 4,) * 2

    def see(self, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor, Tensor]:
        """The three embeddings of B pictures."""
        return VisionEncoder(self.sam)(batch_of(scenes, (self.side, self.side)))  # type: ignore[no-any-return]

    def answer(self, embeddings: Sequence[Tensor], prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Mask logits [P, 4, S/4, S/4] and predicted IoU [P, 4]; embeddings of one picture or one for each prompt."""
        return self.answer_and_tell(embeddings, prompts)[:2]

    def answer_and_tell(self, embeddings: Sequence[Tensor], prompts: Prompts) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The same, and what the mask's and the first point's token tell of the object: label and box [P, L + 4]."""
        count, quarter = len(prompts.points), self.side // 4
        logits = torch.zeros(count, 1, quarter, quarter) if prompts.logits is None else prompts.logits
        has_mask = torch.full((count,), float(prompts.logits is not None))
        decoder, (fine, middle, coarse) = MaskDecoder(self.sam), embeddings
        tokens, image = decoder.attend(coarse, prompts.points, prompts.labels, decoder.dense(logits, has_mask))
        masks, iou, _ = decoder.paint(tokens, image, fine, middle)
        return masks, iou, [head(tokens[:, 0, at]) for head, at in zip(self.told, (2, 6), strict=True)]


def mask_errors(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [P, K] of logits [P, K, h, w] against soft masks [P, h, w], and IoU [P, K]."""
    target = truth[:, None].expand_as(logits)
    error = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    chance = logits.sigmoid()
    dice = 1 - (2 * (chance * target).sum((2, 3)) + 1) / ((chance + target).sum((2, 3)) + 1)
    with torch.no_grad():
        found, wanted = logits > 0, target > 0.5
        iou = (found & wanted).sum((2, 3)) / (found | wanted).sum((2, 3)).clamp(min=1)
    return 2 * error + dice, iou


def answer_loss(masks: Tensor, iou: Tensor, truth: Tensor, ambiguous: bool) -> Tensor:
    """Loss of four masks [P, 4, h, w]; the three alternatives share the work after a single click."""
    fine = functional.interpolate(masks[:, :1], size=truth.shape[1:], mode="bilinear")
    single, single_iou = mask_errors(fine, truth)
    loss = single.mean() + functional.mse_loss(iou[:, :1], single_iou)
    if ambiguous:
        coarse = functional.avg_pool2d(truth[:, None], 2)[:, 0]
        several, several_iou = mask_errors(masks[:, 1:], coarse)
        loss = loss + 0.5 * several.min(1).values.mean() + 0.2 * several.mean() + functional.mse_loss(iou[:, 1:], several_iou)
    return loss


def seeing_loss(trainee: Trainee, embeddings: Sequence[Tensor], scenes: Sequence[Scene]) -> Tensor:
    """Labels and ways to the centres of the objects, at every level."""
    total = torch.zeros(())
    for head, feature in zip(trainee.heads, embeddings, strict=True):
        said, cells = head(feature), feature.shape[-1]
        targets = [_dense_target(scene, cells) for scene in scenes]
        labels, ways = (torch.from_numpy(np.stack(parts)) for parts in zip(*targets, strict=True))
        total = total + functional.cross_entropy(said[:, :-2], labels)
        total = total + (said[:, -2:] - ways).abs().mul(ways.abs().sum(1, keepdim=True) > 0).mean() * 3
    return total / len(trainee.heads)


def _dense_target(scene: Scene, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    labels = cv2.resize(scene.labels.astype(np.uint8), (cells, cells), interpolation=cv2.INTER_NEAREST_EXACT)
    ways = np.zeros((2, cells, cells), np.float32)
    axis = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    for item in scene.objects:
        mask = cv2.resize(item.mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
        area = max(float(mask.sum()), 1e-3)
        x, y = float((mask.sum(0) * axis).sum()) / area, float((mask.sum(1) * axis).sum()) / area
        inside = mask > 0.5
        ways[0][inside] = np.broadcast_to(x - axis, (cells, cells))[inside] * 4
        ways[1][inside] = np.broadcast_to((y - axis)[:, None], (cells, cells))[inside] * 4
    return labels.astype(np.int64), ways


def telling_loss(told: Sequence[Tensor], truth: Tensor, labels: Tensor) -> Tensor:
    """Label and box of the object, as the tokens tell them."""
    boxes = torch.tensor(np.array([box_of(mask) for mask in truth.numpy()], np.float32)) / truth.shape[1]
    wanted = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    losses = [functional.cross_entropy(said[:, :-4], labels) * 0.3 + (said[:, -4:] - wanted).abs().mean() * 4 for said in told]
    return torch.stack(losses).mean()


class Prompted:
    """The task of this family: boxes and single clicks, later also corrections of its own answers."""

    def __init__(self, seed: int, fraction: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.side = side_at(fraction)

    def examples(self, rng: Generator, count: int) -> list[Scene]:
        """Scenes to scale and up to a third larger."""
        return training_scenes(rng, count, enlarged((self.side, self.side)))

    def loss(self, trainee: Trainee, scenes: Sequence[Scene], fraction: float) -> Tensor:
        """Loss on a batch."""
        self.side = side_at(fraction)
        trainee.take(self.side)
        embeddings = trainee.see(scenes)
        targets = [draw_targets(self.rng, scene, self.side) for scene in scenes]
        truth, labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*targets, strict=True))
        repeated = [level.repeat_interleave(PROMPTS, 0) for level in embeddings]
        prompts = self._prompts(truth)
        rounds = int(self.rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15])) if fraction > CORRECTIONS_FROM else 0
        for _ in range(rounds):
            prompts = self._corrected(trainee, repeated, prompts, truth)
        masks, iou, told = trainee.answer_and_tell(repeated, prompts)
        single_click = prompts.points.shape[1] == 1
        teaching = seeing_loss(trainee, embeddings, scenes) + telling_loss(told, truth, labels)
        answering = answer_loss(masks, iou, truth, single_click and fraction > CORRECTIONS_FROM)
        return answering + teaching * max(0.1, 1 - 1.5 * fraction)

    def _prompts(self, truth: Tensor) -> Prompts:
        masks = truth.numpy()
        if self.rng.random() < 0.45:
            return draw_boxes(self.rng, masks, 0.08)
        points = torch.from_numpy(draw_clicks(self.rng, masks > 0.5, 0.3))
        return Prompts(points[:, None], torch.ones(len(points), 1, dtype=torch.int64))

    def _corrected(self, trainee: Trainee, embeddings: Sequence[Tensor], prompts: Prompts, truth: Tensor) -> Prompts:
        with torch.no_grad():
            masks, _ = trainee.answer(embeddings, prompts)
            return correct(self.rng, prompts, masks[:, 0], truth, 0.5)

    def figure(self, trainee: Trainee) -> float:
        """Mean of the three IoUs that the mini is judged by."""
        trainee.take(self.side)
        found = judge(trainee, monitoring_scenes())
        print("  ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
        return float(np.mean([found["box"], found["click"], found["corrected"]]))

    def export(self, trainee: Trainee) -> None:
        """Write the hub folder, for the side that was trained last."""
        sized = make_model(self.side)
        sized.load_state_dict(trainee.sam.state_dict())
        quarter = {"height": self.side // 4, "width": self.side // 4}
        write_hub_folder(sized, FOLDER, square(self.side), PROCESSOR | {"mask_size": quarter})


def judge(trainee: Trainee, scenes: Iterable[Scene]) -> dict[str, float]:
    """Mean IoU over the objects of some scenes, at the scenes' own size.

    "box": the exact box. "click": one click as deep inside as can be. "anywhere": one click on a random pixel. "corrected": the
    former after two more clicks, each in the middle of the largest error. "filled": what filling the box gives.
    """
    trainee.eval()
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ("box", "click", "anywhere", "corrected", "best of 3", "filled")}
    with torch.inference_mode():
        for scene in scenes:
            if scene.objects:
                for name, ious in _judge_scene(trainee, scene, rng).items():
                    found[name] += ious
    trainee.train()
    return {name: float(np.mean(values)) for name, values in found.items()}


def _judge_scene(trainee: Trainee, scene: Scene, rng: Generator) -> dict[str, list[float]]:
    full = np.stack([item.mask for item in scene.objects])
    small = np.stack([shrink(mask, trainee.side) for mask in full])
    embeddings = trainee.see([scene])
    boxes = _exact_boxes(full, trainee.side)
    found = {"filled": _filled(full), "box": _ious(trainee.answer(embeddings, boxes)[0][:, 0], full)}
    for name, deep in (("anywhere", 0.0), ("click", 1.0)):
        points = torch.from_numpy(draw_clicks(rng, small > 0.5, deep))
        prompts = Prompts(points[:, None], torch.ones(len(points), 1, dtype=torch.int64))
        masks = trainee.answer(embeddings, prompts)[0]
        found[name] = _ious(masks[:, 0], full)
    found["best of 3"] = np.max([_ious(masks[:, i], full) for i in (1, 2, 3)], 0).tolist()
    for _ in range(2):
        prompts = correct(rng, prompts, masks[:, 0], torch.from_numpy(small), 1)
        masks = trainee.answer(embeddings, prompts)[0]
    found["corrected"] = _ious(masks[:, 0], full)
    return found


def _exact_boxes(masks: NDArray[np.bool_], side: int) -> Prompts:
    height, width = masks.shape[1:]
    boxes = np.array([box_of(mask) for mask in masks.astype(np.float32)], np.float32)
    boxes *= np.tile(np.array([side / width, side / height], np.float32), 2)
    return Prompts(torch.from_numpy(boxes.reshape(-1, 2, 2) - 0.5), torch.tensor([[2, 3]]).expand(len(masks), 2))


def _filled(masks: NDArray[np.bool_]) -> list[float]:
    areas = [(box_of(mask), mask.sum()) for mask in masks.astype(np.float32)]
    return [float(area / ((x1 - x0) * (y1 - y0))) for (x0, y0, x1, y1), area in areas]


def _ious(logits: Tensor, masks: NDArray[np.bool_]) -> list[float]:
    found = functional.interpolate(logits[:, None], size=masks.shape[1:], mode="bilinear")[:, 0].numpy() > 0
    both, either = (found & masks).sum((1, 2)), (found | masks).sum((1, 2))
    return (both / np.maximum(either, 1)).tolist()  # type: ignore[no-any-return]


def evaluate(count: int) -> None:
    """Print the figures of the shipped weights."""
    trainee = Trainee()
    trainee.sam = Sam2Model.from_pretrained(FOLDER, dtype=torch.float32)
    trainee.take(input_side(FOLDER))
    found = judge(trainee, evaluation_scenes(count))
    print("  ".join(f"{name} {value:.3f}" for name, value in found.items()), f"on {count} unseen scenes")


def main() -> None:
    """Command line."""
    run(__doc__, peak=1.2e-3, evaluate=evaluate, make=Trainee, task=lambda progress: Prompted(progress.step, progress.fraction))


if __name__ == "__main__":
    main()
