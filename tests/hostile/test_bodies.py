from __future__ import annotations

import pytest
from bodies import run


@pytest.mark.slow
def test_no_wrong_body_is_a_failure_of_the_server() -> None:
    """A sample; `python -m tests.hostile.bodies` sends more."""
    outcome = run(400)
    assert outcome.violations == []
    assert outcome.outcomes["200"] > 20
    assert outcome.outcomes["422"] > 100


@pytest.mark.slow
def test_no_wrong_text_is_a_failure_of_the_server() -> None:
    """A sample; `python -m tests.hostile.bodies --texts` sends more."""
    outcome = run(200, only_texts=True)
    assert outcome.violations == []
    assert outcome.outcomes["200"] > 20
    assert outcome.outcomes["422"] > 40
    assert outcome.outcomes["prompt.empty"] > 0
