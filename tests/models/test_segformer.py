from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadImage, BadOption, BadWeights, InferenceFailed
from locara_label.models.base import Limit, checked, checked_threshold
from locara_label.models.processor import Processor
from locara_label.models.segformer import Segformer, region_scores
from locara_label.runtime.session import Stop
from locara_label.types import Label
from tests.models.fake_session import FakeSession

LABELS = (Label(0, "sky", is_stuff=True), Label(1, "car"), Label(2, "dog"))
IMAGE = np.zeros((8, 12, 3), np.uint8)


def _logits() -> np.ndarray:
    """Sky on the left, car on the right, dogs nowhere."""
    logits = np.zeros((1, 3, 4, 4), "f4")
    logits[0, 0, :, :2] = 4
    logits[0, 1, :, 2:] = 2
    logits[0, 2] = -9
    return logits


def _model(logits: np.ndarray) -> tuple[Segformer, FakeSession]:
    session = FakeSession({"logits": logits})
    return Segformer("s", session, Processor(16, 16), LABELS), session  # type: ignore[arg-type]


def test_regions() -> None:
    model, session = _model(_logits())
    sky, car = model.segment(IMAGE)
    assert (sky.label, sky.label_index, sky.is_stuff, car.label, car.label_index, car.is_stuff) == (
        "sky",
        0,
        True,
        "car",
        1,
        False,
    )
    assert (sky.mask.to_array() ^ car.mask.to_array()).all()
    assert sky.mask.size == (8, 12)
    assert sky.score == pytest.approx(1 / (1 + np.exp(-4) + np.exp(-13)), abs=1e-5)
    assert session.fed[0].shape == (1, 3, 16, 16)
    assert model.segment_map(IMAGE).max() == 1


def test_threshold() -> None:
    model, _ = _model(_logits())
    assert [found.label for found in model.segment(IMAGE, 0.95)] == ["sky"]
    assert model.segment(IMAGE, 1.0) == []


def test_bounds_reach_the_session() -> None:
    model, session = _model(_logits())
    stop = Stop()
    model.segment(IMAGE, limit=Limit(stop, 3.0))
    assert session.bounds == [(stop, 3.0)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    logits = _logits()
    logits[0, 1, 2, 2] = bad
    with pytest.raises(InferenceFailed):
        _model(logits)[0].segment(IMAGE)


def test_another_number_of_classes() -> None:
    with pytest.raises(BadWeights) as raised:
        _model(np.zeros((1, 4, 2, 2), "f4"))[0].segment(IMAGE)
    assert raised.value.code == "weights.labels"


def test_region_scores() -> None:
    scores = region_scores(_logits()[0])
    assert scores[0] == pytest.approx(0.982, abs=1e-3)
    assert scores[1] == pytest.approx(0.8808, abs=1e-3)
    assert scores[2] == pytest.approx(np.exp(-9) / (1 + np.exp(2)), rel=1e-3)
    huge = region_scores(np.array([[[1e30]], [[-1e30]]], "f4"))
    assert huge.tolist() == [1, 0]


@pytest.mark.parametrize(
    "image",
    [
        None, "picture.jpg", [[0]], np.zeros((4, 4)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8),  # noqa: E501
    ],
)  # fmt: skip
def test_what_is_no_picture(image: object) -> None:
    with pytest.raises(BadImage) as raised:
        checked(image)
    assert raised.value.code == "image.array"
    with pytest.raises(BadImage):
        _model(_logits())[0].segment(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf"), "abc", [0.5], object()])
def test_what_is_no_threshold(threshold: Any) -> None:
    with pytest.raises(BadOption) as raised:
        checked_threshold(threshold, 0.5)
    assert raised.value.code == "option.threshold"


def test_thresholds() -> None:
    assert [checked_threshold(value, 0.5) for value in (None, 0, 1, 0.25)] == [0.5, 0, 1, 0.25]
