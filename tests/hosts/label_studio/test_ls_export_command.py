"""`label-studio export` as a command, by the API and from a file."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from locara_label.cli.app import run
from locara_label.datasets import coco
from locara_label.hosts.label_studio.export_report import CHANGED, LEFT_OUT
from locara_label.hosts.label_studio.export_tasks import ApiTasks
from tests.hosts.label_studio.exports import CONFIG, SIZE, annotation, found, noise, regions, task
from tests.hosts.label_studio.fake_label_studio import LEGACY, Refused, labelling

fake = labelling(CONFIG)


def png(size=SIZE):
    out = io.BytesIO()
    Image.new("RGB", size[::-1]).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def call(fake, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", LEGACY)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))

    def run_it(*options, name="out.json"):
        options = ["--url", fake.url, "--project", "1", *options, "--out", str(tmp_path / name)]
        code = run(["label-studio", "export", *options])
        out, err = capsys.readouterr()
        assert LEGACY not in out + err
        return code, out, err

    return run_it


def test_the_command_reads_the_api(fake, call, tmp_path):
    fake.add_pictures({"a.png": png(), "b.png": png(), "c.png": png()})
    fake.annotations = {1: [annotation(regions(noise(1)))], 2: [annotation([], 2)]}
    code, out, err = call("--format", "coco", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert (result["pictures"], result["masks"], result["complete"]) == (2, 1, True)
    assert result["left_out"] == {"task.unannotated": 1}
    assert found(tmp_path / "out.json") == [(1, "Cat", noise(1))]
    assert fake.times("GET", "/api/tasks/3/annotations/") == 0
    assert [one.size for one in coco.read(tmp_path / "out.json").images.values()] == [SIZE, SIZE]


def test_annotations_of_skipped_tasks_come_by_the_api_too(fake, call, tmp_path):
    fake.add_pictures({"a.png": png(), "b.png": png()})
    skipped = annotation(regions(noise(2)), 2, was_cancelled=True)
    fake.annotations = {1: [annotation(regions(noise(1))), skipped], 2: [skipped]}
    code, out, _ = call("--format", "coco", "--json")
    assert (code, json.loads(out)["left_out"]) == (0, {"annotation.cancelled": 2, "task.unannotated": 1})
    code, _, _ = call("--format", "coco", "--cancelled", "--pick", "all")
    assert [mask for _, _, mask in found(tmp_path / "out.json")] == [noise(1), noise(2), noise(2)]


def test_the_command_for_people(fake, call):
    fake.add_pictures({"a.png": png(), "b.png": b"no picture", "c.png": png()})
    bad = regions(noise(2))
    bad[0]["value"]["rle"] = []
    fake.annotations = {1: [annotation([*regions(noise(1)), *bad])], 2: [annotation([], 2)], 3: [annotation([], 3)]}

    def refuse(method, path):
        if path == "/api/tasks/3/annotations/":
            raise Refused(404)

    fake.before = refuse
    code, out, err = call("--format", "coco", "--progress")
    assert code == 3
    assert "1 pictures, 1 masks from 2 annotations" in out
    assert "task 2: error [image.unknown_format]" in out
    assert "task 3: error [fetch.not_found]" in out
    assert "error [mask.rle]" in out
    assert "3 things could not be exported" in out
    assert "3tasks" in err.replace(" ", "")


def test_a_label_studio_that_goes_away_leaves_nothing(fake, call, tmp_path, monkeypatch):
    monkeypatch.setattr("locara_label.hosts.label_studio.connection.Connection.pause", lambda *_: None)
    fake.add_pictures({"a.png": png(), "b.png": png()})
    fake.annotations = {1: [annotation(regions(noise(1)))], 2: [annotation(regions(noise(2)))]}

    def refuse(method, path):
        if path == "/api/tasks/2/annotations/":
            raise Refused(0)

    fake.before = refuse
    code, out, _ = call("--format", "coco", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "fetch.unreachable")
    assert [path for path in tmp_path.iterdir() if path.name != "data"] == []


def test_the_command_reads_a_file(call, fake, tmp_path):
    (tmp_path / "tasks.json").write_text(json.dumps([task(1, annotation(regions(noise(1), label="Dog")))]))
    (tmp_path / "config.xml").write_text(CONFIG)
    code, _, _ = call("--format", "coco", "--from-json", str(tmp_path / "tasks.json"), "--config", str(tmp_path / "config.xml"))
    assert (code, fake.asked) == (0, [])
    assert found(tmp_path / "out.json") == [(1, "Dog", noise(1))]
    code, out, _ = call("--format", "coco", "--json", "--from-json", str(tmp_path / "tasks.json"), name="tasks.json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "option.out")
    code, out, _ = call("--format", "coco", "--json", "--config", str(tmp_path / "config.xml"))
    assert (code, json.loads(out)["error"]["code"]) == (2, "option.project")


def test_tasks_are_read_one_by_one(fake):
    fake.add_pictures({"a.png": png(), "b.png": png(), "c.png": png(), "d.png": png(), "e.png": png(), "f.png": png()})
    fake.annotations = {number: [annotation(regions(noise(number)))] for number in range(1, 7)}
    from locara_label.hosts.label_studio.client import LabelStudio

    with LabelStudio(fake.url, LEGACY) as client:
        tasks = iter(ApiTasks(client, 1))
        assert next(tasks).id == 1
        assert sum(path.endswith("/annotations/") for _, path in fake.asked) <= 4
        tasks.close()


def test_the_guide_names_every_code():
    guide = (Path(__file__).parents[3] / "docs/label-studio.md").read_text("utf-8")
    assert all(f"| `{code}` | {what} |" in guide for code, what in (LEFT_OUT | CHANGED).items())
