"""How well a video model follows objects through generated clips: J&F by clip, and what a frame takes.

    python -m benchmarks.tracking [--model classic] [--weights DIR] [--clips 10] [--frames 60] [--size 256] [--objects 3]

One exact box shows each of the first objects on the first frame. They turn, cross, leave and come back. No model was trained or
tuned on these clips, unless `--tuning` takes those for choosing. J&F is that of DAVIS, of all frames, the first included. JSON
goes to stdout; exit status 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fixtures.scenes import EVALUATION_SEED, TEST_SEED, Clip, make_clip
from locara_label.datasets.masklets import Masklet, MaskletVideo, visible
from locara_label.datasets.records import Category
from locara_label.datasets.video_scores import VideoScore, evaluate
from locara_label.engine.loading import load_video_model
from locara_label.models.base import VideoModel
from locara_label.models.video_memory import FORWARD, Asked, Course
from locara_label.types import Mask, Prompt

LEAST_J_AND_F = 0.70
OBJECT = Category(1, "object")
Tracks = dict[int, list[Mask | None]]


@dataclass(frozen=True)
class Run:
    """One clip: its score, and milliseconds of the encoder and of the objects, each in all."""

    score: VideoScore
    encode_ms: float
    step_ms: float
    steps: int


def truth(clip: Clip, objects: int) -> Tracks:
    """The first objects of the first frame, by identity: one mask a frame, None where it is out of sight."""
    tracks: Tracks = {item.identity: [] for item in clip.frames[0].objects[:objects]}
    for frame in clip.frames:
        masks = {item.identity: Mask.from_array(item.mask) for item in frame.objects}
        for identity, track in tracks.items():
            track.append(masks.get(identity))
    return tracks


def as_video(tracks: Tracks, clip: Clip) -> MaskletVideo:
    height, width = clip.frames[0].image.shape[:2]
    masklets = tuple(Masklet(identity, OBJECT, tuple(track)) for identity, track in tracks.items())
    return MaskletVideo("clip", width, height, len(clip.frames), tuple(range(len(clip.frames))), masklets)


def follow(model: VideoModel, clip: Clip, tracks: Tracks) -> tuple[Tracks, float, float]:
    """What the model finds from boxes on the first frame; seconds of the encoder, and of all steps."""
    banks, course = [model.bank() for _ in tracks], Course(FORWARD, len(clip.frames))
    prompts: list[Prompt | None] = [Prompt(box=track[0].box) for track in tracks.values() if track[0]]
    found: Tracks = {identity: [] for identity in tracks}
    encode_s = step_s = 0.0
    for number, frame in enumerate(clip.frames):
        began = time.perf_counter()
        embedding = model.encode(frame.image)
        encoded = time.perf_counter()
        asked = [Asked(bank, None if number else prompt) for bank, prompt in zip(banks, prompts, strict=True)]
        masks = [one.mask(embedding.size) for one in model.step(embedding, number, asked, course)]
        step_s += time.perf_counter() - encoded
        encode_s += encoded - began
        for track, mask in zip(found.values(), masks, strict=True):
            track.append(visible(mask))
    return found, encode_s, step_s


def judge(model: VideoModel, clip: Clip, objects: int) -> Run:
    true = truth(clip, objects)
    found, encode_s, step_s = follow(model, clip, true)
    score = evaluate(as_video(found, clip), as_video(true, clip))
    return Run(score, 1000 * encode_s, 1000 * step_s, len(true) * len(clip.frames))


def measure(model: VideoModel, options: argparse.Namespace) -> dict[str, object]:
    seed, size = EVALUATION_SEED if options.tuning else TEST_SEED, (options.size, options.size)
    numbers = range(options.first, options.first + options.clips)
    runs = [judge(model, make_clip(seed + number, options.frames, size), options.objects) for number in numbers]
    scores = [score for run in runs for score in run.score.objects.values()]
    return {
        "model": model.identity,
        "clips": len(runs),
        "objects": len(scores),
        "j": round(float(np.mean([score.j for score in scores])), 3),
        "f": round(float(np.mean([score.f for score in scores])), 3),
        "j_and_f": round(float(np.mean([score.j_and_f for score in scores])), 3),
        "by_object": [round(score.j_and_f, 2) for score in scores],
        "encode_ms": round(sum(run.encode_ms for run in runs) / (len(runs) * options.frames), 1),
        "ms_per_frame_and_object": round(sum(run.step_ms for run in runs) / sum(run.steps for run in runs), 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="classic")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, default=256, help="side of the frames in pixels")
    parser.add_argument("--objects", type=int, default=3, help="most objects of a clip")
    parser.add_argument("--tuning", action="store_true", help="clips that settings may be chosen by")
    options = parser.parse_args(arguments)
    found = measure(load_video_model(options.model, options.weights), options)
    print(json.dumps(found, indent=2))
    return int(float(str(found["j_and_f"])) < LEAST_J_AND_F)


if __name__ == "__main__":
    sys.exit(main())
