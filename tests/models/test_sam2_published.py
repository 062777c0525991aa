from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadPrompt, BadWeights, InferenceFailed
from locara_label.models.sam2 import EMBEDDINGS
from locara_label.models.sam2_published import PublishedSam2
from locara_label.types import Box, Mask, Point, Prompt
from tests.models.fake_sam2 import QUARTER, SIDE, SIZE, FakeEncoder

FILE = "onnx/prompt_encoder_mask_decoder.onnx"


class PublishedDecoder:
    """Answers by what its tokens are, as a sound graph does; `room` adds tokens for boxes that are not there, as a broken one."""

    provider = "CPUExecutionProvider"

    def __init__(
        self, kind: str = "float", integer: str = "int64", boxes: bool = True, room: float = 0, fails: bool = False
    ) -> None:
        names = [*EMBEDDINGS, "input_points", *(["input_boxes"] if boxes else [])]
        self.input_types = dict.fromkeys(names, f"tensor({kind})") | {"input_labels": f"tensor({integer})"}
        self.inputs, self.outputs = tuple(self.input_types), ("iou_scores", "pred_masks", "object_score_logits")
        self.input_shapes = {name: ("batch", channels, "h", "w") for name, channels in zip(EMBEDDINGS, (2, 4, 16), strict=True)}
        self.room, self.fails, self.fed = room, fails, []

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        self.fed.append(feed)
        boxes = feed.get("input_boxes", np.zeros((1, 0, 4), np.float32))
        if self.fails and not boxes.size:
            raise InferenceFailed("Reshape node")
        corners = np.append(boxes.reshape(-1, 2), np.zeros((1, 2)), 0)[: 3 * boxes.shape[1]]
        labels = np.append(feed["input_labels"].reshape(-1), [2, 3, -1] * boxes.shape[1])
        points = np.append(feed["input_points"].reshape(-1, 2), corners, 0)
        token = (points.sum(1) * (labels + 2)).sum() + (0 if boxes.size else self.room)
        masks = np.random.default_rng(0).normal(0, 1, (1, 1, 3, QUARTER, QUARTER)) + token / 1000
        return {
            "pred_masks": masks.astype("f4"),
            "iou_scores": np.array([[[0.2, 0.9, 0.5]]], "f4"),
            "object_score_logits": np.zeros(1),
        }


def _model(decoder: Any) -> PublishedSam2:
    return PublishedSam2("sam", "sam@1", (FakeEncoder(), decoder), {}, FILE)


def _decode(decoder: PublishedDecoder, prompt: Prompt) -> Any:
    model = _model(decoder)
    decoder.fed.clear()
    return model.decode(model.encode(np.zeros((*SIZE, 3), np.uint8)), prompt)


def test_a_click_brings_its_own_last_point() -> None:
    decoder = PublishedDecoder()
    _decode(decoder, Prompt((Point(20, 10),)))
    (fed,) = decoder.fed
    np.testing.assert_allclose(fed["input_points"], [[[[16, 16], [0, 0]]]])
    assert fed["input_labels"].tolist() == [[[1, -1]]]
    assert fed["input_labels"].dtype == np.int64
    assert fed["input_boxes"].shape == (1, 0, 4)


def test_a_box_is_two_points() -> None:
    decoder = PublishedDecoder()
    _decode(decoder, Prompt((Point(0, 0, positive=False),), Box(8, 4, 40, 20)))
    np.testing.assert_allclose(decoder.fed[0]["input_points"], [[[[0, 0], [6.4, 6.4], [32, 32], [0, 0]]]], rtol=1e-6)
    assert decoder.fed[0]["input_labels"].tolist() == [[[0, 2, 3, -1]]]


def test_a_graph_without_boxes_adds_the_last_point_itself() -> None:
    decoder = PublishedDecoder(boxes=False)
    _decode(decoder, Prompt((Point(20, 10),)))
    assert decoder.fed[0]["input_labels"].tolist() == [[[1]]]
    assert "input_boxes" not in decoder.fed[0]


def test_candidates() -> None:
    (best,) = _decode(PublishedDecoder(), Prompt((Point(20, 10),)))
    assert best.score == pytest.approx(0.9)
    assert best.logits is None
    assert best.mask.size == SIZE
    three = _decode(PublishedDecoder(), Prompt((Point(20, 10),), candidates=3))
    assert [candidate.score for candidate in three] == pytest.approx([0.9, 0.5, 0.2])
    assert three[0].mask == best.mask


def test_types_of_the_inputs() -> None:
    decoder = PublishedDecoder("float16", "int32")
    _decode(decoder, Prompt((Point(20, 10),)))
    kinds = {name: value.dtype for name, value in decoder.fed[0].items()}
    assert kinds.pop("input_labels") == np.int32
    assert set(kinds.values()) == {np.dtype(np.float16)}


@pytest.mark.parametrize("prompt", [Prompt(mask=Mask.from_array(np.ones(SIZE, bool))), Prompt(logits=np.zeros((16, 16), "f4"))])
def test_nothing_can_be_refined(prompt: Prompt) -> None:
    model = _model(PublishedDecoder())
    embedding = model.encode(np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(BadPrompt) as raised:
        model.decode(embedding, prompt)
    assert raised.value.code == "prompt.no_refinement"
    assert not model.refines


@pytest.mark.parametrize("decoder", [PublishedDecoder(room=900), PublishedDecoder(fails=True)], ids=["room", "fails"])
def test_a_decoder_that_cannot_tell_no_box(decoder: PublishedDecoder) -> None:
    with pytest.raises(BadWeights, match=FILE) as raised:
        _model(decoder)
    assert raised.value.code == "weights.empty_boxes"


def test_the_self_test_has_the_shapes_of_the_graph() -> None:
    decoder = PublishedDecoder()
    _model(decoder)
    shapes = [[fed[name].shape for name in EMBEDDINGS] for fed in decoder.fed]
    quarter = SIDE // 4
    assert shapes == [[(1, 2, quarter, quarter), (1, 4, quarter // 2, quarter // 2), (1, 16, quarter // 4, quarter // 4)]] * 2


@pytest.mark.parametrize(
    "change", [{"inputs": (*EMBEDDINGS, "input_points", "input_labels", "mask_input")}, {"outputs": ("masks",)}]
)
def test_another_interface(change: dict[str, Any]) -> None:
    decoder = PublishedDecoder()
    vars(decoder).update(change)
    with pytest.raises(BadWeights, match=FILE) as raised:
        _model(decoder)
    assert raised.value.code == "weights.interface"
