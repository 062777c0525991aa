"""How good a prompt model is on generated scenes: mean IoU by box, by clicks, and of a filled box beside them.

    python -m benchmarks.prompts [--model classic] [--weights DIR] [--scenes 40] [--size 256]

The scenes are those that no mini model was trained on. A corrective click is the deepest pixel of the largest error; the
second and third click of "corrected" are such. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.engine.loading import load_prompt_model
from locara_label.models.base import PromptModel
from locara_label.types import Box, Embedding, Mask, Point, Prompt

Bools = NDArray[np.bool_]
Ask = Callable[[Prompt], Bools]


def deepest(region: Bools) -> tuple[float, Point]:
    """Depth in pixels and place of the pixel farthest from the border of a region."""
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(depth.max()), Point(float(column) + 0.5, float(row) + 0.5)


def correction(truth: Bools, found: Bools) -> Point:
    missing, excess = deepest(truth & ~found), deepest(found & ~truth)
    return missing[1] if missing[0] >= excess[0] else Point(excess[1].x, excess[1].y, positive=False)


def iou(one: Bools, other: Bools) -> float:
    return float((one & other).sum() / max(int((one | other).sum()), 1))


def box_of(truth: Bools) -> Box:
    return Mask.from_array(truth).box


def filled_box(truth: Bools) -> Bools:
    box = box_of(truth)
    filled = np.zeros(truth.shape, bool)
    filled[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    return filled


def random_click(truth: Bools, chance: np.random.Generator) -> Point:
    rows, columns = np.nonzero(truth)
    number = int(chance.integers(len(rows)))
    return Point(float(columns[number]) + 0.5, float(rows[number]) + 0.5)


def corrected(ask: Ask, truth: Bools, first: Prompt, clicks: int) -> Bools:
    found, points = ask(first), first.points
    for _ in range(clicks):
        if (found == truth).all():
            break
        points = (*points, correction(truth, found))
        found = ask(Prompt(points=points, box=first.box))
    return found


def answers(ask: Ask, best: Ask, truth: Bools, chance: np.random.Generator) -> Iterator[tuple[str, Bools]]:
    """Name and mask of every way to ask for one object; `best` answers with the alternative nearest to the truth."""
    middle, box = Prompt(points=(deepest(truth)[1],)), Prompt(box=box_of(truth))
    anywhere = random_click(truth, chance)
    yield "filled_box", filled_box(truth)
    yield "box", ask(box)
    yield "middle_click", ask(middle)
    yield "random_click", ask(Prompt(points=(anywhere,)))
    yield "random_click_best_of_3", best(Prompt(points=(anywhere,), candidates=3))
    yield "corrected", corrected(ask, truth, middle, 2)
    yield "box_corrected", corrected(ask, truth, box, 2)


def measure(model: PromptModel, scenes: int, size_px: int, first: int = 0) -> dict[str, object]:
    chance = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {"encode": [], "box": [], "click": []}
    for number in range(first, first + scenes):
        scene = make_scene(EVALUATION_SEED + number, (size_px, size_px))
        start = time.perf_counter()
        embedding = model.encode(scene.image)
        took["encode"].append(time.perf_counter() - start)
        for item in scene.objects:
            ask, best = asking(model, embedding, took), choosing(model, embedding, item.mask)
            for name, mask in answers(ask, best, item.mask, chance):
                found.setdefault(name, []).append(iou(mask, item.mask))
    means = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    times = {name: round(1000 * float(np.median(values)), 1) for name, values in took.items()}
    return {"model": model.identity, "scenes": scenes, "objects": len(found["box"]), "mean_iou": means, "median_ms": times}


def asking(model: PromptModel, embedding: Embedding, took: dict[str, list[float]]) -> Ask:
    def ask(prompt: Prompt) -> Bools:
        start = time.perf_counter()
        mask = model.decode(embedding, prompt)[0].mask.to_array()
        if len(prompt.points) < 2:
            took["click" if prompt.box is None else "box"].append(time.perf_counter() - start)
        return mask

    return ask


def choosing(model: PromptModel, embedding: Embedding, truth: Bools) -> Ask:
    def choose(prompt: Prompt) -> Bools:
        return max((found.mask.to_array() for found in model.decode(embedding, prompt)), key=lambda mask: iou(mask, truth))

    return choose


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="classic")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--size", type=int, default=256, help="side of the scenes in pixels")
    options = parser.parse_args(arguments)
    model = load_prompt_model(options.model, options.weights)
    print(json.dumps(measure(model, options.scenes, options.size, options.first), indent=2))


if __name__ == "__main__":
    main()
