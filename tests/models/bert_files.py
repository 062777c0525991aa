"""A small BERT vocabulary that really splits words, with BERT's own ids for what matters, and the files of a hub folder."""

from __future__ import annotations

import json
import string
from itertools import product
from pathlib import Path
from typing import Any

_WORDS = (
    "a an and are around at bear bicycle big black blue box brown car cat cats dog each field find flower gold gray green "
    "grass hand is it jack large left man of on orange person people pink plant purple red remote control right ring road "
    "round s see sky small square star street striped t table the this traffic light tree triangle two under water wearing "
    "what white with woman yellow cafe strasse don isn ve re m ll ##able ##cycle ##er ##ers ##ing ##ed ##ly ##ness ##tion "
    "##um ##ble ##on ##an "
)
WORDS = _WORDS.split()
SCRIPTS = (
    "αβγδεζηθικλμνξοπρςστυφχψω",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
)
ALONE = (
    "中文字日本語大小人山川天地の木水火金土月漢字あいうえおかきくけこアイウエオ가나다라" + "😀🚗🐶←→•…“”\u2018\u2019\u2013—£€°½²"
)
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}


def pieces() -> list[str]:
    """In the order of their ids; "[unused…]" fills what BERT's own list has between the specials."""
    head = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    head += [f"[unused{n}]" for n in range(99, 999 - len(head) + 99)]
    marks = [chr(code) for code in range(33, 127) if not chr(code).isalpha()]
    letters = [*string.ascii_lowercase, *"".join(SCRIPTS), *ALONE, "ß", "\u0131", "\u0301"]
    pairs = ["".join(pair) for pair in product(string.ascii_lowercase, repeat=2)]
    tail = [f"##{piece}" for piece in (*string.digits, *letters, *pairs)]
    return list(dict.fromkeys([*head, *marks, *letters, *pairs, *tail, *WORDS]))


def tokenizer_json(vocabulary: dict[str, int]) -> dict[str, Any]:
    """As the published repositories have it."""
    added = [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in vocabulary]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    ends = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": vocabulary[name], "content": name} | flags for name in added],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ends[0], text, ends[1]],
            "pair": [ends[0], text, ends[1]],
            "special_tokens": {
                name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
                if name in vocabulary
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def write(folder: Path, config: dict[str, Any] | None = None, *, as_json: bool) -> Path:
    """Makes a folder with `tokenizer.json` or `vocab.txt`, and `tokenizer_config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pieces()
    if as_json:
        content = tokenizer_json({piece: number for number, piece in enumerate(found)})
        (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    else:
        (folder / "vocab.txt").write_text("\n".join(found) + "\n", "utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "clean_up_tokenization_spaces": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | (config or {})), "utf-8")
    return folder
