"""Annotations of a real Label Studio to data sets: every pixel of what was put there comes out."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from fixtures.clips import write_clip
from locara_label.cli.app import run
from locara_label.datasets import check, coco
from locara_label.datasets.convert import open_source, verify
from locara_label.hosts.label_studio.config import Output, parse
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.hosts.label_studio.results import Picture, mask_regions
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_regions import Masklet, View, region
from locara_label.types import Mask
from locara_label.video.opening import open_video_file

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SIZE, COUNT = (60, 80), 24
LABELS = '<Label value="Cat"/><Label value="Dog"/>'
KINDS = ["Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse"]
CONFIG = f"""<View><Image name="image" value="$image"/>
  {"".join(f'<{kind}Labels name="{kind}" toName="image">{LABELS}</{kind}Labels>' for kind in KINDS)}
  <Choices name="weather" toName="image"><Choice value="sun"/></Choices></View>"""
VIDEO_CONFIG = f"""<View><Labels name="what" toName="video">{LABELS}</Labels>
  <Video name="video" value="$video" framerate="25"/><VideoRectangle name="box" toName="video"/></View>"""


def noise(seed: int) -> Mask:
    """Blocks with holes, some of them single pixels: not more parts than polygons may be."""
    blocks = np.kron(np.random.default_rng(seed).random((6, 8)) < 0.5, np.ones((10, 10), bool))
    return Mask.from_array(blocks ^ (np.random.default_rng(seed + 1000).random(SIZE) < 0.01))


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", SIZE[::-1], (9, 99, 199)).save(out, "PNG")
    return out.getvalue()


def regions(mask: Mask, kind: str, label: str = "Cat") -> list[dict]:
    [place] = [one for one in parse(CONFIG).outputs("image") if one.shape.kind == f"{kind}Labels"]
    return mask_regions(mask, label, Output(place.shape, place.names), Picture("image", SIZE), model_version="v")


@pytest.fixture
def call(label_studio, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", label_studio.personal_token)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))

    def run_it(*options):
        code = run(["label-studio", "export", "--json", *options])
        out, err = capsys.readouterr()
        assert label_studio.personal_token not in out + err
        return code, json.loads(out)

    return run_it


def annotate(label_studio, task, result, **more) -> int:
    return int(label_studio.api(f"/api/tasks/{task}/annotations/", {"result": result, **more})["id"])


def found(path):
    data = coco.read(path)
    return [(one.image_id, data.categories[one.category_id].name, one.mask) for one in data.annotations()]


@pytest.fixture
def project(label_studio):
    """A task for each kind of region with two masks, one without a mask, one that was skipped and one that nobody touched."""
    number = label_studio.project(CONFIG)
    names = [*KINDS, "empty", "skipped", "new"]
    tasks = dict(zip(names, label_studio.upload(number, {f"{name}.png": png() for name in names}), strict=True))
    for place, kind in enumerate(KINDS):
        result = [*regions(noise(2 * place), kind), *regions(noise(2 * place + 1), kind, "Dog")]
        annotate(label_studio, tasks[kind], result)
    annotate(label_studio, tasks["empty"], [{"id": "w", "from_name": "weather", "to_name": "image", "type": "choices",
                                              "value": {"choices": ["sun"]}}])  # fmt: skip
    annotate(label_studio, tasks["skipped"], regions(noise(99), "Brush"), was_cancelled=True)
    return number, tasks


def expected(tasks):
    return [
        (tasks[kind], label, noise(2 * place + at)) for place, kind in enumerate(KINDS) for at, label in enumerate(["Cat", "Dog"])
    ]


def test_every_kind_of_region_comes_out_pixel_by_pixel(call, project, tmp_path):
    number, tasks = project
    code, report = call("--project", str(number), "--format", "coco", "--out", str(tmp_path / "out.json"), "--verify-pictures")
    assert (code, report["problems"]) == (0, [])
    assert found(tmp_path / "out.json") == expected(tasks)
    images = coco.read(tmp_path / "out.json").images
    assert list(images) == [tasks[name] for name in [*KINDS, "empty"]]
    assert {image.size for image in images.values()} == {SIZE}
    assert all(image.file_name.endswith(f"{name}.png") for name, image in zip([*KINDS, "empty"], images.values(), strict=True))
    assert check.check(tmp_path / "out.json") == []
    left = {"annotation.cancelled": 1, "region.no_mask": 1, "task.unannotated": 2}
    assert {code: count for code, count in report["left_out"].items() if count} == left


def test_the_json_export_gives_the_same(call, project, label_studio, tmp_path):
    number, tasks = project
    exported = label_studio.api(f"/api/projects/{number}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "tasks.json").write_text(json.dumps(exported))
    (tmp_path / "config.xml").write_text(CONFIG)
    source = ["--from-json", str(tmp_path / "tasks.json"), "--config", str(tmp_path / "config.xml"), "--no-empty"]
    code, _ = call(*source, "--format", "coco", "--out", str(tmp_path / "file.json"))
    assert code == 0
    assert found(tmp_path / "file.json") == expected(tasks)
    call("--project", str(number), "--format", "coco", "--no-empty", "--out", str(tmp_path / "api.json"))
    assert (tmp_path / "api.json").read_bytes() == (tmp_path / "file.json").read_bytes()


def test_annotations_are_chosen(call, label_studio, tmp_path):
    number = label_studio.project(CONFIG)
    [task] = label_studio.upload(number, {"a.png": png()})
    annotate(label_studio, task, regions(noise(1), "Brush"), ground_truth=True)
    second = annotate(label_studio, task, regions(noise(2), "Brush"))

    def masks(*options):
        code, report = call("--project", str(number), "--format", "coco", "--out", str(tmp_path / "o.json"), *options)
        assert code == 0
        return [mask for _, _, mask in found(tmp_path / "o.json")], report["left_out"]

    assert masks() == ([noise(1)], {"annotation.not_picked": 1})
    assert masks("--pick", "latest") == ([noise(2)], {"annotation.not_picked": 1})
    assert masks("--pick", "all") == ([noise(1), noise(2)], {})
    label_studio.api(f"/api/annotations/{second}/", {"result": regions(noise(3), "Bitmask")}, method="PATCH")
    assert masks("--pick", "latest")[0] == [noise(3)]
    user = label_studio.api("/api/current-user/whoami")["id"]
    assert masks("--pick", "all", "--completed-by", str(user))[0] == [noise(1), noise(3)]
    assert masks("--pick", "all", "--completed-by", str(user + 1))[0] == []


def test_masklets_of_a_video_task(call, label_studio, tmp_path):
    path = write_clip(tmp_path, 1_000_000_007, (96, 128), COUNT, Fraction(25))
    truth = json.loads(path.with_suffix(".json").read_text())["objects"]
    masks = [{at: Mask.from_coco(mask) for at, mask in enumerate(one["masks"]) if mask} for one in truth]
    masks = max(masks, key=lambda one: (len(one), sum(mask.area for mask in one.values())))
    number = label_studio.project(VIDEO_CONFIG)
    [task] = label_studio.upload(number, {"clip.mp4": path.read_bytes()})
    with open_video_file(path) as video:
        view = View(EditorClock(25.0, video.timeline), COUNT, COUNT / 25)
    made = region(Masklet("track-1", "box", "video", "Dog", masks), view)
    annotate(label_studio, task, [made])
    record = Record(
        Place(number, task, "track-1"),
        "clip.mp4",
        "video",
        "box",
        (96, 128),
        COUNT,
        "Dog",
        "classic",
        "1",
        {0: {"at": 1}},
        "done",
    )
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        store.replace(record, [StoredFrame(at, at / 25, mask, 0.5, present=True, prompted=False) for at, mask in masks.items()])
    out = tmp_path / "out.json"
    code, report = call("--project", str(number), "--format", "youtube-vis", "--out", str(out))
    assert (code, report["masks"], report["problems"]) == (0, len(masks), [])
    assert tracked(out) == {at: masks.get(at) for at in range(COUNT)}
    keys = {key["frame"] - 1 for key in made["value"]["sequence"]}
    (tmp_path / "data" / "masklets.sqlite3").unlink()
    code, report = call("--project", str(number), "--format", "youtube-vis", "--out", str(out))
    again = tracked(out)
    assert all(again[at] == masks[at] for at in keys & set(masks))
    assert np.mean([mask.iou(again[at]) if again[at] else 0.0 for at, mask in masks.items()]) > 0.7
    assert report["changed"]["frame.tracked"] > 0
    code, report = call("--project", str(number), "--format", "youtube-vis", "--out", str(out), "--no-recompute")
    assert (code, report["skipped"]) == (3, {"frame.no_mask": 1})
    assert {at for at, mask in tracked(out).items() if mask} == keys & set(masks)


def tracked(path):
    assert verify(path, "youtube-vis").problems == []
    with open_source(path, "youtube-vis") as source:
        [video] = source.videos()
    [one] = video.masklets
    assert one.category.name == "Dog"
    return dict(enumerate(one.masks))
