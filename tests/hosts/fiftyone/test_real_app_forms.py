"""The real App in Chromium: forms, what is scheduled, and the panel's other inputs. See `test_real_app`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from locara_label.hosts.fiftyone.propagate import describe
from locara_label.hosts.fiftyone.review import keep_copy
from locara_label.video.opening import open_video_file
from tests.hosts.fiftyone.delegated_service import launched, operations, until
from tests.hosts.fiftyone.fiftyone_app import App
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_clip, add_scenes, masks_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Any]:
    dataset = fo.Dataset(persistent=True)
    add_scenes(dataset, tmp_path / "pictures", 2)
    yield dataset
    dataset.delete()


@pytest.fixture
def long_clip(tmp_path: Path) -> Iterator[Any]:
    dataset = fo.Dataset(persistent=True)
    add_clip(dataset, tmp_path, frames=400)  # more than are done before the stop
    sample = dataset.first()
    with open_video_file(sample.filepath) as video:
        describe(sample, video)
    yield dataset
    dataset.delete()


def test_a_scheduled_run(app: App, scenes: Any, tmp_path: Path) -> None:
    """Queued in the App, done by `fiftyone delegated launch`."""
    app.open(scenes.name)
    app.schedule(app.operator("Pre-label"))
    log = tmp_path / "service.log"
    until(lambda: len(operations(scenes)) == 1, log)
    assert not scenes.has_field("pred")
    with launched(app.plugins, log):
        until(lambda: operations(scenes)[0].run_state in ("completed", "failed"), log)
    assert operations(scenes)[0].run_state == "completed"
    scenes.reload()
    assert all(label.detections for label in scenes.values("pred"))


def test_models_are_fetched_after_their_terms(app: App, scenes: Any) -> None:
    """The address that weights come from answers nobody here, which has to be told."""
    app.open(scenes.name)
    form = app.operator("Models")
    form.get_by_text("choose one").wait_for()
    app.choose(form, 0, "segformer-b0-finetuned-ade-512-512")
    form.get_by_text("is not downloaded").first.wait_for()
    form.get_by_text("needed for this model").wait_for()
    assert not form.get_by_role("button", name="Execute").is_enabled()
    form.get_by_role("checkbox").last.check()
    app.execute(form)
    app.page.get_by_text(re.compile("^segformer-b0-finetuned-ade-512-512: ")).first.wait_for()
    app.shot("models-told")


def test_a_comparison_as_a_table(app: App, scenes: Any) -> None:
    keep_copy(scenes, "truth", "truth_model")
    app.open(scenes.name)
    form = app.operator("Review pre-labels")
    app.choose(form, 0, "truth_model")
    app.choose(form, 1, "truth")
    app.execute(form)
    app.page.get_by_text("mean IoU 1.0").first.wait_for()
    app.page.get_by_text("Mean IoU", exact=True).first.wait_for()
    app.shot("compare-done")
    scenes.reload()
    assert scenes.values("truth_model_iou") == [1.0, 1.0]


def test_words_and_sliders_in_the_panel(app: App, scenes: Any) -> None:
    scene = masks_of(scenes.first()["truth"])[0]
    app.open(scenes.name)
    canvas = app.open_panel("clicks", SIZE)
    label = scenes.first()["truth"].detections[0].label
    words = app.page.locator('xpath=//*[text()="Words to look for"]/following::input').first
    words.fill(label)
    app.wait(1500)
    app.page.get_by_role("button", name="Find", exact=True).click()
    app.page.get_by_text(re.compile(f"found for '{label}'")).first.wait_for()
    app.page.get_by_role("button", name="Undo", exact=True).click()
    app.page.get_by_text("Click on the object").first.wait_for()
    canvas.click((scene.box.x0 + scene.box.x1) / 2, (scene.box.y0 + scene.box.y1) / 2)
    app.page.get_by_text("px, score").first.wait_for()
    for name in ("Opacity", "Feather"):
        before = canvas.pictures()
        app.slide(name, "End")
        canvas.changes(before)
    app.shot("panel-sliders")
    area = app.page.get_by_text("px, score").first.inner_text()
    app.page.get_by_role("checkbox").last.check()
    app.page.get_by_text(area).first.wait_for(state="detached")
    app.page.get_by_role("button", name="Clear", exact=True).click()
    app.page.get_by_text("Click on the object").first.wait_for()


def test_frames_and_stopping_in_the_panel(app: App, long_clip: Any) -> None:
    app.open(long_clip.name)
    canvas = app.open_panel("clicks", SIZE)
    before = canvas.pictures()
    app.slide("Frame", "ArrowRight")
    canvas.changes(before)
    box = long_clip.first().frames[1]["boxes"].detections[0].bounding_box
    canvas.click((box[0] + box[2] / 2) * SIZE[1], (box[1] + box[3] / 2) * SIZE[0])
    app.page.get_by_text("px, score").first.wait_for()
    app.page.get_by_role("button", name="Save", exact=True).click()
    app.page.get_by_text("is on frame 2 of clicks").first.wait_for()
    app.field(app.page.locator("body"), "150").fill("400")
    app.wait(1500)
    app.page.get_by_role("button", name="Propagate forward").click()
    app.page.get_by_role("button", name="Stop", exact=True).click()
    app.page.get_by_text("stopped; finished frames are saved").first.wait_for()
    app.shot("panel-stopped")
    long_clip.reload()
    frames = long_clip.first().frames
    done = [number for number, frame in frames.items() if frame.has_field("clicks") and frame["clicks"] is not None]
    assert 2 in done
    assert len(done) < 399
