"""Boxes of video tasks to masklets: masks that are not to be trusted, and what is found anew."""

import json

import numpy as np
import pytest
import video_exports
from video_exports import CONFIG, COUNT, annotation, drawn, lost, masks_of, moving, record, task

from locara_label.cli.app import run
from locara_label.datasets.convert import open_source
from locara_label.errors import FetchFailed, UnknownModel
from locara_label.hosts.label_studio.masklets import MaskletStore, StoredFrame
from locara_label.video.opening import open_video_file
from tests.hosts.label_studio.fake_label_studio import FILE, LEGACY, FakeLabelStudio, serving

store = video_exports.store
keep = video_exports.keep
exported = video_exports.exported
clip = video_exports.clip


def test_without_a_store_keyframes_have_their_masks_and_the_rest_is_told(exported):
    masks = moving()
    made = drawn(masks)
    keys = {key["frame"] - 1 for key in made["value"]["sequence"]}
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video) == {at: masks[at] if at in keys else None for at in range(COUNT)}
    assert lost(report) == [("frame.no_mask", "task 1 annotation 1 region r1")]
    assert video.masklets[0].meta["frames_without_mask"] == [at for at in range(COUNT) if at not in keys]
    assert +report.changed == {"video.editor_frames": 1}


def middle(made):
    """The keyframe nearest to the middle, with those before and after it."""
    sequence = made["value"]["sequence"]
    place = min(range(1, len(sequence) - 1), key=lambda at: abs(sequence[at]["frame"] - COUNT / 2))
    return sequence[place - 1], sequence[place], sequence[place + 1]


def test_a_box_that_was_moved_has_no_mask_any_more(exported, keep):
    masks = moving()
    keep(masks)
    made = drawn(masks)
    before, key, after = middle(made)
    key["x"] += 5
    report, [video] = exported([task(1, annotation(made))])
    found = masks_of(video)
    between = range(before["frame"], after["frame"] - 1)
    assert [at for at in range(COUNT) if found[at] is None] == list(between)
    assert all(found[at] == masks[at] for at in range(COUNT) if at not in between)
    codes = {code for code, _ in lost(report)}
    assert "frame.stale" in codes
    assert codes <= {"frame.stale", "frame.no_mask"}
    assert "moved" in report.examples[0].message


def test_a_rotated_box_is_taken_as_the_box_around_it(exported, keep):
    masks = moving()
    keep(masks)
    made = drawn(masks)
    _, key, _ = middle(made)
    key["rotation"] = 10
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video)[key["frame"] - 1] is None
    assert "moved" in next(one.message for one in report.examples if one.code == "frame.stale")


def test_masks_that_the_editor_copied_are_not_trusted(exported):
    masks = moving()
    made = drawn(masks)
    before, key, _ = middle(made)
    copied = dict(key) | {"frame": before["frame"] + 1, "x": before["x"], "y": before["y"]}
    made["value"]["sequence"].insert(made["value"]["sequence"].index(key), copied)
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video)[before["frame"]] is None
    assert "copied" in next(one.message for one in report.examples if one.code == "frame.stale")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda beside: beside | {"counts": "zz"},
        lambda beside: beside | {"size": [64, 48]},
        lambda beside: beside | {"box": [1, 2, 3]},
        lambda beside: beside | {"counts": moving()[20].to_coco()["counts"]},
        lambda beside: "oops",
    ],
)
def test_broken_masks_are_not_trusted(exported, spoil):
    made = drawn(moving())
    _, key, _ = middle(made)
    key["mask"] = spoil(key["mask"])
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video)[key["frame"] - 1] is None
    assert "broken" in next(one.message for one in report.examples if one.code == "frame.stale")


def test_a_mask_of_the_store_serves_where_the_extras_are_gone(exported, keep):
    masks = moving()
    keep(masks)
    made = drawn(masks)
    for key in made["value"]["sequence"]:
        del key["mask"]
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video) == masks
    assert report.is_complete


def test_a_store_of_another_video_is_not_used(exported, keep):
    masks = moving()
    keep(moving(count=COUNT - 1), count=COUNT - 1)
    keep(moving(size=(48, 70)), name="r2", size=(48, 70))
    report, [video] = exported([task(1, annotation(drawn(masks), drawn(masks, "r2")))])
    assert video.masklets[1].present < COUNT
    assert ("frame.no_mask", "task 1 annotation 1 region r2") in lost(report) or "frame.stale" in report.lost


def mean_iou(found, masks):
    return np.mean([mask.iou(found[at]) if found[at] is not None else 0.0 for at, mask in masks.items()])


def test_frames_between_keyframes_are_tracked_from_the_video(exported, clip):
    path, masks = clip
    made = drawn(masks)
    keys = {key["frame"] - 1 for key in made["value"]["sequence"]}
    report, [video] = exported([task(1, annotation(made))], opens=lambda url, of: open_video_file(path))
    found = masks_of(video)
    assert all(found[at] == masks[at] for at in keys)
    assert mean_iou(found, masks) > 0.7
    assert report.changed["frame.tracked"] > 0
    assert (video.frame_count, video.size) == (COUNT, (96, 128))


def test_a_box_of_a_person_is_computed_anew_and_its_neighbours_tracked(exported, keep, clip):
    path, masks = clip
    keep(masks, size=(96, 128))
    made = drawn(masks)
    before, key, after = middle(made)
    key["width"] = key["width"] * 0.98
    report, [video] = exported([task(1, annotation(made))], opens=lambda url, of: open_video_file(path))
    found = masks_of(video)
    outside = [at for at in masks if not before["frame"] <= at < after["frame"] - 1]
    assert all(found[at] == masks[at] for at in outside)
    assert report.changed["frame.recomputed"] == 1
    assert masks[key["frame"] - 1].iou(found[key["frame"] - 1]) > 0.5
    assert key["mask"]["counts"] != found[key["frame"] - 1].to_coco()["counts"]


def test_boxes_drawn_by_hand_get_masks(exported, clip):
    path, masks = clip
    made = drawn(masks)
    for key in made["value"]["sequence"]:
        del key["mask"]
    report, [video] = exported([task(1, annotation(made))], opens=lambda url, of: open_video_file(path))
    assert mean_iou(masks_of(video), masks) > 0.6
    assert report.changed["frame.recomputed"] + report.changed["frame.tracked"] == video.masklets[0].present


def test_what_cannot_be_computed_is_told(exported, keep, clip):
    path, masks = clip
    keep(masks, size=(96, 128))
    made = drawn(masks)
    _, key, _ = middle(made)
    key["x"] += 3

    def absent(name):
        raise UnknownModel(f"no model {name}", code="model.unknown")

    report, _ = exported([task(1, annotation(made))], opens=lambda url, of: open_video_file(path), load=absent)
    assert "[model.unknown]" in report.examples[0].message

    def gone(url, of):
        raise FetchFailed(f"{url} is gone", code="fetch.not_found")

    report, _ = exported([task(1, annotation(made))], opens=gone)
    assert "[fetch.not_found]" in report.examples[0].message


@pytest.fixture
def call(monkeypatch, capsys, tmp_path, clip):
    path, masks = clip
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", LEGACY)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))
    with serving(FakeLabelStudio(CONFIG, files={"abcd1234-clip.mp4": path.read_bytes()})) as fake:
        fake.tasks[1] = {"video": f"{FILE}abcd1234-clip.mp4"}
        fake.annotations[1] = [annotation(drawn(masks))]

        def run_it(*options, name="out.json"):
            given = ["--url", fake.url, "--project", "1", "--format", "youtube-vis", "--out", str(tmp_path / name), *options]
            code = run(["label-studio", "export", *given])
            out, err = capsys.readouterr()
            assert LEGACY not in out + err
            return code, out

        yield run_it


def test_the_command_finds_masks_anew_in_the_video_of_a_task(call, clip, tmp_path):
    _, masks = clip
    code, out = call("--json")
    report = json.loads(out)
    assert report["changed"]["frame.tracked"] > 0
    assert code == (0 if report["complete"] else 3)
    with open_source(tmp_path / "out.json", "youtube-vis") as source:
        [video] = source.videos()
    assert mean_iou(masks_of(video), masks) > 0.7
    assert not (tmp_path / "data").exists()


def test_the_command_takes_the_store_of_the_settings(call, clip, tmp_path):
    _, masks = clip
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        frames = [StoredFrame(at, at / 25, mask, 0.5, present=True, prompted=False) for at, mask in masks.items()]
        store.replace(record(masks, size=(96, 128)), frames)
    code, out = call("--no-recompute")
    assert code == 0
    assert f"1 videos, 1 masklets, {len(masks)} masks from 1 annotations" in out
    with open_source(tmp_path / "out.json", "youtube-vis") as source:
        [video] = source.videos()
    assert {at: mask for at, mask in masks_of(video).items() if mask} == masks


def test_the_command_without_a_video_or_a_store_tells_what_is_missing(call):
    code, out = call("--no-recompute")
    assert code == 3
    assert "error [frame.no_mask]" in out
