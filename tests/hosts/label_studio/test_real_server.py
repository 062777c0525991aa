"""The assist server behind a real Label Studio, through its API: batches, the background, tokens, events, setup."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.scenes import SHAPES
from locara_label.engine.loading import load
from tests.cli.served import serve
from tests.hosts.label_studio.assisted import config, masks, png, scene, targets
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SCENES = (36, 1, 6)
BROKEN = "broken.png"
PATIENCE_S = 120


def reaching(label_studio: RealLabelStudio, token: str | None = None) -> dict[str, str]:
    key = token or label_studio.personal_token
    return {"LOCARA_LABEL_STUDIO_URL": label_studio.url, "LOCARA_LABEL_STUDIO_API_KEY": key}


def pictures(*, broken: bool = False) -> dict[str, bytes]:
    found = {f"{number}.png": png(scene(number).image) for number in SCENES}
    return found | ({BROKEN: found["36.png"][:200]} if broken else {})


def retrieve(label_studio: RealLabelStudio, project: int) -> None:
    body = {"selectedItems": {"all": True, "excluded": []}}
    label_studio.api(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", body)


def predictions(label_studio: RealLabelStudio, project: int) -> dict[int, list[dict[str, Any]]]:
    return {task["id"]: task["predictions"] for task in label_studio.tasks(project)}


def waited(what: Callable[[], Any]) -> Any:
    """What becomes true in time."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := what()) and time.monotonic() < give_up:
        time.sleep(0.25)
    assert found
    return found


def expected(number: int) -> set[tuple[str, Any]]:
    return {(one.label, one.mask) for one in load("mini").segment(scene(number).image) if one.label in SHAPES}


def drawn(prediction: dict[str, Any]) -> set[tuple[str, Any]]:
    return {(one.labels[0], one.mask) for one in masks(prediction["result"])}


def click(label_studio: RealLabelStudio, backend: int, task: int, regions: list[dict[str, Any]]) -> dict[str, Any]:
    """What the editor's click does."""
    body = {"task": task, "context": {"result": regions}}
    answer: dict[str, Any] = label_studio.api(f"/api/ml/{backend}/interactive-annotating", body)
    return answer


def key_point(number: int = SCENES[0], *, at: tuple[float, float] | None = None, positive: bool = True) -> dict[str, Any]:
    shown = targets(scene(number))[0]
    (x, y), (height, width) = at or shown.point, shown.mask.size
    return {
        "id": "p1", "from_name": "point", "to_name": "image", "type": "keypointlabels", "is_positive": positive,
        "original_width": width, "original_height": height, "image_rotation": 0,
        "value": {"x": 100 * x / width, "y": 100 * y / height, "width": 0.3, "keypointlabels": [shown.label]},
    }  # fmt: skip


@pytest.mark.parametrize("token", ["personal_token", "legacy_token"])
def test_retrieving_saves_all_but_the_unreadable(label_studio: RealLabelStudio, tmp_path: Path, token: str) -> None:
    with serve(tmp_path, "--prelabel-model", "mini", **reaching(label_studio, getattr(label_studio, token))) as assistant:
        project = label_studio.project(config("BitmaskLabels"))
        ids = label_studio.upload(project, pictures(broken=True))
        label_studio.connect(project, assistant.url)
        retrieve(label_studio, project)
        found = predictions(label_studio, project)
        assert [len(found[task]) for task in ids] == [1] * 4
        for task, number in zip(ids, SCENES, strict=False):
            assert drawn(found[task][0]) == expected(number)
        [told] = found[ids[-1]][0]["result"]
        assert told["type"] == "textarea"
        assert f"task {ids[-1]}: [image." in assistant.said()
        version = assistant.get("/versions")[1]["versions"]
        assert [{one["model_version"] for one in ones} for ones in found.values()] == [set(version)] * 4
        retrieve(label_studio, project)
        assert [len(ones) for ones in predictions(label_studio, project).values()] == [1] * 4
        said = assistant.said()
    assert label_studio.personal_token not in said
    assert label_studio.legacy_token not in said


def test_without_a_text_area_the_unreadable_stay_without_prediction(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    bare = re.sub("<TextArea[^>]*>", "", config("BrushLabels"))
    with serve(tmp_path, "--prelabel-model", "mini", **reaching(label_studio)) as assistant:
        project = label_studio.project(bare)
        ids = label_studio.upload(project, pictures(broken=True))
        label_studio.connect(project, assistant.url)
        retrieve(label_studio, project)
        found = predictions(label_studio, project)
        assert [len(found[task]) for task in ids] == [1, 1, 1, 0]
        assert f"task {ids[-1]}: [image." in assistant.said()


def test_what_does_not_fit_into_a_request_is_written_later(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    """With a twentieth of a second for a batch, most tasks are left to the background; all get one prediction."""
    variables = {**reaching(label_studio), "LOCARA_SERVER__PREDICT_S": "0.1"}
    with serve(tmp_path, "--prelabel-model", "mini", **variables) as assistant:
        project = label_studio.project(config("BitmaskLabels"))
        big = {f"{number}-{copy}.png": content for copy in range(6) for number, content in enumerate(pictures().values())}
        ids = label_studio.upload(project, big)
        label_studio.connect(project, assistant.url)
        retrieve(label_studio, project)
        waited(lambda: "are pre-labeled in the background" in assistant.said())
        waited(lambda: all(predictions(label_studio, project).values()))
        waited(lambda: "predictions written" in assistant.said())
        found = predictions(label_studio, project)
        assert [len(found[task]) for task in ids] == [1] * len(ids)
        for place, task in enumerate(ids):
            assert drawn(found[task][0]) == expected(SCENES[place % 3])


def test_credentials_and_events(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    with serve(tmp_path, LOCARA_BASIC_AUTH="me:a-password", **reaching(label_studio)) as assistant:
        project = label_studio.project(config("BrushLabels"))
        [task] = label_studio.upload(project, {"scene.png": png(scene(SCENES[0]).image)})
        body = {"url": assistant.url, "project": project, "is_interactive": True, "title": "guarded", "auth_method": "BASIC_AUTH",
                "basic_auth_user": "me", "basic_auth_pass": "wrong"}  # fmt: skip
        assert "authentication" in refusal(label_studio, body)
        backend = label_studio.api("/api/ml", {**body, "basic_auth_pass": "a-password"})["id"]
        [found] = masks(click(label_studio, backend, task, [key_point()])["data"]["result"])
        assert found.mask.iou(targets(scene(SCENES[0]))[0].mask) >= 0.8
        label_studio.api(f"/api/tasks/{task}/annotations", {"result": []})
        auth = {"authorization": "Basic bWU6YS1wYXNzd29yZA=="}
        request = urllib.request.Request(f"{assistant.url}/metrics", headers=auth)
        waited(lambda: b'action="ANNOTATION_CREATED"} 1.0' in urllib.request.urlopen(request, timeout=30).read())
        assert "a-password" not in assistant.said()


def refusal(label_studio: RealLabelStudio, body: dict[str, Any]) -> str:
    """Label Studio's words when it does not take a backend."""
    with pytest.raises(AssertionError) as caught:
        label_studio.api("/api/ml", body)
    return str(caught.value)


def test_a_config_that_cannot_work_is_refused_with_the_cure(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    """Label Studio shows the status line of the answer, never its body."""
    bare = '<View><Image name="image" value="$image"/><Choices name="ä" toName="image"><Choice value="a"/></Choices></View>'
    with serve(tmp_path, **reaching(label_studio)) as assistant:
        project = label_studio.project(bare)
        told = refusal(label_studio, {"url": assistant.url, "project": project, "is_interactive": True, "title": "no use"})
        assert "422 Client Error: No tag can hold a mask of" in told
        assert "Add: <BrushLabels name=" in told
        assert "[config.unusable] No tag can hold a mask" in assistant.said()


def test_a_region_that_is_refined_keeps_its_id_and_label(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    """A stroke of a smart brush asks with the mask itself."""
    with serve(tmp_path, **reaching(label_studio)) as assistant:
        project = label_studio.project(config("BitmaskLabels"))
        [task] = label_studio.upload(project, {"scene.png": png(scene(SCENES[0]).image)})
        backend = label_studio.connect(project, assistant.url)
        [first] = click(label_studio, backend, task, [key_point()])["data"]["result"]
        asked = {key: value for key, value in first.items() if key != "meta"}
        [second] = click(label_studio, backend, task, [asked])["data"]["result"]
        assert (second["id"], second["value"]["bitmasklabels"]) == (first["id"], first["value"]["bitmasklabels"])
        [found] = masks([second])
        assert found.mask.iou(targets(scene(SCENES[0]))[0].mask) >= 0.8


def test_a_click_that_fails_is_told_in_the_text_area(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    with serve(tmp_path, **reaching(label_studio)) as assistant:
        project = label_studio.project(config("BrushLabels"))
        [task] = label_studio.upload(project, {BROKEN: pictures(broken=True)[BROKEN]})
        backend = label_studio.connect(project, assistant.url)
        [told] = click(label_studio, backend, task, [key_point()])["data"]["result"]
        assert told["type"] == "textarea"
        assert told["value"]["text"][0]
