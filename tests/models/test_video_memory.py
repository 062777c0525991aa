"""What of the past counts for a frame."""

from __future__ import annotations

import numpy as np
import pytest

from locara_label.errors import BadPrompt
from locara_label.models.video_memory import (
    BACKWARD,
    FORWARD,
    REFERENCE,
    Bank,
    Course,
    Memory,
    Reach,
    Recall,
    Rules,
    Sighting,
    recall,
)

REACH = Reach(memories=7, pointers=16)


def memory(number: int) -> Memory:
    return Memory(np.full((1, 1, 1), number, np.float32), np.full(1, number, np.float32))


def bank_of(prompted: list[int], tracked: list[int]) -> Bank:
    bank = Bank({frame: Sighting(np.ones((2, 2), np.float32), 0.5, 1.0, memory(frame)) for frame in prompted})
    for frame in tracked:
        one = memory(frame)
        bank.features[frame], bank.pointers[frame] = one.features, one.pointer
        bank.tracked.add(frame)
    return bank


def frames_of(found: Recall) -> tuple[list[tuple[int, int]], list[tuple[int, float]]]:
    memories = [(int(one[0, 0, 0]), away) for one, away in zip(found.memories, found.times[0], strict=True)]
    pointers = [(int(one[0]), round(share * 15, 3)) for one, share in zip(found.pointers, found.times[1], strict=True)]
    return memories, pointers


def test_prompts_come_first_then_the_last_six_frames() -> None:
    bank = bank_of([0], list(range(1, 20)))
    memories, pointers = frames_of(recall(bank, 20, Course(FORWARD, 100), REACH, Rules()))
    assert memories == [(0, 0), (14, 6), (15, 5), (16, 4), (17, 3), (18, 2), (19, 1)]
    assert pointers == [(0, 20), *((20 - away, away) for away in range(1, 16))]


def test_backward_the_past_is_ahead() -> None:
    bank = bank_of([10, 2], [7, 8, 9])
    memories, pointers = frames_of(recall(bank, 6, Course(BACKWARD, 100), REACH, Rules()))
    assert memories == [(10, 0), (2, 0), (9, 3), (8, 2), (7, 1)]
    assert pointers == [(10, 4), (7, 1), (8, 2), (9, 3)]


def test_short_videos_count_by_their_length() -> None:
    found = recall(bank_of([0], [1]), 2, Course(FORWARD, 5), REACH, REFERENCE)
    assert np.allclose(found.times[1], [2 / 4, 1 / 4])
    alone = recall(bank_of([0], []), 1, Course(FORWARD, 1), REACH, REFERENCE)
    assert alone.times == ((0,), (1.0,))


def test_of_many_prompts_the_first_and_the_nearest_count() -> None:
    bank = bank_of(list(range(0, 100, 10)), [])
    course = Course(FORWARD, 200)
    assert [frame for frame, _ in frames_of(recall(bank, 52, course, REACH, Rules()))[0]] == [0, 40, 50, 60, 70]
    assert len(recall(bank, 52, course, REACH, Rules(conditioning=None)).memories) == 10
    assert len(recall(bank, 52, course, REACH, REFERENCE).memories) == 10


def test_what_is_too_far_away_is_let_go() -> None:
    bank = bank_of([0], list(range(1, 40)))
    bank.let_go(39, REACH)
    assert sorted(bank.features) == list(range(33, 40))
    assert sorted(bank.pointers) == list(range(24, 40))
    assert 1 in bank.tracked


def test_forgetting() -> None:
    bank = bank_of([0, 5], [1, 2])
    bank.forget(5)
    assert (list(bank.prompted), bank.features, bank.pointers, bank.tracked) == ([0], {}, {}, set())
    bank.forget()
    assert list(bank.prompted) == [0]


def test_without_a_prompt_there_is_nothing_to_recall() -> None:
    with pytest.raises(BadPrompt):
        recall(Bank(), 1, Course(FORWARD, 5), REACH, Rules())


def test_a_sighting_is_a_mask() -> None:
    logits = np.array([[1, -1], [-1, -1]], np.float32)
    seen = Sighting(logits, 0.5, 1.0, memory(3))
    assert seen.present
    assert seen.mask((4, 4)).area > 0
    assert seen.pointer.tolist() == [3]
    assert not Sighting(np.full((2, 2), -1024, np.float32), 0.5, -2.0, memory(3)).mask((4, 4)).area
