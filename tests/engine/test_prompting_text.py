from __future__ import annotations

import numpy as np
import pytest
from echo_model import EchoModel
from echo_text_model import EchoTextModel

import locara_label
from locara_label import images
from locara_label.errors import BadImage, BadPrompt, DeadlineExceeded, UnknownModel
from locara_label.models.base import Limit
from locara_label.types import Box, Candidate, Grounded, Mask

IMAGE = np.zeros((30, 40, 3), np.uint8)
IMAGE[5:9, 5:9] = 200
IMAGE[20, 30] = 200


def find(image=IMAGE, **options):
    return locara_label.mask_from_prompt(image, **{"text_model": EchoTextModel(), "model": EchoModel(), **options})


def test_a_text_gives_objects():
    (found,) = find(text="At 3 4 10 12. nothing")
    assert isinstance(found, Grounded)
    assert (found.phrase, found.box, found.box_score, found.mask_score) == ("at 3 4 10 12", Box(3, 4, 10, 12), 0.9, 0.5)
    assert found.mask == Mask.from_array(IMAGE[..., 0] > 0)


def test_a_list_of_phrases():
    assert {one.phrase for one in find(text=["at 3 4 10 12", "at 20 10. 30 20"])} == {"at 3 4 10 12", "at 20 10 30 20"}


def test_nothing_found_is_an_empty_list():
    assert find(text="nothing") == []


def test_without_a_text_all_is_as_before():
    (found,) = locara_label.mask_from_prompt(IMAGE, [(1, 1)], model=EchoModel())
    assert isinstance(found, Candidate)


def test_a_file_is_as_good_as_pixels(tmp_path):
    path = tmp_path / "in.png"
    images.write_png(path, IMAGE)
    masks = [find(one, text="at 3 4 10 12")[0].mask for one in (IMAGE, path, str(path), path.read_bytes())]
    assert len(set(masks)) == 1


def test_both_models_see_a_picture_once():
    class Other(EchoTextModel):
        identity = "echo-text-once"

    class OtherMasks(EchoModel):
        identity = "echo-once"

    text_model, model = Other(), OtherMasks()
    for text in ("at 3 4 10 12", "at 20 10 30 20", "nothing"):
        find(text=text, text_model=text_model, model=model)
    assert (len(text_model.encoded), len(model.encoded), len(text_model.asked)) == (1, 1, 3)


def test_thresholds_reach_the_model():
    text_model = EchoTextModel()
    assert find(text="at 3 4 10 12", box_threshold=0.95, text_threshold=0.1, text_model=text_model) == []
    assert [(one.box_threshold, one.text_threshold) for one in text_model.asked] == [(0.95, 0.1)]


def test_specks_go_when_asked():
    assert [find(text="at 3 4 10 12", despeckle=least)[0].mask.area for least in (0, 4)] == [17, 16]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"text": "car", "points": [(1, 1)]}, "prompt.mixed"),
        ({"text": "car", "labels": [1]}, "prompt.mixed"),
        ({"text": "car", "box": (1, 1, 5, 5)}, "prompt.mixed"),
        ({"text": "car", "mask": np.ones((30, 40), bool)}, "prompt.mixed"),
        ({"text": "car", "candidates": 3}, "prompt.mixed"),
        ({"points": [(1, 1)], "box_threshold": 0.3}, "prompt.mixed"),
        ({"points": [(1, 1)], "text_threshold": 0.3}, "prompt.mixed"),
        ({"text": ""}, "prompt.empty"),
        ({"text": " . ? .\n"}, "prompt.empty"),
        ({"text": []}, "prompt.empty"),
        ({"text": ["", "."]}, "prompt.empty"),
        ({"text": "word " * 10_000}, "prompt.too_long"),
        ({"text": [f"word {number}" for number in range(2000)]}, "prompt.too_long"),
        ({"text": 7}, "prompt.text"),
        ({"text": b"car"}, "prompt.text"),
        ({"text": ["car", None]}, "prompt.text"),
        ({"text": "car", "box_threshold": 1.5}, "prompt.threshold"),
        ({"text": "car", "text_threshold": float("nan")}, "prompt.threshold"),
    ],
)
def test_prompts_that_cannot_be(options, code):
    with pytest.raises(BadPrompt) as caught:
        find(**options)
    assert caught.value.code == code


def test_pictures_and_models_that_cannot_be():
    with pytest.raises(BadImage):
        find(np.zeros((3, 3), np.uint8), text="car")
    with pytest.raises(UnknownModel):
        find(text="car", text_model="nothing")
    with pytest.raises(DeadlineExceeded):
        find(text="at 3 4 10 12", limit=Limit(deadline_s=0))
