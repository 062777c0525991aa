"""What is behind the click panel, without the App."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from locara_label import images
from locara_label.errors import BadImage, BadPrompt
from locara_label.hosts.fiftyone.canvas import LONGEST_PX, Look, Shown, layer, shown_size
from locara_label.hosts.fiftyone.clicks import Act, Clicking, Place, prompt_of
from locara_label.hosts.fiftyone.labels import Region
from locara_label.hosts.fiftyone.saving import add_regions, objects_of, put_object, remove_last
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_clip, add_scenes, masks_of


def test_acts_become_one_prompt() -> None:
    acts = [Act("box", (9, 8, 1, 2)), Act("point", (3, 4)), Act("point", (5, 6), positive=False)]
    prompt = prompt_of([Act.of(act.to_json()) for act in acts])
    assert prompt.box is not None
    assert (prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1) == (1, 2, 9, 8)
    assert [point.positive for point in prompt.points] == [True, False]
    assert (prompt.candidates, prompt_of(acts[1:2]).candidates) == (1, 3)
    with pytest.raises(BadPrompt):
        prompt_of([])
    with pytest.raises(BadPrompt):
        Act.of({"kind": "point", "xy": [1, 2, 3]})


def test_places_on_the_screen_are_places_in_the_picture() -> None:
    full = (3000, 2000)
    size = shown_size(full)
    assert max(size) == LONGEST_PX
    view = Shown("", size, full)
    for row, column in ((0, 0), (10, 600), (size[0] - 1, size[1] - 1)):
        x, y = view.to_full(row, column)
        assert 0 < x < full[1]
        assert 0 < y < full[0]
        assert view.to_shown(x, y) == pytest.approx((column, row))


def test_a_picture_is_encoded_once(dataset: Any, tmp_path: Path) -> None:
    add_scenes(dataset, tmp_path, 1)
    sample, clicking = dataset.first(), Clicking()
    truth = masks_of(sample["truth"])[0]
    place = Place(sample.filepath)
    corners = Act("box", (truth.box.x0, truth.box.y0, truth.box.x1, truth.box.y1))
    found = clicking.answer("sam2-mini", place, [corners])
    clicking.answer("sam2-mini", place, [corners, Act("point", (1, 1), positive=False)])
    engine = clicking._models["sam2-mini"].engine
    assert engine is not None
    assert (engine.counts.encodes, engine.counts.decodes) == (1, 2)
    assert found[0].mask.iou(truth) >= 0.75
    assert layer(found[0].mask, SIZE, Look()) != layer(None, SIZE, Look())
    with pytest.raises(BadImage):
        clicking.answer("sam2-mini", Place(str(tmp_path / "none.png")), [corners])


def test_a_model_that_is_not_here_says_so() -> None:
    clicking = Clicking()
    assert clicking.state("sam2.1-hiera-large").kind == "not_downloaded"
    clicking.begin("sam2.1-hiera-large")
    thread = clicking._models["sam2.1-hiera-large"].thread
    assert thread is not None
    thread.join()
    assert clicking.state("sam2.1-hiera-large").kind == "error"


def test_regions_are_added_and_taken_back(dataset: Any, tmp_path: Path) -> None:
    add_scenes(dataset, tmp_path, 1)
    sample = dataset.first()
    regions = [Region("one", mask) for mask in masks_of(sample["truth"])[:1]]
    assert add_regions(dataset, str(sample.id), "clicks", regions) == 1
    assert add_regions(dataset, str(sample.id), "clicks", regions * 2) == 3
    assert remove_last(dataset, str(sample.id), "clicks", 2) == 1
    dataset.reload()
    assert masks_of(dataset.first()["clicks"]) == [regions[0].mask]


def test_an_object_keeps_its_number(dataset: Any, tmp_path: Path) -> None:
    truth = add_clip(dataset, tmp_path)
    number = str(dataset.first().id)
    mask = masks_of_first(truth)
    first = put_object(dataset, number, "clicks", 1, Region("a", mask))
    assert put_object(dataset, number, "clicks", 5, Region("a", mask, index=first)) == first
    assert put_object(dataset, number, "clicks", 5, Region("b", mask)) == first + 1
    put_object(dataset, number, "clicks", 5, Region("a", mask, index=first))
    dataset.reload()
    sample = dataset.first()
    assert list(objects_of(sample, "clicks")) == [first, first + 1]
    found = {one.index: one for one in sample.frames[5]["clicks"].detections}
    assert str(found[first]["instance"].id) == str(sample.frames[1]["clicks"].detections[0]["instance"].id)
    assert found[first]["keyframe"] is True


def masks_of_first(truth: list[dict[str, Any]]) -> Any:
    from locara_label.types import Mask

    return Mask.from_coco(next(mask for mask in truth[0]["masks"] if mask is not None))


def test_jpegs_are_pictures(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "grey.jpg"
    path.write_bytes(images.encode_jpeg(np.full((20, 30, 3), 90, np.uint8)))
    assert abs(int(images.read(path)[5, 5, 0]) - 90) < 4
