"""Train the memory of the SAM 2 mini on synthetic clips, or judge the shipped one.

Usage::

    OMP_NUM_THREADS=1 taskset -c 1 python -m tools.train_sam2_video_mini --minutes 120 --batch 4 --checkpoint /tmp/memory.pt
    python -m tools.train_sam2_video_mini --evaluate --count 20

The image encoder stays as it is: it knows the shapes already. Everything else learns from short pieces of clips: a prompt on the
first frame, then what memory gives on the next ones, through time, from the model's own masks. The mask decoder goes on learning
prompts on the first frames, so that it forgets nothing of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from fixtures.scenes import EVALUATION_SEED, TEST_SEED, Clip, SceneObject, make_clip
from tools.sam2_modules import VisionEncoder
from tools.sam2_prompts import Prompts, box_of, draw_boxes, draw_clicks, shrink
from tools.sam2_video_modules import MemoryAttention, MemoryEncoder, PointingDecoder
from tools.train_sam2_mini import CHANNELS, FOLDER, PROCESSOR, answer_loss, mask_errors
from tools.training import batch_of, input_side, run, square, write_hub_folder

MEMORIES, POINTERS = 7, 16
OBJECTS = 4
"""Most of each clip, in training."""
SHORT, LONG, SHORT_SHARE = (2, 4), (4, 8), 0.4
"""Frames of a piece (the end excluded): short ones teach to find an object again, sooner; long ones to go on from own masks."""
STRIDES = (1, 1, 2, 3, 5)
LONGEST = 48
"""Frames of a clip that pieces are taken from."""
ABSENT = -1024.0
JUDGED_FRAMES = 40
CLEAR = 60
"""Pixels of an object that can be shown."""


def make_config() -> Any:
    """The picture model's configuration with a memory of two layers, which tracks with one mask."""
    base = AutoConfig.from_pretrained(FOLDER)
    side = base.prompt_encoder_config.image_size
    return Sam2VideoConfig(
        vision_config=base.vision_config,
        prompt_encoder_config=base.prompt_encoder_config,
        mask_decoder_config=base.mask_decoder_config,
        image_size=side,
        num_maskmem=MEMORIES,
        max_object_pointers_in_encoder=POINTERS,
        multimask_output_for_tracking=False,
        memory_attention_hidden_size=CHANNELS,
        memory_attention_feed_forward_hidden_size=2 * CHANNELS,
        memory_attention_num_layers=2,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_encoder_hidden_size=CHANNELS,
        mask_downsampler_embed_dim=CHANNELS,
        memory_fuser_embed_dim=CHANNELS,
        memory_fuser_intermediate_dim=2 * CHANNELS,
    )


def make_model() -> Any:
    """The shipped picture model with a fresh memory, or the shipped model whole, if it has one."""
    config = AutoConfig.from_pretrained(FOLDER)
    if config.model_type == "sam2_video":
        return Sam2VideoModel.from_pretrained(FOLDER, dtype=torch.float32)
    model = Sam2VideoModel(make_config())
    learned = Sam2Model.from_pretrained(FOLDER, dtype=torch.float32).state_dict()
    missing = model.load_state_dict(learned, strict=False)
    if missing.unexpected_keys:
        raise SystemExit(f"the picture model has more than a video model: {missing.unexpected_keys[:5]}")
    with torch.no_grad():
        for name in missing.missing_keys:
            _initialise(name, model.get_parameter(name))
    return model


def _initialise(name: str, value: Tensor) -> None:
    if name.endswith("weight") and value.dim() == 2:
        nn.init.xavier_uniform_(value)
    elif name.endswith("weight") and value.dim() == 4:
        nn.init.kaiming_uniform_(value, a=5**0.5)
    elif "positional" in name or "pointer" in name or "embedding" in name:
        nn.init.trunc_normal_(value, std=0.02)


@dataclass
class Past:
    """What is remembered of K objects: memories [K, C, h, w] and pointers [K, D], oldest first; the first is the prompt's."""

    memories: list[Tensor] = field(default_factory=list)
    pointers: list[Tensor] = field(default_factory=list)


class Trainee(nn.Module):  # type: ignore[misc]
    """The model, and the ways through it that tracking takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sam = make_model()
        self.sam.vision_encoder.requires_grad_(False)

    @property
    def side(self) -> int:
        """Of the input, in pixels."""
        return int(self.sam.image_size)

    def see(self, clips: Sequence[Clip]) -> list[Tensor]:
        """The three embeddings of the frames of clips of one length, [B, T, ...]."""
        frames = [frame for clip in clips for frame in clip.frames]
        with torch.no_grad():
            levels = VisionEncoder(self.sam)(batch_of(frames, (self.side, self.side)))
        return [level.unflatten(0, (len(clips), -1)) for level in levels]

    def prompted(self, levels: Sequence[Tensor], prompts: Prompts) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masks [K, 4, h, w], IoU [K, 4], presence [K, 1] and pointers [K, 4, D] on embeddings of one frame for each object."""
        quarter = self.side // 4
        count = len(prompts.points)
        no_mask = torch.zeros(count, 1, quarter, quarter), torch.zeros(count)
        fine, middle, coarse = levels
        return PointingDecoder(self.sam)(fine, middle, coarse, prompts.points, prompts.labels, *no_mask)  # type: ignore[no-any-return]

    def recall(self, coarse: Tensor, past: Past) -> Tensor:
        """The coarsest embeddings [K, D, h, w] in the light of the past."""
        away = len(past.memories)
        recent = range(max(away - MEMORIES + 1, 1), away)
        offsets = torch.tensor([0, *(away - at for at in recent)])
        memory = torch.stack([past.memories[at] for at in (0, *recent)], 1)
        pointing = (0, *range(max(away - POINTERS + 1, 1), away))
        shares = torch.tensor([(away - at) / (POINTERS - 1) for at in pointing])
        pointers = torch.stack([past.pointers[at] for at in pointing], 1)
        return MemoryAttention(self.sam)(coarse, memory, offsets, pointers, shares)

    def remember(self, past: Past, coarse: Tensor, logits: Tensor, presence: Tensor, pointer: Tensor, *, hard: bool) -> None:
        """Adds a frame to the past: logits [K, h, w], presence [K, 1], pointer [K, D]."""
        shown = torch.where(presence[..., None] > 0, logits, ABSENT)[:, None]
        past.memories.append(MemoryEncoder(self.sam)(coarse, shown, presence, torch.full((len(logits),), float(hard))))
        past.pointers.append(pointer)


def piece(rng: Generator, seed: int, length: int, side: int) -> Clip:
    """Some frames of a clip, closer together or farther apart, in either order."""
    stride = int(rng.choice(STRIDES))
    start = int(rng.integers(max(LONGEST - length * stride, 1)))
    clip = make_clip(seed, [start + stride * at for at in range(length)], (side, side))
    return clip if rng.random() < 0.5 else Clip(clip.frames[::-1])


def masks_of(clip: Clip, identity: int, side: int) -> NDArray[np.float32]:
    """An object's masks at half the input's side, float32 [T, S/2, S/2]; zeros where it is out of sight."""
    half = side // 2
    found = ({item.identity: item for item in frame.objects}.get(identity) for frame in clip.frames)
    return np.stack([np.zeros((half, half), np.float32) if item is None else shrink(item.mask, side) for item in found])


def nothing(count: int) -> Prompts:
    """The point that says nothing, for each object."""
    return Prompts(torch.zeros(count, 1, 2), torch.full((count, 1), -1))


def first_objects(rng: Generator, clip: Clip, most: int) -> list[SceneObject]:
    """Some of the objects that the first frame shows well enough to be clicked on."""
    shown = [item for item in clip.frames[0].objects if np.count_nonzero(item.mask) >= CLEAR]
    return [shown[at] for at in rng.permutation(len(shown))[:most]]


def presence_loss(said: Tensor, truth: Tensor) -> Tensor:
    """Presence logits [K, 1] against masks [K, h, w]."""
    return functional.binary_cross_entropy_with_logits(said[:, 0], (truth.sum((1, 2)) > 4).float())


def tracked_loss(logits: Tensor, iou: Tensor, truth: Tensor) -> Tensor:
    """The first mask [K, h, w] and its IoU [K] against truth [K, 2h, 2w]; only of objects in sight."""
    there = truth.sum((1, 2)) > 4
    if not there.any():
        return logits.sum() * 0
    fine = functional.interpolate(logits[there][:, None], size=truth.shape[1:], mode="bilinear")
    error, found = mask_errors(fine, truth[there])
    return error.mean() + functional.mse_loss(iou[there][:, None], found)


class Tracking:
    """The task of this family: a prompt on the first frame, the object's masks on the next ones."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.lengths = SHORT

    def examples(self, rng: Generator, count: int) -> list[Clip]:
        """Pieces of clips, all of one length, that show something on their first frame."""
        side, length = input_side(FOLDER), int(self.rng.integers(*self.lengths))
        drawn = (piece(self.rng, int(seed), length, side) for seed in rng.integers(EVALUATION_SEED, size=10 * count))
        shown = (clip for clip in drawn if first_objects(self.rng, clip, OBJECTS))
        return [clip for clip, _ in zip(shown, range(count), strict=False)]

    def loss(self, trainee: Trainee, clips: Sequence[Clip], fraction: float) -> Tensor:
        """Of all objects at once."""
        self.lengths = SHORT if fraction < SHORT_SHARE else LONG
        objects = [(at, item.identity) for at, clip in enumerate(clips) for item in first_objects(self.rng, clip, OBJECTS)]
        truth = torch.from_numpy(np.stack([masks_of(clips[at], identity, trainee.side) for at, identity in objects], 1))
        levels, owner, past = trainee.see(clips), torch.tensor([at for at, _ in objects]), Past()
        frames = [[level[owner, at] for level in levels] for at in range(len(truth))]
        start = self._start(trainee, frames[0], truth[0], past)
        later = []
        for (fine, middle, coarse), wanted in zip(frames[1:], truth[1:], strict=True):
            masks, iou, presence, pointers = trainee.prompted((fine, middle, trainee.recall(coarse, past)), nothing(len(objects)))
            later.append(tracked_loss(masks[:, 0], iou[:, 0], wanted) + 0.5 * presence_loss(presence, wanted))
            trainee.remember(past, coarse, masks[:, 0], presence, pointers[:, 0], hard=False)
        return 0.4 * start + torch.stack(later).mean()

    def _start(self, trainee: Trainee, levels: Sequence[Tensor], truth: Tensor, past: Past) -> Tensor:
        single = bool(self.rng.random() < 0.35)
        prompts = self._click(truth) if single else draw_boxes(self.rng, truth.numpy(), 0.08)
        masks, iou, presence, pointers = trainee.prompted(levels, prompts)
        best = 1 + iou[:, 1:].argmax(1) if single else torch.zeros(len(truth), dtype=torch.int64)
        each = torch.arange(len(truth))
        trainee.remember(past, levels[2], masks[each, best], presence, pointers[each, best], hard=True)
        return answer_loss(masks, iou, truth, single) + presence_loss(presence, truth)

    def _click(self, truth: Tensor) -> Prompts:
        points = torch.from_numpy(draw_clicks(self.rng, truth.numpy() > 0.5, 0.3))
        return Prompts(points[:, None], torch.ones(len(points), 1, dtype=torch.int64))

    def figure(self, trainee: Trainee) -> float:
        """Mean IoU over frames and objects."""
        found = judge(trainee, (make_clip(EVALUATION_SEED + at, JUDGED_FRAMES) for at in range(8)))
        print(f"IoU {found:.3f}", flush=True)
        return found

    def export(self, trainee: Trainee) -> None:
        """Write the hub folder."""
        quarter = {"height": trainee.side // 4, "width": trainee.side // 4}
        write_hub_folder(trainee.sam, FOLDER, square(trainee.side), PROCESSOR | {"mask_size": quarter})


def judge(trainee: Trainee, clips: Iterator[Clip]) -> float:
    """Mean IoU over objects and later frames, up to three objects by their boxes on the first frame; nothing right is 1."""
    return float(np.mean([value for clip in clips if clip.frames[0].objects for value in _ious(trainee, clip)]))


def _ious(trainee: Trainee, clip: Clip) -> list[float]:
    objects = clip.frames[0].objects[:3]
    truth = torch.from_numpy(np.stack([masks_of(clip, item.identity, trainee.side) for item in objects], 1)) > 0.5
    boxes = torch.tensor(np.array([box_of(mask.numpy().astype(np.float32)) for mask in truth[0]], np.float32)).view(-1, 2, 2) * 2
    prompts = Prompts(boxes, torch.tensor([[2, 3]]).expand(len(objects), -1))
    past = Past()
    found: list[float] = []
    with torch.no_grad():
        levels = trainee.see([clip])
        for at, wanted in enumerate(truth):
            fine, middle, coarse = (level[:, at].expand(len(objects), -1, -1, -1) for level in levels)
            seen = trainee.recall(coarse, past) if at else coarse
            masks, _, presence, pointers = trainee.prompted((fine, middle, seen), nothing(len(objects)) if at else prompts)
            trainee.remember(past, coarse, masks[:, 0], presence, pointers[:, 0], hard=not at)
            shown = functional.interpolate(masks[:, :1], size=wanted.shape[1:], mode="bilinear")[:, 0] > 0
            shown &= presence[..., None] > 0
            both, either = (shown & wanted).sum((1, 2)), (shown | wanted).sum((1, 2))
            found += torch.where(either > 0, both / either.clamp(min=1), 1.0).tolist() if at else []
    return found


def evaluate(count: int) -> None:
    """Print the figure of the shipped weights."""
    found = judge(Trainee().eval(), (make_clip(TEST_SEED + at, 60) for at in range(count)))
    print(f"mean IoU {found:.3f} on {count} unseen clips of 60 frames")


def main() -> None:
    """Command line."""
    run(__doc__, peak=6e-4, evaluate=evaluate, make=Trainee, task=lambda progress: Tracking(progress.step))


if __name__ == "__main__":
    main()
