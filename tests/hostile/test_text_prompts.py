"""Hostile prompts, with the real tokenizer and the real mini models: a coded error or an answer, never a crash."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import locara_label
from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.batch.phrases import asked, map_of_names
from locara_label.cli.app import run
from locara_label.engine.grounding import load_labelled
from locara_label.errors import InputError
from locara_label.models.base import picture_hash
from locara_label.models.grounded import phrase_of
from locara_label.models.grounding_dino import Reader
from locara_label.models.wordpiece import Tokenizer
from locara_label.types import TextPrompt
from locara_label.weights.store import MINI

IMAGE = make_scene(EVALUATION_SEED, (64, 96)).image
LONG = 5_000
PROMPTS = [
    "", " ", ".", "...?", "\0", "\x07\x1b[31m", "\u200b", "\u202e gnir eulb", "\ud800", "a\ud800b", "\ufffe", "\U0010ffff",
    "x" * LONG, "ß" * LONG, "\u0301" * LONG, "word " * 10_000, "a " * 9_999, ". " * 10_000, "a." * 900, "a." * 10_000,
    "голубое кольцо", "青い輪", "حلقة زرقاء", "נקודה", "😀 . 🚗🐶", "İstanbul ΣΑΣ", "[CLS] [SEP] [MASK] [PAD] [UNK]", "##ing",
    "blue ring\n. red\tcar\r\n", "<script>alert(1)</script>", "'; drop table labels; --", "%s %d {} {0}", "../../etc/passwd",
]  # fmt: skip
texts = st.text(st.characters(codec=None), max_size=200) | st.text(st.sampled_from("ab .?_#[]\0\u0301é中😀\ud800"), max_size=60)
often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def reader() -> Reader:
    return Reader(Tokenizer.open(MINI / "grounding-dino"), json.loads((MINI / "grounding-dino" / "config.json").read_text()))


REFUSALS = {"prompt.empty", "prompt.too_long"}


def refused(work, codes=REFUSALS):
    """What the work gives, or None where it is refused with one of the codes."""
    code = None
    try:
        return work()
    except InputError as error:
        code = error.code
    assert code in codes
    return None


def check_read(text):
    """Reads a text or a list by the real tokenizer's rules."""
    prompt = refused(lambda: TextPrompt.of(text))
    sentences = refused(lambda: reader().read(prompt)) if prompt else None
    if not prompt or not sentences:
        return
    spans = [span for sentence in sentences for span in sentence.spans]
    assert {phrase for phrase, _, _ in spans} <= set(prompt.phrases)
    assert len({phrase for phrase, _, _ in spans}) == len(spans)
    for sentence in sentences:
        assert 3 < len(sentence.ids) <= reader().longest
        assert all(0 < start < end < len(sentence.ids) for _, start, end in sentence.spans)


@often
@given(texts)
def test_any_text_is_read_or_refused(text):
    check_read(text)


@often
@given(st.lists(texts, max_size=20))
def test_any_list_is_read_or_refused(phrases):
    check_read(phrases)


@often
@given(texts)
@example("A_b.C-d?")
def test_phrases_of_names_stay_what_they_are(name):
    phrase = phrase_of(name)
    assert not phrase or phrase_of(phrase) == phrase
    assert not phrase or TextPrompt((phrase,)).phrases == TextPrompt.of([phrase]).phrases


@often
@given(st.lists(texts, max_size=8), st.none() | texts)
def test_any_labels_are_asked_for_or_refused(names, prompt):
    sought = refused(lambda: asked(prompt, map_of_names(names)), {*REFUSALS, "option.labels"})
    if sought is None:
        return
    assert sought.phrases
    assert set(sought.label_map.names) <= set(sought.phrases)
    assert set(sought.label_map.names.values()) <= set(names)


@pytest.mark.parametrize("text", PROMPTS, ids=lambda text: ascii(text[:20]))
def test_the_real_models_answer_or_refuse(text):
    before = picture_hash(IMAGE)
    found = refused(lambda: locara_label.mask_from_prompt(IMAGE, text=text, box_threshold=0.05)) or []
    assert all(one.phrase in TextPrompt.of(text).phrases and one.mask.area for one in found)
    assert picture_hash(IMAGE) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_the_real_models_answer_any_text_or_refuse_it(text):
    found = refused(lambda: locara_label.mask_from_prompt(IMAGE, text=text, box_threshold=0.2)) or []
    assert all(0.2 < one.box_score <= 1 for one in found)


@pytest.mark.parametrize("text", PROMPTS[::3], ids=lambda text: ascii(text[:20]))
def test_the_command_answers_or_refuses(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    images.write_png(tmp_path / "in.png", IMAGE)
    code = run(["text", str(tmp_path / "in.png"), "--prompt", text, "--out", str(tmp_path / "coco.json"), "--json"])
    result = json.loads(capsys.readouterr().out)
    if code == 0:
        assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == result["objects"]
    else:
        assert (code, result["error"]["code"]) in {(1, "prompt.empty"), (1, "prompt.too_long")}
        assert not (tmp_path / "coco.json").exists()


def test_words_that_the_model_cannot_read_find_nothing_or_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    model = load_labelled("grounded-sam2", ["青い輪", "blue ring"])
    found = model.segment(np.full((64, 64, 3), 128, np.uint8))
    assert {one.label for one in found} <= {"青い輪", "blue ring"}
