"""Train the Grounding DINO mini (phrases to boxes) on synthetic scenes, or judge the shipped one.

Usage::

    OMP_NUM_THREADS=1 taskset -c 1 python -m tools.train_grounding_dino_mini --minutes 150 --checkpoint /tmp/dino.pt
    python -m tools.train_grounding_dino_mini --evaluate

A detection transformer that is taught by one matched query for each object learns for days. So every cell and every query that
is near an object is taught (many for each object; suppression of duplicates cleans up afterwards), the encoder's proposals are
taught like a plain detector's, and dense heads on the image features teach shapes, colours and centres at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from fixtures.scenes import COLOURS, SHAPES, Scene, SceneObject
from locara_label.models.sentences import spans
from tools.captions import (
    SEPARATORS,
    Phrase,
    absent_phrase,
    caption,
    decorate,
    draw_phrases,
    make_tokenizer,
    two_words,
    vocabulary,
    write_vocabulary,
)
from tools.grounding_dino_losses import Asked, decoder_loss, overlap, proposal_loss
from tools.sam2_prompts import box_of
from tools.training import (
    MINI,
    batch_of,
    enlarged,
    evaluation_scenes,
    input_side,
    monitoring_scenes,
    run,
    training_scenes,
    write_hub_folder,
)

STAGES = ((0.35, 128), (0.7, 192), (1.0, 256))
"""Until which share of the time which side in pixels: shapes are learned quickly on small pictures, borders on large ones."""
SHAPES_OF_PICTURES = ((1, 1), (1, 1), (3, 4), (4, 3), (2, 3))
"""Heights to widths, in turn at random; the shorter side is that of the stage."""
LONGEST = 5 / 3
"""The longer side at most, in shorter sides; as published."""
CHANNELS = 96
LEVELS = 4
FOLDER = MINI / "grounding-dino"
PROCESSOR = {"image_processor_type": "GroundingDinoImageProcessor", "format": "coco_detection"}
THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)


def side_at(fraction: float) -> int:
    """Shorter side of the input in pixels after a share of the time."""
    return next(side for until, side in STAGES if fraction < until or until == 1)


def make_model() -> Any:
    """A fresh model of about two million parameters."""
    swin = SwinConfig(
        image_size=256,
        embed_dim=28,
        depths=[1, 1, 3, 1],
        num_heads=[1, 2, 4, 7],
        window_size=8,
        drop_path_rate=0.0,
        out_indices=[2, 3, 4],
    )
    bert = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=CHANNELS,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * CHANNELS,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=CHANNELS,
        num_queries=30,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_feature_levels=LEVELS,
        dropout=0.0,
        fusion_droppath=0.0,
        disable_custom_kernels=True,
    )
    return GroundingDinoForObjectDetection(config)


def initialise(model: Any) -> None:
    """Weights of useful size (the library's are made for loading), and scores that start low: most cells match nothing."""
    for name, value in model.named_parameters():
        if (
            name.endswith("weight")
            and value.dim() == 2
            and not any(part in name for part in ("embed", "sampling", "attention_weights"))
        ):
            nn.init.xavier_uniform_(value)
        if name.endswith(("vision_param", "text_param")):
            nn.init.constant_(value, 0.3)
    inner = model.model
    nn.init.normal_(inner.level_embed, std=0.1)
    text = inner.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    nn.init.constant_(text.weight, 0.1)
    nn.init.constant_(text.bias, 0.2)
    for norm in (inner.enc_output_norm, inner.decoder.layer_norm):
        nn.init.constant_(norm.bias, -0.2)


class Trainee(nn.Module):  # type: ignore[misc]
    """The model, and heads on its image features that only serve to teach it to see: shape, colour, centre and size."""

    def __init__(self) -> None:
        super().__init__()
        self.dino = make_model()
        with torch.no_grad():
            initialise(self.dino)
        self.side = STAGES[-1][1]
        self.tokenizer = make_tokenizer()
        self.heads = nn.ModuleList(nn.Conv2d(CHANNELS, len(SHAPES) + len(COLOURS) + 2 + 4, 1) for _ in range(LEVELS))

    def ask(self, scenes: Sequence[Scene], phrases: Sequence[Sequence[Phrase]], texts: Sequence[Sequence[str]]) -> Asked:
        """Prompts, one for each scene, of phrases as they are typed."""
        encoded = [self.tokenizer.encode(caption(text)).ids for text in texts]
        length = max(map(len, encoded))
        ids = torch.tensor([one + [0] * (length - len(one)) for one in encoded])
        means = [
            _meant(scene.objects, asked, spans(one, SEPARATORS), length)
            for scene, asked, one in zip(scenes, phrases, encoded, strict=True)
        ]
        return Asked(ids, (ids > 0).long(), [_boxes(scene) for scene in scenes], means)

    def see(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Any, list[Tensor]]:
        """What the model says, and its image features by level."""
        features: dict[int, Tensor] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, out, level=level: features.__setitem__(level, out))
            for level, module in enumerate(self.dino.model.input_proj_vision)
        ]
        found = self.dino.model(pixel_values=images, input_ids=ids, attention_mask=mask)
        for hook in hooks:
            hook.remove()
        return found, [features[level] for level in range(LEVELS)]

    def stages(self, found: Any, mask: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Token logits [B, Q, T], box logits [B, Q, 4] and the boxes that each stage of the decoder started from."""
        stages, length = [], mask.shape[1]
        starts = [found.init_reference_points, *found.intermediate_reference_points.unbind(1)]
        for level, hidden in enumerate(found.intermediate_hidden_states.unbind(1)):
            said = self.dino.class_embed[level](hidden, found.encoder_last_hidden_state_text, mask.bool())
            start = starts[level]
            stages.append((said[..., :length], self.dino.bbox_embed[level](hidden) + torch.special.logit(start, eps=1e-5), start))
        return stages


def _boxes(scene: Scene) -> Tensor:
    """Centre and size of each object's visible pixels, float32 [N, 4], as shares of the picture."""
    height, width = scene.image.shape[:2]
    corners = np.array([box_of(item.mask.astype(np.float32)) for item in scene.objects], np.float32).reshape(-1, 4)
    corners /= np.array([width, height, width, height], np.float32)
    return torch.from_numpy(np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1))


def _meant(objects: Sequence[SceneObject], phrases: Sequence[Phrase], where: Sequence[tuple[int, int]], length: int) -> Tensor:
    means = torch.zeros(len(objects), length, dtype=torch.bool)
    for phrase, (start, end) in zip(phrases, where, strict=True):
        for at, item in enumerate(objects):
            if phrase.means(item):
                means[at, start:end] = True
    return means


def seeing_loss(trainee: Trainee, features: Sequence[Tensor], scenes: Sequence[Scene], boxes: Sequence[Tensor]) -> Tensor:
    """Shape, colour, centre and size of the object that a cell is on."""
    total = torch.zeros(())
    for head, feature in zip(trainee.heads, features, strict=True):
        said = head(feature).permute(0, 2, 3, 1)
        for at, scene in enumerate(scenes):
            shapes, colours, owner, axes = _dense_target(scene, said.shape[1:3])
            flat = said[at].reshape(-1, said.shape[-1])
            seen, named, told = flat.split([len(SHAPES) + 1, len(COLOURS) + 1, 4], 1)
            total = total + functional.cross_entropy(seen, shapes) + functional.cross_entropy(named, colours)
            if (owner >= 0).any():
                wanted = boxes[at][owner[owner >= 0]]
                there = torch.cat([wanted[:, :2] - axes[owner >= 0], wanted[:, 2:]], 1) * 4
                total = total + (told[owner >= 0] - there).abs().mean()
    return total / len(features) / len(scenes)


def _dense_target(scene: Scene, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, colour (0 for none) and object (-1 for none) at each cell's middle, int64 [S]; the middles [S, 2]."""
    height, width = size
    rows = ((np.arange(height) + 0.5) / height * scene.image.shape[0]).astype(int)
    columns = ((np.arange(width) + 0.5) / width * scene.image.shape[1]).astype(int)
    owner = np.full(size, -1)
    for at, item in enumerate(scene.objects):
        owner[item.mask[np.ix_(rows, columns)]] = at
    shapes = np.array([0, *(SHAPES.index(item.shape) + 1 for item in scene.objects)])[owner + 1]
    colours = np.array([0, *(list(COLOURS).index(item.colour) + 1 for item in scene.objects)])[owner + 1]
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    axes = torch.from_numpy(np.stack([x, y], -1).reshape(-1, 2).astype(np.float32))
    return (*(torch.from_numpy(part.reshape(-1)) for part in (shapes, colours, owner)), axes)


class Asking:
    """The task of this family: a prompt of some phrases for each scene."""

    def __init__(self, seed: int, fraction: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.side = side_at(fraction)
        self.size = self.side, self.side

    def examples(self, rng: Generator, count: int) -> list[Scene]:
        """Another shape each time, to scale and up to a third larger."""
        height, width = SHAPES_OF_PICTURES[int(self.rng.integers(len(SHAPES_OF_PICTURES)))]
        unit = self.side / min(height, width)
        self.size = int(height * unit), int(width * unit)
        return training_scenes(rng, count, enlarged(self.size))

    def loss(self, trainee: Trainee, scenes: Sequence[Scene], fraction: float) -> Tensor:
        """Loss on a batch."""
        phrases = [draw_phrases(self.rng, scene) for scene in scenes]
        texts = [[decorate(self.rng, phrase.text) for phrase in asked] for asked in phrases]
        asked = trainee.ask(scenes, phrases, texts)
        found, features = trainee.see(batch_of(scenes, self.size), asked.ids, asked.mask)
        levels = [tuple(feature.shape[-2:]) for feature in features]
        self.side = side_at(fraction)
        loss = proposal_loss(found, asked, levels) + decoder_loss(trainee.stages(found, asked.mask), asked)
        return loss + seeing_loss(trainee, features, scenes, asked.boxes) * max(0.1, 1 - 1.3 * fraction)

    def figure(self, trainee: Trainee) -> float:
        """The worse of the two shares that the mini is judged by, at the best threshold."""
        trainee.side = self.side
        found = judge(trainee, monitoring_scenes())
        for threshold, (right, silent) in found.items():
            print(f"{threshold}: right {right:.3f} silent {silent:.3f}", end="  ")
        print(flush=True)
        return max(min(shares) for shares in found.values())

    def export(self, trainee: Trainee) -> None:
        """Write the hub folder, for the side that was trained last."""
        size = {"shortest_edge": self.side, "longest_edge": int(self.side * LONGEST)}
        write_hub_folder(trainee.dino, FOLDER, size, PROCESSOR)
        write_vocabulary(FOLDER)


def judge(trainee: Trainee, scenes: Iterable[Scene]) -> dict[float, tuple[float, float]]:
    """By box threshold: how often the right object is found first, and how often an absent phrase gives nothing.

    Each two-word phrase that is present once is asked for alone; right is a best box with IoU of 0.7. As many absent ones are
    asked for, half of them nearly there: the colour of one object, the shape of another.
    """
    rng = np.random.default_rng(0)
    hits: list[tuple[float, float]] = []
    ghosts: list[float] = []
    for scene in scenes:
        names = [item.phrase for item in scene.objects]
        boxes = _boxes(scene)
        once = [at for at, name in enumerate(names) if names.count(name) == 1]
        absent = [absent_phrase(rng, scene) for _ in once]
        asked = [[two_words(*names[at].split())] for at in once] + [[phrase] for phrase in absent]
        if not asked:
            continue
        scores, best = answers(trainee, scene, asked)
        ious = [float(overlap(best[i], boxes[at])[0]) for i, at in enumerate(once)]
        hits += list(zip(scores[: len(once)], ious, strict=True))
        ghosts += scores[len(once) :]
    scored, fitted = np.array(hits).T
    return {
        threshold: (float(np.mean((scored > threshold) & (fitted >= 0.7))), float(np.mean(np.array(ghosts) <= threshold)))
        for threshold in THRESHOLDS
    }


def answers(trainee: Trainee, scene: Scene, asked: Sequence[Sequence[Phrase]]) -> tuple[list[float], Tensor]:
    """Score and box of the best query for each prompt on one scene."""
    with torch.no_grad():
        prompts = trainee.ask([scene] * len(asked), asked, [[phrase.text for phrase in phrases] for phrases in asked])
        images = batch_of([scene], fitted_size(scene, trainee.side)).expand(len(asked), -1, -1, -1)
        found, _ = trainee.see(images, prompts.ids, prompts.mask)
        said, coordinates, _ = trainee.stages(found, prompts.mask)[-1]
        scores, at = said.sigmoid().amax(-1).max(1)
        return scores.tolist(), coordinates.sigmoid()[torch.arange(len(at)), at]


def fitted_size(scene: Scene, side: int) -> tuple[int, int]:
    """Height and width of the input for a scene, the shorter side given; for pictures up to `LONGEST`."""
    height, width = scene.image.shape[:2]
    return (side * height // width, side) if width < height else (side, side * width // height)


def evaluate(count: int) -> None:
    """Print the figures of the shipped weights."""
    trainee = Trainee()
    trainee.dino = GroundingDinoForObjectDetection.from_pretrained(FOLDER, dtype=torch.float32)
    trainee.side = input_side(FOLDER)
    for threshold, (right, silent) in judge(trainee.eval(), evaluation_scenes(count)).items():
        print(f"box threshold {threshold}: right object {right:.3f}, absent phrase without result {silent:.3f}")


def main() -> None:
    """Command line."""
    run(__doc__, peak=8e-4, evaluate=evaluate, make=Trainee, task=lambda progress: Asking(progress.step, progress.fraction))


if __name__ == "__main__":
    main()
