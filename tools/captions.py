"""Prompts for synthetic scenes: which phrases to ask for, which objects each of them means, and the mini's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.random import Generator
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from fixtures.scenes import COLOURS, SHAPES, Scene, SceneObject

BERT_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "!": 999, ",": 1010, ".": 1012, "?": 1029}
"""Where BERT's own vocabulary has what Grounding DINO's code knows by number."""
SEPARATORS = frozenset(BERT_IDS[name] for name in ("[CLS]", "[SEP]", ".", "?"))
"""What ends a phrase."""
THINGS = ("shape", "object", "thing")
"""Words for an object of any shape."""
PLURAL = "##s"
WORDS = (*COLOURS, *SHAPES, *THINGS, "a", "the", "an", "and", "all", PLURAL, "##es")
STRANGERS = ("zebra", "car", "person", "striped", "wheel", "dog")
"""Words out of the vocabulary: nothing in a scene is one of these."""
MAX_PHRASES = 6


@dataclass(frozen=True)
class Phrase:
    """A part of a prompt, and which of a scene's objects it means."""

    text: str
    means: Callable[[SceneObject], bool]


def vocabulary() -> list[str]:
    """The lines of the mini's vocab.txt."""
    lines = [f"[unused{i}]" for i in range(max(BERT_IDS.values()) + 1)]
    for token, at in BERT_IDS.items():
        lines[at] = token
    return [*lines, *WORDS]


def write_vocabulary(folder: Path) -> Path:
    """vocab.txt in a folder."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary()) + "\n")
    return path


def make_tokenizer() -> Tokenizer:
    """BERT's uncased tokenizer with the mini's vocabulary."""
    tokenizer = Tokenizer(WordPiece({token: i for i, token in enumerate(vocabulary())}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)])
    return tokenizer


def two_words(colour: str, shape: str) -> Phrase:
    """Such as "red ring"."""
    return Phrase(f"{colour} {shape}", lambda item: (item.colour, item.shape) == (colour, shape))


def draw_phrases(rng: Generator, scene: Scene) -> list[Phrase]:
    """Some phrases in random order: what is there, what is nearly there, what is not; no two of the same words."""
    wanted = min(1 + int(rng.geometric(0.35)) - 1, MAX_PHRASES) or 1
    found: dict[str, Phrase] = {}
    while len(found) < wanted:
        phrase = _draw(rng, scene)
        found.setdefault(phrase.text, phrase)
    return list(found.values())


def _draw(rng: Generator, scene: Scene) -> Phrase:
    item = scene.objects[int(rng.integers(len(scene.objects)))] if scene.objects else None
    kind = rng.random()
    if kind < 0.07:
        return _stranger(rng)
    if kind < 0.30:
        return _one_word(rng, item)
    if item is None or kind < 0.42:
        return two_words(_any(rng, COLOURS), _any(rng, SHAPES))
    if kind < 0.68:
        return _nearly(rng, scene, item, kind)
    return two_words(item.colour, item.shape)


def _nearly(rng: Generator, scene: Scene, item: SceneObject, kind: float) -> Phrase:
    """The colour of an object and any shape, its shape and any colour, or its colour and the shape of another."""
    if kind < 0.52:
        return two_words(item.colour, _any(rng, SHAPES))
    if kind < 0.62:
        return two_words(_any(rng, COLOURS), item.shape)
    return two_words(item.colour, scene.objects[int(rng.integers(len(scene.objects)))].shape)


def _stranger(rng: Generator) -> Phrase:
    word = _any(rng, STRANGERS)
    text = rng.choice([word, f"{_any(rng, COLOURS)} {word}", f"{word} {_any(rng, SHAPES)}"], p=[0.6, 0.3, 0.1])
    return Phrase(str(text), lambda _: False)


def _one_word(rng: Generator, item: SceneObject | None) -> Phrase:
    if rng.random() < 0.8:
        shape = item.shape if item is not None and rng.random() < 0.6 else _any(rng, SHAPES)
        return Phrase(shape, lambda one: one.shape == shape)
    colour, thing = _any(rng, COLOURS), _any(rng, THINGS)
    if rng.random() < 0.5:
        return Phrase(thing, lambda _: True)
    return Phrase(f"{colour} {thing}", lambda one: one.colour == colour)


def absent_phrase(rng: Generator, scene: Scene) -> Phrase:
    """Two words that name no object of the scene."""
    names = {item.phrase for item in scene.objects}
    colours, shapes = ([getattr(item, part) for item in scene.objects] for part in ("colour", "shape"))
    while True:
        near = bool(rng.random() < 0.5) and len(set(colours)) > 1 and len(set(shapes)) > 1
        phrase = two_words(str(rng.choice(colours if near else list(COLOURS))), str(rng.choice(shapes if near else SHAPES)))
        if phrase.text not in names:
            return phrase
        if near and len(set(colours)) * len(set(shapes)) <= len(names):
            colours, shapes = list(COLOURS), list(SHAPES)


def _any(rng: Generator, words: Iterable[str]) -> str:
    return str(rng.choice(list(words)))


def decorate(rng: Generator, text: str) -> str:
    """The phrase as people type it: with an article, in the plural, or plain."""
    kind = rng.random()
    if kind < 0.1:
        return f"{_any(rng, ('a', 'the'))} {text}"
    if kind < 0.17 and text.rpartition(" ")[2] in (*SHAPES, *THINGS):
        return text + ("es" if text.endswith("s") else "s")
    return text


def caption(texts: Sequence[str]) -> str:
    """Phrases as one prompt: lower case, each ended by a dot."""
    return " . ".join(texts) + " ."
