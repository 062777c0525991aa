"""What a training may learn from, what it may choose by, and what the published figures come from."""

from __future__ import annotations

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from fixtures.scenes import EVALUATION_SEED, TEST_SEED, make_scene  # noqa: E402
from tools import training  # noqa: E402

pytestmark = pytest.mark.parity


class Task:
    """Remembers the scenes that it is judged by."""

    def figure(self, model):
        self.seen = list(training.monitoring_scenes())
        return 0.5

    def export(self, model):
        self.exported = model


def test_weights_are_chosen_by_other_scenes_than_the_figures_come_from(tmp_path) -> None:
    task, made = Task(), training.start(torch.nn.Linear(2, 2), minutes=1)
    training.report(made, task, tmp_path / "mini.pt")
    figures = list(training.evaluation_scenes(3))
    assert np.array_equal(task.seen[0].image, make_scene(EVALUATION_SEED).image)
    assert np.array_equal(figures[0].image, make_scene(TEST_SEED).image)
    chosen_by = {scene.image.tobytes() for scene in task.seen}
    assert not chosen_by & {scene.image.tobytes() for scene in figures}
    assert task.exported is made.averaged.model


def test_training_draws_below_the_other_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(training, "make_scene", lambda seed, size: drawn.append((seed, size)))
    training.training_scenes(np.random.default_rng(0), 1000, training.squares(64, 96))
    assert max(seed for seed, _ in drawn) < EVALUATION_SEED < TEST_SEED
    assert {size for _, size in drawn} == {(64, 64), (96, 96)}
