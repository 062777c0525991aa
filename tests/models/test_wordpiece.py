from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.errors import BadWeights, NotDownloaded
from locara_label.models import wordpiece
from locara_label.models.wordpiece import Tokenizer
from tests.models import bert_files
from tests.models.bert_files import SPECIAL
from tests.required import needed

CLS, SEP, UNK, DOT, MARK = (SPECIAL[name] for name in ("[CLS]", "[SEP]", "[UNK]", ".", "?"))
KINDS = pytest.mark.parametrize("as_json", [True, False], ids=["tokenizer.json", "vocab.txt"])
POOLS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCXYZ0123456789",
    " .,?!'\"-_/()[]{}@#$%^&*~`|\\<>=+:;",
    "áéíóúñçüößåøæœıİŁžǆẞŉΐ",
    "\u0301\u0308\u0327\u0345\u20dd\u200d\ufe0f",
    "αβγΔΣς" + "абвЁйЩ" + "אבגשׁ" + "ابجدهﷺ",
    "中文字日本語漢字𠀀㐀豈" + "あいうアイウ" + "한국어가나다각",
    "😀🚗🐶👩‍👩‍👧🏳️‍🌈🇩🇪",
    "\x00\x01\x07\t\n\r\x0b\x0c\x1f\x7f\x85\u00a0\u00ad\u2028\u2029\u202e\u200b\u3000\ufeff\ufffd\ue000\U0010ffff",
    "…“”\u2018\u2019\u2013—£€°½²™①ﬁ",
)
ODD = (
    "", " ", ".", "?", "...", "a", "Red Car . Person ?", "red car. person.", "[CLS] [SEP] [sep] [MASK] [UNK] [PAD]", "a[SEP]b",
    "##ing", "isn't it? don't, I've we're I'm cat's", "a" * 100 + " .", "a" * 101, "ab" * 5000, "中" * 300, "\u0301" * 300,
    "e\u0301\u0301\u0301", "\u202eright to left", "שלום עולם", "مرحبا بالعالم", "word " * 10_000, "a.b?c!d", "x" * 99 + "é",
    "\x00", "\ufffd", "ﷺ", "İstanbul", "ǆ", "½ cup", "e-mail@example.org", "1,000.5 km/h", "co\u00adoperate", "zero\u200bwidth",
)  # fmt: skip


def _texts(count: int = 1000) -> list[str]:
    """The same on every machine: odd ones first, then words of the vocabulary mixed with characters of every kind."""
    rng = random.Random(4)
    words = [word.removeprefix("##") for word in bert_files.WORDS]

    def piece() -> str:
        if rng.random() < 0.5:
            return "".join(rng.choices(words, k=rng.randint(1, 3)))
        return "".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randint(1, 12)))

    made = [rng.choice([" ", "", " . ", ". "]).join(piece() for _ in range(rng.randint(1, 25))) for _ in range(count - len(ODD))]
    return [*ODD, *made]


@pytest.fixture(scope="module", params=[True, False], ids=["tokenizer.json", "vocab.txt"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.open(bert_files.write(tmp_path_factory.mktemp("bert"), as_json=request.param))


def test_words_and_pieces(tokenizer: Tokenizer) -> None:
    names = bert_files.pieces()
    found = tokenizer.encode("Red bicycle . treeing?")
    assert [names[token] for token in found] == ["[CLS]", "red", "bicycle", ".", "tree", "##ing", "?", "[SEP]"]
    assert tokenizer.separators == {CLS, SEP, DOT, MARK}
    assert tokenizer.size == len(names)


def test_nothing_is_cut_off(tokenizer: Tokenizer) -> None:
    """The file of `tokenizer.json` asks for eight tokens at most."""
    assert len(tokenizer.encode("cat " * 10_000)) == 10_002
    assert tokenizer.encode("") == [CLS, SEP]


@pytest.mark.parametrize("text", ["\x00\x01\u200e", "\u0301", "\ud800"])
def test_characters_that_say_nothing(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == [CLS, SEP]
    assert tokenizer.encode(f"red{text} car") == tokenizer.encode("red car")


@pytest.mark.parametrize("text", ["𐎠𐎡𐎢", "a" * 101, "ab" * 5000])
def test_words_that_it_does_not_know(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == [CLS, UNK, SEP]


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200))
def test_any_text_has_tokens(tokenizer: Tokenizer, text: str) -> None:
    found = tokenizer.encode(text)
    assert (found[0], found[-1]) == (CLS, SEP)
    assert all(0 <= token < tokenizer.size for token in found)
    assert isinstance(tokenizer.decode(found), str)


def test_text_of_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("bicycle treeing")[1:-1]) == "bicycle treeing"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(("cleanup", "expected"), [(True, "cat's"), (False, "cat ' s")])
def test_spaces_are_cleaned_up_where_the_config_says_so(tmp_path: Path, *, cleanup: bool, expected: str) -> None:
    folder = bert_files.write(tmp_path, {"clean_up_tokenization_spaces": cleanup}, as_json=False)
    found = Tokenizer.open(folder)
    assert found.decode(found.encode("cat's")[1:-1]) == expected


def test_switches_of_the_config(tmp_path: Path) -> None:
    cased = Tokenizer.open(bert_files.write(tmp_path / "cased", {"do_lower_case": False}, as_json=False))
    assert cased.encode("RED") == [CLS, UNK, SEP]
    accents = Tokenizer.open(bert_files.write(tmp_path / "accents", {"strip_accents": False}, as_json=False))
    assert accents.encode("café") == [CLS, UNK, SEP]
    whole = Tokenizer.open(bert_files.write(tmp_path / "whole", {"tokenize_chinese_chars": False}, as_json=False))
    plain = Tokenizer.open(bert_files.write(tmp_path / "plain", as_json=False))
    assert whole.encode("中文") != plain.encode("中文")


def test_windows_line_ends(tmp_path: Path) -> None:
    folder = bert_files.write(tmp_path, as_json=False)
    path = folder / "vocab.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Tokenizer.open(folder).encode("red .") == [CLS, bert_files.pieces().index("red"), DOT, SEP]


def test_vocab_txt_alone(tmp_path: Path) -> None:
    (bert_files.write(tmp_path, as_json=False) / "tokenizer_config.json").unlink()
    found = Tokenizer.open(tmp_path)
    assert found.encode("RÉD") == found.encode("red")
    assert found.decode(found.encode("cat's")[1:-1]) == "cat ' s"


def test_tokenizer_json_is_preferred(tmp_path: Path) -> None:
    bert_files.write(tmp_path, as_json=True)
    (tmp_path / "vocab.txt").write_bytes(b"\xff")
    assert Tokenizer.open(tmp_path).encode("") == [CLS, SEP]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match=r"vocab\.txt"):
        Tokenizer.open(tmp_path)


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


CHANGES = {
    "another model": _set("model", "type", to="BPE"),
    "no model": _set("model", to=None),
    "a list for a model": _set("model", to=[]),
    "no type": _set("model", "type", to=None),
    "an unhashable type": _set("model", "type", to=["WordPiece"]),
    "a list for a vocabulary": _set("model", "vocab", to=["[CLS]"]),
    "an empty vocabulary": _set("model", "vocab", to={}),
    "an id that is text": _set("model", "vocab", "red", to="7"),
    "an id that is true": _set("model", "vocab", "red", to=True),
    "an id with a fraction": _set("model", "vocab", "red", to=7.5),
    "a negative id": _set("model", "vocab", "red", to=-1),
    "a huge id": _set("model", "vocab", "red", to=1 << 70),
    "an id twice": _set("model", "vocab", "red", to=101),
    "half a character": _set("model", "vocab", "\ud800", to=100_000),
    "another unknown word": _set("model", "unk_token", to="red"),
    "another prefix": _set("model", "continuing_subword_prefix", to="@@"),
    "endless words": _set("model", "max_input_chars_per_word", to=1 << 62),
    "words of no length": _set("model", "max_input_chars_per_word", to=0),
    "a normaliser of characters": _set("normalizer", to={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "no normaliser": _set("normalizer", to=None),
    "a switch that is text": _set("normalizer", "lowercase", to="yes"),
    "a pre-tokenizer by pattern": _set("pre_tokenizer", to={"type": "Split", "pattern": {"Regex": "(a+)+$"}}),
    "a post-processor of bytes": _set("post_processor", to={"type": "ByteLevel"}),
    "a decoder of bytes": _set("decoder", to={"type": "ByteLevel"}),
    "a decoder with another prefix": _set("decoder", "prefix", to="@@"),
    "added tokens that are a number": _set("added_tokens", to=7),
    "many added tokens": _set("added_tokens", to=[{}] * 2000),
    "an added token that is text": _set("added_tokens", 0, to="[PAD]"),
    "an added token under another id": _set("added_tokens", 0, "id", to=7),
    "an added token that is not in the vocabulary": _set("added_tokens", 0, "content", to="<extra>"),
    "an added token without a name": _set("added_tokens", 0, "content", to=None),
}


def _refused(folder: Path) -> str:
    with pytest.raises(BadWeights) as raised:
        Tokenizer.open(folder)
    assert raised.value.code == "weights.tokenizer"
    return str(raised.value)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_hostile_tokenizer_json(tmp_path: Path, change: Callable[[Any], None]) -> None:
    path = bert_files.write(tmp_path, as_json=True) / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    _refused(tmp_path)


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "[UNK]", ".", "?"])
@KINDS
def test_a_needed_token_less(tmp_path: Path, name: str, *, as_json: bool) -> None:
    bert_files.write(tmp_path, as_json=as_json)
    path = tmp_path / ("tokenizer.json" if as_json else "vocab.txt")
    if as_json:
        content = json.loads(path.read_text("utf-8"))
        del content["model"]["vocab"][name]
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != name]
        path.write_text(json.dumps(content), "utf-8")
    else:
        path.write_text("\n".join(piece for piece in bert_files.pieces() if piece != name), "utf-8")
    assert name in _refused(tmp_path)


RUBBISH = {
    "nothing": b"",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "half": b'{"model": ',
    "deep": b"[" * 100_000,
    "a number that Python refuses": b'{"model": ' + b"1" * 5000 + b"}",
    "too large": b" " * (wordpiece.MAX_BYTES + 1),
}


@pytest.mark.parametrize("content", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "tokenizer_config.json"])
def test_rubbish(tmp_path: Path, name: str, content: bytes) -> None:
    bert_files.write(tmp_path, as_json=name == "tokenizer.json")
    (tmp_path / name).write_bytes(content)
    _refused(tmp_path)


def test_a_config_with_wrong_switches(tmp_path: Path) -> None:
    assert "do_lower_case" in _refused(bert_files.write(tmp_path, {"do_lower_case": 1}, as_json=False))


def test_a_panic_of_the_library_is_an_error_of_ours(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    class Panicking:
        def encode(self, text: str, **options: Any) -> Any:
            raise Panic(text)

    monkeypatch.setattr(tokenizer, "_raw", Panicking())
    with pytest.raises(BadWeights, match="Panic"):
        tokenizer.encode("red")


@pytest.mark.parity
@KINDS
def test_tokens_are_those_of_transformers(tmp_path: Path, *, as_json: bool) -> None:
    transformers = needed("transformers")

    folder = bert_files.write(tmp_path, as_json=as_json)
    theirs, ours = transformers.BertTokenizer.from_pretrained(folder), Tokenizer.open(folder)
    theirs.backend_tokenizer.no_truncation()
    texts = _texts()
    assert len(set(texts)) >= 990
    wanted = [theirs(text, truncation=False)["input_ids"] for text in texts]
    assert [ours.encode(text) for text in texts] == wanted
    assert sum(len(ids) > 2 and UNK not in ids for ids in wanted) > 100
    assert [ours.decode(ids[1:-1]) for ids in wanted] == theirs.batch_decode([ids[1:-1] for ids in wanted])
    assert [ours.decode(ids) for ids in wanted] == theirs.batch_decode(wanted)


@pytest.mark.parity
@pytest.mark.parametrize("switch", ["do_lower_case", "strip_accents", "tokenize_chinese_chars", "clean_up_tokenization_spaces"])
def test_switches_are_those_of_transformers(tmp_path: Path, switch: str) -> None:
    transformers = needed("transformers")

    folder = bert_files.write(tmp_path, {switch: False}, as_json=False)
    theirs, ours = transformers.BertTokenizer.from_pretrained(folder), Tokenizer.open(folder)
    wanted = [theirs(text, truncation=False)["input_ids"] for text in _texts(300)]
    assert [ours.encode(text) for text in _texts(300)] == wanted
    assert [ours.decode(ids) for ids in wanted] == theirs.batch_decode(wanted)
