"""A person who types into the real editor: masks under the right labels, the newest text, what is told where nothing is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locara_label.cli.app import run
from locara_label.hosts.label_studio.ready import labeling_config
from tests.cli.served import Served, serve
from tests.hosts.label_studio.assisted import agreement, config, grid, masks, png, scene, target
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

if TYPE_CHECKING:
    from tests.hosts.label_studio.browser import Editor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SHOWN, PHRASE, LABEL, CLICKED, ABSENT = 36, "purple heart", "heart", "black hexagon", "white star"
MIN_IOU = 0.8
CONTROLS = ["BrushLabels", "BitmaskLabels"]


def reaching(label_studio: RealLabelStudio) -> dict[str, str]:
    return {"LOCARA_LABEL_STUDIO_URL": label_studio.url, "LOCARA_LABEL_STUDIO_API_KEY": label_studio.personal_token}


@pytest.fixture(scope="module")
def assistant(label_studio: RealLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose models need no download, the small SAM 2 for masks."""
    with serve(tmp_path_factory.mktemp("texts"), "--model", "mini", **reaching(label_studio)) as found:
        yield found


def opened(label_studio: RealLabelStudio, assistant: Served, editor: Editor, xml: str) -> int:
    """A task of a new project, open in the editor, with Auto-Annotation on."""
    project = label_studio.project(xml)
    label_studio.connect(project, assistant.url)
    [task] = label_studio.upload(project, {"scene.png": png(scene(SHOWN).image)})
    editor.open_task(project, task)
    editor.auto_annotation()
    editor.auto_accept(on=False)
    return task


def stored(label_studio: RealLabelStudio, task: int) -> list[dict[str, Any]]:
    """The result of the task's only annotation, through the API."""
    [annotation] = label_studio.api(f"/api/tasks/{task}/annotations")
    return list(annotation["result"])


def iou(found: Any, phrase: str = PHRASE) -> float:
    return max(found.mask.iou(target(item).mask) for item in scene(SHOWN).objects if item.phrase == phrase)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_text_becomes_a_labelled_mask(label_studio: RealLabelStudio, assistant: Served, editor: Editor, control: str) -> None:
    task = opened(label_studio, assistant, editor, config(control))
    editor.write(PHRASE)
    asked, answer = editor.wait_for_answer(1)
    editor.wait_for_suggestion()
    editor.screenshot(f"{control}-text-1-found")
    assert asked["context"]["result"][0]["value"]["text"] == [PHRASE]
    [found] = masks(answer["data"]["result"])
    points = grid()
    assert agreement(editor.painted_at(points), points, found.mask) > 0.98
    editor.accept()

    editor.write(ABSENT)
    asked, _ = editor.wait_for_answer(2)
    editor.page.wait_for_timeout(1000)
    editor.screenshot(f"{control}-text-2-absent")
    assert asked["context"]["result"][0]["value"]["text"] == [PHRASE, ABSENT]
    [told] = editor.texts()
    assert told.startswith(f'locara-label: nothing was found for "{ABSENT}"')

    editor.write("flibbertigibbet")
    asked, _ = editor.wait_for_answer(3)
    editor.page.wait_for_timeout(1000)
    editor.screenshot(f"{control}-text-3-unknown")
    assert asked["context"]["result"][0]["value"]["text"] == [told, "flibbertigibbet"]
    assert editor.texts()[0].startswith('locara-label: no label stands for "flibbertigibbet"; labels are "circle", ')

    editor.submit()
    [found] = masks(stored(label_studio, task))
    print(control, "read back:", round(iou(found), 3), found.labels)
    assert (found.from_name, found.labels) == ("mask", (LABEL,))
    assert iou(found) >= MIN_IOU


def test_a_part_of_the_text_and_clicks_after_it(label_studio: RealLabelStudio, assistant: Served, editor: Editor) -> None:
    """The ready config, with labels that are whole phrases."""
    phrases = [item.phrase for item in scene(SHOWN).objects]
    clicked = target(next(item for item in scene(SHOWN).objects if item.phrase == CLICKED))
    task = opened(label_studio, assistant, editor, labeling_config("bitmask-text", phrases))
    editor.write(f"{PHRASE}. zebra")
    editor.wait_for_answer(1)
    editor.wait_for_suggestion()
    editor.screenshot("ready-text-1-part")
    [told] = editor.texts()
    assert told.startswith('locara-label: no label stands for "zebra"; labels are "')
    editor.accept()

    editor.smart_tool("key-point-tool")
    editor.label("point", CLICKED)
    editor.click(*clicked.point)
    asked, _ = editor.wait_for_answer(2)
    editor.wait_for_suggestion()
    editor.screenshot("ready-text-2-click")
    assert [region["type"] for region in asked["context"]["result"]] == ["keypointlabels"]
    editor.accept()
    editor.page.locator("[data-testid=htx-textbox-delete-button]").first.click()
    editor.page.wait_for_timeout(500)
    assert (editor.asked, editor.texts()) == (2, [])

    editor.submit()
    result = stored(label_studio, task)
    figures = {one.labels[0]: round(iou(one, one.labels[0]), 3) for one in masks(result)}
    print("read back:", figures)
    assert set(figures) == {PHRASE, CLICKED}
    assert min(figures.values()) >= MIN_IOU
    assert not [region for region in result if region["type"] == "textarea"]


def test_pre_labels_from_the_label_names(
    label_studio: RealLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the server when tasks are retrieved, by the command for the rest, under one model version."""
    xml = labeling_config("bitmask", ["Purple_Heart", "flying saucer"])
    for name, value in reaching(label_studio).items():
        monkeypatch.setenv(name, value)
    project = label_studio.project(xml)
    with serve(tmp_path, "--prelabel-model", "grounded-sam2", **reaching(label_studio)) as assistant:
        [first] = label_studio.upload(project, {"scene.png": png(scene(SHOWN).image)})
        label_studio.connect(project, assistant.url)
        selected = {"selectedItems": {"all": True, "excluded": []}}
        label_studio.api(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", selected)
        [prediction] = label_studio.tasks(project)[0]["predictions"]
        [version] = assistant.get("/versions")[1]["versions"]
        assert (prediction["task"], prediction["model_version"]) == (first, version)
        assert version.startswith("grounding-dino-mini+classic-")
    label_studio.upload(project, {"again.png": png(scene(SHOWN).image)})
    assert run(["label-studio", "prelabel", "--project", str(project), "--model", "grounded-sam2", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["written"], summary["skipped"], summary["model_version"], summary["unmapped"]) == (1, 1, version, [])
    for task in label_studio.tasks(project):
        [prediction] = task["predictions"]
        found = masks(prediction["result"])
        print("pre-labels:", [(one.labels, round(iou(one), 3)) for one in found])
        assert {one.labels for one in found} == {("Purple_Heart",)}
        assert max(iou(one) for one in found) >= MIN_IOU
