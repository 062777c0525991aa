from __future__ import annotations

import json

import pytest

from locara_label.cli.app import run
from locara_label.datasets import check
from locara_label.engine import grounding
from tests.batch.shades_model import write_pictures
from tests.engine.echo_text_model import EchoTextModel

SPOT, WALL = "at 2 2 6 6", "at 0 0 16 12"


@pytest.fixture(autouse=True)
def echo(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    model = EchoTextModel()
    monkeypatch.setattr(grounding, "load_text_model", lambda *_, **__: model)
    return model


@pytest.fixture
def prelabel(tmp_path, capsys):
    pictures = write_pictures(tmp_path / "pics", 6)

    def call(*options, model="grounded-sam2"):
        code = run(["prelabel", str(pictures), "--out", str(tmp_path / "out"), "--model", model, *map(str, options)])
        return code, *capsys.readouterr()

    return call


def test_a_prompt(prelabel, tmp_path):
    code, out, err = prelabel("--prompt", f"{SPOT}. {WALL}. nothing")
    assert code == 0
    assert "6 pictures, 12 instances by grounding-dino-mini+classic" in out
    assert "trained on generated scenes" in err
    assert "classic makes the masks" in err
    assert not list(check.problems(tmp_path / "out" / "coco.json", tmp_path / "pics"))
    data = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [row["name"] for row in data["categories"]] == [SPOT, WALL, "nothing"]


def test_the_label_map_is_the_prompt(prelabel, echo, tmp_path):
    (tmp_path / "map.toml").write_text(f'[labels]\n"At_2 2 6 6" = "spot"\n"{WALL}" = ""\n')
    code, out, _ = prelabel("--labels", tmp_path / "map.toml")
    assert code == 0
    assert "6 pictures, 6 instances" in out
    assert "6 instances of labels that the label map leaves out were dropped" in out
    assert {prompt.phrases for prompt in echo.asked} == {(SPOT, WALL)}


def test_the_map_labels_what_the_prompt_finds(prelabel, tmp_path):
    (tmp_path / "map.toml").write_text(f'[labels]\n"{SPOT}" = "spot"\ndog = "dog"\n')
    code, out, err = prelabel("--labels", tmp_path / "map.toml", "--prompt", f"{SPOT}. {WALL}", "--json")
    assert (code, json.loads(out)["instances"], json.loads(out)["dropped"]) == (0, 6, 6)
    assert "the prompt does not ask for 'dog'" in err


def test_resuming_and_another_prompt(prelabel, echo):
    prelabel("--prompt", SPOT)
    asked = len(echo.asked)
    assert json.loads(prelabel("--prompt", f" {SPOT.upper()} .", "--json")[1])["ran"] == 0
    assert len(echo.asked) == asked
    code, _, err = prelabel("--prompt", WALL)
    assert code == 1
    assert f"(prompt: {SPOT} before, {WALL} now); use --new" in err
    code, _, err = prelabel("--prompt", SPOT, "--text-threshold", "0.2")
    assert (code, "text_threshold: the default before, 0.2 now" in err) == (1, True)
    code, _, err = prelabel("--prompt", SPOT, "--box-threshold", "0.2")
    assert (code, "(threshold: the default before, 0.2 now)" in err) == (1, True)
    code, _, err = prelabel("--prompt", SPOT, model="mini+mini")
    assert (code, "model: grounding-dino-mini+classic before, grounding-dino-mini+sam2-mini now; weights:" in err) == (1, True)


def test_thresholds_reach_the_model(prelabel, echo):
    code, out, _ = prelabel("--prompt", SPOT, "--box-threshold", "0.95", "--text-threshold", "0.2")
    assert (code, "6 pictures, 0 instances" in out) == (0, True)
    assert {(one.box_threshold, one.text_threshold) for one in echo.asked} == {(0.95, 0.2)}


@pytest.mark.parametrize(
    ("options", "model", "expected", "said"),
    [
        ((), "grounded-sam2", 2, "option.prompt"),
        (("--prompt", " . "), "grounded-sam2", 1, "prompt.empty"),
        (("--prompt", "car", "--task", "semantic"), "grounded-sam2", 2, "option.task"),
        (("--prompt", "car", "--weights", "."), "grounded-sam2", 2, "option.task"),
        (("--prompt", "car"), "mini", 2, "mini reads no text"),
        (("--text-threshold", "0.5"), "segformer-mini", 2, "reads no text"),
        (("--prompt", "car"), "mini+nothing", 1, "model.unknown"),
        (("--prompt", "car"), "mini+segformer-mini", 2, "option.task"),
        (("--prompt", "car"), "grounding-dino-tiny+classic", 1, "model.not_downloaded"),
        ((), "grounding-dino-mini", 2, "answers text; it gives no pre-labels"),
        ((), "sam2-mini", 2, "answers points, boxes and masks; it gives no pre-labels"),
    ],
)
def test_wrong_use(prelabel, options, model, expected, said):
    code, _, err = prelabel(*options, model=model)
    assert (code, said in err) == (expected, True), err
