"""Hostile pictures: each is decoded or refused with a code, quickly. `python -m tests.hostile.mutate` runs the full bar."""

import json
from pathlib import Path

import pytest

from locara_label import images
from tests.hostile import mutate


def test_300_hostile_pictures(tmp_path: Path) -> None:
    summary = mutate.run(mutate.cases(300, seed=20, heavy=False), tmp_path)
    assert summary.count == 300
    assert summary.violations == []
    assert summary.outcomes["decoded"] > 50
    assert {"image.corrupt", "image.truncated", "image.unknown_format", "image.too_many_pixels"} <= set(summary.outcomes)


def test_the_same_seed_makes_the_same_cases() -> None:
    one, other, third = ([case.data for case in mutate.mutations(40, seed)] for seed in (3, 3, 4))
    assert one == other
    assert one != third


@pytest.mark.parametrize("mutation", mutate.MUTATIONS)
def test_each_mutation_changes_the_file(mutation: object) -> None:
    chance = mutate.random.Random(5)
    data = bytes(range(256))
    assert any(mutation(data, chance) != data for _ in range(3))  # type: ignore[operator]


def test_a_foreign_error_is_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(images, "read", fails)
    summary = mutate.run(mutate.cases(1), tmp_path, verbose=True)
    assert summary.violations == ["empty: KeyError: 'surprise'"]


def test_a_slow_case_is_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "MAX_SECONDS", -1.0)
    assert len(mutate.run(mutate.cases(2), tmp_path).violations) == 2


def test_the_command_reports_and_fails_over_the_memory_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate.main(["--count", "5"]) == (mutate.peak_rss_bytes() > mutate.MAX_RSS_BYTES)
    assert json.loads(capsys.readouterr().out)["cases"] == 5
    monkeypatch.setattr(mutate, "MAX_RSS_BYTES", 1)
    assert mutate.main(["--count", "1"]) == 1


@pytest.mark.slow
def test_the_costliest_legal_pictures(tmp_path: Path) -> None:
    heavy = (mutate.Case(name, make()) for name, make in mutate._heavy().items())
    assert mutate.run(heavy, tmp_path).violations == []
