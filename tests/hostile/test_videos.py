"""Some of the hostile videos on each run; all 500 are `python -m tests.reliability run videos`."""

from __future__ import annotations

import pytest

from tests.hostile import videos


@pytest.mark.slow
def test_every_case_made_by_hand(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = videos.bombs(videos.sound(tmp_path_factory.mktemp("sound")))
    summary = videos.run(videos.Case(name, write) for name, write in made.items())
    assert summary.violations == []
    assert summary.count == len(made)
    assert len(summary.outcomes) > 8


def test_mutations() -> None:
    many = [case for case in videos.cases(80, seed=1) if case.name[0].isdigit() and " of " in case.name]
    summary = videos.run(iter(many[-12:]))
    assert summary.violations == []


@pytest.mark.slow
def test_a_hundred() -> None:
    summary = videos.run(videos.cases(100, seed=2))
    assert summary.violations == []
    assert summary.count == 100
