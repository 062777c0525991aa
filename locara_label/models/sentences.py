"""Phrases inside one row of tokens: what a token may see, where it stands, and which tokens name a box.

A prompt of Grounding DINO is one text, its phrases parted by dots. Sub-sentence attention keeps them apart: a token sees the
tokens of its own phrase only, and positions start anew with each phrase (Liu et al. 2023, "Grounding DINO", section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_TOKENS = 256
"""Width of a published model's row of text scores, and so the most tokens of a prompt, [CLS] and [SEP] included."""


def attention_and_positions(ids: Sequence[int], separators: AbstractSet[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Who sees whom, and each token's place in its phrase.

    A separator belongs to the phrase that it ends. What no separator ends before the last token stands alone: a phrase without a
    dot, [CLS] and [SEP].

    Args:
        ids: N token ids.
        separators: ids that end a phrase.

    Returns:
        Float32 [N, N], 1 where the token of the row sees the token of the column, and int64 [N], counted from 0 in each phrase.
    """
    count = len(ids)
    ends = _separator_places(ids, separators)
    places = np.arange(count)
    phrase = np.searchsorted(ends, places)
    end = np.append(ends, count)[phrase]
    start = np.append(0, ends + 1)[phrase]
    joined = (end > 0) & (end < count - 1)
    sees = (phrase[:, None] == phrase) & joined
    np.fill_diagonal(sees, val=True)
    return sees.astype(np.float32), np.where(joined, places - start, 0).astype(np.int64)


def spans(ids: Sequence[int], separators: AbstractSet[int]) -> list[tuple[int, int]]:
    """First token of each phrase and the token after its last, separators not counted.

    Every separator between [CLS] and [SEP] ends a phrase, so the n-th phrase of a prompt has the n-th span even where no token is
    left of it; that span is empty. Tokens between the last of them and [SEP] are a phrase only if there are any.
    """
    ends = _separator_places(ids, separators)
    found = [(int(before) + 1, int(end)) for before, end in pairwise(ends)]
    return found[:-1] if found and found[-1][0] == found[-1][1] else found


def phrase_tokens(scores: NDArray[np.floating], ids: Sequence[int], threshold: float, width: int = MAX_TOKENS) -> list[int]:
    """Ids of the tokens that name a box: those above the text threshold. The published rule.

    Args:
        scores: 0..1, [K] with K >= 1; of the first K tokens.
        ids: N token ids; places after the N-th name nothing.
        threshold: the text threshold.
        width: of the model's own row of scores; its first and its last place never count.
    """
    last = min(len(scores), len(ids), width - 1)
    return [ids[place] for place in range(1, last) if scores[place] > threshold]


def _separator_places(ids: Sequence[int], separators: AbstractSet[int]) -> NDArray[np.int64]:
    return np.flatnonzero([token in separators for token in ids]).astype(np.int64)
