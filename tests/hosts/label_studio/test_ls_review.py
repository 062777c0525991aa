"""What a scripted annotator does to known pre-labels, and what the review says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from locara_label.datasets.agreement import boundary_distance
from locara_label.errors import BadOption, StoreFailed
from locara_label.hosts.label_studio.export_tasks import Choice
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.review_efforts import by_region, efforts
from locara_label.hosts.label_studio.review_page import page
from locara_label.hosts.label_studio.review_rows import LEFT_OUT, Tables, doubt
from locara_label.hosts.label_studio.review_store import AnswerStore
from tests.hosts.label_studio.any_json import JSON_VALUES, paths
from tests.hosts.label_studio.fake_label_studio import Refused, labelling
from tests.hosts.label_studio.reviews import (
    CONFIG,
    GROWN,
    KEPT,
    add,
    annotation,
    block,
    by_hand,
    edited,
    of,
    regions,
    request,
    reviewed,
    taken,
    worked,
)

fake = labelling(CONFIG)


def test_a_scripted_annotator(fake):
    worked(fake)
    found = of(reviewed(fake))
    told = {name: (one.status, one.source, one.label, one.relabeled, one.version, one.score) for name, one in found.items()}
    assert told == {
        "kept": ("kept", "prelabel", "Cat", False, "m-1", 0.9),
        "grown": ("edited", "prelabel", "Cat", False, "m-1", 0.6),
        "renamed": ("edited", "prelabel", "Dog", True, "m-1", 0.9),
        "gone": ("deleted", "prelabel", "Dog", False, "m-1", 0.9),
        "drawn": ("added", "hand", "Cat", False, "", None),
        "clicked": ("added", "answer", "Dog", False, "m-1", 0.8),
    }
    ious = {name: one.iou for name, one in found.items()}
    assert ious == {
        "kept": 1.0, "grown": pytest.approx(100 / 120), "renamed": 1.0, "gone": None, "drawn": None,
        "clicked": pytest.approx(80 / 100),
    }  # fmt: skip
    assert found["kept"].boundary_px == 0
    assert found["grown"].boundary_px == boundary_distance(GROWN, block(10, 0, 22, 10))
    assert {(one.task, one.annotation, one.annotator) for one in found.values()} == {(1, 7, "5")}


def test_the_numbers_of_a_review(fake):
    worked(fake)
    review = reviewed(fake)
    tables = Tables.of(review)
    total = tables.total
    assert (total.kept, total.edited, total.relabeled, total.deleted, total.added, total.answered) == (1, 2, 1, 1, 2, 1)
    assert total.iou == pytest.approx((1 + 100 / 120 + 1) / 3)
    assert total.answer_iou == pytest.approx(0.8)
    assert (total.clicks, total.seconds, total.clicked) == (None, None, 0)
    assert [(one.name, one.kept, one.edited, one.deleted, one.added) for one in tables.labels] == [
        ("Cat", 1, 1, 0, 1),
        ("Dog", 0, 1, 1, 1),
    ]
    assert [(one.name, one.kept + one.edited + one.deleted, one.added) for one in tables.versions] == [("", 0, 1), ("m-1", 4, 1)]
    assert [(one.annotator, one.objects, one.annotation_s, one.object_s) for one in tables.paces] == [("5", 5, 61.5, 61.5 / 5)]
    [seen] = review.annotations
    assert seen.agreement == pytest.approx((1 + 100 / 120 + 1 + 0 + 0 + 0) / 6)
    assert (seen.version, seen.score) == ("m-1", 0.5)


def test_regions_without_their_id_are_paired_by_what_they_cover(fake):
    before = [*regions(KEPT, "a"), *regions(GROWN, "b")]
    after = [by_hand(block(10, 0, 20, 9), "new"), by_hand(KEPT, "other", "Dog")]
    add(fake, 1, before, annotation(1, after))
    found = reviewed(fake).regions
    assert [(one.region, one.status, one.iou, one.relabeled) for one in found] == [
        ("new", "edited", pytest.approx(0.9), False),
        ("other", "edited", 1.0, True),
    ]


def test_polygons_of_one_mask_are_one_region(fake):
    two = block(0, 0, 8, 8).union(block(20, 10, 30, 20))
    before = regions(two, "p", kind="Polygon")
    assert len(before) == 2
    add(fake, 1, before, annotation(1, before), annotation(2, before[:1]), annotation(3, before[1:]))
    found = reviewed(fake).regions
    areas = 100, 64
    assert [(one.status, one.iou) for one in found] == [
        ("kept", 1.0),
        ("edited", pytest.approx(areas[0] / 164)),
        ("edited", pytest.approx(areas[1] / 164)),
    ]


def test_an_annotation_is_compared_with_what_it_started_from(fake):
    old, new = regions(KEPT, "a"), regions(block(0, 0, 8, 4), "b", version="m-2")
    add(fake, 1, old, annotation(1, old, parent_prediction=100), annotation(2, old), annotation(3, old, parent_prediction=99))
    add(fake, 1, new, *fake.annotations[1], version="m-2")
    review = reviewed(fake)
    assert [(one.annotation, one.version, one.iou) for one in review.regions] == [(1, "m-1", 1.0), (2, "m-2", 0.5)]
    assert review.report.left_out == {"prediction.gone": 1, "region.no_mask": 0, "task.unannotated": 0}
    again = reviewed(fake, version="m-2")
    assert [(one.annotation, one.version, one.iou) for one in again.regions] == [(n, "m-2", 0.5) for n in (1, 2, 3)]
    assert reviewed(fake, version="m-3").report.left_out["prediction.version"] == 3


def test_pictures_of_another_size_or_page_are_others(fake):
    [region] = regions(KEPT, "a")
    [other] = regions(block(0, 0, 8, 8, (31, 40)), "a")
    add(fake, 1, [region], annotation(1, [other]), annotation(2, [region | {"item_index": 1}]))
    assert [one.status for one in reviewed(fake).regions] == ["added", "deleted", "added", "deleted"]


def test_what_is_no_mask_is_counted_and_prompts_are_no_regions(fake):
    point = {"id": "p", "from_name": "click", "to_name": "image", "type": "keypointlabels", "original_width": 40,
             "original_height": 30, "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["Cat"]}}  # fmt: skip
    ask = {"id": "r", "from_name": "ask", "to_name": "image", "type": "rectanglelabels", "original_width": 40,
           "original_height": 30, "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rotation": 0}}  # fmt: skip
    bad = by_hand(KEPT, "bad") | {"value": {"format": "rle", "rle": [1, 2, 3], "brushlabels": ["Cat"]}}
    add(fake, 1, [], annotation(1, [point, ask, by_hand(KEPT, "a"), bad]))
    review = reviewed(fake)
    assert [one.region for one in review.regions] == ["a"]
    assert review.report.left_out["region.no_mask"] == 2
    assert [(one.place, one.code) for one in review.report.examples] == [("task 1 annotation 1 region bad", "mask.rle")]


def test_choices(fake):
    before = [*regions(KEPT, "a"), *regions(GROWN, "b", "Dog")]
    add(fake, 1, before, annotation(1, before, by=5), annotation(2, before[:1], by=6), annotation(3, [], was_cancelled=True))
    add(fake, 2, before)
    assert [one.annotation for one in reviewed(fake).regions] == [1, 1, 2, 2]
    assert [one.annotation for one in reviewed(fake, choice=Choice("latest")).regions] == [2, 2]
    assert [one.annotator for one in reviewed(fake, choice=Choice("all", frozenset({"5"}))).regions] == ["5", "5"]
    assert [one.region for one in reviewed(fake, labels=frozenset({"Dog"})).regions] == ["b", "b"]
    assert reviewed(fake, limit=1).report.tasks == 1
    assert reviewed(fake).report.left_out["annotation.cancelled"] == 1


def test_a_task_that_cannot_be_read_does_not_cost_the_rest(fake):
    for number in (1, 2):
        add(fake, number, regions(KEPT, "a"), annotation(number, regions(KEPT, "a")))

    def before(method, path):
        if path == "/api/predictions/" and fake.times("GET", path) == 1:
            raise Refused(404)

    fake.before = before
    review = reviewed(fake)
    assert [one.task for one in review.regions] == [2]
    assert [one.place for one in review.report.examples] == ["task 1"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([request(10, ("p", "r"))], [(("r",), 1, 0.5)], id="one click"),
        pytest.param(
            [request(10, (["p"], ["r"])), request(14, (["p", "q"], ["s"])), request(20, (["z"], ["t"]))],
            [(("r", "s"), 2, 4.5), (("t",), 1, 0.5)],
            id="a second click replaces the answer, then comes another object",
        ),
        pytest.param(
            [request(10, (["b"], ["r"])), request(14, (["b"], ["s"])), request(20, (["b"], []))],
            [(("r", "s"), 3, 10.5)],
            id="a box that is moved; the last answer fails",
        ),
        pytest.param(
            [request(10, ("b", "r")), request(20, ("b", "s"), ("c", "t")), request(30, ("b", "u"), ("c", "v"))],
            [(("r", "s", "u"), 2, 20.5), (("t", "v"), 2, 10.5)],
            id="an old box that is sent again with a new one counts for the new one",
        ),
        pytest.param(
            [request(10, (["p"], ["r"])), request(15, (["r"], ["r"])), request(21, (["r"], ["r"]), seconds=2)],
            [(("r",), 3, 13.0)],
            id="a mask that is improved keeps its id",
        ),
        pytest.param(
            [request(10, (["p"], ["r"])), request(12, (["q"], ["s"])), request(14, (["p", "q"], ["t"]))],
            [(("r", "s", "t"), 3, 4.5)],
            id="two objects that become one",
        ),
        pytest.param(
            [request(10, ("x", "rs"), kind="text"), request(15, ("x", "t"), kind="text"), request(19, ("s", "s"))],
            [(("r",), 1, 0.5), (("s",), 2, 9.5), (("t",), 1, 0.5)],
            id="all texts of a box share a region; one answer is improved by a stroke",
        ),
        pytest.param(
            [request(10, (["v"], ["v"]), kind="video"), request(15, (["v"], ["v"]), (["w"], ["w"]), kind="video")],
            [(("v",), 1, 0.5), (("w",), 1, 0.5)],
            id="tracks",
        ),
        pytest.param([request(14, ("p", "s")), request(10, ("p", "r"))], [(("r", "s"), 2, 4.5)], id="in any order"),
        pytest.param([request(10, ([], []), kind="text"), request(11)], [], id="nothing"),
    ],
)  # fmt: skip
def test_what_objects_take(answers, expected):
    assert taken(*answers) == expected


def test_tasks_do_not_mix():
    found = efforts([request(10, ("p", "r")), request(11, ("p", "s"), task=2)])
    assert [(one.task, one.clicks) for one in found] == [(1, 1), (2, 1)]
    assert by_region(found).keys() == {(1, "r"), (2, "s")}


def test_clicks_and_seconds_reach_their_regions(fake):
    worked(fake)
    answers = [
        request(100.0, (["p1"], ["first"])),
        request(103.0, (["p1", "p2"], ["clicked"]), seconds=1.25),
        request(110.0, (["grown"], ["grown"]), seconds=0.75),
        request(120.0, (["p3"], [])),
        request(125.0, (["p4"], ["rejected"])),
        request(126.0, (["p5"], ["elsewhere"]), task=9),
    ]
    review = reviewed(fake, answers)
    found = of(review)
    assert {name: (one.clicks, one.seconds) for name, one in found.items() if one.clicks} == {
        "clicked": (2, 4.25),
        "grown": (1, 0.75),
    }
    assert (found["clicked"].version, found["grown"].version) == ("sam", "m-1")
    assert (review.requests, review.failed, review.objects, review.unused) == (6, 1, 4, 2)
    total = Tables.of(review).total
    assert (total.clicked, total.clicks, total.seconds) == (2, 1.5, 2.5)
    assert reviewed(fake, answers, labels=frozenset({"Cat"})).unused == 2


def test_doubt_is_a_rank_correlation(fake):
    for number, rows in enumerate([4, 8, 6, 2], 1):
        before = regions(block(0, 0, 8, 8), "a")
        add(fake, number, before, annotation(number, [edited(before[0], block(0, 0, 8, rows))]), score=rows / 10)
    seen = reviewed(fake).annotations
    assert [one.agreement for one in seen] == [0.5, 1.0, 0.75, 0.25]
    assert doubt(seen) == pytest.approx(1.0)
    assert doubt(seen[:2]) is None
    assert doubt([*seen[:1]] * 5) is None


def test_answers_survive_and_are_forgotten_by_project(tmp_path):
    path = tmp_path / "masklets.sqlite3"
    kept = [request(10.25, (["p"], ["r", "s"])), request(11, ([], ["ü"]), kind="text"), request(9, task=0)]
    with MaskletStore(path) as store:
        AnswerStore(store).add([*kept, request(1, ("p", "r"), project=2)])
    with MaskletStore(path) as store:
        assert AnswerStore(store).of_project(1) == (kept[2], kept[0], kept[1])
        assert AnswerStore(store).remove_project(1) == 3
        assert AnswerStore(store).remove_project(1) == 0
        assert AnswerStore(store).of_project(1) == ()
        assert len(AnswerStore(store).of_project(2)) == 1


def test_all_answers_or_none(tmp_path):
    with MaskletStore(tmp_path / "m.sqlite3") as store:
        answers = AnswerStore(store)
        broken = request(1)
        object.__setattr__(broken, "task", None)
        with pytest.raises(StoreFailed):
            answers.add([request(1), broken])
        assert answers.of_project(1) == ()


@pytest.mark.parametrize("change", [{"task": -1}, {"task": 1 << 63}, {"at": float("nan")}, {"seconds": -1.0}, {"kind": "other"}])
def test_what_is_no_answer(change):
    with pytest.raises(BadOption) as caught:
        request(**({"at": 1.0} | change))
    assert caught.value.code == "answer.field"


@pytest.mark.parametrize("objects", ["{}", "[1]", '[["p"]]', '[["p", ["r"]]]', "[" * 100_000, '[[["p"], [1]]]'])
def test_a_damaged_answer_is_told(tmp_path, objects):
    with MaskletStore(tmp_path / "m.sqlite3") as store:
        answers = AnswerStore(store)
        answers.add([request(1)])
        with store.database.writing() as connection:
            connection.execute(text("UPDATE answers SET objects = :objects"), {"objects": objects})
        with pytest.raises(StoreFailed) as caught:
            answers.of_project(1)
    assert caught.value.code == "store.damaged"


def test_the_guide_names_every_code_of_a_review():
    guide = (Path(__file__).parents[3] / "docs/label-studio.md").read_text("utf-8")
    assert all(f"| `{code}` | {what} |" in guide for code, what in LEFT_OUT.items())


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), JSON_VALUES)
def test_any_json_in_an_annotation_costs_at_most_its_task(fake, data, value):
    fake.predictions.clear()
    bad = annotation(2, regions(KEPT, "a"), lead_time=3.5, parent_prediction=101)
    *way, last = data.draw(st.sampled_from([path for path in paths(bad) if path and path[0] != "was_cancelled"]))
    place = bad
    for name in way:
        place = place[name]
    place[last] = value
    add(fake, 1, regions(KEPT, "a"), annotation(1, regions(KEPT, "a")))
    add(fake, 2, regions(KEPT, "a"), bad)
    review = reviewed(fake)
    assert (1, "kept") in {(one.task, one.status) for one in review.regions}
    tables = Tables.of(review)
    json.dumps([tables.to_json(), *(one.to_json() for one in [*review.regions, *review.annotations])], allow_nan=False)
    assert page(review, tables).isprintable() or "\n" in page(review, tables)
