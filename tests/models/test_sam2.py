from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from locara_label import geometry
from locara_label.errors import BadImage, BadPrompt, BadWeights, DeadlineExceeded, InferenceFailed
from locara_label.models.base import Limit
from locara_label.models.sam2 import MAX_BATCH, Sam2, Stability, parse_stability
from locara_label.runtime.session import Stop
from locara_label.types import Box, Embedding, Mask, Point, Prompt
from tests.models.fake_sam2 import QUARTER, SIDE, SIZE, FakeEncoder

CLICK = Prompt((Point(10, 10),))


class FakeDecoder:
    """Four masks, each one quadrant; the first holds logits that the test chooses."""

    provider = "CPUExecutionProvider"
    scores = (0.4, 0.5, 1.3, 0.7)

    def __init__(self, first: float = 5.0, edge: float = 5.0) -> None:
        self.first, self.edge, self.fed, self.deadlines = first, edge, [], []

    def masks(self) -> np.ndarray:
        masks = np.full((4, QUARTER, QUARTER), -5, np.float32)
        for index, (row, column) in enumerate(((0, 0), (0, 8), (8, 0), (8, 8))):
            masks[index, row : row + 8, column : column + 8] = 5
        masks[0, :8, :8] = self.first
        masks[0, :8, 8:12] = -self.edge
        return masks

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        self.fed.append(feed)
        self.deadlines.append(deadline_s)
        count = len(feed["point_coords"])
        masks = np.repeat(self.masks()[None], count, 0)
        return {
            "masks": masks,
            "iou_scores": np.array([self.scores] * count, np.float32),
            "object_score_logits": np.zeros((count, 1)),
        }


def _model(decoder: Any = None, encoder: Any = None, **config: Any) -> Sam2:
    return Sam2("sam", "sam@1", (encoder or FakeEncoder(), decoder or FakeDecoder()), {"mask_decoder_config": config}, {})


def _embedding(model: Sam2, size: tuple[int, int] = SIZE) -> Embedding:
    return model.encode(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))


def test_embedding_is_a_value() -> None:
    model = _model()
    embedding = _embedding(model)
    assert (embedding.model, embedding.size) == ("sam@1", SIZE)
    assert len(embedding.picture) == 64
    assert [array.dtype for array in embedding.arrays] == [np.float32] * 3
    assert not any(array.flags.writeable for array in embedding.arrays)
    assert _embedding(model).picture == embedding.picture != _embedding(model, (41, 80)).picture


def test_pixels_are_resized_without_aspect_and_normalised() -> None:
    encoder = FakeEncoder()
    _model(encoder=encoder).encode(np.full((*SIZE, 3), 255, np.uint8))
    (pixels,) = encoder.fed
    assert pixels.shape == (1, 3, SIDE, SIDE)
    np.testing.assert_allclose(pixels[0, :, 0, 0], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-5)


def test_half_precision_pixels() -> None:
    encoder = FakeEncoder(kind="tensor(float16)")
    embedding = _embedding(_model(encoder=encoder))
    assert encoder.fed[0].dtype == np.float16
    assert [array.dtype for array in embedding.arrays] == [np.float32] * 3


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None, np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture(image: Any) -> None:
    with pytest.raises(BadImage):
        _model().encode(image)


def test_numbers_that_are_none() -> None:
    with pytest.raises(InferenceFailed):
        _embedding(_model(encoder=FakeEncoder(value=np.nan)))
    model = _model(FakeDecoder(first=np.inf))
    embedding = _embedding(model)
    with pytest.raises(InferenceFailed):
        model.decode(embedding, CLICK)


def test_points_and_boxes_as_the_graph_takes_them() -> None:
    decoder = FakeDecoder()
    model = _model(decoder)
    model.decode(_embedding(model), Prompt((Point(20, 10), Point(80, 40, positive=False)), Box(8, 4, 40, 20)))
    (fed,) = decoder.fed
    np.testing.assert_allclose(fed["point_coords"], [[[16, 16], [64, 64], [6.4, 6.4], [32, 32]]], rtol=1e-6)
    assert fed["point_labels"].tolist() == [[1, 0, 2, 3]]
    assert fed["point_labels"].dtype == np.int64
    assert fed["has_mask_input"].tolist() == [0]
    assert fed["mask_input"].shape == (1, 1, QUARTER, QUARTER)


def test_prompts_with_equally_many_points_run_together() -> None:
    decoder = FakeDecoder()
    model = _model(decoder)
    two = Prompt(box=Box(0, 0, 10, 10))
    prompts = [CLICK, two, CLICK, Prompt((Point(1, 1), Point(2, 2)), candidates=3), *[CLICK] * MAX_BATCH]
    found = model.decode_many(_embedding(model), prompts)
    assert [fed["point_coords"].shape[:2] for fed in decoder.fed] == [(MAX_BATCH, 1), (2, 1), (2, 2)]
    assert [len(candidates) for candidates in found] == [1, 1, 1, 3, *[1] * MAX_BATCH]


def test_no_prompts() -> None:
    model = _model()
    assert model.decode_many(_embedding(model), []) == []


def test_one_candidate_is_the_first_mask_where_it_is_stable() -> None:
    model = _model(FakeDecoder())
    (found,) = model.decode(_embedding(model), CLICK)
    assert found.score == pytest.approx(0.4)
    assert found.mask.size == SIZE
    assert found.mask.to_array()[2, 2]
    assert not found.mask.to_array()[-2:, -2:].any()


def test_one_candidate_is_the_best_of_three_where_the_first_is_not_stable() -> None:
    unstable = FakeDecoder(edge=0.01)
    model = _model(unstable)
    (found,) = model.decode(_embedding(model), CLICK)
    assert found.score == 1
    assert found.mask.to_array()[-2, 2]
    (kept,) = _model(unstable, dynamic_multimask_via_stability=False).decode(_embedding(model), CLICK)
    assert kept.score == pytest.approx(0.4)
    (wider,) = _model(unstable, dynamic_multimask_stability_delta=0.001).decode(_embedding(model), CLICK)
    assert wider.score == pytest.approx(0.4)


def test_three_candidates_are_the_others_best_first() -> None:
    model = _model()
    found = model.decode(_embedding(model), Prompt((Point(1, 1),), candidates=3))
    assert [candidate.score for candidate in found] == pytest.approx([1, 0.7, 0.5])
    corners = [(-2, 2), (-2, -2), (2, -2)]
    for candidate, corner in zip(found, corners, strict=True):
        assert candidate.mask.to_array()[corner]
        assert candidate.mask.area == pytest.approx(SIZE[0] * SIZE[1] / 4, rel=0.2)
        np.testing.assert_array_equal(
            candidate.mask.to_array(), geometry.threshold_upsampled(candidate.logits, SIZE), strict=False
        )


def test_an_earlier_answer_goes_back_in() -> None:
    decoder = FakeDecoder()
    model = _model(decoder)
    embedding = _embedding(model)
    (first,) = model.decode(embedding, CLICK)
    model.decode_many(embedding, [Prompt((Point(1, 1),), logits=first.logits * 100), CLICK])
    fed = decoder.fed[-1]
    assert fed["has_mask_input"].tolist() == [1, 0]
    np.testing.assert_array_equal(fed["mask_input"][0, 0], (first.logits * 100).clip(-32, 32))


def test_a_mask_becomes_logits() -> None:
    decoder = FakeDecoder()
    model = _model(decoder)
    drawn = np.zeros(SIZE, bool)
    drawn[:20, :40] = True
    model.decode(_embedding(model), Prompt(mask=Mask.from_array(drawn)))
    fed = decoder.fed[-1]
    assert fed["point_labels"].tolist() == [[-1]]
    logits = fed["mask_input"][0, 0]
    np.testing.assert_allclose(logits[:8, :8], 10, rtol=1e-5)
    np.testing.assert_allclose(logits[8:], -10, rtol=1e-5)


@pytest.mark.parametrize(
    "logits", [np.zeros((4, 4), "f4"), np.zeros((QUARTER, QUARTER), int), np.full((QUARTER, QUARTER), np.nan, "f4"), [[1.0]]]
)
def test_logits_that_are_none(logits: Any) -> None:
    model = _model()
    with pytest.raises(BadPrompt) as raised:
        model.decode(_embedding(model), Prompt(logits=logits))
    assert raised.value.code == "prompt.logits"


def test_an_embedding_of_another_model() -> None:
    other = Sam2("sam", "sam@2", (FakeEncoder(), FakeDecoder()), {}, {})
    with pytest.raises(BadPrompt) as raised:
        other.decode(_embedding(_model()), CLICK)
    assert raised.value.code == "prompt.embedding"


def test_the_deadline_is_of_the_whole_call() -> None:
    class Slow(FakeDecoder):
        def run(self, feed: Any, *, stop: Any = None, deadline_s: Any = None) -> Any:
            time.sleep(0.02)
            return super().run(feed, stop=stop, deadline_s=deadline_s)

    decoder = Slow()
    model = _model(decoder)
    model.decode_many(_embedding(model), [CLICK, Prompt(box=Box(0, 0, 9, 9))], Limit(Stop(), 10))
    assert decoder.deadlines[0] <= 10
    assert decoder.deadlines[1] <= decoder.deadlines[0] - 0.02
    assert issubclass(DeadlineExceeded, TimeoutError)


@pytest.mark.parametrize("config", [{"size": {"height": 32, "width": 32}}, {"size": {"shortest_edge": 64}}, {"do_resize": False}])
def test_a_processor_of_another_size_than_the_graph(config: dict[str, Any]) -> None:
    with pytest.raises(BadWeights) as raised:
        Sam2("sam", "sam@1", (FakeEncoder(), FakeDecoder()), {}, config)
    assert raised.value.code == "weights.input_size"


def test_a_graph_that_is_no_encoder() -> None:
    with pytest.raises(BadWeights) as raised:
        _model(encoder=FakeEncoder(side="height"))
    assert raised.value.code == "weights.interface"


@pytest.mark.parametrize(
    "config",
    [
        {"mask_decoder_config": {"dynamic_multimask_stability_delta": "wide"}},
        {"mask_decoder_config": {"dynamic_multimask_stability_thresh": float("nan")}},
        {"mask_decoder_config": 3},
        {"mask_decoder_config": {"dynamic_multimask_stability_delta": None}},
    ],
)
def test_configs_that_cannot_be_used(config: dict[str, Any]) -> None:
    with pytest.raises(BadWeights) as raised:
        parse_stability(config)
    assert raised.value.code == "weights.config"


def test_stability_of_the_config() -> None:
    assert parse_stability({}) == Stability(True, 0.05, 0.98)
    own = {"dynamic_multimask_via_stability": False, "dynamic_multimask_stability_thresh": 0.5}
    assert parse_stability({"mask_decoder_config": own}) == Stability(False, 0.05, 0.5)


def test_an_empty_mask_is_stable() -> None:
    assert Stability().accepts(np.full((4, 4), -9, np.float32))
