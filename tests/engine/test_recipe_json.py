"""What was said to a session, written down and read again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from locara_label.engine.recipe_json import read, written
from locara_label.engine.text_tracking import Asking
from locara_label.engine.video_recipe import Detected, Labelled, Locked, Ran, Recipe, Removed, Shown
from locara_label.errors import BadDataset
from locara_label.types import Box, Mask, Point, Prompt, TextPrompt

MASK = Mask.from_array(np.random.default_rng(1).random((6, 8)) < 0.5)
LOGITS = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)


def full() -> Recipe:
    recipe = Recipe(Asking("words", TextPrompt(("car", "dog"), 0.3, None), {0, 25}, {1: {"car"}}))
    prompt = Prompt((Point(1.5, 2), Point(3, 4, positive=False)), Box(0, 0, 5, 1 / 3), MASK, LOGITS, candidates=3)
    for event in (Shown(3, 1, prompt), Shown(4, 2, Prompt(mask=MASK)), Ran(1, 5, 2, 9), Detected(25, 2, "dog"), Labelled(1, "Ü")):
        recipe.extend([event])
    recipe.extend([Locked(5, 1, locked=True), Removed(2)])
    return recipe


def test_a_recipe_comes_back_whole() -> None:
    recipe = full()
    found = read(json.loads(json.dumps(written(recipe))), "words")
    shown, again = recipe.events[0], found.events[0]
    assert isinstance(shown, Shown)
    assert isinstance(again, Shown)
    assert again.prompt.logits is not None
    assert (again.prompt.logits.dtype, np.array_equal(again.prompt.logits, LOGITS)) == (np.float32, True)
    for name in ("points", "box", "mask", "candidates"):
        assert getattr(again.prompt, name) == getattr(shown.prompt, name)
    assert found.events[2:] == recipe.events[2:]
    assert (found.asking.sought, found.asking.done, found.asking.named) == (
        recipe.asking.sought, recipe.asking.done, recipe.asking.named,
    )  # fmt: skip
    assert found.nbytes == recipe.nbytes > 0


def test_runs_that_are_read_grow_as_before() -> None:
    recipe = read(written(full()), "words")
    recipe.events.append(Ran(1, 30, 1, 4))
    recipe.add(Ran(1, 34, 1, 1))
    assert recipe.events[-1] == Ran(1, 30, 1, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"events": None},
        {"events": [{"kind": "other"}]},
        {"events": [{"kind": "ran", "way": 1, "first": "0", "stride": 1, "count": 1}]},
        {"events": [{"kind": "shown", "frame": 0, "number": 1, "prompt": {}}]},
        {"events": [{"kind": "removed", "number": 1, "more": 1}]},
        {"sought": {"phrases": []}},
        {"named": {"x": []}},
        {"asked": ["x"]},
    ],
)
def test_what_is_no_recipe_is_told(change: dict[str, Any]) -> None:
    with pytest.raises(BadDataset) as caught:
        read(written(full()) | change, "words")
    assert caught.value.code == "video.recipe"


def test_logits_that_are_none_are_told() -> None:
    value = written(full())
    for bad in ([4, 4, "!"], [3, 4, value["events"][0]["prompt"]["logits"][2]], ["x"], 3):
        value["events"][0]["prompt"]["logits"] = bad
        with pytest.raises(BadDataset):
            read(json.loads(json.dumps(value)), "words")
