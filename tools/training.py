"""What the trainings of the mini models share: scenes as batches, a schedule in minutes, averaged weights, hub folders."""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fixtures.scenes import EVALUATION_SEED, LABELS, TEST_SEED, Scene, make_scene

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_REPORT_EVERY_S = 240
MINI = Path(__file__).resolve().parent.parent / "locara_label" / "mini"


def one_thread() -> None:
    """Two trainings side by side on two cores lose a factor of ten when each starts a pool of threads."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def pixels(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """A picture as the model takes it at a height and width, float32 [3, h, w]: PIL bilinear, ImageNet mean and deviation."""
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    scaled = (np.asarray(resized, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def training_scenes(rng: Generator, count: int, sizes: Sequence[tuple[int, int]]) -> list[Scene]:
    """New scenes, each drawn at one of some (height, width) in pixels: real pictures are not of the model's input size."""
    seeds = rng.integers(EVALUATION_SEED, size=count)
    return [make_scene(int(seed), sizes[at]) for seed, at in zip(seeds, rng.integers(len(sizes), size=count), strict=True)]


def monitoring_scenes(count: int = 60) -> Iterator[Scene]:
    """Scenes of 256 x 256 that no training learns from, but that choose which weights it keeps."""
    return (make_scene(EVALUATION_SEED + i) for i in range(count))


def evaluation_scenes(count: int) -> Iterator[Scene]:
    """Scenes of 256 x 256 for the figures that are published: nothing learns from them or is chosen by them."""
    return (make_scene(TEST_SEED + i) for i in range(count))


class AveragedWeights:
    """An exponential moving average of a model's weights, in `model`."""

    def __init__(self, source: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def update(self, source: nn.Module) -> None:
        """Move towards the source, quickly at first."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mean, value in zip(self.model.state_dict().values(), source.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value.detach(), share)
            else:
                mean.copy_(value)


@dataclass
class Progress:
    """How far a training is; time counts on over restarts."""

    minutes: float
    step: int = 0
    spent_s: float = 0.0
    best: float = 0.0

    @property
    def fraction(self) -> float:
        """Of the time budget, 0 to 1."""
        return min(1.0, self.spent_s / (60 * self.minutes))

    def rate(self, peak: float, warm_up_steps: int = 200) -> float:
        """Learning rate: linear warm-up by steps, then half a cosine over the time budget."""
        return peak * min(1.0, (self.step + 1) / warm_up_steps) * 0.5 * (1 + math.cos(math.pi * self.fraction))


@dataclass
class Training:
    """A model, its optimizer, its averaged weights and its progress, which together survive in one checkpoint file."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: AveragedWeights
    progress: Progress

    def step(self, loss: Tensor, rate: float, started_s: float) -> None:
        """One update from a loss; `started_s` is when (time.monotonic) the work on this step began."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.averaged.update(self.model)
        self.progress.step += 1
        self.progress.spent_s += time.monotonic() - started_s

    def save(self, path: Path) -> None:
        """Write the checkpoint; an interrupted write leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.model.state_dict(),
            "averaged_steps": self.averaged.steps,
            "progress": [self.progress.step, self.progress.spent_s, self.progress.best],
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.model.load_state_dict(state["averaged"])
        self.averaged.steps = state["averaged_steps"]
        self.progress.step, self.progress.spent_s, self.progress.best = state["progress"]


class Task(Protocol):
    """What a family adds to the common loop."""

    def examples(self, rng: Generator, count: int) -> Sequence[Any]:
        """What it learns from next, of seeds below `EVALUATION_SEED`; mostly `training_scenes`."""

    def loss(self, model: nn.Module, examples: Sequence[Any], fraction: float) -> Tensor:
        """Loss on a batch; `fraction` of the time is over."""

    def figure(self, model: nn.Module) -> float:
        """What the mini is judged by, on what chooses weights, mostly `monitoring_scenes`; the larger the better."""

    def export(self, model: nn.Module) -> None:
        """Write the hub folder."""


def start(model: nn.Module, minutes: float) -> Training:
    """A fresh training of a model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02, betas=(0.9, 0.98))
    return Training(model, optimizer, AveragedWeights(model, 0.998), Progress(minutes))


def train(training: Training, task: Task, options: argparse.Namespace) -> None:
    """Until the minutes are used up; every few minutes a checkpoint, a figure, and an export of the averaged weights."""
    progress = training.progress
    rng = np.random.default_rng(progress.step + 1)
    losses: deque[float] = deque(maxlen=50)
    reported_s = progress.spent_s
    while progress.fraction < 1:
        began_s = time.monotonic()
        loss = task.loss(training.model, task.examples(rng, options.batch), progress.fraction)
        training.step(loss, progress.rate(options.peak), began_s)
        losses.append(loss.item())
        if progress.step % 50 == 0:
            print(f"step {progress.step} {progress.spent_s / 60:.1f} min loss {np.mean(losses):.3f}", flush=True)
        if progress.spent_s - reported_s > _REPORT_EVERY_S or progress.fraction >= 1:
            reported_s = progress.spent_s
            report(training, task, options.checkpoint)


def report(training: Training, task: Task, checkpoint: Path) -> None:
    """Save, measure on a few scenes, export when at least about as good as ever."""
    progress = training.progress
    training.save(checkpoint)
    figure = task.figure(training.averaged.model)
    print(f"== step {progress.step} figure {figure:.4f}", flush=True)
    if figure >= progress.best - 0.005:
        progress.best = max(figure, progress.best)
        task.export(training.averaged.model)


def arguments(description: str | None, peak: float) -> argparse.Namespace:
    """The command line of a training."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluate", action="store_true", help="judge the shipped weights and exit")
    parser.add_argument("--count", type=int, default=200, help="scenes to judge on")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peak", type=float, default=peak, help="highest learning rate")
    parser.add_argument("--checkpoint", type=Path, default=Path("mini.pt"))
    return parser.parse_args()


def run(
    description: str | None,
    *,
    peak: float,
    evaluate: Callable[[int], None],
    make: Callable[[], nn.Module],
    task: Callable[[Progress], Task],
) -> None:
    """What a training's command line asks for.

    Args:
        peak: highest learning rate, unless the user gives another.
        evaluate: prints the figures of the shipped weights on a number of `evaluation_scenes`.
        make: the model to train, with its first weights.
        task: what the family adds, for a training that is so far.
    """
    options = arguments(description, peak)
    one_thread()
    if options.evaluate:
        evaluate(options.count)
        return
    torch.manual_seed(0)
    training = start(make(), options.minutes)
    training.resume(options.checkpoint)
    train(training, task(training.progress), options)


def print_by_label(values: Sequence[float] | NDArray[np.float64]) -> None:
    """A line for each label."""
    for label, value in zip(LABELS, values, strict=True):
        print(f"{label:10} {value:.3f}")


def squares(*sides: int) -> list[tuple[int, int]]:
    """Sizes of square scenes."""
    return [(side, side) for side in sides]


def enlarged(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The (height, width) of an input, and up to a third more."""
    return [(size[0] * sixths // 6, size[1] * sixths // 6) for sixths in (6, 7, 8)]


def batch_of(scenes: Sequence[Scene], size: tuple[int, int]) -> Tensor:
    """Model input of some scenes at a height and width, float32 [B, 3, h, w]."""
    return torch.from_numpy(np.stack([pixels(scene.image, size) for scene in scenes]))


def label_names() -> dict[str, Any]:
    """The `id2label` and `label2id` of a config."""
    return {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}


def write_hub_folder(model: Any, folder: Path, size: dict[str, int], processor: dict[str, Any]) -> None:
    """config.json, preprocessor_config.json and model.safetensors in float16, each replaced in one go."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": [type(model).__name__], "dtype": "float16"}
    _write(folder / "config.json", json.dumps(config, indent=2, sort_keys=True).encode() + b"\n")
    preprocessing = processor | {
        "do_reduce_labels": False,
        "do_resize": True,
        "size": size,
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
    _write(folder / "preprocessor_config.json", json.dumps(preprocessing, indent=2).encode() + b"\n")
    with tempfile.TemporaryDirectory() as full:
        # Only the library's own writer gives the tensors their published names.
        model.save_pretrained(full)
        tensors = load_file(Path(full) / "model.safetensors")
    _write(folder / "model.safetensors", save({name: _halved(value) for name, value in tensors.items()}, {"format": "pt"}))


def _halved(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def square(side: int) -> dict[str, int]:
    """The `size` of a preprocessor config for square inputs."""
    return {"height": side, "width": side}


def input_side(folder: Path) -> int:
    """Side in pixels of the square input that a hub folder asks for, or the shorter one."""
    size = json.loads((folder / "preprocessor_config.json").read_text())["size"]
    return int(size.get("height") or size["shortest_edge"])
