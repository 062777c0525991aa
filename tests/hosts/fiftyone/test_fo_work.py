"""Pre-labels by our own loop: saved one by one, told when bad, cancelled, continued."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from locara_label.errors import BadOption, Cancelled, RunError
from locara_label.hosts.fiftyone.fields import noted
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.fiftyone.segment import segment_boxes, segment_text
from locara_label.runtime.session import Stop
from tests.hosts.fiftyone.real_fiftyone import Database
from tests.hosts.fiftyone.scenes_dataset import add_scenes, bad_picture, masks_of


@pytest.fixture
def scenes(dataset: Any, tmp_path: Path) -> Any:
    """Three scenes, and a file between them that is no picture."""
    add_scenes(dataset, tmp_path, 2)
    dataset.add_sample(fo.Sample(filepath=str(bad_picture(tmp_path / "bad.jpg"))))
    add_scenes(dataset, tmp_path / "more", 1)
    return dataset


def test_a_bad_file_is_told_and_passed_over(scenes: Any) -> None:
    steps = list(prelabel(scenes, "mini", "pred"))
    assert [(step.done, step.total) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step.error is not None for step in steps] == [False, False, True, False]
    errors = scenes.values("pred_error")
    assert errors[2].startswith("[image.")
    assert [error for error in errors if error] == [errors[2]]
    assert [label is not None for label in scenes.values("pred")] == [True, True, False, True]
    assert [value is not None for value in scenes.values("pred_uncertainty")] == [True, True, False, True]
    assert scenes.sort_by("pred_uncertainty", reverse=True).first().pred is not None
    assert noted(scenes, "pred")["model"] == "mask2former-mini"


def test_the_reason_goes_when_the_file_is_sound(scenes: Any) -> None:
    summed(prelabel(scenes, "mini", "pred"))
    good, bad = scenes.first().filepath, scenes.skip(2).first().filepath
    Path(bad).write_bytes(Path(good).read_bytes())
    assert summed(prelabel(scenes, "mini", "pred", only_new=True)).samples == 1
    assert scenes.values("pred_error") == [None] * 4


def test_the_annotate_tab_can_edit_at_once(scenes: Any) -> None:
    next(iter(prelabel(scenes, "mini", "pred")))
    schema = scenes.label_schemas["pred"]
    assert {"circle", "star"} <= set(schema["classes"])
    assert "pred" in scenes.active_label_schemas
    summed(segment_boxes(scenes.limit(1), "pred", "masks", model="classic"))
    assert set(scenes.label_schemas["masks"]["classes"]) == set(scenes.distinct("masks.detections.label"))


def test_each_sample_is_saved_before_the_next(scenes: Any) -> None:
    steps = prelabel(scenes, "mini", "pred")
    next(steps)
    assert [label is not None for label in scenes.values("pred")] == [True, False, False, False]
    steps.close()
    assert [label is not None for label in scenes.values("pred")] == [True, False, False, False]


def test_a_cancelled_run_goes_on_where_it_was(scenes: Any) -> None:
    stop = Stop()
    steps = prelabel(scenes, "mini", "pred", stop=stop)
    next(steps)
    first = masks_of(scenes.first().pred)
    stop.set()
    with pytest.raises(Cancelled):
        next(steps)
    assert [label is not None for label in scenes.values("pred")] == [True, False, False, False]
    assert summed(prelabel(scenes, "mini", "pred", only_new=True)).samples == 3
    assert masks_of(scenes.first().pred) == first


def test_label_maps_get_their_targets(scenes: Any) -> None:
    summed(prelabel(scenes, "segformer-mini", "seg", output="segmentation"))
    scenes.reload()
    assert "circle" in scenes.mask_targets["seg"].values()


def test_stability_is_stored(scenes: Any) -> None:
    ran = summed(segment_boxes(scenes.limit(1), "truth", "masks", model="sam2-mini", jitters=3))
    assert ran.failed == ()
    found = scenes.values("masks.detections.stability", unwind=True)
    assert found
    assert all(0 <= value <= 1 for value in found if value is not None)
    again = summed(segment_boxes(scenes.limit(1), "truth", "again", model="sam2-mini", jitters=3))
    assert again.regions == ran.regions
    assert scenes.values("again.detections.stability", unwind=True) == found


def test_words_and_the_data_sets_own_classes(scenes: Any) -> None:
    with pytest.raises(BadOption, match="classes"):
        segment_text(scenes, "words")
    scenes.default_classes = ["circle", "star"]
    scenes.save()
    ran = summed(segment_text(scenes, "words"))
    assert len(ran.failed) == 1
    assert set(scenes.distinct("words.detections.label")) <= {"circle", "star"}


@pytest.mark.parametrize("field", ["", "a b", "filepath", "_hidden", "a.b", "frames.x"])
def test_names_that_no_field_can_have(scenes: Any, field: str) -> None:
    with pytest.raises(BadOption):
        prelabel(scenes, "mini", field)


def test_a_field_of_another_kind_is_left_alone(scenes: Any) -> None:
    summed(prelabel(scenes.limit(1), "mini", "pred"))
    with pytest.raises(BadOption, match="Segmentation"):
        prelabel(scenes, "segformer-mini", "pred", output="segmentation")
    with pytest.raises(BadOption, match="has the prompts"):
        segment_boxes(scenes, "truth", "truth")


def test_views_that_lose_their_samples(scenes: Any) -> None:
    """What is labeled leaves such a view; none may be passed over for it."""
    summed(prelabel(scenes.limit(1), "mini", "pred"))
    unlabeled = scenes.exists("pred", False)
    assert summed(prelabel(unlabeled, "mini", "pred")).samples == 3


def test_patches_are_refused(scenes: Any) -> None:
    with pytest.raises(BadOption, match="patches"):
        prelabel(scenes.to_patches("truth"), "mini", "pred")


def test_a_database_that_goes_away(scenes: Any, tmp_path: Path) -> None:
    """In a process of its own, with a database of its own: what was saved is there when it is back."""
    import subprocess
    import sys

    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    database = Database(folder)
    database.start()
    code = Path(__file__).with_name("losing_database.py")
    import os

    environment = {**os.environ, "FIFTYONE_DATABASE_URI": database.uri, "FIFTYONE_DATABASE_NAME": "losing"}
    pictures = [path for path in scenes.values("filepath") if "bad" not in path]
    command = [sys.executable, str(code), *pictures]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "saved 1"
        database.stop()
        process.stdin.write("go on\n")
        process.stdin.flush()
        told = process.stdout.readline().strip()
        database.start()
        process.stdin.write("again\n")
        process.stdin.flush()
        rest = process.stdout.read().split("\n")
        assert process.wait(120) == 0
    database.stop()
    assert told == f"{RunError.__name__} run.database"
    assert rest[:2] == ["labeled 1", "continued 2"]


def test_a_first_sample_without_regions(scenes: Any) -> None:
    """Nothing tells what kind of field the uncertainty would be; it comes with the first region."""
    ran = summed(prelabel(scenes, "mini", "pred", classes=["ring"]))
    assert len(ran.failed) == 1
    counts = [None if label is None else len(label.detections) for label in scenes.values("pred")]
    assert counts[0] == 0
