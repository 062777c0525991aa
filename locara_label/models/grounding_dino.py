"""Grounding DINO: one encoding for each picture, then boxes from phrases.

Source: Liu et al., Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection, 2023; the arithmetic
is that of transformers' `GroundingDinoProcessor` and `GroundingDinoForObjectDetection`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadPrompt, BadWeights
from locara_label.models import processor
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, checked_embedding, picture_hash
from locara_label.models.sentences import MAX_TOKENS, attention_and_positions, phrase_tokens
from locara_label.models.wordpiece import Tokenizer
from locara_label.runtime.session import Session, finite
from locara_label.types import Box, Detection, Embedding, TextPrompt

LEVELS = tuple(f"features.{level}" for level in range(4))
EDGES = {"shortest_edge": 800, "longest_edge": 1333}
"""Of the pictures that the published models were made for, in pixels."""
BOX_THRESHOLD, TEXT_THRESHOLD = 0.35, 0.25
"""The original's own."""
MAX_RUNS = 8
"""Longer prompts are read in parts, phrase by phrase, but not in more parts than this."""
KEPT_TEXTS = 64

Floats = NDArray[np.float32]
_LOG = logging.getLogger("locara_label.grounded")


@dataclass(frozen=True)
class Sentence:
    """As many phrases as one run takes.

    Attributes:
        ids: [CLS], then each phrase and a dot, then [SEP].
        spans: of each phrase: itself, and the positions of its first and last-plus-one token.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[str, int, int], ...]


Detect = Callable[[Embedding, Sentence, Limit], tuple[Floats, Floats]]
"""What a picture and a sentence give: logits [Q, N] and boxes [Q, 4]."""


class Reader:
    """Prompts to tokens, by the published rules: lower case, every phrase ended by a dot, at most so many tokens at once."""

    def __init__(self, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
        """Raises BadWeights: `max_text_len` of the config is not a length, or the tokenizer has no dot."""
        self._tokenizer = tokenizer
        self.longest = config.get("max_text_len", MAX_TOKENS)
        if not isinstance(self.longest, int) or not 4 <= self.longest <= 4096:
            raise BadWeights(f"max_text_len of the config is {self.longest!r:.50}, not a number of tokens", code="weights.config")
        ids = tokenizer.encode(".")
        if len(ids) != 3:
            raise BadWeights(f"the tokenizer reads a dot as {ids}", code="weights.tokenizer")
        self._start, self._dot, self._end = ids

    def read(self, prompt: TextPrompt) -> list[Sentence]:
        """The prompt in as few parts as there can be.

        Raises:
            BadPrompt: no phrase has a word, one is too long, or there are too many.
        """
        words = [(phrase, self._words(phrase)) for phrase in prompt.phrases]
        wordless = [phrase for phrase, ids in words if not ids]
        if wordless:
            _LOG.warning("%d of %d phrases have no word that can be read, such as %.50r", len(wordless), len(words), wordless[0])
        sentences = [self._sentence(group) for group in self._groups([(phrase, ids) for phrase, ids in words if ids])]
        if not sentences:
            raise BadPrompt("the text has no words", code="prompt.empty")
        if len(sentences) > MAX_RUNS:
            text = f"the prompt has {len(prompt.phrases)} phrases, which take {len(sentences)} runs"
            raise BadPrompt(f"{text}; at most {MAX_RUNS} are made", code="prompt.too_long")
        return sentences

    def attention(self, ids: Sequence[int]) -> tuple[Floats, NDArray[np.int64]]:
        """Which tokens see each other [N, N], and their positions in their phrases [N]."""
        return attention_and_positions(ids, self._tokenizer.separators)

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as words."""
        return self._tokenizer.decode(ids)

    def _words(self, phrase: str) -> list[int]:
        ids = [token for token in self._tokenizer.encode(phrase) if token not in self._tokenizer.separators]
        if len(ids) > self.longest - 3:
            text = f"the phrase {phrase[:40]!r}... has {len(ids)} tokens; the model reads {self.longest - 3} at once"
            raise BadPrompt(f"{text}. Part phrases by dots", code="prompt.too_long")
        return ids

    def _groups(self, words: Sequence[tuple[str, list[int]]]) -> Iterator[list[tuple[str, list[int]]]]:
        group: list[tuple[str, list[int]]] = []
        for phrase, ids in words:
            if group and 2 + sum(len(other) + 1 for _, other in group) + len(ids) + 1 > self.longest:
                yield group
                group = []
            group.append((phrase, ids))
        if group:
            yield group

    def _sentence(self, group: Sequence[tuple[str, list[int]]]) -> Sentence:
        ids, spans = [self._start], []
        for phrase, words in group:
            spans.append((phrase, len(ids), len(ids) + len(words)))
            ids += [*words, self._dot]
        return Sentence((*ids, self._end), tuple(spans))


class GroundingDino:
    """A Grounding DINO from official weights; implements `TextModel`."""

    def __init__(
        self,
        name: str,
        identity: str,
        sessions: tuple[Session, Session, Session],
        reader: Reader,
        preprocessor: Mapping[str, Any],
    ) -> None:
        """`sessions` are those of the image encoder, the text encoder and the detector.

        Raises:
            BadWeights: the preprocessor config cannot be used.
        """
        self.name, self.identity, self.provider = name, identity, sessions[0].provider
        self._image, self._text, self._detector = sessions
        self._reader = reader
        self._processor = processor.parse({"size": EDGES, **preprocessor})
        self._features = lru_cache(KEPT_TEXTS)(self._encode_text)

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptedModel`."""
        pixels = self._processor.prepare(checked(image))
        found = self._image.run({"pixel_values": pixels}, stop=limit.stop, deadline_s=limit.deadline_s)
        arrays = tuple(finite(found[name]) for name in LEVELS)
        for array in arrays:
            array.flags.writeable = False
        return Embedding(self.identity, picture_hash(image), (image.shape[0], image.shape[1]), arrays)

    def decode_many(self, embedding: Embedding, prompts: Sequence[TextPrompt], limit: Limit = NO_LIMIT) -> list[list[Detection]]:
        """See `PromptedModel`. Features of a prompt that comes again are kept."""
        checked_embedding(embedding, self.identity)
        return answers(embedding, prompts, self._reader, self._detect, limit)

    def _detect(self, embedding: Embedding, sentence: Sentence, limit: Limit) -> tuple[Floats, Floats]:
        """Logits [Q, N] and boxes [Q, 4]."""
        features, positions, attention = self._features(sentence.ids)
        feed = {
            **dict(zip(LEVELS, embedding.arrays, strict=True)),
            "text_features": features,
            "position_ids": positions,
            "attention": attention,
        }
        found = self._detector.run(feed, stop=limit.stop, deadline_s=limit.deadline_s)
        return finite(found["logits"])[0], finite(found["pred_boxes"])[0]

    def _encode_text(self, ids: tuple[int, ...]) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Features [1, N, D], positions [1, N] and attention [1, N, N] of a sentence."""
        attention, positions = self._reader.attention(ids)
        feed = {"input_ids": np.array([ids]), "position_ids": positions[None], "attention": attention[None]}
        return finite(self._text.run(feed)["text_features"]), positions[None], attention[None]


def answers(
    embedding: Embedding, prompts: Sequence[TextPrompt], reader: Reader, detect: Detect, limit: Limit
) -> list[list[Detection]]:
    """What `detect` finds for the parts of each prompt, best first; see `detections`."""
    clock = Clock(limit)
    return [_answer(embedding, prompt, reader, detect, clock) for prompt in prompts]


def _answer(embedding: Embedding, prompt: TextPrompt, reader: Reader, detect: Detect, clock: Clock) -> list[Detection]:
    found: list[Detection] = []
    for sentence in reader.read(prompt):
        logits, boxes = detect(embedding, sentence, clock.left)
        found += detections(logits, boxes, sentence, prompt, size=embedding.size, reader=reader)
    return sorted(found, key=lambda one: -one.score)


def detections(
    logits: Floats, boxes: Floats, sentence: Sentence, prompt: TextPrompt, *, size: tuple[int, int], reader: Reader
) -> list[Detection]:
    """What the published post-processing keeps, and which phrase each box answers.

    Args:
        logits: [Q, N] of every query for every token.
        boxes: [Q, 4], centre and size as shares of the picture.
        sentence: the tokens.
        prompt: for its thresholds.
        size: height and width of the picture in pixels.
        reader: turns tokens into words.
    """
    chances = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -60, 60)))
    scores = chances.max(1)
    least = BOX_THRESHOLD if prompt.box_threshold is None else prompt.box_threshold
    word = TEXT_THRESHOLD if prompt.text_threshold is None else prompt.text_threshold
    phrases = np.stack([chances[:, start:end].max(1) for _, start, end in sentence.spans], 1)
    found = []
    for query in np.flatnonzero(scores > least):
        box = _within(boxes[query], size)
        if box is not None:
            words = phrase_tokens(chances[query], sentence.ids, word, reader.longest)
            asked = sentence.spans[int(phrases[query].argmax())][0]
            found.append(Detection(box, float(scores[query]), reader.text(words), asked))
    return found


def _within(box: Floats, size: tuple[int, int]) -> Box | None:
    """Corners in pixels, the part within the picture; None where nothing of it is."""
    height, width = size
    x, y, half_x, half_y = (float(value) for value in (box[0], box[1], box[2] / 2, box[3] / 2))
    corners = (x - half_x) * width, (y - half_y) * height, (x + half_x) * width, (y + half_y) * height
    x0, y0, x1, y1 = (min(max(corner, 0.0), float(most)) for corner, most in zip(corners, (width, height) * 2, strict=True))
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
