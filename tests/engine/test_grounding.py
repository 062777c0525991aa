from __future__ import annotations

import pickle
from functools import partial

import pytest
from echo_text_model import EchoTextModel

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.engine import grounding
from locara_label.engine.grounding import is_grounded, load_grounded, load_labelled, pair
from locara_label.engine.loading import DEFAULT_PROMPT_MODEL, DEFAULT_TEXT_MODEL
from locara_label.errors import BadOption, NotDownloaded, UnknownModel
from locara_label.settings import load as load_settings
from locara_label.types import TextPrompt
from locara_label.weights.catalogue import rows


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grounded-sam2", True), ("grounding-dino-tiny+sam2.1-hiera-small", True), ("a+b", True),
        ("grounding-dino-tiny", False), ("a+", False), ("+b", False), ("+", False), ("a+b+c", False), ("mini", False),
        ("", False),
    ],
)  # fmt: skip
def test_names_of_pairs(name, expected):
    assert is_grounded(name) is expected


def test_no_model_of_the_catalogue_is_taken_for_a_pair():
    assert not any(is_grounded(row.name) for row in rows())


def test_the_models_of_a_pair():
    assert pair("grounded-sam2") == (DEFAULT_TEXT_MODEL, DEFAULT_PROMPT_MODEL)
    assert pair("grounding-dino-base+classic") == ("grounding-dino-base", "classic")
    with pytest.raises(UnknownModel, match="no pair of models is named 'mini'"):
        pair("mini")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("grounding-dino-tiny+nothing", UnknownModel), ("nothing+classic", UnknownModel), ("sam2-mini+classic", BadOption),
        ("grounding-dino-mini+segformer-mini", BadOption), ("grounding-dino-mini+grounding-dino-mini", BadOption),
        ("grounding-dino-mini+sam2.1-hiera-small", NotDownloaded), ("grounding-dino-tiny+classic", NotDownloaded),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_loaded(name, error, tmp_path):
    with pytest.raises(error):
        load_grounded(name, settings=load_settings(cache_dir=tmp_path))


def test_a_pair_is_loaded_with_its_settings(monkeypatch, tmp_path):
    given = []

    def load_text_model(name, weights, device, *, settings):
        given.append((name, weights, device, settings))
        return EchoTextModel()

    monkeypatch.setattr(grounding, "load_text_model", load_text_model)
    settings = load_settings(cache_dir=tmp_path)
    assert load_grounded("grounding-dino-tiny+classic", "cpu", settings=settings).name == "echo-text+classic"
    assert given == [("grounding-dino-tiny", None, "cpu", settings)]


def test_a_job_can_carry_the_loading_to_other_processes(tmp_path):
    load = partial(load_labelled, "grounded-sam2", ("red car", "person"), 0.2, "cpu", settings=load_settings(cache_dir=tmp_path))
    model = pickle.loads(pickle.dumps(load))()
    assert [label.name for label in model.labels] == ["red car", "person"]
    assert model.name == "grounding-dino-mini+classic"


def test_the_shipped_pair_answers(tmp_path):
    model = load_grounded("grounded-sam2", settings=load_settings(cache_dir=tmp_path))
    scene = make_scene(EVALUATION_SEED + 1, (120, 160))
    for found in model.find(scene.image, TextPrompt.of("yellow circle . blue cross", box_threshold=0.05)):
        assert found.phrase in {"yellow circle", "blue cross"}
        assert 0.05 < found.box_score <= 1
        assert found.mask.size == (120, 160)
        assert found.mask.area
