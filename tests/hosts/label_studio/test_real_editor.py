"""A person in the real editor, assisted by a real `locara-label serve`: clicks, boxes, text, pre-labels, and what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locara_label.hosts.label_studio.ready import labeling_config
from tests.cli.served import Served, serve
from tests.hosts.label_studio.assisted import agreement, best_iou, config, grid, masks, png, scene, target, targets
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

if TYPE_CHECKING:
    from tests.hosts.label_studio.browser import Editor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CLICKED = 36
CONTROLS = ["BrushLabels", "BitmaskLabels"]


@pytest.fixture(scope="module")
def assistant(label_studio: RealLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that only answers clicks."""
    with serve(tmp_path_factory.mktemp("clicks"), **reaching(label_studio)) as found:
        yield found


def reaching(label_studio: RealLabelStudio) -> dict[str, str]:
    return {"LOCARA_LABEL_STUDIO_URL": label_studio.url, "LOCARA_LABEL_STUDIO_API_KEY": label_studio.personal_token}


def stored(label_studio: RealLabelStudio, task: int) -> list[dict[str, Any]]:
    """The result of the task's only annotation, through the API."""
    [annotation] = label_studio.api(f"/api/tasks/{task}/annotations")
    return list(annotation["result"])


@pytest.mark.parametrize("control", CONTROLS)
def test_a_task_opens_already_filled(label_studio: RealLabelStudio, editor: Editor, tmp_path: Path, control: str) -> None:
    shown = scene(CLICKED)
    with serve(tmp_path, "--prelabel-model", "mini", **reaching(label_studio)) as assistant:
        project = label_studio.project(config(control))
        label_studio.connect(project, assistant.url)
        [task] = label_studio.upload(project, {"scene.png": png(shown.image)})
        editor.open_task(project, task)
        editor.page.wait_for_timeout(1500)
        editor.screenshot(f"{control}-prelabeled")
        wanted = [target(item) for item in shown.objects]
        assert len(editor.regions()) == len(wanted)
        for one in wanted:
            assert editor.painted(*one.point) > 0
        editor.submit()
    found = masks(stored(label_studio, task))
    figures = {one.label: round(max(region.mask.iou(one.mask) for region in found), 3) for one in wanted}
    print(control, "pre-labels read back:", figures)
    assert min(figures.values()) >= 0.8


@pytest.mark.parametrize("control", CONTROLS)
def test_clicks_boxes_and_text(label_studio: RealLabelStudio, assistant: Served, editor: Editor, control: str) -> None:
    shown = scene(CLICKED)
    first, second = targets(shown)[:2]
    project = label_studio.project(config(control))
    label_studio.connect(project, assistant.url)
    [task] = label_studio.upload(project, {"scene.png": png(shown.image)})
    editor.open_task(project, task)
    editor.auto_annotation()
    editor.auto_accept(on=False)
    assert editor.regions() == []
    editor.screenshot(f"{control}-0-open")

    editor.smart_tool("key-point-tool")
    editor.label("point", first.label)
    editor.click(*first.point)
    editor.wait_for_answer(1)
    editor.wait_for_suggestion()
    editor.screenshot(f"{control}-1-click")
    points = grid()
    drawn = agreement(editor.painted_at(points), points, first.mask)
    print(control, "drawn as it is:", round(drawn, 4))
    assert drawn > 0.98
    editor.accept()

    editor.smart_tool("rectangle-tool")
    editor.label("box", second.label)
    x0, y0, x1, y1 = second.box
    editor.drag(x0 - 4, y0 - 4, x1 + 4, y1 + 4)
    editor.wait_for_answer(2)
    editor.wait_for_suggestion()
    editor.screenshot(f"{control}-2-box")
    assert editor.painted(*second.point) > 0
    editor.accept()

    editor.write("flibbertigibbet")
    editor.wait_for_answer(3)
    editor.page.wait_for_timeout(1000)
    editor.screenshot(f"{control}-3-text")
    assert any('no label stands for "flibbertigibbet"' in text for text in editor.texts())

    editor.submit()
    result = stored(label_studio, task)
    found = masks(result)
    figures = {one.label: round(best_iou(found, one), 3) for one in (first, second)}
    print(control, "read back:", figures, [region["type"] for region in result])
    assert {(region.from_name, region.labels) for region in found} == {("mask", (first.label,)), ("mask", (second.label,))}
    assert min(figures.values()) >= 0.8


def test_an_alt_click_takes_away(label_studio: RealLabelStudio, assistant: Served, editor: Editor) -> None:
    shown = scene(CLICKED)
    first, other = targets(shown)[:2]
    unwanted = other.point[0] + 12, other.point[1]
    project = label_studio.project(config("BitmaskLabels"))
    label_studio.connect(project, assistant.url)
    [task] = label_studio.upload(project, {"scene.png": png(shown.image)})
    editor.open_task(project, task)
    editor.auto_annotation()
    editor.auto_accept(on=False)
    answered = []
    for number, (point, negative) in enumerate(((first.point, False), (other.point, False), (unwanted, True)), 1):
        editor.smart_tool("key-point-tool")
        editor.label("point", first.label)
        editor.click(*point, negative=negative)
        asked, answer = editor.wait_for_answer(number)
        editor.wait_for_suggestion()
        editor.screenshot(f"alt-{number}")
        assert [region["is_positive"] for region in asked["context"]["result"]] == [True, True, False][:number]
        [found] = masks(answer["data"]["result"])
        answered.append(found.mask)
        points = grid()
        assert agreement(editor.painted_at(points), points, found.mask) > 0.98
    assert answered[0].iou(first.mask) >= 0.8
    assert answered[2] != answered[1]
    x, y = unwanted
    assert not answered[2].to_array()[int(y), int(x)]


def test_three_candidates_are_three_suggestions(label_studio: RealLabelStudio, editor: Editor, tmp_path: Path) -> None:
    shown = scene(CLICKED)
    wanted = targets(shown)[0]
    with serve(tmp_path, LOCARA_SERVER__CANDIDATES="3", **reaching(label_studio)) as assistant:
        project = label_studio.project(labeling_config("bitmask-text", [wanted.label, "other"]))
        label_studio.connect(project, assistant.url)
        [task] = label_studio.upload(project, {"scene.png": png(shown.image)})
        editor.open_task(project, task)
        editor.auto_annotation()
        editor.auto_accept(on=False)
        editor.smart_tool("key-point-tool")
        editor.label("point", wanted.label)
        editor.click(*wanted.point)
        _, answer = editor.wait_for_answer(1)
        editor.wait_for_suggestion()
        editor.screenshot("candidates-1-suggested")
        assert [region["meta"].get("candidate") for region in answer["data"]["result"]] == [None, 2, 3]
        assert editor.suggestions == 3
        editor.accept()
        editor.write("flibbertigibbet")
        editor.wait_for_answer(2)
        editor.page.wait_for_timeout(1000)
        editor.screenshot("candidates-2-accepted")
        assert len([kind for kind, _ in editor.regions() if kind == "bitmaskregion"]) == 3
