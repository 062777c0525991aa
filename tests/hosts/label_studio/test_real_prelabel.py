"""Pre-labels in a real Label Studio: by the command, once each, decoding to the masks that the model found."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time

import pytest
from PIL import Image

from fixtures.scenes import EVALUATION_SEED, LABELS, make_scene
from locara_label.cli.app import run
from locara_label.engine.loading import load
from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.regions import read_regions

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SIZE = (192, 256)


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def config(control):
    """Every label of the model but the first stands for itself; two share a name of the project's."""
    named = "".join(f'<Label value="{name}"/>' for name in LABELS[3:])
    ground = f'<Label value="Ground" predicted_values="{LABELS[1]},{LABELS[2]}"/>'
    return f"""<View><Image name="picture" value="$image"/>
      <{control} name="mask" toName="picture">{ground}{named}</{control}>
    </View>"""


@pytest.fixture
def scenes():
    return [make_scene(EVALUATION_SEED + number, SIZE).image for number in range(6)]


@pytest.fixture
def project(label_studio, scenes, request):
    number = label_studio.project(config(request.param))
    label_studio.upload(number, {f"{place}.png": png(image) for place, image in enumerate(scenes)})
    return number


@pytest.fixture
def prelabel(label_studio, monkeypatch, capsys):
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", label_studio.personal_token)

    def call(project, *options):
        code = run(["label-studio", "prelabel", "--project", str(project), "--json", *options])
        out, err = capsys.readouterr()
        assert label_studio.personal_token not in out + err
        return code, json.loads(out)

    return call


def expected(image):
    """Label and mask of each region that has a label in the project."""
    names = {name: "Ground" if name in LABELS[1:3] else name for name in LABELS[1:]}
    return {(names[found.label], found.mask) for found in load("mini").segment(image) if found.label in names}


@pytest.mark.parametrize("project", ["BrushLabels", "BitmaskLabels"], indirect=True)
def test_every_task_gets_its_masks_once(label_studio, project, prelabel, scenes):
    code, first = prelabel(project)
    assert (code, first["complete"], first["tasks"], first["written"], first["failed"]) == (0, True, 6, 6, [])
    assert first["unmapped"] == [LABELS[0]]
    with LabelStudio(label_studio.url, label_studio.personal_token) as client:
        stored = [client.predictions(task.id) for task in client.tasks(project)]
    assert [len(predictions) for predictions in stored] == [1] * 6
    for [prediction], image in zip(stored, scenes, strict=True):
        assert prediction.model_version == first["model_version"]
        masks = read_regions(_without_hashes(prediction.result)).masks
        assert {(region.labels[0], region.mask) for region in masks} == expected(image)
    assert sum(len(prediction.result) for [prediction] in stored) == first["regions"] > 6

    code, second = prelabel(project)
    assert (code, second["written"], second["skipped"]) == (0, 0, 6)
    assert [len(task["predictions"]) for task in label_studio.tasks(project)] == [1] * 6


def _without_hashes(result):
    """Regions whose masks have to come from what is drawn, not from the copy in `meta`."""
    return [{**region, "meta": {}} for region in result]


@pytest.mark.parametrize("project", ["BrushLabels"], indirect=True)
def test_a_broken_task_costs_no_other_and_a_limit_holds(label_studio, project, prelabel):
    label_studio.upload(project, {"broken.png": png(make_scene(EVALUATION_SEED, SIZE).image)[:200]})
    code, first = prelabel(project, "--limit", "2")
    assert (code, first["written"], first["tasks"]) == (0, 2, 2)
    code, second = prelabel(project)
    assert (code, second["written"], second["skipped"]) == (3, 4, 2)
    [failed] = second["failed"]
    assert failed["error"]["code"].startswith("image.")
    code, other = prelabel(project, "--model-version", "mine", "--min-area", "100000", "--limit", "1")
    assert (code, other["written"], other["empty"], other["regions"]) == (0, 1, 1, 0)
    assert other["dropped"]["area"] > 0


@pytest.mark.parametrize("project", ["BrushLabels"], indirect=True)
def test_a_killed_run_goes_on(label_studio, project, prelabel, tmp_path):
    command = [sys.executable, "-m", "locara_label", "label-studio", "prelabel", "--project", str(project)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        give_up = time.monotonic() + 120
        while not any(task["predictions"] for task in label_studio.tasks(project)) and time.monotonic() < give_up:
            time.sleep(0.02)
        process.kill()
    code, result = prelabel(project)
    assert (code, result["complete"], result["written"] + result["skipped"]) == (0, True, 6)
    assert result["skipped"] >= 1
    assert [len(task["predictions"]) for task in label_studio.tasks(project)] == [1] * 6


@pytest.mark.parametrize("project", ["BrushLabels"], indirect=True)
def test_the_editor_draws_a_prediction(label_studio, project, prelabel, editor, scenes):
    prelabel(project, "--limit", "1")
    found = next(found for found in load("mini").segment(scenes[0]) if found.label in LABELS[1:])
    rows, columns = found.mask.to_array().nonzero()
    middle = len(rows) // 2
    editor.open_task(project, label_studio.tasks(project)[0]["id"])
    editor.page.wait_for_timeout(1000)
    assert editor.regions()
    assert editor.painted(columns[middle] + 0.5, rows[middle] + 0.5) > 0
    stored = editor.submit()
    assert {region["type"] for region in stored["result"]} == {"brushlabels"}
    drawn = read_regions(stored["result"]).masks
    assert {(region.labels[0], region.mask) for region in drawn} == expected(scenes[0])
    assert all(region.is_exact for region in drawn)
