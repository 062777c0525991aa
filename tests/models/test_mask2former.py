from __future__ import annotations

import numpy as np
import pytest

from locara_label.errors import BadImage, BadOption, BadWeights, InferenceFailed
from locara_label.models.mask2former import Mask2Former, sigmoid, softmax
from locara_label.models.processor import Processor
from locara_label.types import Label
from tests.models.fake_session import FakeSession

LABELS = (Label(0, "sky", is_stuff=True), Label(1, "car"))
IMAGE = np.zeros((40, 60, 3), np.uint8)
NONE = 2


def _answer(queries: list[tuple[int, slice, slice]], logit: float = 9.0) -> dict[str, np.ndarray]:
    """One query for each (class, rows, columns), on masks of 16 x 16 cells."""
    classes = np.full((1, len(queries), 3), -logit, "f4")
    masks = np.full((1, len(queries), 16, 16), -20, "f4")
    for number, (index, rows, columns) in enumerate(queries):
        classes[0, number, index] = logit
        masks[0, number, rows, columns] = 20
    return {"class_queries_logits": classes, "masks_queries_logits": masks}


def _model(answer: dict[str, np.ndarray], task: str = "panoptic", shape: tuple[object, ...] = (1, 3, 64, 64)) -> Mask2Former:
    return Mask2Former("m", FakeSession(answer, shape), Processor(64, 64), LABELS, task)  # type: ignore[arg-type]


ALL, TOP, BOTTOM, LEFT, RIGHT = slice(None), slice(8), slice(8, None), slice(8), slice(8, None)
SCENE = [(0, TOP, LEFT), (0, TOP, RIGHT), (1, BOTTOM, LEFT), (1, BOTTOM, RIGHT), (NONE, ALL, ALL)]


def test_panoptic_merges_stuff_and_keeps_things_apart() -> None:
    found = _model(_answer(SCENE)).segment(IMAGE)
    assert sorted(instance.label for instance in found) == ["car", "car", "sky"]
    covered = sum(instance.mask.to_array().astype(int) for instance in found)
    assert (covered == 1).all()
    (sky,) = (instance for instance in found if instance.is_stuff)
    assert sky.mask.to_array()[:18].all()
    assert not sky.mask.to_array()[22:].any()


def test_instances_may_overlap() -> None:
    found = _model(_answer([(1, ALL, ALL), (1, TOP, LEFT)]), "instance").segment(IMAGE)
    assert len(found) == 2
    assert sorted(instance.mask.area for instance in found)[1] == 40 * 60
    assert found[0].mask.intersection(found[1].mask).area > 0


def test_semantic_has_one_region_for_each_class() -> None:
    model = _model(_answer(SCENE), "semantic")
    found = model.segment(IMAGE)
    assert [instance.label for instance in found] == ["sky", "car"]
    assert sum(instance.mask.area for instance in found) == 40 * 60
    assert set(np.unique(model.segment_map(IMAGE))) == {0, 1}
    assert all(0 <= instance.score <= 1 for instance in found)


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_nothing_there(task: str) -> None:
    assert _model(_answer([(NONE, ALL, ALL)] * 3), task).segment(IMAGE) == []
    assert _model(_answer([(1, slice(0), ALL)] * 3), "instance").segment(IMAGE) == []


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_threshold(task: str) -> None:
    model = _model(_answer(SCENE, logit=0.6), task)
    assert len(model.segment(IMAGE, 0.3)) >= 2
    assert model.segment(IMAGE, 1.0) == []
    with pytest.raises(BadOption):
        model.segment(IMAGE, -1)


@pytest.mark.parametrize("name", ["class_queries_logits", "masks_queries_logits"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none(name: str, bad: float) -> None:
    answer = _answer(SCENE)
    answer[name].flat[3] = bad
    with pytest.raises(InferenceFailed):
        _model(answer).segment(IMAGE)


def test_what_does_not_fit() -> None:
    with pytest.raises(BadOption, match="a task is one of"):
        _model(_answer(SCENE), "tracking")
    with pytest.raises(BadWeights) as raised:
        _model(_answer(SCENE), shape=(1, 3, 32, 32))
    assert raised.value.code == "weights.input_size"
    with pytest.raises(BadImage):
        _model(_answer(SCENE)).segment(IMAGE[0])


def test_extreme_logits() -> None:
    extreme = np.array([[-1e30, 0, 1e30]], "f4")
    assert softmax(extreme).tolist() == [[0, 0, 1]]
    np.testing.assert_allclose(sigmoid(extreme), [[0, 0.5, 1]], rtol=0, atol=1e-30)


def test_sigmoid_is_exact_where_it_is_small() -> None:
    logits = np.array([-200, -80, -60, -20, -5, 0, 5, 20, 200], np.float32)
    wanted = 1 / (1 + np.exp(-np.maximum(logits, -80).astype(float)))
    np.testing.assert_allclose(sigmoid(logits), wanted, rtol=1e-5)
