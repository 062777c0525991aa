import threading

import numpy as np
import pytest

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.errors import BadImage, BadPrompt, Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.models.classic import Classic
from locara_label.runtime.session import Stop
from locara_label.types import Box, Embedding, Mask, Point, Prompt

MODEL = Classic()


def disc(size=(120, 160), centre=(60, 70), radius=30):
    """A red disc on grey, and its mask."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    inside = np.hypot(rows - centre[0], columns - centre[1]) < radius
    image = np.full((*size, 3), 150, np.uint8)
    image[inside] = (200, 30, 30)
    return image, inside


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def first(image, **prompt):
    return MODEL.decode(MODEL.encode(image), Prompt(**prompt))[0].mask.to_array()


def test_a_click_finds_a_disc():
    image, inside = disc()
    assert iou(first(image, points=(Point(70.5, 60.5),)), inside) > 0.95


def test_a_box_finds_a_disc():
    image, inside = disc()
    assert iou(first(image, box=Mask.from_array(inside).box), inside) > 0.95


def test_a_large_picture_is_answered_at_its_own_size_with_a_smooth_border():
    image, inside = disc((900, 1400), (450, 600), 250)
    found = first(image, points=(Point(600, 450),))
    assert found.shape == (900, 1400)
    assert iou(found, inside) > 0.97
    turns = np.abs(np.diff(found.any(axis=0).astype(int))).sum()
    assert turns == 2
    steps = np.abs(np.diff([np.flatnonzero(row)[0] for row in found if row.any()]))[80:-80]
    assert steps.max() <= 3


def test_scenes_better_than_filling_the_box():
    by_box, by_click, filled = [], [], []
    for number in range(4):
        scene = make_scene(EVALUATION_SEED + number)
        embedding = MODEL.encode(scene.image)
        for item in scene.objects:
            box = Mask.from_array(item.mask).box
            rows, columns = np.nonzero(item.mask)
            middle = np.argsort(rows + 1000 * columns)[len(rows) // 2]
            click = Point(float(columns[middle]) + 0.5, float(rows[middle]) + 0.5)
            by_box.append(iou(MODEL.decode(embedding, Prompt(box=box))[0].mask.to_array(), item.mask))
            by_click.append(iou(MODEL.decode(embedding, Prompt(points=(click,)))[0].mask.to_array(), item.mask))
            filled.append(item.mask[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)].mean())
    assert np.mean(by_box) > max(0.85, np.mean(filled) + 0.2)
    assert np.mean(by_click) > 0.75


def test_clicks_hold():
    image = make_scene(EVALUATION_SEED + 3).image
    points = (Point(30.5, 40.5), Point(40.5, 60.5, positive=False), Point(200.5, 200.5), Point(31.5, 41.5, positive=False))
    for answer in (first(image, points=points), first(image, points=points, box=Box(10, 10, 240, 240))):
        assert [bool(answer[int(point.y), int(point.x)]) for point in points] == [True, False, True, False]


def test_a_click_off_the_object_takes_its_surroundings_only():
    image, _ = disc()
    image[55:65, 100:150] = (200, 30, 30)  # a handle
    image[:, 104:106] = 90
    box = Box(30, 20, 155, 100)
    before, after = first(image, box=box), first(image, box=box, points=(Point(130, 60, positive=False),))
    assert before[60, 130]
    assert not after[56:64, 116:146].any()
    np.testing.assert_array_equal(after[:, :95], before[:, :95])


def test_three_candidates_best_first():
    image, _ = disc()
    found = MODEL.decode(MODEL.encode(image), Prompt(points=(Point(70, 60),), candidates=3))
    assert len(found) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 <= one.score <= 1 and one.mask.area and one.mask.size == (120, 160) for one in found)
    assert len(MODEL.decode(MODEL.encode(image), Prompt(box=Box(20, 20, 130, 100), candidates=3))) == 3


@pytest.mark.parametrize("kind", ["click", "box", "mask"])
def test_three_candidates_differ(kind):
    scene = make_scene(EVALUATION_SEED + 3)
    truth = Mask.from_array(scene.objects[-1].mask)
    row, column = np.argwhere(scene.objects[-1].mask)[truth.area // 2]
    shown = {"click": {"points": (Point(float(column), float(row)),)}, "box": {"box": truth.box}, "mask": {"mask": truth}}[kind]
    one, two, three = (found.mask for found in MODEL.decode(MODEL.encode(scene.image), Prompt(**shown, candidates=3)))
    assert max(one.iou(two), two.iou(three), one.iou(three)) < 0.8
    assert all(found.area for found in (one, two, three))


def test_an_earlier_answer_is_the_start():
    image, _ = disc()
    embedding = MODEL.encode(image)
    wrong = np.zeros((120, 160), bool)
    wrong[10:30, 110:150] = True
    kept = MODEL.decode(embedding, Prompt(mask=Mask.from_array(wrong)))[0]
    assert iou(kept.mask.to_array(), wrong) > 0.97
    again = MODEL.decode(embedding, Prompt(logits=kept.logits, points=(Point(130, 20),)))[0]
    assert iou(again.mask.to_array(), wrong) > 0.97


FLAT = np.full((50, 70, 3), 90, np.uint8)
NOISE = np.random.default_rng(1).integers(0, 256, (64, 48, 3)).astype(np.uint8)
PICTURES = {
    "flat": FLAT, "black": np.zeros_like(FLAT), "noise": NOISE, "pixel": FLAT[:1, :1], "row": NOISE[:1], "column": NOISE[:, :1],
    "two": NOISE[:2, :2], "long": np.full((2, 3000, 3), 7, np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("many", [1, 3])
def test_degenerate_prompts_give_masks_with_their_clicks(image, many):
    height, width = image.shape[:2]
    embedding = MODEL.encode(image)
    corner, middle = Point(width, height), Point(width / 2, height / 2)
    full = Mask.from_array(np.ones((height, width), bool))
    prompts = [
        Prompt(points=(middle,), candidates=many),
        Prompt(points=(corner,), candidates=many),
        Prompt(box=Box(0, 0, width, height), candidates=many),
        Prompt(box=Box(0, 0, 0.1, 0.1), candidates=many),
        Prompt(box=Box(-50, -50, 9999, 9999), points=(corner,), candidates=many),
        Prompt(mask=full, candidates=many),
        Prompt(mask=Mask.from_array(np.zeros((height, width), bool)), points=(middle,), candidates=many),
    ]
    for prompt, answers in zip(prompts, MODEL.decode_many(embedding, prompts), strict=True):
        assert len(answers) == many
        for found in answers:
            array = found.mask.to_array()
            assert array.any()
            assert all(array[min(int(point.y), height - 1), min(int(point.x), width - 1)] for point in prompt.points)


def test_the_same_in_every_thread():
    image = make_scene(EVALUATION_SEED + 4).image
    embedding = MODEL.encode(image)
    prompts = [Prompt(points=(Point(20.0 * number + 8, 100),)) for number in range(6)]
    expected = [MODEL.decode(embedding, prompt)[0].mask for prompt in prompts]
    found: dict[int, object] = {}

    def work(number):
        found[number] = MODEL.decode(embedding, prompts[number])[0].mask

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(6)] == expected


def test_what_it_refuses():
    image, _ = disc()
    embedding = MODEL.encode(image)
    with pytest.raises(BadPrompt) as refused:
        MODEL.decode(embedding, Prompt(points=(Point(3, 3, positive=False),)))
    assert refused.value.code == "prompt.no_positive"
    with pytest.raises(BadPrompt) as refused:
        MODEL.decode(embedding, Prompt(logits=np.full((4, 4), np.nan, np.float32)))
    assert refused.value.code == "prompt.logits"
    with pytest.raises(BadPrompt) as refused:
        MODEL.decode(Embedding("other", "", (120, 160), ()), Prompt(points=(Point(1, 1),)))
    assert refused.value.code == "prompt.embedding"
    with pytest.raises(BadImage):
        MODEL.encode(image.astype(np.float32))


def test_limits():
    image, _ = disc()
    embedding, stop = MODEL.encode(image), Stop()
    stop.set()
    with pytest.raises(Cancelled):
        MODEL.decode(embedding, Prompt(points=(Point(1, 1),)), Limit(stop))
    with pytest.raises(DeadlineExceeded):
        MODEL.decode(embedding, Prompt(points=(Point(1, 1),)), Limit(deadline_s=0))
