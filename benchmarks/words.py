"""How often the model that ships finds what is asked for: two words on unseen generated scenes, to the mask.

    python -m benchmarks.words [--scenes 200] [--masks sam2-mini]

Every two-word phrase that is present once is asked for alone, through the public call with its default thresholds; the best
answer counts, and is right when its mask has an IoU of 0.7. As many absent phrases are asked for, half of them nearly there
(the colour of one object, the shape of another); nothing is the right answer. JSON goes to stdout, a table to stderr; exit
status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

import locara_label
from fixtures.scenes import TEST_SEED, Scene, make_scene
from locara_label.engine.loading import DEFAULT_TEXT_MODEL, load_text_model
from locara_label.types import Mask
from tools.captions import absent_phrase

BARS = {"right": 0.8, "silent": 0.8}
SIZES = ((256, 256), (480, 640), (640, 480))
"""Height and width of the pictures, in turn."""


def judge(scene: Scene, rng: np.random.Generator, options: argparse.Namespace) -> tuple[list[bool], list[bool]]:
    """For each phrase that is there once, whether its object was found; for as many others, whether nothing was."""

    def ask(text: str) -> list[locara_label.Grounded]:
        model, image = options.text_model, scene.image
        return locara_label.mask_from_prompt(
            image, text=text, text_model=model, model=options.masks, box_threshold=options.threshold
        )

    names = [item.phrase for item in scene.objects]
    once = [item for item in scene.objects if names.count(item.phrase) == 1]
    found = [ask(item.phrase) for item in once]
    right = [
        bool(answers) and answers[0].mask.iou(Mask.from_array(item.mask)) >= 0.7
        for answers, item in zip(found, once, strict=True)
    ]
    return right, [not ask(absent_phrase(rng, scene).text) for _ in once]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--masks", default="sam2-mini", help="prompt model that makes the masks")
    parser.add_argument("--threshold", type=float, help="box threshold [default: the model's]")
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="of the first scene")
    options = parser.parse_args()
    options.text_model = load_text_model(DEFAULT_TEXT_MODEL)
    rng = np.random.default_rng(0)
    right: list[bool] = []
    silent: list[bool] = []
    for at in range(options.scenes):
        found, nothing = judge(make_scene(options.seed + at, SIZES[at % len(SIZES)]), rng, options)
        right += found
        silent += nothing
    shares = {"right": float(np.mean(right)), "silent": float(np.mean(silent))}
    print(json.dumps({"scenes": options.scenes, "phrases": len(right), "masks": options.masks, **shares}))
    for name, share in shares.items():
        print(f"{name:8} {share:.3f}  (bar {BARS[name]})", file=sys.stderr)
    return int(any(share < BARS[name] for name, share in shares.items()))


if __name__ == "__main__":
    sys.exit(main())
