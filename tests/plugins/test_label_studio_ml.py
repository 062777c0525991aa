"""`plugins/label_studio/model.py` under label-studio-ml 1.0.9, and under a stand-in for 2.x, behind the real Label Studio."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_backends import FRAMEWORKS, Backend, framework, own_server, python

from fixtures.scenes import EVALUATION_SEED, LABELS, Scene, make_scene
from locara_label import images
from locara_label.hosts.label_studio.regions import read_regions
from tests.hosts.label_studio.real_label_studio import RealLabelStudio
from tests.required import missing

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

HEIGHT, WIDTH = SIZE = (192, 256)
TEXT_AREA = '<TextArea name="said" toName="image"/>'


def config(extra: str = "", control: str = "BrushLabels") -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in LABELS[1:])
    return (
        f'<View><Image name="image" value="$image"/><{control} name="mask" toName="image">{labels}</{control}>'
        f'<KeyPointLabels name="point" toName="image" smart="true">{labels}</KeyPointLabels>{extra}</View>'
    )


@pytest.fixture(scope="module")
def interpreter() -> Path:
    return python() or missing(
        "label-studio-ml is not installed: `make label-studio-ml` installs it, or LOCARA_LABEL_STUDIO_ML names its Python"
    )


@pytest.fixture(scope="module")
def variables(label_studio: RealLabelStudio) -> dict[str, str]:
    return {
        "LOCARA_SERVER__LABEL_STUDIO_URL": label_studio.url,
        "LOCARA_SERVER__API_KEY": label_studio.personal_token,
        "LOCARA_SERVER__PRELABEL_MODEL": "mini",
    }


@pytest.fixture(scope="module", params=FRAMEWORKS)
def backend(
    request: pytest.FixtureRequest, interpreter: Path, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    with framework(request.param, interpreter, tmp_path_factory.mktemp("framework"), variables) as found:
        yield found


@pytest.fixture(scope="module")
def own(interpreter: Path, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with own_server(interpreter, tmp_path_factory.mktemp("own"), variables) as found:
        yield found


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(EVALUATION_SEED + number, SIZE) for number in range(3)]


def upload(label_studio: RealLabelStudio, project: int, scenes: list[Scene]) -> list[int]:
    return label_studio.upload(project, {f"{at}.png": images.encode_png(scene.image) for at, scene in enumerate(scenes)})


def retrieve(label_studio: RealLabelStudio, project: int) -> None:
    selected = {"selectedItems": {"all": True, "excluded": []}}
    label_studio.api(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", selected)


def masks(regions: list[dict[str, Any]]) -> set[tuple[str, Any]]:
    """Label and mask of each region, read from what is drawn and not from the copy in `meta`."""
    return {(one.labels[0], one.mask) for one in read_regions([{**region, "meta": {}} for region in regions]).masks}


def click(label: str, x: int, y: int) -> dict[str, Any]:
    value = {"x": 100 * x / WIDTH, "y": 100 * y / HEIGHT, "width": 0.3, "labels": [label], "keypointlabels": [label]}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    names = {"from_name": "point", "to_name": "image", "type": "keypointlabels", "origin": "manual"}
    return {"result": [{**size, **names, "value": value, "is_positive": True, "id": "aYTYbjMZOz"}]}


def body(project: int, config: str, tasks: list[dict[str, Any]], context: Any = None) -> dict[str, Any]:
    params = {"login": None, "password": None, "context": context}
    return {"tasks": tasks, "project": f"{project}.1", "label_config": config, "params": params}


def test_stored_predictions_are_those_of_our_own_server_and_stored_once(
    label_studio: RealLabelStudio, backend: Backend, own: Backend, scenes: list[Scene]
) -> None:
    project = label_studio.project(config())
    upload(label_studio, project, scenes)
    label_studio.connect(project, backend.url)
    tasks = label_studio.tasks(project)
    retrieve(label_studio, project)

    status, expected = own.post("/predict", body(project, config(), tasks))
    assert status == 200
    stored = label_studio.tasks(project)
    for task, entry in zip(stored, expected["results"], strict=True):
        [prediction] = task["predictions"]
        assert prediction["model_version"] == entry["model_version"] == expected["model_version"]
        assert masks(prediction["result"]) == masks(entry["result"])
        assert masks(entry["result"])

    retrieve(label_studio, project)
    assert [len(task["predictions"]) for task in label_studio.tasks(project)] == [1, 1, 1]


def test_a_click_gives_the_mask_of_our_own_server(
    label_studio: RealLabelStudio, backend: Backend, own: Backend, scenes: list[Scene]
) -> None:
    project = label_studio.project(config())
    [task] = upload(label_studio, project, scenes[:1])
    number = label_studio.connect(project, backend.url)
    context = click(LABELS[-1], WIDTH // 2, HEIGHT // 2)
    answer = label_studio.api(f"/api/ml/{number}/interactive-annotating", {"task": task, "context": context})

    _, expected = own.post("/predict", body(project, config(), label_studio.tasks(project), context))
    [region] = expected["results"][0]["result"]
    assert masks(answer["data"]["result"]) == masks([region])
    assert answer["data"]["model_version"] == expected["model_version"]
    [(label, mask)] = masks([region])
    assert (label, mask.size) == (LABELS[-1], SIZE)


def test_a_text_gives_the_masks_of_our_own_server(
    label_studio: RealLabelStudio, backend: Backend, own: Backend, scenes: list[Scene]
) -> None:
    project = label_studio.project(config(TEXT_AREA))
    [task] = upload(label_studio, project, scenes[:1])
    number = label_studio.connect(project, backend.url)
    words = [item.phrase for item in scenes[0].objects]
    names = {"from_name": "said", "to_name": "image", "type": "textarea", "origin": "manual", "id": "OOkDZmH_8i"}
    context = {"result": [{**names, "value": {"text": ["flibbertigibbet", " . ".join(words)]}}]}
    answer = label_studio.api(f"/api/ml/{number}/interactive-annotating", {"task": task, "context": context})
    _, expected = own.post("/predict", body(project, config(TEXT_AREA), label_studio.tasks(project), context))
    found = [region for region in expected["results"][0]["result"] if region["type"] != "textarea"]
    assert masks([region for region in answer["data"]["result"] if region["type"] != "textarea"]) == masks(found)
    assert {label for label, _ in masks(found)} <= {item.shape for item in scenes[0].objects}
    assert found


def test_a_picture_that_cannot_be_read_is_told(label_studio: RealLabelStudio, backend: Backend) -> None:
    for extra in ("", TEXT_AREA):
        project = label_studio.project(config(extra))
        [task] = label_studio.upload(project, {"broken.png": b"\x89PNG\r\n\x1a\nnot a picture"})
        number = label_studio.connect(project, backend.url)
        context = click(LABELS[-1], 10, 10)
        answer = label_studio.api(f"/api/ml/{number}/interactive-annotating", {"task": task, "context": context})
        if extra:
            [region] = answer["data"]["result"]
            assert (region["type"], region["from_name"]) == ("textarea", "said")
        else:
            assert answer["errors"]  # Label Studio keeps the status and drops the rest
            assert "nothing is predicted: [image." in backend.log

    retrieve(label_studio, project)
    [prediction] = label_studio.tasks(project)[0]["predictions"]
    assert [region["type"] for region in prediction["result"]] == ["textarea"]
    assert f"task {task}: [image." in backend.log


def test_events_change_neither_version_nor_predictions(
    label_studio: RealLabelStudio, backend: Backend, scenes: list[Scene]
) -> None:
    project = label_studio.project(config())
    [task] = upload(label_studio, project, scenes[:1])
    label_studio.connect(project, backend.url)
    retrieve(label_studio, project)
    seen = backend.log.count("POST /webhook")
    label_studio.api(f"/api/tasks/{task}/annotations/", {"result": []})
    give_up = time.monotonic() + 30
    while backend.log.count("POST /webhook") == seen and time.monotonic() < give_up:
        time.sleep(0.1)
    assert backend.log.count("POST /webhook") > seen
    assert '"POST /webhook HTTP/1.1" 5' not in backend.log

    _, first = backend.post("/setup", {"project": f"{project}.1", "schema": config()})
    retrieve(label_studio, project)
    [stored] = label_studio.tasks(project)
    assert [one["model_version"] for one in stored["predictions"]] == [first["model_version"]]
    assert first["model_version"].startswith("mask2former-mini-")


def test_projects_that_share_a_backend_keep_their_own_configs(
    label_studio: RealLabelStudio, backend: Backend, scenes: list[Scene]
) -> None:
    configs = config(), config(control="BitmaskLabels")
    projects = [label_studio.project(one) for one in configs]
    for project, written in zip(projects, configs, strict=True):
        upload(label_studio, project, scenes[:1])
        assert backend.post("/setup", {"project": f"{project}.1", "schema": written})[0] == 200
    for project, written in zip(projects, configs, strict=True):
        status, answer = backend.post("/predict", body(project, written, label_studio.tasks(project)))
        kinds = {region["type"] for region in answer["results"][0]["result"]}
        assert (status, kinds) == (200, {"brushlabels" if written == configs[0] else "bitmasklabels"})


def test_a_request_that_cannot_be_answered_names_its_code(backend: Backend) -> None:
    config = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    backend.post("/setup", {"project": "1.1", "schema": config})
    status, answer = backend.post("/predict", body(1, config, [{"id": 1, "data": {"text": "a"}}]))
    assert status == 500
    assert "[config.unusable]" in answer["detail"]
