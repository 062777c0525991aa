"""Hostile pictures: each is decoded or refused with a code, quickly. `python -m tests.hostile.mutate` runs the full bar."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from locara_label import images
from tests.hostile import mutate
from tests.peak_memory import peak_rss_bytes


@pytest.mark.slow
def test_400_hostile_pictures() -> None:
    """In a process of their own, whose time and memory are theirs; the costliest legal pictures are among them."""
    line = [sys.executable, "-W", "ignore", "-m", "tests.hostile.mutate", "--count", "400", "--seed", "20"]
    found = json.loads(subprocess.run(line, stdout=subprocess.PIPE, check=False).stdout)
    assert (found["cases"], found["violations"]) == (400, [])
    assert found["outcomes"]["decoded"] > 50
    assert {"image.corrupt", "image.truncated", "image.unknown_format", "image.too_many_pixels"} <= set(found["outcomes"])


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
    assert mutate.main(["--count", "5"]) == (peak_rss_bytes() > mutate.MAX_RSS_BYTES)
    assert json.loads(capsys.readouterr().out)["cases"] == 5
    monkeypatch.setattr(mutate, "MAX_RSS_BYTES", 1)
    assert mutate.main(["--count", "1"]) == 1


def test_a_file_of_wrong_tags_fills_no_log(tmp_path: Path) -> None:
    """Pillow has a sentence about every one of them."""
    path = tmp_path / "tags.tiff"
    path.write_bytes(mutate._tags_bomb(4000, 16 << 20))
    line = [sys.executable, "-c", "import sys; from locara_label import images; images.read(open(sys.argv[1], 'rb').read())"]
    done = subprocess.run([*line, str(path)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
