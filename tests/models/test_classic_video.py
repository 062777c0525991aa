"""Objects through video by flow and colours: a disc that moves over a patterned ground, behind a bar and out of the picture."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from benchmarks.tracking import judge
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label.engine.loading import load_video_model
from locara_label.errors import BadImage, BadPrompt, Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.models.classic import Classic
from locara_label.models.classic_video import ClassicVideo, Trace, Traces
from locara_label.models.video_memory import BACKWARD, FORWARD, Asked, Course
from locara_label.runtime.session import Stop
from locara_label.types import Mask, Point, Prompt

MODEL = ClassicVideo()
SIZE = (96, 144)
RADIUS = 14
ROWS, COLUMNS = np.ogrid[: SIZE[0], : SIZE[1]]


def disc(x: float, bar: tuple[int, int] = (0, 0), y: float = 48) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a red disc on a grey ground, behind a blue bar between two columns, and the disc's mask."""
    grain = np.random.default_rng(0).integers(-14, 15, (*SIZE, 1))
    image = np.full((*SIZE, 3), 140) + grain + (8 * np.sin(COLUMNS / 5 + ROWS / 9))[..., None].astype(int)
    inside = np.hypot(ROWS - y, COLUMNS - x) < RADIUS
    image[inside] = np.array((200, 40, 36)) + np.where((COLUMNS - round(x)) % 8 < 4, 10, -10)[:, inside.any(0).argmax() :][0, :1]
    image[:, bar[0] : bar[1]] = (30, 60, 190)
    inside[:, bar[0] : bar[1]] = False
    return image.astype(np.uint8), inside


def follow(bank: Traces, pictures: Iterable[tuple[int, np.ndarray]], direction: int = FORWARD) -> dict[int, Trace]:
    course = Course(direction, 100)
    return {frame: MODEL.step(MODEL.encode(image), frame, [Asked(bank)], course)[0] for frame, image in pictures}


def shown(image: np.ndarray, inside: np.ndarray, frame: int = 0) -> Traces:
    """A bank that knows the disc's mask on a frame."""
    bank = MODEL.bank()
    MODEL.step(MODEL.encode(image), frame, [Asked(bank, Prompt(mask=Mask.from_array(inside)))], Course(FORWARD, 100))
    return bank


def iou(found: Trace, inside: np.ndarray) -> float:
    return found.mask(SIZE).iou(Mask.from_array(inside))


@pytest.mark.parametrize(("direction", "stride"), [(FORWARD, 1), (FORWARD, 3), (BACKWARD, 1)])
def test_a_disc_is_followed(direction: int, stride: int) -> None:
    frames = range(0, 24, stride)[::direction]
    places = {frame: disc(30 + 3 * frame) for frame in frames}
    bank = shown(*places[frames[0]], frames[0])
    found = follow(bank, ((frame, places[frame][0]) for frame in frames[1:]), direction)
    assert min(iou(found[frame], places[frame][1]) for frame in found) > 0.9
    assert all(one.present and 0.5 < one.score <= 1 and one.pointer is None for one in found.values())


def test_it_is_told_when_it_is_hidden_and_found_when_it_is_back() -> None:
    bar = (60, 95)
    places = [disc(34 + 3 * frame, bar) for frame in range(30)]
    found = follow(shown(*places[0]), ((frame, places[frame][0]) for frame in range(1, 30)))
    for frame, one in found.items():
        visible = int(places[frame][1].sum())
        if visible == 0:
            assert not one.present
            assert (one.mask(SIZE).area, one.score) == (0, 0)
        elif visible > 300:
            assert iou(one, places[frame][1]) > 0.85, frame
    assert not all(one.present for one in found.values())


def test_it_leaves_the_picture_and_comes_back() -> None:
    places = [disc(120 + 45 * np.sin(frame / 5)) for frame in range(32)]
    found = follow(shown(*places[0]), ((frame, places[frame][0]) for frame in range(1, 32)))
    gone = [frame for frame in found if not places[frame][1].any()]
    assert gone
    assert not any(found[frame].present for frame in gone)
    assert iou(found[31], places[31][1]) > 0.85


def test_what_is_gone_for_good_is_not_made_up() -> None:
    image, inside = disc(60)
    empty = disc(-100)[0]
    assert not any(one.present for one in follow(shown(image, inside), ((frame, empty) for frame in range(1, 5))).values())


def test_a_mask_is_its_own_answer_and_another_prompt_is_that_of_a_picture() -> None:
    image, inside = disc(60)
    embedding, drawn = MODEL.encode(image), Prompt(mask=Mask.from_array(np.eye(*SIZE, dtype=bool)))
    click = Prompt((Point(60.5, 48.5),))
    found = MODEL.step(embedding, 0, [Asked(MODEL.bank(), drawn), Asked(MODEL.bank(), click)], Course(FORWARD, 2))
    assert (found[0].mask(SIZE), found[0].score) == (drawn.mask, 1.0)
    still = Classic()
    assert found[1].mask(SIZE) == still.decode(still.encode(image), click)[0].mask
    assert iou(found[1], inside) > 0.9


def test_objects_of_a_frame_do_not_depend_on_each_other() -> None:
    places = [disc(40 + 3 * frame) for frame in range(2)]
    embedding, course = MODEL.encode(places[1][0]), Course(FORWARD, 100)
    both = [shown(*places[0]), shown(places[0][0], np.roll(places[0][1], 50, axis=1))]
    together = [one.mask(SIZE) for one in MODEL.step(embedding, 1, [Asked(bank) for bank in both], course)]
    alone = [shown(*places[0]), shown(places[0][0], np.roll(places[0][1], 50, axis=1))]
    assert together == [MODEL.step(embedding, 1, [Asked(bank)], course)[0].mask(SIZE) for bank in alone]


def test_it_is_followed_from_the_nearest_frame_behind() -> None:
    places = [disc(30 + 3 * frame) for frame in range(8)]
    bank = shown(*places[0])
    follow(bank, ((frame, places[frame][0]) for frame in range(1, 6)))
    assert (bank.nearest(6, FORWARD)[0], bank.nearest(3, FORWARD)[0], bank.nearest(5, FORWARD)[0]) == (5, 0, 0)
    lower = places[4][1].copy()
    lower[:48] = False
    MODEL.step(MODEL.encode(places[4][0]), 4, [Asked(bank, Prompt(mask=Mask.from_array(lower)))], Course(FORWARD, 100))
    assert [bank.nearest(frame, FORWARD)[0] for frame in (1, 4, 5, 6)] == [0, 0, 4, 5]
    assert [bank.nearest(frame, BACKWARD)[0] for frame in (3, 4)] == [4, 5]
    again = follow(bank, [(4, places[4][0])])[4]
    assert again.mask(SIZE) == Mask.from_array(lower)


def test_what_is_remembered_does_not_grow() -> None:
    image, inside = disc(60)
    bank = shown(image, inside)
    follow(bank, ((frame, image) for frame in range(1, 9)))
    assert (list(bank.prompted), list(bank.last)) == ([0], [8])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (9, 9), (5, 200), (17, 16)])
def test_very_small_pictures(size: tuple[int, int]) -> None:
    bank = MODEL.bank()
    embedding = MODEL.encode(np.zeros((*size, 3), np.uint8))
    MODEL.step(embedding, 0, [Asked(bank, Prompt(mask=Mask.from_array(np.ones(size, bool))))], Course(FORWARD, 2))
    (found,) = MODEL.step(embedding, 1, [Asked(bank)], Course(FORWARD, 2))
    assert found.mask(size).size == size


def test_a_large_picture_is_answered_at_its_own_size() -> None:
    images, masks = zip(*(disc(40 + 3 * frame) for frame in range(3)), strict=True)
    large = [np.kron(image, np.ones((9, 9, 1), np.uint8)) for image in images]
    truth = [np.kron(mask, np.ones((9, 9), bool)) for mask in masks]
    bank = shown(large[0], truth[0])
    found = follow(bank, [(1, large[1]), (2, large[2])])[2].mask((864, 1296))
    assert found.iou(Mask.from_array(truth[2])) > 0.9


def test_an_object_that_a_person_says_is_absent_is_not_found() -> None:
    image, inside = disc(60)
    assert not follow(shown(image, inside & False), [(1, image)])[1].present


def test_refusals_leave_the_bank_as_it_was() -> None:
    image, inside = disc(60)
    bank, embedding, course = shown(image, inside), MODEL.encode(image), Course(FORWARD, 100)
    before, stop = dict(bank.prompted), Stop()
    stop.set()
    wrong = Prompt(mask=Mask.from_array(np.ones((4, 4), bool)))
    for asked, code in (
        ([Asked(bank), Asked(MODEL.bank())], "prompt.empty"),
        ([Asked(bank), Asked(bank, wrong)], "prompt.mask"),
        ([Asked(bank, Prompt((Point(500, 3),)))], "prompt.outside"),
    ):
        with pytest.raises(BadPrompt) as error:
            MODEL.step(embedding, 1, asked, course)
        assert error.value.code == code
    with pytest.raises(BadPrompt) as error:
        MODEL.step(Classic().encode(image), 1, [Asked(bank)], course)
    assert error.value.code == "prompt.embedding"
    with pytest.raises(Cancelled):
        MODEL.step(embedding, 1, [Asked(bank)], course, Limit(stop))
    with pytest.raises(DeadlineExceeded):
        MODEL.step(embedding, 1, [Asked(bank)], course, Limit(deadline_s=0))
    with pytest.raises(BadImage):
        MODEL.encode(image[..., 0])
    assert (bank.prompted, bank.last) == (before, {})


def test_it_is_loaded_by_name_and_good_on_a_generated_clip() -> None:
    model = load_video_model("classic")
    assert (model.name, model.identity, model.provider) == ("classic", "classic-video-1", "opencv")
    assert judge(model, make_clip(EVALUATION_SEED + 2, 8), 3).score.mean.j_and_f > 0.9


class Patience(Stop):
    """Is set when it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    @property
    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_run_may_end_between_any_two_stages() -> None:
    """And then knows nothing of the frame."""
    (first, inside), (second, _) = disc(40), disc(44)
    whole = Patience(10_000)
    follow_on = [Asked(shown(first, inside)), Asked(shown(first, inside))]
    embedding = MODEL.encode(second, Limit(whole))
    MODEL.step(embedding, 1, follow_on, Course(FORWARD, 100), Limit(whole))
    looks = 10_000 - whole.left
    assert looks >= 8
    for patience in range(looks):
        banks = [shown(first, inside), shown(first, inside)]
        limit = Limit(Patience(patience))
        with pytest.raises(Cancelled):
            MODEL.step(MODEL.encode(second, limit), 1, [Asked(bank) for bank in banks], Course(FORWARD, 100), limit)
        assert [bank.last for bank in banks] == [{}, {}]
