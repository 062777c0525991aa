from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadPrompt, BadWeights, InferenceFailed
from locara_label.models.grounding_dino import Reader
from locara_label.models.grounding_dino_published import PublishedGroundingDino
from locara_label.models.wordpiece import Tokenizer
from locara_label.types import Box, TextPrompt
from tests.models import bert_files

SIDE, WIDTH = 64, 256
SIZE = (40, 80)
INPUTS = ("pixel_values", "input_ids", "token_type_ids", "attention_mask", "pixel_mask")


class PublishedFile:
    """Two queries: the first says the first token after [CLS], the second says nothing. Logits beyond the text are endless."""

    provider = "CPUExecutionProvider"

    def __init__(
        self,
        inputs: tuple[str, ...] = INPUTS,
        outputs: tuple[str, ...] = ("logits", "pred_boxes"),
        *,
        shape: Any = (1, 3, SIDE, SIDE),
        pixels: str = "tensor(float)",
        integers: str = "tensor(int64)",
        width: int = WIDTH,
    ) -> None:
        self.inputs, self.outputs, self.width = inputs, outputs, width
        self.input_shapes = {"pixel_values": shape}
        self.input_types = {name: pixels if name == "pixel_values" else integers for name in inputs}
        self.fed: list[dict[str, np.ndarray]] = []

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        self.fed.append(feed)
        kind = feed["pixel_values"].dtype
        logits = np.full((1, 2, self.width), -np.inf, kind)
        logits[:, :, : feed["input_ids"].shape[1]] = -5
        logits[0, 0, 1] = 2
        return {"logits": logits, "pred_boxes": np.array([[[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]]], kind)}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(Tokenizer.open(bert_files.write(tmp_path_factory.mktemp("bert"), as_json=False)), {})


def _ask(session: PublishedFile, reader: Reader, prompt: TextPrompt, preprocessor: dict[str, Any] | None = None) -> Any:
    model = PublishedGroundingDino("dino", "dino@1", session, reader, preprocessor or {})
    return model.decode_many(model.encode(np.zeros((*SIZE, 3), np.uint8)), [prompt])[0]


def test_boxes_are_shares_of_the_picture(reader: Reader) -> None:
    (found,) = _ask(PublishedFile(), reader, TextPrompt.of("red car . person"))
    assert found.box == Box(20, 10, 60, 30)
    assert found.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert (found.phrase, found.asked) == ("red", "red car")


def test_what_the_file_is_fed(reader: Reader) -> None:
    session = PublishedFile()
    _ask(session, reader, TextPrompt.of("red car"), {"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_resize": False})
    (feed,) = session.fed
    assert feed["pixel_values"].shape == (1, 3, SIDE, SIDE)
    assert feed["input_ids"].shape == (1, 5)
    assert not feed["token_type_ids"].any()
    assert feed["attention_mask"].all()
    assert (feed["pixel_mask"].shape, feed["pixel_mask"].min()) == ((1, SIDE, SIDE), 1)
    assert {feed[name].dtype for name in INPUTS[1:]} == {np.dtype(np.int64)}


def test_a_file_with_few_inputs_of_other_kinds(reader: Reader) -> None:
    session = PublishedFile(INPUTS[:2], pixels="tensor(float16)", integers="tensor(int32)")
    (found,) = _ask(session, reader, TextPrompt.of("red car"))
    (feed,) = session.fed
    assert {name: array.dtype for name, array in feed.items()} == {"pixel_values": np.float16, "input_ids": np.int32}
    assert found.box == Box(20, 10, 60, 30)


def test_a_file_that_takes_any_size(reader: Reader) -> None:
    session = PublishedFile(shape=("batch", 3, "height", "width"))
    _ask(session, reader, TextPrompt.of("red car"), {"size": {"shortest_edge": 100, "longest_edge": 160}})
    assert session.fed[0]["pixel_values"].shape == (1, 3, 80, 160)


@pytest.mark.parametrize(
    "session",
    [
        PublishedFile(INPUTS[1:]),
        PublishedFile((*INPUTS, "past")),
        PublishedFile(outputs=("logits",)),
        PublishedFile(integers="tensor(float)"),
        PublishedFile(shape=(1, 4, SIDE, SIDE)),
        PublishedFile(shape=(1, SIDE)),
    ],
    ids=["no pixels", "an unknown input", "no boxes", "ids with a fraction", "four colours", "no picture"],
)
def test_other_files(reader: Reader, session: PublishedFile) -> None:
    with pytest.raises(BadWeights) as raised:
        PublishedGroundingDino("dino", "dino@1", session, reader, {})
    assert raised.value.code == "weights.interface"


def test_a_row_of_scores_that_is_too_short(reader: Reader) -> None:
    with pytest.raises(InferenceFailed) as raised:
        _ask(PublishedFile(width=5), reader, TextPrompt.of("red car . person"))
    assert raised.value.code == "run.shapes"


def test_an_embedding_of_another_model(reader: Reader) -> None:
    model = PublishedGroundingDino("dino", "dino@1", PublishedFile(), reader, {})
    other = PublishedGroundingDino("dino", "dino@2", PublishedFile(), reader, {})
    with pytest.raises(BadPrompt):
        model.decode_many(other.encode(np.zeros((*SIZE, 3), np.uint8)), [TextPrompt.of("red car")])
