"""What became of tracks: the editor's boxes of before and after."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.review_regions import changes, drawings
from locara_label.hosts.label_studio.review_tracks import track_of
from tests.hosts.label_studio.any_json import JSON_VALUES, paths


def key(frame, x=10.0, width=20.0, **more):
    return {
        "frame": frame,
        "x": x,
        "y": 10,
        "width": width,
        "height": 50,
        "rotation": 0,
        "enabled": True,
        "time": frame / 25,
    } | more


def entry(*keys, region="v", label="Car", frames=100, masklet=True, **more):
    meta = {"meta": {"masklet": {"model": "classic", "version": "m-1"}}} if masklet else {}
    value = {"framesCount": frames, "duration": frames / 25, "sequence": list(keys), "labels": [label]}
    return {"id": region, "from_name": "box", "to_name": "video", "type": "videorectangle", "value": value, **meta, **more}


def iou(one, two):
    return track_of(one).iou(track_of(two))


def test_boxes_are_those_that_the_editor_shows():
    track = track_of(entry(key(11, x=0), key(21, x=10, enabled=False), frames=50))
    shown = {frame: tuple(box) for frame, box in enumerate(track.boxes) if box[0] == box[0]}
    assert list(shown) == list(range(11, 22))
    assert (shown[11], shown[16], shown[21]) == ((0, 10, 20, 60), (5, 10, 25, 60), (10, 10, 30, 60))


def test_iou_is_the_mean_over_frames_on_which_either_is_shown():
    whole = entry(key(1))
    assert iou(whole, entry(key(1, width=10))) == pytest.approx(0.5)
    assert iou(whole, entry(key(1), key(50, enabled=False))) == pytest.approx(0.5)
    assert iou(whole, entry(key(51))) == pytest.approx(0.5)
    assert iou(
        entry(key(1, x=0), key(11, x=20, enabled=False)), entry(key(1, x=0), key(11, x=0, enabled=False))
    ) == pytest.approx(sum((20 - 2 * n) / (20 + 2 * n) for n in range(11)) / 11)
    assert iou(entry(), entry()) == 1
    assert iou(entry(), whole) == 0
    assert iou(entry(key(1, width=0)), whole) == 0


def told(before, after):
    pairs = changes(drawings(before).drawn, drawings(after).drawn)
    return [(one.region.id, one.status, one.source, one.is_relabeled, one.iou, one.boundary_px) for one in pairs]


def test_what_became_of_tracks():
    before = [
        entry(key(1), region="kept"),
        entry(key(1), region="moved"),
        entry(key(1), region="named"),
        entry(key(1), region="gone"),
    ]
    after = [
        entry(key(1, time=9.0), region="kept"),
        entry(key(1, width=10), region="moved"),
        entry(key(1), region="named", label="Man"),
        entry(key(1, x=60), region="new", masklet=False),
        entry(key(1, x=80, width=5), region="asked"),
    ]
    assert told(before, after) == [
        ("kept", "kept", "prelabel", False, 1.0, None),
        ("moved", "edited", "prelabel", False, 0.5, None),
        ("named", "edited", "prelabel", True, 1.0, None),
        ("new", "added", "hand", False, None, None),
        ("asked", "added", "answer", False, None, None),
        ("gone", "deleted", "prelabel", False, None, None),
    ]


def test_tracks_without_their_id_are_paired_by_what_they_cover():
    before = [entry(key(1), region="a"), entry(key(1, x=60), region="b")]
    assert [one[:2] for one in told(before, [entry(key(1, x=62), region="x"), entry(key(1, x=90, width=5), region="y")])] == [
        ("x", "edited"),
        ("y", "added"),
        ("a", "deleted"),
    ]


def test_a_track_and_its_label_in_two_results_are_one_region():
    bare = entry(key(1))
    named = {**bare, "type": "labels", "from_name": "label"}
    bare = bare | {"value": {name: value for name, value in bare["value"].items() if name != "labels"}}
    [drawn] = drawings([bare, named]).drawn
    assert (drawn.labels, drawn.version, drawn.is_found) == (("Car",), "m-1", True)


@pytest.mark.parametrize("bad", [{"framesCount": 10**9}, {"sequence": [{"frame": 1}]}, {"sequence": 7}])
def test_what_is_no_track_is_told(bad):
    broken = entry(key(1))
    broken["value"] |= bad
    with pytest.raises(BadRequest):
        track_of(broken)
    found = drawings([broken, entry(key(1), region="w")])
    assert ([one.id for one in found.drawn], [one[0] for one in found.skipped]) == (["w"], ["v"])


def test_frames_far_out_take_no_memory():
    assert len(track_of(entry(key(1), key(10**15, time=1.0))).boxes) == 101


@settings(max_examples=150, deadline=None)
@given(st.data(), JSON_VALUES)
def test_any_json_in_any_place_costs_at_most_its_region(data, value):
    bad = entry(key(1), key(9), region="bad", score=0.5)
    *way, last = data.draw(st.sampled_from([path for path in paths(bad) if path and path[0] != "id"]))
    place = bad
    for name in way:
        place = place[name]
    place[last] = value
    found = drawings([bad, entry(key(1), region="good")])
    assert "good" in {one.id for one in found.drawn}
    changes(found.drawn, drawings([entry(key(1), region="bad"), entry(key(1), region="good")]).drawn)
