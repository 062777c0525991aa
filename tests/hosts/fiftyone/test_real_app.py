"""The real App in Chromium, with a real database: what a curator does, and what is in the database and on the disk afterwards.

`LOCARA_SHOTS` names a folder for pictures of the App, for those who want to look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from locara_label.hosts.fiftyone.labels import to_region
from locara_label.hosts.fiftyone.propagate import describe
from locara_label.types import Mask
from locara_label.video.opening import open_video_file
from tests.cli.served import Served
from tests.hosts.fiftyone.fiftyone_app import App
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_clip, add_scenes, bad_picture, masks_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BAR = 0.75
"""IoU of a mask with the true one."""


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Any]:
    """Four pictures, the second of them broken."""
    dataset = fo.Dataset(persistent=True)
    add_scenes(dataset, tmp_path / "first", 1)
    dataset.add_sample(fo.Sample(filepath=str(bad_picture(tmp_path / "bad.jpg"))))
    add_scenes(dataset, tmp_path / "more", 3)
    yield dataset
    dataset.delete()


@pytest.fixture
def clip(tmp_path: Path) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """A clip with true boxes on its first frame, and the true masklets."""
    dataset = fo.Dataset(persistent=True)
    truth = add_clip(dataset, tmp_path)
    sample = dataset.first()
    with open_video_file(sample.filepath) as video:
        describe(sample, video)  # without it the App asks FFmpeg's programs, which need not be here
    yield dataset, truth
    dataset.delete()


def best_iou(mask: Mask, others: list[Mask]) -> float:
    return max((mask.iou(other) for other in others), default=0.0)


def test_prelabel_in_the_operators_browser(app: App, scenes: Any, tmp_path: Path) -> None:
    app.open(scenes.name)
    form = app.operator("Pre-label")
    field = app.field(form, "pred")
    field.fill("a b")
    form.get_by_text("letters, digits and underscores").wait_for()
    assert not form.get_by_role("button", name="Execute").is_enabled()
    field.fill("found")
    form.get_by_text("letters, digits and underscores").wait_for(state="detached")
    app.shot("prelabel-form")
    app.execute(form)
    app.page.get_by_text("1 samples failed").first.wait_for()
    app.shot("prelabel-done")
    scenes.reload()
    truth, found = scenes.values("truth"), scenes.values("found")
    assert [one is not None for one in found] == [True, False, True, True, True]
    ious = [best_iou(mask, masks_of(label)) for true, label in zip(truth, found, strict=True) if label for mask in masks_of(true)]
    assert sum(iou >= BAR for iou in ious) >= 0.7 * len(ious)
    assert "image." in scenes.values("found_error")[1]
    assert scenes.label_schemas["found"]["classes"]
    app.page.get_by_role("button", name="Done").click()
    app.cy("looker-checkbox-found").or_(app.page.get_by_text("found", exact=True)).first.wait_for()
    app.wait(1500)
    app.shot("prelabel-grid")
    export_in_the_app(app, scenes, tmp_path / "coco.json")


def export_in_the_app(app: App, scenes: Any, path: Path) -> None:
    """What was found is written, to the pixel."""
    app.open(scenes.name)
    form = app.operator("Export exact masks")
    form.get_by_text("choose one").wait_for()
    form.get_by_role("combobox").first.click()
    app.page.get_by_role("option", name="found", exact=True).click()
    app.wait(800)
    app.shot("export-form")
    form.locator("input").last.fill(str(path))
    app.wait(1200)
    app.execute(form)
    app.page.get_by_text("samples failed").first.wait_for()
    app.shot("export-done")
    written = json.loads(path.read_bytes())
    found = [mask for label in scenes.values("found") if label for mask in masks_of(label)]
    assert [Mask.from_coco(one["segmentation"]) for one in written["annotations"]] == found
    assert {one["iscrowd"] for one in written["annotations"]} == {0}


def test_what_fails_is_told(app: App, scenes: Any, tmp_path: Path) -> None:
    """A generator that raises shows nothing in the App, so the operator has to say it."""
    config = tmp_path / "config.xml"
    config.write_text("<View><Text name='t' value='$t'/></View>")
    app.open(scenes.name)
    form = app.operator("Export to Label Studio")
    inputs = form.locator("input")
    inputs.nth(1).fill(str(config))  # the first is the field's
    inputs.last.fill(str(tmp_path / "tasks.json"))
    app.wait(1200)
    app.shot("label-studio-form")
    app.execute(form)
    app.page.get_by_text("the labeling config shows no picture").first.wait_for()
    app.shot("label-studio-told")
    assert not (tmp_path / "tasks.json").exists()


def test_clicks_in_the_panel(app: App, scenes: Any) -> None:
    app.open(scenes.name)
    canvas = app.open_panel("clicks", SIZE)
    truth = masks_of(scenes.first()["truth"])
    box = truth[0].box
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    canvas.click(x, y)
    app.page.get_by_text("px, score").first.wait_for()
    app.shot("panel-click")
    canvas.click(200, 30, shift=True)
    app.wait(2500)
    app.shot("panel-shift-click")
    app.page.get_by_role("button", name="Undo", exact=True).click()
    app.page.get_by_text("mask 1 of 3").first.wait_for()
    app.page.get_by_role("button", name="Other mask").click()
    app.page.get_by_text("mask 2 of 3").first.wait_for()
    app.press("Save", "saved; 1 in clicks")
    app.shot("panel-saved")
    scenes.reload()
    saved = masks_of(scenes.first()["clicks"])
    assert len(saved) == 1
    assert saved[0].iou(truth[0]) >= BAR


def test_a_masklet_in_the_panel(app: App, clip: tuple[Any, list[dict[str, Any]]]) -> None:
    follow_in_the_panel(app, *clip)


def test_masklets_of_a_server(remote: tuple[App, Served], clip: tuple[Any, list[dict[str, Any]]]) -> None:
    """In the panel, and by the operator with the form as it opens."""
    (app, served), (dataset, truth) = remote, clip
    follow_in_the_panel(app, dataset, truth)
    assert app.page.get_by_text("Follows", exact=True).count() == 0
    followed = re.search(r"^locara_video_frames_tracked (\d+)", served.get("/metrics")[1], re.MULTILINE)
    assert followed
    assert int(float(followed[1])) >= len(truth[0]["masks"]) - 1
    app.open(dataset.name)
    form = app.operator("Propagate masklets")
    form.get_by_text(f"of the server {served.url}").wait_for()
    app.field(form, "masklets").fill("there")
    app.wait(1200)
    app.shot("propagate-form-of-a-server")
    app.page.get_by_role("combobox").first.click()
    app.page.get_by_role("option", name="boxes", exact=True).click()
    app.wait(1200)
    app.execute(form)
    app.page.get_by_text("regions in 1 samples").first.wait_for()
    dataset.reload()
    assert [len(frame["there"].detections) > 0 for frame in dataset.first().frames.values()] == [True] * 8
    assert served.get("/ready")[1]["video_sessions"] == 0


def follow_in_the_panel(app: App, dataset: Any, truth: list[dict[str, Any]]) -> None:
    whole = next(one for one in truth if all(one["masks"]))
    masks = [Mask.from_coco(one) for one in whole["masks"]]
    app.open(dataset.name)
    canvas = app.open_panel("clicks", SIZE)
    canvas.box(masks[0].box)
    app.page.get_by_text("px, score").first.wait_for()
    app.press("Save", "object 1 is on frame 1 of clicks")
    app.page.get_by_role("button", name="Propagate forward").click()
    app.page.get_by_text("done", exact=True).first.wait_for()
    app.wait(1000)
    app.shot("panel-video")
    dataset.reload()
    sample = dataset.first()
    ious = []
    for number, mask in enumerate(masks, 1):
        (one,) = sample.frames[number]["clicks"].detections
        region = to_region(one, SIZE)
        assert region is not None
        ious.append(region.mask.iou(mask))
        assert one.index == 1
    assert len({str(frame["clicks"].detections[0]["instance"].id) for frame in sample.frames.values()}) == 1
    assert sum(ious) / len(ious) >= BAR


def test_propagate_and_export_in_the_operators_browser(app: App, clip: tuple[Any, list[dict[str, Any]]], tmp_path: Path) -> None:
    dataset, truth = clip
    app.open(dataset.name)
    form = app.operator("Propagate masklets")
    app.wait(1200)
    app.shot("propagate-form")
    app.execute(form)
    app.page.get_by_text("regions in 1 samples").first.wait_for()
    app.shot("propagate-done")
    dataset.reload()
    frames = dataset.first().frames
    assert [len(frames[number]["masklets"].detections) > 0 for number in range(1, 9)] == [True] * 8
    path = tmp_path / "masklets.json"
    app.open(dataset.name)
    form = app.operator("Export exact masks")
    form.get_by_role("combobox").first.click()
    app.page.get_by_role("option", name="masklets", exact=True).click()
    app.wait(800)
    app.shot("export-form")
    form.locator("input").last.fill(str(path))
    app.wait(1200)
    app.execute(form)
    app.page.get_by_text("regions in 1 samples").first.wait_for()
    written = json.loads(path.read_bytes())
    assert len(written["annotations"]) == len(truth)
    assert [len(one["segmentations"]) for one in written["annotations"]] == [8] * len(truth)
