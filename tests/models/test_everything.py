import numpy as np
import pytest

from locara_label.errors import BadOption, Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.models.classic import Classic
from locara_label.models.everything import Options, everything, grid, stability
from locara_label.runtime.session import Stop
from locara_label.types import Candidate, Embedding, Mask, Point

SIZE = (60, 80)
EMBEDDING = Embedding("told", "", SIZE, ())


class Told:
    """A prompt model that answers as a function of the click says."""

    name = identity = "told"
    provider, refines = "none", False

    def __init__(self, answer, stop=None):
        self.answer, self.stop, self.batches = answer, stop, []

    def decode_many(self, embedding, prompts, limit):
        self.batches.append(len(prompts))
        assert all(prompt.candidates == 3 and len(prompt.points) == 1 for prompt in prompts)
        if self.stop is not None and len(self.batches) == 2:
            self.stop.set()
        return [self.answer(prompt.points[0]) for prompt in prompts]


def square(x, y, side, score=0.9, logits=None):
    inside = np.zeros(SIZE, bool)
    inside[y : y + side, x : x + side] = True
    return Candidate(Mask.from_array(inside), score, logits)


def run(answer, limit=None, **options):
    return everything(Told(answer), EMBEDDING, Options(points_per_side=4, **options), limit or Limit())


def test_the_grid_covers_the_picture():
    assert grid(2, (60, 80)) == [Point(20, 15), Point(60, 15), Point(20, 45), Point(60, 45)]
    assert grid(1, (1, 1)) == [Point(0.5, 0.5)]


def test_batches():
    model = Told(lambda point: [square(1, 1, 5)])
    everything(model, EMBEDDING, Options(points_per_side=4, batch=7))
    assert model.batches == [7, 7, 2]


def test_unsure_and_empty_masks_go():
    empty = Candidate(Mask.from_array(np.zeros(SIZE, bool)), 0.99)
    found = run(lambda point: [square(0, 0, 10, 0.79), square(20, 20, 10, 0.8), empty])
    assert [one.mask.box.x0 for one in found] == [20]


def test_unsteady_masks_go():
    steady, vague = np.full((8, 8), -9, np.float32), np.full((8, 8), -9, np.float32)
    steady[2:6, 2:6], vague[2:6, 2:6] = 9, 9
    vague[6] = 0.5
    assert stability(steady, 1.0) == 1
    assert stability(vague, 1.0) == pytest.approx(16 / 24)
    answers = [square(0, 0, 10, 0.9, steady), square(20, 20, 10, 0.9, vague)]
    assert [one.mask.box.x0 for one in run(lambda point: answers)] == [0]
    assert len(run(lambda point: answers, min_stability=0.6)) == 2
    assert stability(np.full((2, 2), -9, np.float32), 1.0) == 0


def test_of_boxes_that_overlap_the_best_stays():
    answers = [square(0, 0, 20, 0.85), square(1, 1, 20, 0.95), square(5, 5, 8, 0.81)]
    found = run(lambda point: answers)
    assert [(one.score, one.mask.area) for one in found] == [(0.95, 400), (0.81, 64)]
    assert len(run(lambda point: answers, max_overlap=1.0)) == 3  # the same mask comes once even then
    assert len(run(lambda point: answers, max_overlap=0.0)) == 1


def test_at_most_so_many_the_best():
    by_click = {point: number for number, point in enumerate(grid(4, SIZE))}
    answer = lambda point: [square(15 * (by_click[point] % 4), 15 * (by_click[point] // 4), 10, 0.8 + 0.01 * by_click[point])]  # noqa: E731
    assert [round(one.score, 2) for one in run(answer, max_masks=3)] == [0.95, 0.94, 0.93]


def test_specks_are_cleared():
    inside = np.zeros(SIZE, bool)
    inside[10:20, 10:20] = inside[50, 70] = True
    found = run(lambda point: [Candidate(Mask.from_array(inside), 0.9)], min_area=4)
    assert [one.mask.area for one in found] == [100]


def test_cancelled_between_batches():
    stop = Stop()
    model = Told(lambda point: [square(1, 1, 5)], stop)
    with pytest.raises(Cancelled):
        everything(model, EMBEDDING, Options(points_per_side=8, batch=4), Limit(stop))
    assert model.batches == [4, 4]


def test_deadline():
    with pytest.raises(DeadlineExceeded):
        run(lambda point: [square(1, 1, 5)], Limit(deadline_s=0))


@pytest.mark.parametrize("options", [
    {"points_per_side": 0}, {"points_per_side": 129}, {"points_per_side": 2.5}, {"batch": 0}, {"min_score": 1.1},
    {"min_score": float("nan")}, {"min_stability": -0.1}, {"stability_offset": 0}, {"max_overlap": 2}, {"min_area": -1},
    {"max_masks": 0}, {"batch": True},
])  # fmt: skip
def test_options_out_of_range(options):
    with pytest.raises(BadOption, match=next(iter(options))):
        Options(**options)


def test_classic_finds_the_things_of_a_picture():
    image = np.full((90, 120, 3), 200, np.uint8)
    image[10:40, 10:40], image[50:80, 60:110] = (200, 20, 20), (20, 20, 200)
    model = Classic()
    found = everything(model, model.encode(image), Options(points_per_side=4, min_stability=0.5, min_score=0.7))
    for things in (np.s_[10:40, 10:40], np.s_[50:80, 60:110]):
        truth = np.zeros((90, 120), bool)
        truth[things] = True
        assert max(one.mask.iou(Mask.from_array(truth)) for one in found) > 0.9
