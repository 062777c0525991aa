from __future__ import annotations

import numpy as np
import pytest

from locara_label.errors import BadImage, BadOption, BadWeights, InferenceFailed
from locara_label.models.selfie import Selfie
from tests.models.fake_session import FakeSession

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def _alphas(value: float = 0.9, shape: tuple[int, ...] = (1, 1, 8, 8)) -> dict[str, np.ndarray]:
    alphas = np.zeros(shape, "f4")
    alphas.reshape(8, 8)[:, 4:] = value
    return {"alphas": alphas}


def _model(answer: dict[str, np.ndarray], shape: tuple[object, ...] = (1, 3, 8, 8), kind: str = "tensor(float)") -> Selfie:
    return Selfie("selfie", FakeSession(answer, shape, kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 8, 8, 1), (1, 8, 8), (8, 8)])
def test_one_person(shape: tuple[int, ...]) -> None:
    (person,) = _model(_alphas(shape=shape)).segment(IMAGE)
    assert (person.label, person.label_index) == ("person", 0)
    mask = person.mask.to_array()
    assert mask[:, -1].all()
    assert not mask[:, 0].any()
    assert 0.5 <= person.score <= 0.9


def test_nobody() -> None:
    assert _model(_alphas(0.0)).segment(IMAGE) == []
    assert _model(_alphas(0.0)).segment(IMAGE, 0.0) == []
    assert _model(_alphas(0.4)).segment(IMAGE) == []


def test_threshold() -> None:
    model = _model(_alphas())
    assert model.segment(IMAGE, 0.95) == []
    assert model.segment(IMAGE, 0.1)[0].mask.area > model.segment(IMAGE, 0.8)[0].mask.area


def test_alpha_is_clipped() -> None:
    alpha = _model(_alphas(7.0)).alpha(IMAGE)
    assert (alpha.min(), alpha.max(), alpha.shape, alpha.dtype) == (0, 1, (20, 30), np.float32)


def test_pixels_are_fed_as_the_file_takes_them() -> None:
    first = FakeSession(_alphas(), (1, 3, 8, 8))
    Selfie("s", first).segment(IMAGE)  # type: ignore[arg-type]
    assert (first.fed[0].shape, first.fed[0].dtype) == ((1, 3, 8, 8), np.float32)
    assert 0 <= first.fed[0].min() <= first.fed[0].max() <= 1
    web = FakeSession(_alphas(), (1, 8, 8, 3), "tensor(uint8)")
    Selfie("s", web).segment(IMAGE)  # type: ignore[arg-type]
    assert (web.fed[0].shape, web.fed[0].dtype) == ((1, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1, 3, "h", "w"), (3, 8), (1, 3, 8), (), (1, 3, None, 8)])
def test_another_interface(shape: tuple[object, ...]) -> None:
    with pytest.raises(BadWeights) as raised:
        _model(_alphas(), shape)
    assert raised.value.code == "weights.interface"


def test_another_output() -> None:
    with pytest.raises(BadWeights) as raised:
        _model({"alphas": np.zeros((1, 2, 8, 8), "f4")}).segment(IMAGE)
    assert raised.value.code == "weights.interface"


def test_bad_calls() -> None:
    with pytest.raises(InferenceFailed):
        _model(_alphas(float("nan"))).segment(IMAGE)
    with pytest.raises(BadImage):
        _model(_alphas()).segment(IMAGE[..., 0])
    with pytest.raises(BadOption):
        _model(_alphas()).segment(IMAGE, 2)
