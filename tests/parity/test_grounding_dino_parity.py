"""Tokens, logits, boxes and phrases against transformers, with random weights loaded as those of the hub are."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

needed("torch")

from locara_label import geometry  # noqa: E402
from locara_label.engine.loading import load_text_model  # noqa: E402
from locara_label.models.base import NO_LIMIT  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Detection, TextPrompt  # noqa: E402
from tests.models import bert_files  # noqa: E402
from tests.parity import grounding_dino_reference, reference  # noqa: E402
from tests.parity.grounding_dino_reference import Found, TextReference, thresholds  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
CLOSE = 1e-3
MOST_TIED = 0.01
SIZES = [(240, 320), (480, 270), (64, 100), (900, 150), (3000, 4000), (4000, 3000)]


def _words(vocabulary: list[str]) -> list[str]:
    return [piece for piece in vocabulary[1030:] if piece.isascii() and piece.isalpha() and len(piece) > 2]


def _phrases(vocabulary: list[str], count: int) -> list[str]:
    """Distinct phrases of two words each, and none that is unknown."""
    words = _words(vocabulary)
    return [" ".join(pair) for pair in product(words, words[::-1]) if pair[0] != pair[1]][:: len(words) - 2][:count]


def _picture(size: tuple[int, int]) -> Any:
    return geometry.resize_bilinear(reference.pictures(1, seed=sum(size))[0], size)


def _make(folder: Path, name: str, vocabulary: list[str], edges: tuple[int, int]) -> TextReference:
    from tools.architectures import ARCHITECTURES

    build = ARCHITECTURES[f"{name}-image"]().build
    return grounding_dino_reference.make(folder, lambda: build(0), vocabulary=vocabulary, edges=edges, seed=3)


def _load(name: str, folder: Path, cache: Path) -> Any:
    return load_text_model(name, folder, "cpu", settings=Settings(cache_dir=cache, threads=2))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, TextReference, list[str]]:
    from tools.architectures import MINI

    folder = tmp_path_factory.mktemp("mini")
    vocabulary = (MINI / "grounding-dino" / "vocab.txt").read_text("utf-8").split()
    expected = _make(folder / "weights", "grounding-dino-mini", vocabulary, (160, 267))
    return _load("grounding-dino-mini", folder / "weights", folder / "cache"), expected, vocabulary


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, TextReference, list[str]]:
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = bert_files.pieces()
    expected = _make(folder / "weights", "grounding-dino-tiny", vocabulary, (800, 1333))
    return _load("grounding-dino-tiny", folder / "weights", folder / "cache"), expected, vocabulary


def _compare(model: Any, expected: TextReference, image: Any, phrases: list[str]) -> int:
    """Asserts that everything is equal; gives the number of tokens."""
    seen = expected.see(image, " . ".join(phrases) + " .")
    embedding, prompt = model.encode(image), TextPrompt.of(phrases)
    (sentence,) = model._reader.read(prompt)
    assert list(sentence.ids) == seen.inputs["input_ids"][0].tolist()
    logits, boxes = model._detect(embedding, sentence, NO_LIMIT)
    wanted = seen.outputs.logits[0, :, : seen.tokens].numpy()
    apart = np.maximum(np.abs(logits - wanted).max(1), np.abs(boxes - seen.outputs.pred_boxes[0].numpy()).max(1)) > CLOSE
    assert wanted.std() > 0.3
    assert not (apart & ~expected.tied(seen)).any()
    assert apart.mean() <= MOST_TIED

    box_threshold, text_threshold = thresholds(seen.chances)
    found = model.decode_many(embedding, [TextPrompt.of(phrases, box_threshold, text_threshold)])[0]
    kept = expected.found(seen, box_threshold, text_threshold)
    assert len(kept) >= 3
    assert len({one.phrase for one in kept}) > 1
    assert abs(len(found) - len(kept)) <= apart.sum()
    assert _unmatched(found, kept, max(image.shape)) <= apart.sum()
    return seen.tokens


def _unmatched(found: list[Detection], kept: list[Found], side_px: int) -> int:
    """Boxes of the reference that ours lack. Those of equal scores may come in another order."""
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    left, missing = list(found), 0
    for one in kept:
        same = next((other for other in left if _same(other, one, side_px)), None)
        if same is None:
            missing += 1
        else:
            left.remove(same)
    return missing


def _same(ours: Detection, theirs: Found, side_px: int) -> bool:
    corners = (ours.box.x0, ours.box.y0, ours.box.x1, ours.box.y1)
    near = np.allclose(corners, theirs.box, rtol=0, atol=CLOSE * side_px)
    return near and abs(ours.score - theirs.score) <= CLOSE and ours.phrase == theirs.phrase


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(mini: Any, size: tuple[int, int]) -> None:
    model, expected, vocabulary = mini
    _compare(model, expected, _picture(size), _phrases(vocabulary, 5))


@pytest.mark.parametrize("count", [1, 5, 20])
def test_prompts(mini: Any, count: int) -> None:
    model, expected, vocabulary = mini
    assert _compare(model, expected, _picture((333, 500)), _phrases(vocabulary, count)) == 3 * count + 2


def test_as_many_tokens_as_there_can_be(mini: Any) -> None:
    model, expected, vocabulary = mini
    words = _words(vocabulary)
    pairs = [" ".join(pair) for pair in product(words, words)][:83]
    assert _compare(model, expected, _picture((240, 320)), [*pairs, " ".join(words[:4])]) == 256


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("size", "count"), [((4000, 3000), 20), ((240, 320), 1)], ids=["12 MP, 20 phrases", "small, 1 phrase"])
def test_the_real_architecture(tiny: Any, size: tuple[int, int], count: int) -> None:
    model, expected, vocabulary = tiny
    _compare(model, expected, _picture(size), _phrases(vocabulary, count))
