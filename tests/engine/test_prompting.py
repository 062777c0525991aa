from __future__ import annotations

import numpy as np
import pytest
from echo_model import EchoModel

import locara_label
from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.errors import BadImage, BadPrompt, UnknownModel
from locara_label.types import Mask

SCENE = make_scene(EVALUATION_SEED + 1, (240, 320))


def biggest() -> np.ndarray:
    return max((item.mask for item in SCENE.objects), key=np.count_nonzero)


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = mask.nonzero()
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def test_a_box_gives_the_mask_of_the_object() -> None:
    (found,) = locara_label.mask_from_prompt(SCENE.image, box=box_of(biggest()))
    assert found.mask.iou(Mask.from_array(biggest())) > 0.8


def test_a_file_is_as_good_as_pixels(tmp_path) -> None:
    path = tmp_path / "scene.png"
    images.write_png(path, SCENE.image)
    masks = [
        locara_label.mask_from_prompt(image, box=box_of(biggest()))[0].mask
        for image in (SCENE.image, path, str(path), path.read_bytes())
    ]
    assert len(set(masks)) == 1


def test_the_second_prompt_does_not_encode() -> None:
    model, image = EchoModel(), np.zeros((5, 6, 3), np.uint8)
    image[2, 2] = 9
    for x in range(3):
        (found,) = locara_label.mask_from_prompt(image, [(x, 1)], model=model)
        assert found.mask.area == 2
    assert len(model.encoded) == 1


def test_points_and_their_labels_reach_the_model() -> None:
    seen = []

    class Watching(EchoModel):
        identity = "watching"

        def decode_many(self, embedding, prompts, limit=locara_label.models.base.NO_LIMIT):
            seen.extend(prompts)
            return super().decode_many(embedding, prompts, limit)

    locara_label.mask_from_prompt(np.zeros((5, 6, 3), np.uint8), [(1, 2), (3, 4)], [1, 0], model=Watching())
    assert [(point.x, point.y, point.positive) for point in seen[0].points] == [(1, 2, True), (3, 4, False)]


def test_specks_go_when_asked() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[1, 1] = image[4:7, 4:7] = 9
    kept = locara_label.mask_from_prompt(image, [(5, 5)], model=EchoModel())[0].mask.area
    cleaned = locara_label.mask_from_prompt(image, [(5, 5)], model=EchoModel(), despeckle=4)[0].mask.area
    assert (kept, cleaned) == (10, 9)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, BadPrompt),
        ({"points": [(1, 1)], "labels": [1, 0]}, BadPrompt),
        ({"points": [(1, 1)], "labels": [2]}, BadPrompt),
        ({"points": [(1, 1)], "candidates": 2}, BadPrompt),
        ({"points": [(float("nan"), 1)]}, BadPrompt),
        ({"points": [(999, 1)]}, BadPrompt),
        ({"box": (5, 5, 1, 1)}, BadPrompt),
        ({"mask": np.ones((2, 2), bool)}, BadPrompt),
        ({"points": [(1, 1)], "model": "nonsense"}, UnknownModel),
    ],
)
def test_wrong_prompts_are_errors(arguments, error) -> None:
    with pytest.raises(error):
        locara_label.mask_from_prompt(SCENE.image, **arguments)


def test_a_wrong_picture_is_an_error(tmp_path) -> None:
    with pytest.raises(BadImage):
        locara_label.mask_from_prompt(tmp_path / "none.png", [(1, 1)])
    with pytest.raises(BadImage):
        locara_label.mask_from_prompt(np.zeros((4, 4), np.uint8), [(1, 1)])
