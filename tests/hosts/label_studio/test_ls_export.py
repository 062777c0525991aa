"""Annotations of pictures to data sets, from a JSON export and from the API."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from locara_label.datasets import check, coco, semantic
from locara_label.errors import BadDataset, BadOption, BadRequest
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.export import Options, export
from locara_label.hosts.label_studio.export_labels import file_name
from locara_label.hosts.label_studio.export_tasks import Choice, FileTasks
from locara_label.types import Mask
from tests.hosts.label_studio.any_json import JSON_VALUES, paths
from tests.hosts.label_studio.exports import CONFIG, KINDS, SIZE, annotation, block, codes, found, never, noise, regions, task


@pytest.fixture
def exported(tmp_path):
    """Exports tasks through a file, as COCO unless told otherwise, and gives the report and what was written."""

    def call(tasks, config=CONFIG, measure=never, name="out.json", **options):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(tasks))
        out = tmp_path / name
        chosen = Options(**({"format": "coco", "out": out} | options))
        report = export(FileTasks(path), None if config is None else parse(config), chosen, measure)
        return report, out

    return call


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [CONFIG, None])
def test_masks_come_out_as_they_went_in(exported, kind, config):
    masks = [noise(1), noise(2), block(3, 4, 9, 9)]
    parts = [part for mask in masks for part in regions(mask, kind)]
    report, out = exported([task(7, annotation(parts))], config)
    assert found(out) == [(7, "Cat", mask) for mask in masks]
    assert (report.pictures, report.masks, report.is_complete) == (1, 3, True)
    assert +report.left_out == +report.changed == {}
    assert check.check(out) == []


MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))).filter(np.any)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MASKS, st.sampled_from(KINDS)), min_size=1, max_size=4))
def test_any_masks_through_any_tags_lose_no_pixel(exported, drawn):
    """Each mask on a picture of its own, as sizes differ."""
    masks = [Mask.from_array(array) for array, _ in drawn]
    tasks = [task(n, annotation(regions(mask, kind))) for n, (mask, (_, kind)) in enumerate(zip(masks, drawn, strict=True), 1)]
    report, out = exported(tasks)
    assert found(out) == [(number, "Cat", mask) for number, mask in enumerate(masks, 1)]
    assert report.is_complete


def test_an_edited_polygon_is_what_the_annotator_drew(exported):
    [region] = regions(block(10, 10, 20, 20), "Polygon")
    region["value"]["points"] = [[25, 100 / 3], [75, 100 / 3], [75, 200 / 3], [25, 200 / 3]]
    report, out = exported([task(1, annotation([region]))])
    assert found(out) == [(1, "Cat", block(10, 10, 30, 20))]
    assert +report.changed == {"region.filled": 1}


def test_parts_that_no_polygon_held_are_counted(exported):
    dots = np.zeros((60, 80), bool)
    dots[::4, ::4] = True
    drawn = regions(Mask.from_array(dots), "Polygon")
    report, out = exported([task(1, annotation(drawn))])
    assert report.changed["region.parts_left_out"] == drawn[0]["meta"]["parts_left_out"] == 200
    assert found(out)[0][2].area == 100


def test_what_a_file_says(exported):
    first = annotation(regions(block(2, 3, 6, 8), label="Dog", score=0.5, region_id="r1"), 31)
    report, out = exported([task(4, first, inner_id=1)], info={"description": "mine"})
    written = json.loads(out.read_text())
    assert written["info"] == {"description": "mine"}
    assert [(one["id"], one["name"]) for one in written["categories"]] == [(1, "Cat"), (2, "Dog"), (3, "Bird")]
    assert written["images"] == [{"id": 4, "file_name": "abcd1234-4.png", "width": 40, "height": 30}]
    [row] = written["annotations"]
    assert (row["category_id"], row["area"], row["bbox"], row["iscrowd"], row["score"]) == (2, 20, [2, 3, 4, 5], 0, 0.5)
    assert [row[f"label_studio_{name}"] for name in ("task", "annotation", "region")] == [4, 31, "r1"]
    assert report.to_json()["problems"] == []


def test_ground_truth_goes_before_newer_ones(exported):
    old = annotation(regions(block(0, 0, 1, 1)), 5, ground_truth=True)
    new = annotation(regions(block(0, 0, 2, 2)), 6)
    newest = annotation(
        regions(block(0, 0, 3, 3)), 2, updated_at="2026-11-22T09:00:00Z", completed_by={"id": 3, "email": "b@x.y"}
    )
    skipped = annotation(regions(block(0, 0, 4, 4)), 9, was_cancelled=True)
    tasks = [task(1, newest, old, skipped, new)]

    def areas(**options):
        report, out = exported(tasks, choice=Choice(**options))
        return [mask.area for _, _, mask in found(out)], +report.left_out

    assert areas() == ([1], {"annotation.cancelled": 1, "annotation.not_picked": 2})
    assert areas(pick="latest") == ([9], {"annotation.cancelled": 1, "annotation.not_picked": 2})
    assert areas(pick="all") == ([1, 4, 9], {"annotation.cancelled": 1})
    assert areas(pick="all", cancelled=True) == ([1, 4, 16, 9], {})
    assert areas(completed_by=frozenset({"b@x.y"}))[0] == [9]
    assert areas(completed_by=frozenset({"3"})) == ([9], {"annotation.cancelled": 1, "annotation.completed_by": 2})
    assert areas(completed_by=frozenset({"4"})) == (
        [],
        {"annotation.cancelled": 1, "annotation.completed_by": 3, "task.unannotated": 1},
    )


def test_labels(exported):
    both = regions(noise(1), label="Cat")
    both[0]["value"]["brushlabels"] = ["Cat", "Bird"]
    gone, none = regions(noise(2), label="Cat"), regions(noise(3))
    gone[0]["value"]["brushlabels"], none[0]["value"]["brushlabels"] = ["Horse"], []
    tasks = [task(1, annotation([*both, *gone, *none, *regions(noise(4), label="Dog")]))]
    report, out = exported(tasks)
    assert [name for _, name, _ in found(out)] == ["Cat", "Bird", "Dog"]
    assert sorted(code for _, code in codes(report)) == ["region.no_label", "region.unknown_label"]
    assert report.changed["region.labels"] == 1
    report, out = exported(tasks, labels=("Bird",))
    assert [name for _, name, _ in found(out)] == ["Bird"]
    assert [(one["id"], one["name"]) for one in json.loads(out.read_text())["categories"]] == [(3, "Bird")]
    assert report.left_out["region.label"] == 2
    with pytest.raises(BadOption, match="Horse"):
        exported(tasks, labels=("Horse",))


def test_labels_of_a_file_without_a_config(exported):
    drawn = [*regions(noise(1), label="Dog"), *regions(noise(2), "Bitmask", label="Cat")]
    _, out = exported([task(3, annotation(drawn)), task(2, annotation(regions(noise(3), label="Ant")))], None)
    assert [(one["id"], one["name"]) for one in json.loads(out.read_text())["categories"]] == [(1, "Ant"), (2, "Cat"), (3, "Dog")]
    assert [(number, name) for number, name, _ in found(out)] == [(1, "Dog"), (1, "Cat"), (2, "Ant")]


def test_a_project_without_labels(exported):
    config = '<View><Image name="image" value="$image"/><Brush name="brush" toName="image"/></View>'
    drawn = regions(noise(1))
    drawn[0] = drawn[0] | {"type": "brush", "value": {k: v for k, v in drawn[0]["value"].items() if k != "brushlabels"}}
    report, out = exported([task(1, annotation(drawn))], config)
    assert found(out) == [(1, "object", noise(1))]
    assert report.is_complete


def test_prompts_and_other_results_are_no_masks(exported):
    base = {"to_name": "image", "original_width": 40, "original_height": 30}
    asked = [
        {**base, "id": "a", "from_name": "click", "type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["Cat"]}},
        {
            **base,
            "id": "b",
            "from_name": "ask",
            "type": "rectanglelabels",
            "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["Cat"]},
        },
        {"id": "c", "from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        {"id": "d", "from_name": "v", "to_name": "video", "type": "videorectangle", "value": {"sequence": []}},
        *regions(Mask.from_array(np.ones(SIZE, bool))),
    ]
    report, out = exported([task(1, annotation(asked))])
    assert [mask.area for _, _, mask in found(out)] == [1200]
    assert +report.left_out == {"region.no_mask": 3, "region.prompt": 1, "region.other_kind": 1}
    assert report.is_complete


def test_one_bad_thing_costs_no_other(exported):
    bad = regions(noise(1), region_id="bad")
    bad[0]["value"]["rle"] = [1, 2, 3]
    other = regions(noise(2, (10, 10)), region_id="other")
    gone = regions(noise(2), region_id="gone")
    gone[0]["to_name"] = "nothing"
    tasks = [
        task(1, annotation([*regions(noise(3)), *bad, *other, *gone])),
        {"id": 2, "data": {}},
        "no task",
        task(3, annotation("oops")),
        task(4, annotation([5])),
        task(5, annotation(regions(noise(4))), data={"picture": "x.png"}),
        task(6, annotation(regions(noise(5)))),
    ]
    report, out = exported(tasks, measure=lambda url, of: SIZE)
    assert [(number, mask) for number, _, mask in found(out)] == [(1, noise(3)), (6, noise(5))]
    assert set(codes(report)) == {
        ("task 1 annotation 1 region bad", "mask.rle"),
        ("task 1 annotation 1 region other", "picture.size"),
        ("task 1 annotation 1 region gone", "region.object"),
        ("task 2", "task.bad"),
        ("tasks[2]", "task.bad"),
        ("task 3 annotation 1", "request.region"),
        ("task 4 annotation 1", "request.region"),
        ("task 5", "task.data"),
    }
    assert not report.is_complete
    assert report.to_json()["skipped"]["task.bad"] == 2


def test_numbers_of_pictures_are_those_of_tasks_while_they_rise(exported):
    tasks = [task(number, annotation(regions(noise(number)))) for number in (4, 9, 7)]
    _, out = exported(tasks)
    assert [number for number, _, _ in found(out)] == [1, 2, 3]
    _, out = exported(tasks[:2])
    assert [number for number, _, _ in found(out)] == [4, 9]


def test_pages_of_a_task_are_pictures(exported):
    config = CONFIG.replace('value="$image"', 'valueList="$pages"')
    first, second = regions(noise(1)), regions(noise(2, (20, 10)))
    second[0]["item_index"] = 1
    report, out = exported([task(8, annotation([*second, *first]), data={"pages": ["/a/1.png", "/a/2.png"]})], config)
    data = coco.read(out)
    assert [(one.id, one.file_name, one.size) for one in data.images.values()] == [
        (1, "a/1.png", SIZE),
        (2, "a/2.png", (20, 10)),
    ]
    assert [(number, mask) for number, _, mask in found(out)] == [(1, noise(1)), (2, noise(2, (20, 10)))]
    second[0]["item_index"] = 2
    report, _ = exported([task(8, annotation(second), data={"pages": ["/a/1.png"]})], config, measure=lambda *_: SIZE)
    assert codes(report) == [("task 8 image page 3", "task.data")]


def test_pictures_without_masks_are_measured(exported):
    asked = []

    def measure(url, of):
        asked.append((url, of.id))
        return (5, 6)

    tasks = [task(1, annotation([])), task(2), task(3, annotation(regions(noise(1))))]
    report, out = exported(tasks, measure=measure)
    assert [(one.id, one.size) for one in coco.read(out).images.values()] == [(1, (5, 6)), (3, SIZE)]
    assert asked == [("/data/upload/1/abcd1234-1.png", 1)]
    assert +report.left_out == {"task.unannotated": 1}
    report, out = exported(tasks, empty=False)
    assert [one.id for one in coco.read(out).images.values()] == [3]
    assert +report.left_out == {"task.unannotated": 1, "picture.empty": 1}


def test_pictures_of_another_size_are_found(exported):
    tasks = [task(1, annotation(regions(noise(1)))), task(2, annotation(regions(noise(2))))]
    report, out = exported(tasks, measure=lambda url, of: SIZE if of.id == 2 else (40, 30), verify=True)
    assert codes(report) == [("task 1", "picture.size")]
    assert [number for number, _, _ in found(out)] == [2]


def test_drafts_are_counted(exported):
    report, _ = exported([task(1, annotation(regions(noise(1))), drafts=[{}, {}])])
    assert +report.left_out == {"annotation.draft": 2}


def test_panoptic(exported):
    under, over = block(0, 0, 20, 20), block(10, 10, 30, 30)
    covered = block(12, 12, 14, 14)
    drawn = [*regions(under, label="Cat"), *regions(covered, label="Bird"), *regions(over, label="Dog")]
    report, out = exported([task(1, annotation(drawn))], format="panoptic")
    assert check.check(out) == []
    assert +report.changed == {"picture.hidden": 1, "picture.overlap_px": 104}
    assert (out.with_suffix("") / "000000000001.png").is_file()
    assert sorted(path.name for path in out.parent.iterdir()) == ["export.json", "out", "out.json"]
    with pytest.raises(BadDataset, match="is there already"):
        Options("panoptic", out)


def test_semantic(exported):
    drawn = [*regions(block(0, 0, 20, 20), label="Cat"), *regions(block(10, 10, 30, 30), label="Bird")]
    names = ["/data/local-files/?d=a%2Fb.png", "https://x.org/c.tar.jpg", "https://x.org/c.tar.png", "s3://b/labels.png"]
    tasks = [task(number, annotation(drawn), data={"image": name}) for number, name in enumerate(names, 1)]
    report, out = exported(tasks, format="semantic", name="maps")
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert made == ["a/b.png", "c.tar-3.png", "c.tar.png", "labels.json", "task-4.png"]
    labels = semantic.read_semantic_png(out / "a/b.png")
    expected = np.full(SIZE, 255, np.uint8)
    expected[:20, :20], expected[10:30, 10:30] = 0, 2
    assert np.array_equal(labels, expected)
    assert [(one.index, one.name) for one in semantic.read_labels(out / "labels.json")] == [(0, "Cat"), (1, "Dog"), (2, "Bird")]
    assert +report.changed == {"picture.overlap_px": 400}
    with pytest.raises(BadDataset) as caught:
        exported(tasks, format="semantic", name="maps")
    assert caught.value.code == "dataset.exists"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/upload/3/1a2b3c4d-cat.png", "1a2b3c4d-cat.png"),
        ("http://localhost:8080/data/upload/3/a%20b.png", "a b.png"),
        ("/data/local-files/?d=images/im2.png", "images/im2.png"),
        ("/data/local-files/?d=../../etc/passwd", "etc/passwd"),
        ("s3://bucket/2024/x.jpg?versionId=3", "2024/x.jpg"),
        ("https://example.org/a/b.jpg?token=secret#x", "a/b.jpg"),
        ("https://example.org/..%2F..%2Fa.jpg", "a.jpg"),
        ("/home/me/..\\..\\x.png", "home/me/x.png"),
        ("data:image/png;base64,AAAA", "task-5"),
        ("https://example.org/", "task-5"),
        ("a\x00b\ud800.png", "a_b_.png"),
        ("http://[", "http:/["),
    ],
)
def test_file_names(url, name):
    assert file_name(url, 5) == name


def test_files_that_are_no_export(exported, tmp_path):
    for content, code in (("{}", "dataset.not_list"), ("[1", "dataset.json"), ("", "dataset.not_list")):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(BadDataset) as caught:
            export(FileTasks(tmp_path / "bad.json"), parse(CONFIG), Options("coco", tmp_path / "out.json"), never)
        assert caught.value.code == code
        assert not (tmp_path / "out.json").exists()


def test_options_that_cannot_be(tmp_path):
    for options, code in (
        (("cocoa", tmp_path / "x.json"), "option.format"),
        (("coco", tmp_path / "no" / "x.json"), "option.out"),
        (("coco", tmp_path), "option.out"),
        (("panoptic", tmp_path / "maps"), "option.out"),
    ):
        with pytest.raises(BadOption) as caught:
            Options(*options)
        assert caught.value.code == code


def test_a_config_without_pictures(exported):
    with pytest.raises(BadRequest) as caught:
        exported([task(1)], '<View><Text name="t" value="$t"/></View>')
    assert caught.value.code == "config.unusable"


def test_what_fails_its_check_is_not_written(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("locara_label.datasets.coco.box_xywh", lambda mask: [0, 0, 1, 1])
    with pytest.raises(BadDataset) as caught:
        exported([task(1, annotation(regions(noise(1))))])
    assert caught.value.code == "export.unsound"
    assert "annotation 1" in caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json"]


def test_many_tasks_take_no_more_memory_than_few(tmp_path):
    results = [[*regions(noise(seed), "Bitmask"), *regions(noise(seed + 1), "Bitmask")] for seed in range(8)]
    texts = [json.dumps(annotation(result, padding="x" * 30_000)) for result in results]

    def peak(count):
        path = tmp_path / "many.json"
        rows = (f'{{"id": {n}, "data": {{"image": "{n}.png"}}, "annotations": [{texts[n % 8]}]}}' for n in range(1, count + 1))
        with path.open("w") as file:
            file.write("[" + next(rows))
            file.writelines(f",{row}" for row in rows)
            file.write("]")
        tracemalloc.start()
        report = export(FileTasks(path), parse(CONFIG), Options("coco", tmp_path / "many-out.json"), never)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (report.pictures, report.masks, report.is_complete) == (count, 2 * count, True)
        return most, path.stat().st_size

    (few, _), (many, size) = peak(80), peak(320)
    assert size > 8 << 20
    assert many - few < 1 << 20


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_may_not_be_written(exported, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(BadOption) as caught:
        exported([task(1, annotation(regions(noise(1))))], out=Path(tmp_path / "shut" / "out.json"))
    assert caught.value.code == "option.out"


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(KINDS), JSON_VALUES)
def test_any_json_in_any_place_costs_at_most_its_task(exported, data, kind, value):
    bad = task(2, annotation(regions(block(1, 1, 9, 9), kind)))
    *way, last = data.draw(st.sampled_from([path for path in paths(bad) if path]))
    place = bad
    for key in way:
        place = place[key]
    place[last] = value
    tasks = [task(1, annotation(regions(noise(1)))), bad, task(3, annotation(regions(noise(3))))]
    for config in (CONFIG, None):
        report, out = exported(tasks, config, measure=lambda *_: SIZE)
        assert [mask for _, _, mask in found(out) if mask in {noise(1), noise(3)}] == [noise(1), noise(3)]
        assert report.tasks == 3
        json.dumps(report.to_json(), allow_nan=False)
