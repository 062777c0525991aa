"""Prompts in parts, and what becomes of logits and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from locara_label.errors import BadPrompt, BadWeights
from locara_label.models.grounding_dino import MAX_RUNS, Reader, detections
from locara_label.models.wordpiece import Tokenizer
from locara_label.types import Box, Detection, TextPrompt

WORDS = ("red", "ring", "blue", "star", "a", "##s")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return Tokenizer.open(folder)


def reader(tokenizer: Tokenizer, longest: int = 256) -> Reader:
    return Reader(tokenizer, {"max_text_len": longest})


def test_one_sentence_holds_all_phrases(tokenizer: Tokenizer) -> None:
    (sentence,) = reader(tokenizer).read(TextPrompt.of("Red ring. blue star"))
    assert [phrase for phrase, _, _ in sentence.spans] == ["red ring", "blue star"]
    assert tokenizer.decode(sentence.ids[1:3]) == "red ring"
    assert [tokenizer.decode(sentence.ids[start:end]) for _, start, end in sentence.spans] == ["red ring", "blue star"]
    assert sentence.ids == tuple(tokenizer.encode("red ring . blue star ."))


def test_a_long_prompt_is_read_in_parts(tokenizer: Tokenizer) -> None:
    phrases = [f"{'a ' * number}ring" for number in range(1, 14)]
    sentences = reader(tokenizer, 32).read(TextPrompt.of(phrases))
    assert [phrase for sentence in sentences for phrase, _, _ in sentence.spans] == phrases
    assert 1 < len(sentences) <= MAX_RUNS
    assert all(len(sentence.ids) <= 32 for sentence in sentences)


@pytest.mark.parametrize("text", ["a " * 40 + "ring", [f"{'a ' * n}ring" for n in range(1, 29)]])
def test_more_than_can_be_read_is_refused(tokenizer: Tokenizer, text: str | list[str]) -> None:
    with pytest.raises(BadPrompt) as caught:
        reader(tokenizer, 32).read(TextPrompt.of(text))
    assert caught.value.code == "prompt.too_long"


@pytest.mark.parametrize("text", ["\x07", "\u200b", "[SEP]"])
def test_a_text_without_words_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(BadPrompt) as caught:
        reader(tokenizer).read(TextPrompt((text,)))
    assert caught.value.code == "prompt.empty"


@pytest.mark.parametrize("longest", ["256", None, 3, 10**6])
def test_a_length_that_is_none_is_refused(tokenizer: Tokenizer, longest: object) -> None:
    with pytest.raises(BadWeights):
        Reader(tokenizer, {"max_text_len": longest})


def found(tokenizer: Tokenizer, logits: list[list[float]], boxes: list[list[float]], **thresholds: float) -> list[Detection]:
    read = reader(tokenizer)
    prompt = TextPrompt.of("red ring . blue star", **thresholds)
    (sentence,) = read.read(prompt)
    values = np.array(logits, np.float32), np.array(boxes, np.float32)
    return detections(*values, sentence, prompt, size=(100, 200), reader=read)


def logits_of(sentence_length: int, **at: float) -> list[float]:
    row = [-10.0] * sentence_length
    for place, value in at.items():
        row[int(place[1:])] = value
    return row


# [CLS] red ring . blue star . [SEP]
@pytest.mark.parametrize(
    ("at", "phrase", "asked"),
    [
        ({"_1": 2.0, "_2": 3.0}, "red ring", "red ring"),
        ({"_5": 2.0}, "star", "blue star"),
        ({"_2": 1.0, "_5": 2.0}, "ring star", "blue star"),
        ({"_0": 5.0, "_1": 0.0}, "red", "red ring"),
    ],
)
def test_phrases(tokenizer: Tokenizer, at: dict[str, float], phrase: str, asked: str) -> None:
    (one,) = found(tokenizer, [logits_of(8, **at)], [[0.5, 0.5, 0.2, 0.4]])
    assert (one.phrase, one.asked) == (phrase, asked)
    assert one.score == pytest.approx(1 / (1 + np.exp(-max(at.values()))))
    assert np.allclose([one.box.x0, one.box.y0, one.box.x1, one.box.y1], [80, 30, 120, 70], atol=1e-4)


def test_thresholds(tokenizer: Tokenizer) -> None:
    rows = [logits_of(8, _1=0.0), logits_of(8, _1=-1.0), logits_of(8, _1=-3.0)]
    boxes = [[0.5, 0.5, 0.2, 0.4]] * 3
    assert len(found(tokenizer, rows, boxes)) == 1
    assert len(found(tokenizer, rows, boxes, box_threshold=0.2)) == 2
    assert len(found(tokenizer, rows, boxes, box_threshold=0.0)) == 3
    assert found(tokenizer, rows, boxes, text_threshold=0.9)[0].phrase == ""


def test_boxes_end_at_the_picture(tokenizer: Tokenizer) -> None:
    rows = [logits_of(8, _1=1.0)] * 3
    boxes = [[0.0, 0.0, 0.5, 0.5], [1.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.2]]
    assert [one.box for one in found(tokenizer, rows, boxes)] == [Box(0, 0, 50, 25)]
