"""BERT's tokens: text to the numbers that a text model reads, and back, by the files that are published beside the weights.

Only what is read here reaches the `tokenizers` library: a vocabulary and a few switches. A published `tokenizer.json` could ask
for any other tokenizer, which would be a wrong one for these models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locara_label.errors import BadWeights, NotDownloaded

CLS, SEP, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
SEPARATORS = (CLS, SEP, ".", "?")
NEEDED = (*SEPARATORS, UNKNOWN)
SPECIAL = (UNKNOWN, SEP, "[PAD]", CLS, "[MASK]")
PREFIX = "##"
"""Of a piece that continues a word."""

MAX_BYTES = 4 << 20
MAX_ID = 1 << 20
MAX_ADDED = 1000
MAX_WORD = 1000
"""Characters of a word that may be split. The search takes their square, so a file may not ask for any length."""

PARTS = {
    "model": ("WordPiece",),
    "normalizer": ("BertNormalizer",),
    "pre_tokenizer": ("BertPreTokenizer",),
    "post_processor": ("TemplateProcessing", "BertProcessing", None),
    "decoder": ("WordPiece", None),
}
JOINED = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""Spaces that the published clean-up takes away, in its order."""


@dataclass(frozen=True)
class _Recipe:
    """What a BERT tokenizer is made of, once it is known to be sound.

    Attributes:
        vocabulary: piece to id.
        lowercase, strip_accents, chinese, clean_text: of the normaliser; accents None follows lowercase.
        max_word: characters; longer words are unknown.
        added: pieces that are found in the text before it is split, with the flags of `tokenizers.AddedToken`.
        decoder_cleanup, cleanup: spaces are taken away piece by piece, and in the whole text.
    """

    vocabulary: Mapping[str, int]
    lowercase: bool = True
    strip_accents: bool | None = None
    chinese: bool = True
    clean_text: bool = True
    max_word: int = 100
    added: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    decoder_cleanup: bool = True
    cleanup: bool = False


class Tokenizer:
    """A BERT tokenizer; threads may share it.

    Attributes:
        separators: ids of what ends a phrase of Grounding DINO: [CLS], [SEP], "." and "?".
        size: rows that an embedding table needs, one more than the highest id.
    """

    def __init__(self, raw: Any, recipe: _Recipe) -> None:
        self._raw, self._cleanup = raw, recipe.cleanup
        self._first, self._last = recipe.vocabulary[CLS], recipe.vocabulary[SEP]
        self.separators = frozenset(recipe.vocabulary[name] for name in SEPARATORS)
        self.size = max(recipe.vocabulary.values()) + 1

    @classmethod
    def open(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a folder in the hub's layout: `tokenizer.json`, or `vocab.txt`; both with `tokenizer_config.json`.

        Raises:
            NotDownloaded: neither is there.
            BadWeights: with code `weights.tokenizer`, for files that are not those of a BERT tokenizer.
        """
        with _reported(folder):
            recipe = _read(folder)
            return cls(_build(recipe), recipe)

    def encode(self, text: str) -> list[int]:
        """Token ids with [CLS] before and [SEP] after them, never cut off. What is no Unicode character is left out.

        Raises:
            BadWeights: with code `weights.tokenizer`, if the tokenizer fails.
        """
        sound = text.encode("utf-8", "ignore").decode("utf-8")  # lone surrogates, which JSON may carry
        with _reported("the tokenizer"):
            return [self._first, *self._raw.encode(sound, add_special_tokens=False).ids, self._last]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the tokens, [CLS] and [SEP] included, as the published processor writes phrases.

        Raises:
            BadWeights: with code `weights.tokenizer`, if the tokenizer fails.
        """
        with _reported("the tokenizer"):
            text = str(self._raw.decode(list(ids), skip_special_tokens=False))
        for before, after in JOINED if self._cleanup else ():
            text = text.replace(before, after)
        return text


@contextmanager
def _reported(where: object) -> Iterator[None]:
    """Whatever goes wrong within ends as one of our own errors; a panic of the library is no `Exception`."""
    try:
        yield
    except (BadWeights, NotDownloaded, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        raise _unusable(f"{where}: {type(error).__name__}: {error!s:.200}") from error


def _unusable(why: str) -> BadWeights:
    return BadWeights(f"the tokenizer cannot be used: {why}", code="weights.tokenizer")


def _read(folder: Path) -> _Recipe:
    config = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    if (folder / "tokenizer.json").is_file():
        return _from_json(_json(folder / "tokenizer.json"), config)
    if (folder / "vocab.txt").is_file():
        return _from_lines(_text(folder / "vocab.txt"), config)
    raise NotDownloaded(f"{folder} has neither tokenizer.json nor vocab.txt")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _unusable(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    return content.decode("utf-8")


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(_text(path))
    if not isinstance(content, dict):
        raise _unusable(f"{path} is not a JSON object")
    return content


def _from_lines(text: str, config: Mapping[str, Any]) -> _Recipe:
    """A `vocab.txt`: one piece a line, its number is its id."""
    lines = text.removesuffix("\n").split("\n")
    vocabulary = _sound({line.rstrip(): number for number, line in enumerate(lines)})
    return _Recipe(
        vocabulary,
        lowercase=_flag(config, "do_lower_case", default=True),
        strip_accents=_flag_or_none(config, "strip_accents"),
        chinese=_flag(config, "tokenize_chinese_chars", default=True),
        added={name: {"special": True, "normalized": False} for name in SPECIAL if name in vocabulary},
        cleanup=_flag(config, "clean_up_tokenization_spaces", default=False),
    )


def _from_json(content: Mapping[str, Any], config: Mapping[str, Any]) -> _Recipe:
    """A `tokenizer.json`; its own truncation and padding are not taken over."""
    model, normalizer, _, _, decoder = (_part(content, name) for name in PARTS)
    if model.get("unk_token") != UNKNOWN or model.get("continuing_subword_prefix", PREFIX) != PREFIX:
        raise _unusable(f"its model does not write unknown words as {UNKNOWN} and later pieces with {PREFIX}")
    if decoder.get("prefix", PREFIX) != PREFIX:
        raise _unusable(f"its decoder does not know later pieces by {PREFIX}")
    vocabulary = _sound(_mapping(model.get("vocab"), "vocab"))
    return _Recipe(
        vocabulary,
        lowercase=_flag(normalizer, "lowercase", default=True),
        strip_accents=_flag_or_none(normalizer, "strip_accents"),
        chinese=_flag(normalizer, "handle_chinese_chars", default=True),
        clean_text=_flag(normalizer, "clean_text", default=True),
        max_word=_max_word(model.get("max_input_chars_per_word", 100)),
        added=_added(content.get("added_tokens") or [], vocabulary),
        decoder_cleanup=_flag(decoder, "cleanup", default=True),
        cleanup=_flag(config, "clean_up_tokenization_spaces", default=False),
    )


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = {} if content.get(name) is None else _mapping(content[name], name)
    if part.get("type") not in PARTS[name]:
        raise _unusable(f"its {name} is {part.get('type')!r:.80}, not {PARTS[name][0]}")
    return part


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _unusable(f"{name} is not a JSON object")
    return value


def _sound(vocabulary: Mapping[str, Any]) -> Mapping[str, int]:
    wrong = [f"{name!r:.80}" for name, number in vocabulary.items() if type(number) is not int or not 0 <= number < MAX_ID]
    if wrong:
        raise _unusable(f"the id of {wrong[0]} is not a number below {MAX_ID}")
    if len(set(vocabulary.values())) != len(vocabulary):
        raise _unusable("two pieces have one id")
    missing = [name for name in NEEDED if name not in vocabulary]
    if missing:
        raise _unusable(f"its vocabulary of {len(vocabulary)} pieces lacks {', '.join(missing)}")
    return vocabulary


def _flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    found = _flag_or_none(values, name)
    return default if found is None else found


def _flag_or_none(values: Mapping[str, Any], name: str) -> bool | None:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise _unusable(f"{name} is {value!r:.80}, neither true nor false")
    return value


def _max_word(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_WORD:
        raise _unusable(f"max_input_chars_per_word is {value!r:.80}, not a number from 1 to {MAX_WORD}")
    return value


def _added(tokens: Any, vocabulary: Mapping[str, int]) -> dict[str, dict[str, bool]]:
    if not isinstance(tokens, list) or len(tokens) > MAX_ADDED:
        raise _unusable(f"added_tokens is not a list of at most {MAX_ADDED}")
    return dict(_added_token(_mapping(token, "an added token"), vocabulary) for token in tokens)


def _added_token(token: Mapping[str, Any], vocabulary: Mapping[str, int]) -> tuple[str, dict[str, bool]]:
    name = token.get("content")
    if not isinstance(name, str) or vocabulary.get(name) != token.get("id"):
        raise _unusable(f"the added token {name!r:.80} is not in the vocabulary under the same id")
    special = _flag(token, "special", default=False)
    flags = {key: _flag(token, key, default=False) for key in ("single_word", "lstrip", "rstrip")}
    return name, flags | {"special": special, "normalized": _flag(token, "normalized", default=not special)}


def _build(recipe: _Recipe) -> Any:
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Raw

    model = models.WordPiece(
        dict(recipe.vocabulary), unk_token=UNKNOWN, max_input_chars_per_word=recipe.max_word, continuing_subword_prefix=PREFIX
    )
    raw = Raw(model)
    raw.normalizer = normalizers.BertNormalizer(
        clean_text=recipe.clean_text,
        handle_chinese_chars=recipe.chinese,
        strip_accents=recipe.strip_accents,
        lowercase=recipe.lowercase,
    )
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece(prefix=PREFIX, cleanup=recipe.decoder_cleanup)
    raw.add_tokens([AddedToken(name, **flags) for name, flags in recipe.added.items()])
    return raw
