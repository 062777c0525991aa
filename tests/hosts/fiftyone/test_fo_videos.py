"""Masklets: followed, corrected, exported and read back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import model
from locara_label.hosts.fiftyone.labels import Region, to_detection, to_region
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.fiftyone.propagate import propagate
from locara_label.hosts.fiftyone.tracks import export_youtube_vis, import_youtube_vis
from locara_label.runtime.session import Stop
from locara_label.types import Mask
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_clip, bad_picture, regions, stop_after
from tests.required import missing

FRAMES = 8


@pytest.fixture
def clip(dataset: Any, tmp_path: Path) -> tuple[Any, list[dict[str, Any]]]:
    return dataset, add_clip(dataset, tmp_path / "clips", frames=FRAMES)


def test_boxes_of_one_frame_are_followed(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, truth = clip
    steps = list(propagate(dataset, "frames.boxes", "frames.pred"))
    assert [step.frames for step in steps] == [*((number, FRAMES) for number in range(1, FRAMES + 1)), None]
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    sample = dataset.first()
    assert sample.metadata.total_frame_count == FRAMES
    found = regions(sample, "pred")
    ious = []
    for masklet in truth:
        number = masklet["id"] + 1
        mine = {frame: region for (frame, index), region in found.items() if index == number}
        assert len({region.instance for region in mine.values()}) == 1
        assert {region.label for region in mine.values()} == {masklet["label"]}
        pairs = [(region.mask, Mask.from_coco(masklet["masks"][frame - 1])) for frame, region in mine.items()]
        ious += [one.iou(other) for one, other in pairs]
    assert np.mean(ious) > 0.75
    assert {frame for (frame, _), region in found.items() if region.attributes.get("keyframe")} == {1}
    assert "frames.pred" in dataset.active_label_schemas


def test_a_correction_on_a_later_frame_counts_from_there(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, truth = clip
    summed(propagate(dataset, "boxes", "pred"))
    sample = dataset.first()
    before = regions(sample, "pred")
    whole = np.zeros(SIZE, bool)
    whole[20:60, 30:90] = True
    right = Region("corrected", Mask.from_array(whole), index=truth[0]["id"] + 1, attributes={"keyframe": True})
    kept = [one for one in sample.frames[5]["pred"].detections if one.index != right.index]
    sample.frames[5]["pred"] = fo.Detections(detections=[*kept, to_detection(right)])
    sample.save()
    summed(propagate(dataset, "pred", "pred", direction="forward", start=5))
    after = regions(dataset.first(), "pred")
    assert after[5, right.index].mask == right.mask
    others = {index for _, index in before} - {right.index}
    assert others <= {index for _, index in after}
    for frame in range(1, 5):
        assert all(after[frame, index].mask == before[frame, index].mask for index in others if (frame, index) in before)
    changed = [frame for frame in range(6, FRAMES + 1) if after.get((frame, right.index)) is not None]
    assert changed
    assert all(after[frame, right.index].mask != before[frame, right.index].mask for frame in changed)


def test_other_objects_of_the_field_stay(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, _ = clip
    sample = dataset.first()
    by_hand = Region("by hand", Mask.from_array(np.eye(*SIZE, dtype=bool)), index=77)
    sample.frames[3]["pred"] = fo.Detections(detections=[to_detection(by_hand)])
    sample.save()
    summed(propagate(dataset, "boxes", "pred"))
    assert regions(dataset.first(), "pred")[3, 77].mask == by_hand.mask
    summed(propagate(dataset, "boxes", "pred"))
    found = regions(dataset.first(), "pred")  # asserts that no object is there twice
    assert found[3, 77].mask == by_hand.mask


def test_a_cancelled_run_keeps_its_frames(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, _ = clip
    stop = Stop()
    stop_after(propagate(dataset, "boxes", "pred", stop=stop), stop, 3)
    assert {frame for frame, _ in regions(dataset.first(), "pred")} == {1, 2, 3}


def test_a_bad_video_and_one_without_objects_are_told(clip: tuple[Any, list[dict[str, Any]]], tmp_path: Path) -> None:
    dataset, _ = clip
    bad = bad_picture(tmp_path / "bad.mp4")
    shutil.copyfile(dataset.first().filepath, tmp_path / "empty.mp4")
    dataset.add_samples([fo.Sample(filepath=str(bad)), fo.Sample(filepath=str(tmp_path / "empty.mp4"))])
    ran = summed(propagate(dataset, "boxes", "pred", max_frames=2))
    assert (ran.samples, len(ran.failed)) == (3, 2)
    errors = dataset.values("pred_error")
    assert errors[0] is None
    assert errors[1].startswith("[video.")
    assert errors[2].startswith("[prompt.empty]")
    assert summed(propagate(dataset, "boxes", "pred", max_frames=2, only_new=True)).samples == 2


def test_wrong_arguments_are_told_at_once(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, _ = clip
    for wrong in ({"direction": "up"}, {"stride": 0}, {"max_frames": 0}, {"start": 0}):
        with pytest.raises(BadOption):
            propagate(dataset, "boxes", "pred", **wrong)
    with pytest.raises(BadOption, match="no field"):
        propagate(dataset, "nothing", "pred")


def test_a_model_for_apply_model(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    """FiftyOne would open the file with FFmpeg's programs, so the model is called as FiftyOne calls it."""
    dataset, _ = clip
    summed(propagate(dataset, "boxes", "pred"))
    follower = model("locara/classic", media_type="video", prompt_field="frames.boxes")
    found = follower.predict(None, sample=dataset.first())
    ours = regions(dataset.first(), "pred")
    assert sorted(found) == list(range(1, FRAMES + 1))
    for frame, label in found.items():
        masks = {one.index: to_region(one, SIZE) for one in label.detections}
        assert {index: region.mask for index, region in masks.items() if region} == {
            index: region.mask for (number, index), region in ours.items() if number == frame
        }


def test_apply_model_on_videos(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    dataset, _ = clip
    if shutil.which("ffprobe") is None:
        missing("FFmpeg's programs, with which apply_model opens videos")
    dataset.apply_model(model("classic", media_type="video"), "pred", prompt_field="frames.boxes", skip_failures=False)
    assert {frame for frame, _ in regions(dataset.first(), "pred")} == set(range(1, FRAMES + 1))


def test_youtube_vis_and_back(clip: tuple[Any, list[dict[str, Any]]], tmp_path: Path) -> None:
    dataset, _ = clip
    add_clip(dataset, tmp_path / "clips" / "more", seed=1_000_000_007, frames=5)
    summed(propagate(dataset, "boxes", "pred", max_frames=4))
    sample = dataset.first()
    empty = fo.Detections(detections=[])
    sample.frames[8]["pred"] = empty
    sample.save()
    written = summed(export_youtube_vis(dataset, "frames.pred", tmp_path / "youtube_vis.json"))
    assert (written.samples, written.failed, written.noted) == (2, (), ())
    fresh = fo.Dataset()
    try:
        for target in (dataset, fresh):
            read = summed(import_youtube_vis(target, tmp_path / "youtube_vis.json", "back", root=tmp_path / "clips"))
            assert (read.samples, read.regions, read.failed) == (2, written.regions, ())
            assert "frames.back" in target.active_label_schemas
            for one, other in zip(dataset.sort_by("filepath"), target.sort_by("filepath"), strict=True):
                truth, found = regions(one, "pred"), regions(other, "back")
                assert truth.keys() == found.keys()
                for key, region in truth.items():
                    names = ("label", "mask", "score", "predicted_iou", "index", "instance", "attributes")
                    assert all(getattr(region, name) == getattr(found[key], name) for name in names)
        frames = fresh.match({"filepath": sample.filepath}).first().frames
        assert frames[8]["back"].detections == []
    finally:
        fresh.delete()


def test_objects_that_cannot_be_told_apart_are_refused(clip: tuple[Any, list[dict[str, Any]]], tmp_path: Path) -> None:
    dataset, _ = clip
    summed(propagate(dataset, "boxes", "pred", max_frames=2))
    sample = dataset.first()
    for detection in sample.frames[2]["pred"].detections:
        detection.index = detection["instance"] = None
    sample.save()
    ran = summed(export_youtube_vis(dataset, "pred", tmp_path / "youtube_vis.json"))
    assert [step.error.code for step in ran.failed if step.error] == ["track.missing"]


def test_frames_are_labeled_one_by_one(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    from locara_label.engine.loading import load
    from locara_label.hosts.fiftyone.prelabel_video import prelabel_video
    from locara_label.video.opening import open_video_file

    dataset, _ = clip
    steps = list(prelabel_video(dataset, "mini", "frames.pred", stride=3))
    assert [step.frames for step in steps] == [(1, 3), (2, 3), (3, 3), None]
    sample, bare = dataset.first(), load("mini")
    with open_video_file(sample.filepath) as video:
        for number in (1, 4, 7):
            truth = [one.mask for one in bare.segment(video.frame(number - 1))]
            found = [to_region(one, SIZE) for one in sample.frames[number]["pred"].detections]
            assert [region.mask for region in found if region is not None] == truth
    assert sample.frames[2]["pred"] is None
    with pytest.raises(BadOption):
        prelabel_video(dataset, "classic", "pred")


def test_a_cancelled_run_goes_on_where_it_was(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    from locara_label.hosts.fiftyone.prelabel_video import prelabel_video

    dataset, _ = clip
    stop = Stop()
    stop_after(prelabel_video(dataset, "mini", "pred", stop=stop), stop, 3)
    before = {number: detection_ids(frame["pred"]) for number, frame in dataset.first().frames.items()}
    assert [number for number, found in before.items() if found] == [1, 2, 3]
    steps = list(prelabel_video(dataset, "mini", "pred", only_new=True))
    after = {number: detection_ids(frame["pred"]) for number, frame in dataset.first().frames.items()}
    assert [after[number] for number in (1, 2, 3)] == [before[number] for number in (1, 2, 3)]
    assert len(after) == FRAMES
    assert all(after.values())
    assert [step.regions for step in steps[:3]] == [0, 0, 0]
    assert [step.frames for step in steps] == [*((number, FRAMES) for number in range(1, FRAMES + 1)), None]


def detection_ids(found: Any) -> list[str]:
    return [one.id for one in found.detections] if found is not None else []
