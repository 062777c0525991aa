"""A scripted annotator in a real Label Studio: what the review says is what was done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from locara_label.cli.app import run
from locara_label.datasets.agreement import boundary_distance
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.results import Picture, mask_regions
from locara_label.types import Mask
from tests.cli.served import serve
from tests.hosts.label_studio.assisted import SIZE, config, masks, png, scene, targets
from tests.hosts.label_studio.real_label_studio import RealLabelStudio
from tests.hosts.label_studio.test_real_server import click, key_point, pictures, predictions, reaching, retrieve

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CONFIG = config("BitmaskLabels")
SHOWN = 36
SCORES = (0.9, 0.4, 0.7)
PAUSE_S = 1.5
BEGUN_S = 30.5


def block(x0: int, y0: int, x1: int, y1: int) -> Mask:
    canvas = np.zeros(SIZE, bool)
    canvas[y0:y1, x0:x1] = True
    return Mask.from_array(canvas)


def drawn(mask: Mask, region: str, label: str = "star") -> dict[str, Any]:
    output = parse(CONFIG).output("image", label)
    assert output is not None
    place = Picture("image", SIZE)
    [found] = mask_regions(mask, label, output, place, model_version="known-1", region_id=region, score=0.8)
    return found


def painted(region: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """As the editor leaves a region that somebody painted over."""
    label = region["value"]["bitmasklabels"][0]
    return region | {"value": drawn(mask, "x", label)["value"], "origin": "prediction-changed"}


def grown(mask: Mask) -> Mask:
    """With the pixels below it."""
    array = mask.to_array().copy()
    array[1:] |= array[:-1]
    return Mask.from_array(array)


@pytest.fixture
def project(label_studio: RealLabelStudio) -> tuple[int, list[int]]:
    """Three tasks, each with a prediction of a known score and four known masks."""
    number = label_studio.project(CONFIG)
    tasks = label_studio.upload(number, {f"{place}.png": png(scene(SHOWN).image) for place in range(3)})
    for task, score in zip(tasks, SCORES, strict=True):
        body = {"task": task, "result": PRELABELS, "score": score, "model_version": "known-1"}
        label_studio.api("/api/predictions/", body)
    return number, tasks


PRELABELS = [
    drawn(block(0, 0, 40, 40), "kept"),
    drawn(block(60, 0, 100, 40), "grown"),
    drawn(block(120, 0, 160, 40), "renamed"),
    drawn(block(180, 0, 220, 40), "gone", "heart"),
]


def annotate(label_studio: RealLabelStudio, task: int, result: list[dict[str, Any]], *, lead_s: float) -> None:
    [prediction] = label_studio.api(f"/api/predictions/?task={task}")
    body = {"result": result, "parent_prediction": prediction["id"], "lead_time": lead_s}
    label_studio.api(f"/api/tasks/{task}/annotations/", body)


@pytest.fixture
def review(label_studio: RealLabelStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for name, value in reaching(label_studio).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))

    def call(project: int, *options: str) -> dict[str, Any]:
        assert run(["label-studio", "review", "--project", str(project), "--json", *options]) == 0
        out, err = capsys.readouterr()
        assert label_studio.personal_token not in out + err
        return dict(json.loads(out))

    return call


def clicked(label_studio: RealLabelStudio, folder: Path, project: int, task: int) -> tuple[list[dict[str, Any]], float, float]:
    """Two clicks on one object; the answers, and the least and the most seconds from the first to the end of the last."""
    server = serve(folder, LOCARA_DATA_DIR=str(folder / "data"), **reaching(label_studio))
    with server as assistant:
        backend = label_studio.connect(project, assistant.url)
        first = key_point(SHOWN)
        before = time.monotonic()
        [_] = click(label_studio, backend, task, [first])["data"]["result"]
        between = time.monotonic()
        time.sleep(PAUSE_S)
        again = time.monotonic()
        answer = click(label_studio, backend, task, [first, key_point(SHOWN, at=(3, 3), positive=False) | {"id": "p2"}])
        after = time.monotonic()
    return answer["data"]["result"], again - between, after - before


def test_what_a_scripted_annotator_does_is_what_the_review_says(label_studio, project, review, tmp_path) -> None:
    number, tasks = project
    [found], least_s, most_s = clicked(label_studio, tmp_path, number, tasks[0])
    answer, mended = masks([found])[0].mask, grown(masks([found])[0].mask)
    wider = block(60, 0, 110, 40)
    by_hand = {key: value for key, value in drawn(block(300, 300, 340, 340), "drawn").items() if key not in {"meta", "score"}}
    renamed = PRELABELS[2] | {"value": drawn(block(120, 0, 160, 40), "x", "heart")["value"]}
    result = [PRELABELS[0], painted(PRELABELS[1], wider), renamed, by_hand, painted(found, mended)]
    annotate(label_studio, tasks[0], result, lead_s=BEGUN_S)
    told = review(number, "--html", str(tmp_path / "page.html"))
    regions = {one["region"]: one for one in told["regions"]}
    assert {
        name: (one["status"], one["source"], one["label"], one["iou"], one["boundary_px"]) for name, one in regions.items()
    } == {
        "kept": ("kept", "prelabel", "star", 1.0, 0.0),
        "grown": ("edited", "prelabel", "star", 0.8, boundary_distance(block(60, 0, 100, 40), wider)),
        "renamed": ("edited", "prelabel", "heart", 1.0, 0.0),
        "gone": ("deleted", "prelabel", "heart", None, None),
        "drawn": ("added", "hand", "star", None, None),
        found["id"]: ("added", "answer", targets(scene(SHOWN))[0].label, answer.iou(mended), boundary_distance(answer, mended)),
    }
    assert {one["region"]: one["clicks"] for one in told["regions"] if one["clicks"] is not None} == {found["id"]: 2}
    assert least_s <= regions[found["id"]]["seconds"] <= most_s
    assert regions[found["id"]]["version"] == "classic"
    [row] = told["annotators"]
    assert (row["kept"], row["edited"], row["relabeled"], row["deleted"], row["added"], row["answered"]) == (1, 2, 1, 1, 2, 1)
    assert row["iou"] == pytest.approx((1 + 0.8 + 1) / 3)
    assert told["requests"] == {"recorded": 2, "failed": 0, "objects": 1, "unused": 0}
    [pace] = told["paces"]
    assert (pace["annotations"], pace["objects"], pace["annotation_s"]) == (1, 5, BEGUN_S)
    assert told["left_out"] == {"task.unannotated": 2}
    assert "<svg" in (tmp_path / "page.html").read_text("utf-8")
    assert review(number, "--forget") == {"project": number, "forgotten": 2}
    assert review(number)["requests"]["recorded"] == 0


def by_score(label_studio: RealLabelStudio, project: int) -> list[tuple[int, float | None]]:
    """Tasks as the Data Manager orders them by its column "Prediction score", with what it shows there."""
    query = quote(json.dumps({"ordering": ["tasks:predictions_score"]}))
    found = label_studio.api(f"/api/tasks?project={project}&page_size=10&query={query}&include=id,predictions_score")
    return [(task["id"], task["predictions_score"]) for task in found["tasks"]]


def test_label_studio_orders_tasks_by_doubt_where_these_predictions_are_chosen(label_studio, project) -> None:
    number, tasks = project
    assert {score for _, score in by_score(label_studio, number)} == {None}
    label_studio.api(f"/api/projects/{number}/", {"model_version": "known-1"}, method="PATCH")
    assert by_score(label_studio, number) == [(tasks[1], 0.4), (tasks[2], 0.7), (tasks[0], 0.9)]


def test_label_studio_orders_tasks_by_doubt_where_the_model_is_called_like_its_version(label_studio, tmp_path) -> None:
    """Label Studio looks for predictions whose version is the title of the model."""
    with serve(tmp_path, "--prelabel-model", "mini", **reaching(label_studio)) as assistant:
        [version] = assistant.get("/versions")[1]["versions"]
        scores = {}
        for title in (version, "my model"):
            number = label_studio.project(CONFIG)
            label_studio.upload(number, pictures())
            label_studio.connect(number, assistant.url, title=title)
            retrieve(label_studio, number)
            found = {task: one[0]["score"] for task, one in predictions(label_studio, number).items()}
            assert len(set(found.values())) == 3
            scores[title] = by_score(label_studio, number), sorted(found.items(), key=lambda pair: pair[1])
    shown, true = scores[version]
    assert [task for task, _ in shown] == [task for task, _ in true]
    assert [score for _, score in shown] == pytest.approx([score for _, score in true])
    assert {score for _, score in scores["my model"][0]} == {None}


def test_what_a_person_does_in_the_editor_is_what_the_review_says(label_studio, editor, project, review, tmp_path) -> None:
    """The task opens filled; two clicks, the second one far away, show one more object, and everything is submitted."""
    number, tasks = project
    shown = targets(scene(SHOWN))[0]
    with serve(tmp_path, LOCARA_DATA_DIR=str(tmp_path / "data"), **reaching(label_studio)) as assistant:
        label_studio.connect(number, assistant.url)
        editor.open_task(number, tasks[0])
        assert len(editor.regions()) == len(PRELABELS)
        editor.auto_annotation()
        editor.auto_accept(on=False)
        editor.smart_tool("key-point-tool")
        editor.label("point", shown.label)
        editor.click(*shown.point)
        editor.wait_for_answer(1)
        editor.wait_for_suggestion()
        editor.label("point", shown.label)
        editor.click(20, SIZE[0] - 20, negative=True)
        editor.wait_for_answer(2)
        editor.wait_for_suggestion()
        editor.accept()
        editor.submit()
    told = review(number)
    regions = {one["region"]: one for one in told["regions"]}
    assert {name: (one["status"], one["iou"]) for name, one in regions.items() if one["source"] == "prelabel"} == dict.fromkeys(
        ("kept", "grown", "renamed", "gone"), ("kept", 1.0)
    )
    [added] = [one for one in regions.values() if one["source"] != "prelabel"]
    assert (added["status"], added["source"], added["label"], added["iou"], added["clicks"]) == (
        "added",
        "answer",
        shown.label,
        1.0,
        2,
    )
    assert added["seconds"] > 0
    assert [(one["version"], one["score"]) for one in told["annotations"]] == [("known-1", SCORES[0])]
    assert told["annotations"][0]["lead_s"] > 0
