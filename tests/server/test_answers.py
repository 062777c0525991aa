from __future__ import annotations

import json
from typing import Any

import pytest

from locara_label.server.answers import answer

BYTES = [number % 256 for number in range(3000)]


@pytest.mark.parametrize(
    "content",
    [
        {}, [], None, "text \u2603", 1.5, BYTES, {"a": BYTES}, [BYTES, "x", BYTES[::-1]], {"a": [{"rle": BYTES, "b": 1}, BYTES]},
        [*BYTES, 256], [*BYTES, -1], [*BYTES, 1.0], [*BYTES, None], [*BYTES, "1"], [BYTES, [*BYTES, BYTES]], [[1, 2]] * 1000,
    ],
)  # fmt: skip
def test_answers_are_json(content: Any) -> None:
    assert json.loads(answer(content).body) == content


def test_truth_values_stay_what_they_are() -> None:
    assert json.loads(answer([True] * 1000).body)[0] is True


def test_nothing_that_json_does_not_have() -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            answer({"a": [BYTES, number]})


def test_half_of_a_character_is_escaped() -> None:
    assert answer("\ud800").body == b'"\\ud800"'
