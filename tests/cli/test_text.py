from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.cli.text import text as command
from locara_label.datasets import check
from locara_label.datasets.coco import read
from locara_label.engine import grounding
from locara_label.engine.loading import DEFAULT_PROMPT_MODEL, DEFAULT_TEXT_MODEL
from locara_label.errors import InferenceFailed
from locara_label.types import Mask
from tests.engine.echo_text_model import EchoTextModel

RED, BLUE = "at 8 8 42 42", "at 58 48 112 82"


@pytest.fixture(autouse=True)
def here(here):
    for number in (1, 2):
        image = np.full((90, 120, 3), 200, np.uint8)
        image[10:40, 10:40], image[50:80, 60:110] = (200, 20, 20), (20, 20, 200)
        images.write_png(here / f"{number}.png", image)
    (here / "bad.png").write_bytes(b"not a picture")
    return here


@pytest.fixture
def echo(monkeypatch):
    """A text model that finds what the phrases say; the masks are made by the real default."""
    model = EchoTextModel()
    monkeypatch.setattr(grounding, "load_text_model", lambda *_, **__: model)
    return model


@pytest.fixture
def text(call):
    return partial(call, "text")


def written(here, name="coco.json"):
    assert not list(check.problems(here / name, here))
    return json.loads((here / name).read_text())


def test_the_defaults_are_those_of_python():
    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert (defaults["text_model"], defaults["model"]) == (DEFAULT_TEXT_MODEL, DEFAULT_PROMPT_MODEL)


@pytest.mark.usefixtures("echo")
def test_one_data_set_of_all_pictures(text, here):
    code, out, err = text("1.png", "2.png", "--prompt", f"{RED}. {BLUE.upper()} . nothing", "--out", "coco.json")
    data = written(here)
    assert code == 0
    assert [row["name"] for row in data["categories"]] == [RED, BLUE, "nothing"]
    assert [row["file_name"] for row in data["images"]] == ["1.png", "2.png"]
    assert [row["image_id"] for row in data["annotations"]] == [1, 1, 2, 2]
    assert [(row["phrase"], row["score"], row["iscrowd"]) for row in data["annotations"][:2]] == [(RED, 0.9, 0), (BLUE, 0.9, 0)]
    assert all(0 < row["mask_score"] <= 1 for row in data["annotations"])
    truth = np.zeros((90, 120), bool)
    truth[10:40, 10:40] = True
    assert Mask.from_coco(data["annotations"][0]["segmentation"]).iou(Mask.from_array(truth)) > 0.9
    assert out.count("\n") == 5
    assert f"1.png: {RED}, score 0.90, area " in out
    assert "2 pictures, 4 objects by echo-text+classic: coco.json" in out
    assert "trained on generated scenes" in err
    assert "classic makes the masks" in err
    assert data["info"]["prompt"] == f"{RED} . {BLUE} . nothing"


@pytest.mark.usefixtures("echo")
def test_nothing_found_is_said_for_each_picture(text, here):
    code, out, _ = text("1.png", "2.png", "--prompt", "nothing", "--out", "coco.json")
    assert code == 0
    assert [line for line in out.splitlines() if "nothing found" in line] == ["1.png: nothing found", "2.png: nothing found"]
    assert "2 pictures, 0 objects" in out
    assert (len(written(here)["images"]), written(here)["annotations"]) == (2, [])


@pytest.mark.usefixtures("echo")
def test_json(text, here):
    code, out, _ = text("1.png", "2.png", "--prompt", f"{RED} . nothing", "--json")
    result = json.loads(out)
    assert (code, result["objects"], result["dropped"], result["failures"], result["out"]) == (0, 2, {}, [], None)
    (found,) = result["pictures"][0]["objects"]
    assert (found["label"], found["phrase"], found["score"], found["box"]) == (RED, RED, 0.9, [8, 8, 34, 34])
    assert Mask.from_coco(found["segmentation"]).area == found["area"]
    assert {path.name for path in here.iterdir()} == {"1.png", "2.png", "bad.png"}


@pytest.mark.usefixtures("echo")
def test_names_as_labels(text, here):
    code, _, _ = text("1.png", "--labels", "At_8 8 42 42", "--labels", "Person", "--out", "coco.json")
    data = written(here)
    assert code == 0
    assert [row["name"] for row in data["categories"]] == ["At_8 8 42 42", "Person"]
    assert [(row["category_id"], row["phrase"]) for row in data["annotations"]] == [(1, RED)]


@pytest.mark.usefixtures("echo")
def test_a_map_and_a_prompt_and_what_has_no_label(text, here):
    (here / "map.toml").write_text(f'[labels]\n"{RED}" = "red thing"\ndog = "dog"\n')
    code, out, err = text("1.png", "2.png", "--prompt", f"{BLUE}.{RED}", "--labels", "map.toml", "--out", "coco.json")
    data = written(here)
    assert code == 0
    assert [row["name"] for row in data["categories"]] == ["red thing"]
    assert [(row["category_id"], row["phrase"]) for row in data["annotations"]] == [(1, RED), (1, RED)]
    assert f"2.png: 1 objects dropped, no label is theirs: 1 '{BLUE}'" in err
    assert "the prompt does not ask for 'dog' of --labels" in err
    assert "2 pictures, 2 objects" in out
    assert json.loads(text("1.png", "--prompt", f"{BLUE}.{RED}", "--labels", "map.toml", "--json")[1])["dropped"] == {BLUE: 1}


@pytest.mark.usefixtures("echo")
def test_a_bad_picture_does_not_stop_the_others(text, here):
    code, out, err = text("1.png", "bad.png", "gone.png", "2.png", "--prompt", RED, "--out", "coco.json")
    assert code == 3
    assert "2 pictures, 2 objects" in out
    assert "bad.png: error [image.unknown_format]" in err
    assert "gone.png: error [" in err
    assert [row["file_name"] for row in written(here)["images"]] == ["1.png", "2.png"]
    result = json.loads(text("1.png", "bad.png", "--prompt", RED, "--json")[1])
    assert [(failed["file"], failed["code"]) for failed in result["failures"]] == [("bad.png", "image.unknown_format")]


@pytest.mark.usefixtures("echo")
def test_nothing_but_bad_pictures_leaves_the_old_file(text, here):
    (here / "coco.json").write_text("old")
    code, out, _ = text("bad.png", "--prompt", RED, "--out", "coco.json")
    assert code == 1
    assert (here / "coco.json").read_text() == "old"
    assert "0 pictures, 0 objects by echo-text+classic\n" in out
    assert {path.name for path in here.iterdir()} == {"1.png", "2.png", "bad.png", "coco.json"}


@pytest.mark.usefixtures("echo")
def test_a_picture_named_twice_is_taken_once(text):
    assert len(json.loads(text("1.png", "1.png", "--prompt", RED, "--json")[1])["pictures"]) == 1


@pytest.mark.usefixtures("echo")
def test_overlays(text, here):
    (here / "more").mkdir()
    images.write_png(here / "more" / "1.png", np.full((20, 30, 3), 200, np.uint8))
    code, _, err = text("1.png", "more/1.png", "--prompt", RED, "--overlay", "drawn")
    assert code == 0
    assert sorted(path.name for path in (here / "drawn").iterdir()) == ["1-2.overlay.png", "1.overlay.png"]
    assert "drawn in drawn/1-2.overlay.png" in err
    drawn, plain = (np.array(Image.open(here / name)) for name in ("drawn/1.overlay.png", "1.png"))
    assert (drawn[20:30, 20:30] != plain[20:30, 20:30]).any()


def test_thresholds(text, echo):
    code, out, _ = text("1.png", "--prompt", RED, "--box-threshold", "0.95", "--text-threshold", "0.2")
    assert code == 0
    assert "nothing found" in out
    assert [(one.box_threshold, one.text_threshold) for one in echo.asked] == [(0.95, 0.2)]


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize(
    ("args", "expected", "said"),
    [
        ((), 2, "option.prompt"),
        (("--prompt", ""), 1, "prompt.empty"),
        (("--prompt", "word " * 10_000), 1, "prompt.too_long"),
        (("--prompt", "car", "--box-threshold", "2"), 2, "box-threshold"),
        (("--prompt", "car", "--box-threshold", "nan"), 2, "option.threshold"),
        (("--prompt", "car", "--model", "nothing"), 1, "model.unknown"),
        (("--prompt", "car", "--model", "segformer-mini"), 2, "option.model"),
        (("--prompt", "car", "--out", "1.png"), 2, "--out is one of the pictures"),
        (("--prompt", "car", "--out", "folder"), 2, "is a folder"),
        (("--prompt", "car", "--out", "none/there.json"), 2, "cannot be written"),
        (("--prompt", "car", "--overlay", "bad.png"), 2, "bad.png"),
        (("--labels", "gone.toml"), 2, "option.labels"),
        (("--labels", "bad.toml"), 2, "option.labels"),
        (("--labels", "car", "--labels", "Car"), 2, "share the phrase"),
        (("--labels", "car", "--labels", "map.toml"), 2, "one file or several names"),
        (("--prompt", "dog", "--labels", "car"), 2, "has a label"),
    ],
)
def test_wrong_use(text, here, args, expected, said):
    (here / "folder").mkdir()
    (here / "bad.toml").write_text("[labels\n")
    code, _, err = text("1.png", *args)
    assert (code, said in err) == (expected, True)
    assert "Traceback" not in err


def test_an_error_that_is_everyones_ends_the_run(text, echo, here, monkeypatch):
    def failed(*_):
        raise InferenceFailed("no", code="run.failed")

    monkeypatch.setattr(echo, "decode_many", failed)
    code, _, err = text("1.png", "2.png", "--prompt", RED, "--out", "coco.json")
    assert (code, err.count("error [run.failed]: no")) == (1, 2)
    assert not (here / "coco.json").exists()


def test_the_shipped_models(text, here):
    for number in range(3):
        images.write_png(here / f"scene{number}.png", make_scene(EVALUATION_SEED + number, (96, 128)).image)
    names = [f"scene{number}.png" for number in range(3)]
    code, out, err = text(*names, "--prompt", "blue . yellow", "--box-threshold", "0.2", "--model", "mini", "--out", "coco.json")
    assert code == 0
    assert "the mini SAM 2 makes the masks" in err
    assert "by grounding-dino-mini+sam2-mini: coco.json" in out
    assert len(read(here / "coco.json").images) == 3
    assert {row["phrase"] for row in written(here)["annotations"]} <= {"blue", "yellow"}
