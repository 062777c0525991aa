from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.models.sentences import attention_and_positions, phrase_tokens, spans
from tests.required import needed

CLS, SEP, DOT, MARK = 101, 102, 1012, 1029
SEPARATORS = frozenset({CLS, SEP, DOT, MARK})
PROMPT = [CLS, 7, 8, DOT, 9, MARK, SEP]
""" "red car . person ?" """

some_ids = st.lists(st.sampled_from([CLS, SEP, DOT, MARK, 5, 6, 7, 8, 9]), min_size=1, max_size=40)


def test_a_phrase_sees_itself_and_its_dot() -> None:
    attention, positions = attention_and_positions(PROMPT, SEPARATORS)
    expected = np.zeros((7, 7), np.float32)
    expected[0, 0] = expected[6, 6] = 1
    expected[1:4, 1:4] = 1
    expected[4:6, 4:6] = 1
    np.testing.assert_array_equal(attention, expected)
    assert (attention.dtype, positions.dtype) == (np.float32, np.int64)
    assert positions.tolist() == [0, 0, 1, 2, 0, 1, 0]


def test_a_phrase_without_a_dot_stands_alone() -> None:
    attention, positions = attention_and_positions([CLS, 7, 8, SEP], SEPARATORS)
    np.testing.assert_array_equal(attention, np.eye(4, dtype=np.float32))
    assert positions.tolist() == [0, 0, 0, 0]


@given(some_ids)
def test_phrases_never_mix(ids: list[int]) -> None:
    attention, positions = attention_and_positions(ids, SEPARATORS)
    assert (attention == attention.T).all()
    assert (np.diag(attention) == 1).all()
    for row, column in np.argwhere(attention):
        low, high = sorted((row, column))
        assert not set(ids[low:high]) & SEPARATORS
    assert (positions >= 0).all()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (PROMPT, [(1, 3), (4, 5)]),
        ([CLS, 7, DOT, 8, 9, SEP], [(1, 2), (3, 5)]),
        ([CLS, 7, DOT, DOT, 8, DOT, SEP], [(1, 2), (3, 3), (4, 5)]),
        ([CLS, DOT, SEP], [(1, 1)]),
        ([CLS, 7, SEP], [(1, 2)]),
        ([CLS, SEP], []),
        ([CLS], []),
        ([], []),
    ],
)
def test_spans(ids: list[int], expected: list[tuple[int, int]]) -> None:
    assert spans(ids, SEPARATORS) == expected


@given(st.lists(st.lists(st.integers(5, 9), max_size=4), max_size=8))
def test_the_nth_phrase_has_the_nth_span(phrases: list[list[int]]) -> None:
    ids = [CLS, *(token for phrase in phrases for token in (*phrase, DOT)), SEP]
    assert [ids[first:after] for first, after in spans(ids, SEPARATORS)] == phrases


def test_words_above_the_threshold_name_a_box() -> None:
    scores = np.array([0.9, 0.5, 0.25, 0.3, 0.9, 0.0, 0.9], np.float32)
    assert phrase_tokens(scores, PROMPT, 0.25) == [7, DOT, 9, SEP]
    assert phrase_tokens(scores, PROMPT, 0.9) == []
    assert phrase_tokens(scores, PROMPT, 0.25, width=7) == [7, DOT, 9]
    assert phrase_tokens(np.pad(scores, (0, 249), constant_values=1), PROMPT, 0.25) == [7, DOT, 9, SEP]


def test_the_ends_of_a_full_row_never_name_a_box() -> None:
    ids = list(range(2000, 2256))
    assert phrase_tokens(np.ones(256, np.float32), ids, 0.5) == ids[1:255]


@pytest.mark.parity
@settings(deadline=None)  # the first call imports torch
@given(some_ids)
def test_attention_is_that_of_transformers(ids: list[int]) -> None:
    torch = needed("torch")
    from transformers.models.grounding_dino import modeling_grounding_dino as theirs

    specials = torch.tensor(sorted(SEPARATORS))
    mask, places = theirs.generate_masks_with_special_tokens_and_transfer_map(torch.tensor([ids]), specials)
    attention, positions = attention_and_positions(ids, SEPARATORS)
    np.testing.assert_array_equal(attention, mask[0].float().numpy())
    np.testing.assert_array_equal(positions, places[0].numpy())


@pytest.mark.parity
@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=256, max_size=256), st.floats(0, 1), st.integers(1, 256))
def test_words_are_those_of_transformers(row: list[float], threshold: float, count: int) -> None:
    torch = needed("torch")
    from transformers.models.grounding_dino.processing_grounding_dino import get_phrases_from_posmap

    scores = np.array(row, np.float32)
    scores[count:] = 0
    ids = list(range(3000, 3000 + count))
    limit = float(np.float32(threshold))
    wanted = get_phrases_from_posmap((torch.from_numpy(scores) > limit)[None], torch.tensor(ids))[0]
    assert phrase_tokens(scores, ids, limit) == [int(token) for token in wanted]
