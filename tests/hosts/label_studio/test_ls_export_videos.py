"""Boxes of video tasks to masklets: masks of the store, formats, what cannot be."""

import json
from dataclasses import replace

import pytest
import video_exports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from video_exports import CONFIG, COUNT, SIZE, annotation, drawn, lost, masks_of, moving, task, view

from locara_label.datasets.convert import verify
from locara_label.errors import BadRequest, FetchFailed, StoreFailed
from locara_label.hosts.label_studio.export_tasks import Choice
from locara_label.hosts.label_studio.masklets import Place
from tests.hosts.label_studio.any_json import JSON_VALUES, paths

store = video_exports.store
keep = video_exports.keep
exported = video_exports.exported
clip = video_exports.clip


@pytest.mark.parametrize("config", [CONFIG, None])
def test_every_stored_frame_comes_out_as_it_was(exported, keep, config):
    masks = moving()
    keep(masks)
    made = drawn(masks)
    assert len(made["value"]["sequence"]) < COUNT
    report, [video] = exported([task(1, annotation(made))], config=config)
    assert (video.frame_count, video.size, video.name, video.id) == (COUNT, SIZE, "abcd1234-clip", 1)
    assert masks_of(video) == masks
    assert video.times_s == pytest.approx([at / 25 for at in range(COUNT)])
    [track] = video.masklets
    assert (track.category.name, track.meta["label_studio_region"]) == ("Cat", "r1")
    assert (report.is_complete, report.masks, report.masklets, +report.changed) == (True, COUNT, 1, {})


@pytest.mark.parametrize(("rate", "file_rate"), [(24.0, 25), (25.0, 30), (30.0, 25), (29.97, 24), (12.0, 25)])
def test_frame_rates_of_editor_and_file_may_differ(exported, keep, rate, file_rate):
    masks, seen = moving(), view(rate, file_rate)
    keep(masks, file_rate)
    report, [video] = exported([task(1, annotation(drawn(masks, seen=seen)))])
    found = masks_of(video)
    shown = {seen.clock.file_frame(at) for at in range(1, seen.frame_count + 1)}
    assert all(found[at] == masks[at] for at in shown)
    assert all(mask is None or mask == masks[at] for at, mask in found.items())
    assert "frame.stale" not in report.lost


def test_where_it_is_out_of_sight_there_is_no_mask(exported, keep):
    masks = moving(hidden=range(8, 15))
    keep(masks)
    report, [video] = exported([task(1, annotation(drawn(masks)))])
    assert masks_of(video) == {at: masks.get(at) for at in range(COUNT)}
    assert report.is_complete


def test_a_keyframe_that_is_switched_off_ends_the_object(exported, keep):
    masks = moving()
    keep(masks)
    made = drawn(masks)
    key = made["value"]["sequence"][-2]
    key["enabled"] = False
    del made["value"]["sequence"][-1]
    report, [video] = exported([task(1, annotation(made))])
    assert masks_of(video) == {at: masks[at] if at < key["frame"] else None for at in range(COUNT)}
    assert report.is_complete


def test_a_video_that_nothing_tells_about(exported):
    made = drawn(moving())
    for key in made["value"]["sequence"]:
        del key["mask"]

    def gone(url, of):
        raise FetchFailed(f"{url} is gone", code="fetch.not_found")

    good = drawn(moving(), "r9")
    tasks = [task(1, annotation(made)), task(2, annotation(good))]
    report, [video] = exported(tasks, opens=gone)
    assert ("fetch.not_found", "task 1") in lost(report)
    assert video.id == 2
    report, _ = exported(tasks)
    assert ("video.unknown", "task 1") in lost(report)


@pytest.mark.parametrize("kind", ["youtube-vis", "coco-frames", "sa-v", "mots"])
def test_every_format_is_verified(exported, keep, tmp_path, kind):
    masks, other = moving(), moving(0.5, hidden=range(5))
    keep(masks)
    keep(other, name="r2", number=1)
    keep(masks, name="r1", number=5)
    first = annotation(drawn(masks), drawn(other, "r2", "Dog"))
    name = {"youtube-vis": "o.json", "coco-frames": "o.json"}.get(kind, "out")
    report, videos = exported([task(1, first), task(5, annotation(drawn(masks)))], kind=kind, name=name)
    found = {video.name: video for video in videos}
    assert [len(found[name].masklets) for name in ("abcd1234-clip", "abcd1234-clip-5")] == [2, 1]
    assert masks_of(found["abcd1234-clip"]) == masks_of(found["abcd1234-clip-5"]) == masks
    assert verify(tmp_path / name, kind).problems == []
    assert (report.masks, report.masklets, report.pictures) == (2 * COUNT + COUNT - 5, 3, 2)
    assert len(found) == 2
    assert sorted(path.name for path in tmp_path.glob(".locara*")) == []


def test_bad_regions_cost_no_other(exported, keep):
    masks = moving()
    keep(masks)
    none, unknown = drawn(masks, "n", None), drawn(masks, "u", "Horse")
    bad = drawn(masks, "b")
    bad["value"]["sequence"][0]["frame"] = "one"
    other = {"id": "c", "from_name": "x", "to_name": "video", "type": "timelinelabels", "value": {"ranges": []}}
    tasks = [task(1, annotation(none, unknown, bad, other, drawn(masks))), task(2, annotation("oops"))]
    report, [video] = exported(tasks)
    assert masks_of(video) == masks
    assert ("region.no_label", "task 1 annotation 1 region n") in lost(report)
    assert ("region.unknown_label", "task 1 annotation 1 region u") in lost(report)
    assert ("request.region", "task 1 annotation 1 region b") in lost(report)
    assert ("request.region", "task 2 annotation 1") in lost(report)
    assert report.left_out["region.other_kind"] == 1


def test_labels_and_annotators(exported, keep):
    masks = moving()
    keep(masks)
    both = drawn(masks)
    both["value"]["labels"] = ["Cat", "Dog"]
    mine, theirs = annotation(both, completed_by=3), annotation(drawn(masks), number=2, completed_by=4)
    _, [video] = exported([task(1, mine, theirs)], choice=Choice("all"))
    assert [one.category.name for one in video.masklets] == ["Cat", "Dog", "Cat"]
    report, [video] = exported([task(1, mine, theirs)], choice=Choice(completed_by=frozenset({"3"})), labels=("Dog",))
    assert [one.category.name for one in video.masklets] == ["Dog"]
    assert report.left_out["annotation.completed_by"] == 1


def test_pictures_have_no_masklets(exported):
    with pytest.raises(BadRequest) as caught:
        exported([task(1)], config='<View><Image name="i" value="$i"/><Brush name="b" toName="i"/></View>')
    assert caught.value.code == "config.unusable"


def test_a_store_that_fails_ends_the_export(exported, store, tmp_path):
    store.close()
    with pytest.raises(StoreFailed):
        exported([task(1, annotation(drawn(moving())))])
    assert not (tmp_path / "out.json").exists()


def test_scores_of_the_store_are_kept(exported, keep, store):
    masks = moving()
    keep(masks)
    frames = [replace(one, score=0.25) for one in store.frames(Place(1, 1, "r1"))]
    store.replace(store.read(Place(1, 1, "r1")), frames)
    _, [video] = exported([task(1, annotation(drawn(masks)))])
    assert set(video.masklets[0].scores) == {0.25}


def test_frames_that_cannot_be_are_told(exported, keep):
    masks = moving()
    keep(masks)
    made, endless = drawn(masks), drawn(masks, "endless")
    made["value"]["sequence"].append(dict(made["value"]["sequence"][-1]) | {"frame": 10**9})
    made["value"]["sequence"].append(dict(made["value"]["sequence"][-1]) | {"frame": 20, "x": 200})
    report, [_] = exported([task(1, annotation(made))])
    assert ("region.outside", "task 1 annotation 1 region r1") in lost(report)
    assert "20, 1000000000" in next(one.message for one in report.examples if one.code == "region.outside")
    endless["value"]["framesCount"] = 10**12
    report, videos = exported([task(1, annotation(endless))])
    assert (lost(report), videos) == ([("video.frames", "task 1")], [])


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), JSON_VALUES)
def test_any_json_in_any_place_costs_at_most_its_task(exported, keep, data, value):
    masks = moving()
    keep(masks)
    bad = task(2, annotation(drawn(masks)))
    *way, last = data.draw(st.sampled_from([path for path in paths(bad) if path]))
    place = bad
    for key in way:
        place = place[key]
    place[last] = value
    for config in (CONFIG, None):
        report, videos = exported([task(1, annotation(drawn(masks))), bad], config=config)
        assert masks_of(videos[0]) == masks
        assert report.tasks == 2
        json.dumps(report.to_json(), allow_nan=False)
