from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import geometry
from locara_label.engine.browser_sam2 import DECODER, ENCODER, browser_file
from locara_label.engine.loading import load_prompt_model
from locara_label.errors import BadOption, NotDownloaded
from locara_label.models import processor
from locara_label.settings import load as load_settings
from locara_label.types import Point, Prompt


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))


def session(file: str) -> onnxruntime.InferenceSession:
    found = browser_file("sam2-mini", file, load_settings(), any_size=True)
    content = b"".join(found.parts)
    assert len(content) == found.size
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_the_files_give_our_own_masks() -> None:
    """Fed as the App feeds them: floats for labels, no mask before, the best by its score."""
    scene = make_scene(EVALUATION_SEED, (256, 256))
    encoder, decoder = session(ENCODER), session(DECODER)
    assert [one.name for one in encoder.get_inputs()] == ["image"]
    assert {one.name for one in encoder.get_outputs()} == {"image_embed", "high_res_feats_0", "high_res_feats_1"}
    side = encoder.get_inputs()[0].shape[-1]
    resized = geometry.resize_bilinear(scene.image, (side, side))
    pixels = geometry.normalise(resized, processor.IMAGENET_MEAN, processor.IMAGENET_STD)
    embedding = dict(zip([one.name for one in encoder.get_outputs()], encoder.run(None, {"image": pixels}), strict=True))
    y, x = (int(value.mean()) for value in np.nonzero(scene.objects[0].mask))
    feed = {
        **embedding,
        "point_coords": np.array([[[x, y]]], np.float32) * side / 256,
        "point_labels": np.ones((1, 1), np.float32),
        "mask_input": np.zeros((1, 1, side // 4, side // 4), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }
    masks, scores = decoder.run(["masks", "iou_predictions"], feed)
    model = load_prompt_model("sam2-mini")
    (ours,) = model.decode_many(model.encode(scene.image), [Prompt((Point(x, y),), candidates=3)])
    order = 1 + np.argsort(-scores[0, 1:])
    for place, candidate in zip(order, ours, strict=True):
        assert np.abs(masks[0, place] - candidate.logits).max() < 1e-3
        assert scores[0, place] == pytest.approx(candidate.score, abs=1e-5)


def test_a_folder_stands_in_for_the_store(tmp_path: Path) -> None:
    with pytest.raises(NotDownloaded, match=f"{tmp_path} has neither"):
        browser_file("sam2-mini", DECODER, load_settings(), weights=tmp_path, any_size=True)


def test_models_that_the_app_cannot_run() -> None:
    with pytest.raises(BadOption, match="1024 pixels"):
        browser_file("sam2-mini", ENCODER, load_settings())
    with pytest.raises(BadOption, match=r"takes a SAM 2\.1"):
        browser_file("segformer-mini", ENCODER, load_settings())
    with pytest.raises(NotDownloaded):
        browser_file("sam2.1-hiera-tiny", DECODER, load_settings())
