import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from fixtures.scenes import make_scene
from locara_label import images
from locara_label.cli import cutout as command
from locara_label.engine import loading
from locara_label.types import Instance, Mask


@pytest.fixture
def cutout(here, call):
    return partial(call, "cutout")


@pytest.fixture
def scene(here):
    image = make_scene(3, (96, 128)).image
    images.write_png(here / "in.png", image)
    return image


@pytest.fixture
def selfie(here):
    """A folder of weights whose alpha is the red channel."""
    nodes = [
        helper.make_node("Slice", ["pixel_values", "start", "end", "axis"], ["alphas"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in [("start", 0), ("end", 1), ("axis", 1)]
    ]
    graph = helper.make_graph(
        nodes,
        "selfie",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 256, 256])],
        [helper.make_tensor_value_info("alphas", TensorProto.FLOAT, [1, 1, 256, 256])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = here / "selfie"
    (folder / "onnx").mkdir(parents=True)
    onnx.save(model, str(folder / "onnx/model.onnx"))
    return folder


def write_person(path, red=255):
    """A picture whose right half is person; its alpha fades where the model's own resolution does not reach."""
    image = np.zeros((100, 300, 3), np.uint8)
    image[..., 2] = 77
    image[:, 150:, 0] = red
    images.write_png(path, image)
    return image


def rgba(path):
    picture = Image.open(path)
    assert picture.mode == "RGBA"
    return np.array(picture)


def test_mini_takes_the_things(cutout, here, scene):
    code, out, err = cutout("in.png", "out.png", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["model"], result["out"], result["width"], result["height"]) == ("mask2former-mini", "out.png", 128, 96)
    assert "trained on generated scenes" in err
    assert f"models pull {command.PERSON_MODEL}" in err
    found = [instance for instance in loading.load("mini").segment(scene) if not instance.is_stuff]
    expected = np.any([instance.mask.to_array() for instance in found], axis=0)
    picture = rgba(here / "out.png")
    np.testing.assert_array_equal(picture[..., :3], scene)
    np.testing.assert_array_equal(picture[..., 3] == 255, expected)
    assert result["kept"] == pytest.approx(expected.mean(), abs=1e-5)


@pytest.mark.usefixtures("scene")
def test_invert_and_feather(cutout, here):
    cutout("in.png", "plain.png")
    cutout("in.png", "inverted.png", "--invert")
    cutout("in.png", "soft.png", "--feather", 6)
    plain, inverted, soft = (rgba(here / f"{name}.png")[..., 3] for name in ("plain", "inverted", "soft"))
    np.testing.assert_array_equal(plain, 255 - inverted)
    assert set(np.unique(plain)) == {0, 255}
    assert len(np.unique(soft)) > 20


def test_a_person_model_gives_soft_alpha(cutout, here, selfie):
    image = write_person(here / "in.png")
    code, out, err = cutout("in.png", "out.png", "--weights", selfie)
    assert code == 0
    assert out == f"out.png: 50.0% of in.png is kept, by {command.PERSON_MODEL}\n"
    assert err == ""
    picture = rgba(here / "out.png")
    np.testing.assert_array_equal(picture[..., :3], image)
    assert (picture[:, :140, 3] == 0).all()
    assert (picture[:, 160:, 3] == 255).all()
    assert ((picture[0, :, 3] > 0) & (picture[0, :, 3] < 255)).any()


def test_a_downloaded_person_model_is_the_default(cutout, here, selfie, monkeypatch):
    write_person(here / "in.png")
    monkeypatch.setattr("locara_label.weights.store.Store.is_downloaded", lambda self, row: row.name == command.PERSON_MODEL)
    monkeypatch.setattr("locara_label.weights.store.Store.folder", lambda self, row: selfie)
    code, out, err = cutout("in.png", "out.png", "--json")
    assert (code, json.loads(out)["model"], err) == (0, command.PERSON_MODEL, "")


@pytest.mark.parametrize("options", [[], ["--invert"]])
def test_nothing_found_is_an_error(cutout, here, selfie, options):
    write_person(here / "in.png", red=100)
    code, out, err = cutout("in.png", "out.png", "--weights", selfie, "--json", *options)
    assert (code, json.loads(out)["error"]["code"]) == (1, "image.no_foreground")
    assert "finds nothing to cut out of in.png" in err
    assert not (here / "out.png").exists()


@pytest.mark.usefixtures("scene")
def test_stuff_is_no_foreground(cutout, here, monkeypatch):
    sky = Instance("sky", 0, 1.0, Mask.from_array(np.ones((96, 128), bool)), is_stuff=True)
    monkeypatch.setattr(loading, "load", lambda *args, **options: SimpleNamespace(name="m", segment=lambda image, limit: [sky]))
    code, _, err = cutout("in.png", "out.png")
    assert code == 1
    assert "error [image.no_foreground]" in err
    assert not (here / "out.png").exists()


def test_nothing_left_is_an_error(cutout, here, selfie):
    images.write_png(here / "in.png", np.full((40, 60, 3), 255, np.uint8))
    code, _, err = cutout("in.png", "out.png", "--weights", selfie, "--invert")
    assert code == 1
    assert "error [image.no_foreground]: nothing of in.png is left" in err
    assert not (here / "out.png").exists()


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("out", ["out.jpg", "nowhere/out.png", "in.png", "./in.png"])
def test_where_the_cutout_may_not_go(cutout, here, out):
    before = (here / "in.png").read_bytes()
    code, printed, _ = cutout("in.png", out, "--json")
    assert (code, json.loads(printed)["error"]["code"]) == (2, "option.out")
    assert (here / "in.png").read_bytes() == before


def test_a_bad_picture(cutout, here):
    code, out, _ = cutout("missing.png", "out.png", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "image.missing")


@pytest.mark.usefixtures("scene")
def test_a_model_that_is_not_here(cutout):
    code, out, err = cutout("in.png", "out.png", "--model", command.PERSON_MODEL, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "model.not_downloaded")
    assert "models pull" in err
