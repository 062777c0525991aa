"""The loop over a project's tasks, with a model of three shades and a Label Studio that fails when asked to."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from locara_label.batch.worker import Control
from locara_label.cli import label_studio as command
from locara_label.cli.app import run
from locara_label.errors import BadOption, BadRequest, FetchFailed
from locara_label.fetch import Fetcher, Rules
from locara_label.hosts.label_studio.batch import prelabel_project
from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.connection import Patience
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.hosts.label_studio.targets import Options
from locara_label.models.grounded import GroundedSam2
from locara_label.server.opening import open_service
from locara_label.settings import load as load_settings
from tests.batch.shades_model import CRASH, POISON, Shades
from tests.engine.echo_text_model import EchoTextModel
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio, Refused, serving
from tests.server.echo_boxes import BoxModel

CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">
  <Label value="Dark"/><Label value="light" predicted_values="bright"/><Label value="spot" model_score_threshold="0.95"/>
</BrushLabels></View>"""


def picture(first=20):
    image = np.full((12, 16, 3), 20, np.uint8)
    image[:, 8:] = 200
    image[0, 0] = first
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def fake():
    with serving(FakeLabelStudio(CONFIG)) as found:
        found.add_pictures({f"{number}.png": picture() for number in range(1, 7)})
        yield found


@pytest.fixture
def prelabel(fake):
    """Runs; keywords are options. `client` and `fetcher` ask twice at most, after no pause to speak of."""
    fetcher = Fetcher(Rules(label_studio_url=fake.url, token=LEGACY))

    def call(model=None, progress=None, control=None, **options):
        chosen = Options(1, options.pop("model_version", "v1"), **options)
        with LabelStudio(fake.url, LEGACY, Patience(2, 0.001, 2, 2)) as client:
            told = progress or (lambda done, total: None)
            return prelabel_project(client, model or Shades(), chosen, told, fetcher=fetcher, control=control)

    return call


def labels_of(prediction):
    return [region.labels[0] for region in read_regions(prediction["result"]).masks]


def test_every_task_once(fake, prelabel):
    told = []
    summary = prelabel(progress=lambda done, total: told.append((done, total)))
    assert (summary.written, summary.skipped, summary.failed, summary.is_complete) == (6, 0, (), True)
    assert told == [(number, 6) for number in range(7)]
    assert sorted(found["task"] for found in fake.predictions) == [1, 2, 3, 4, 5, 6]
    assert (summary.regions, summary.dropped) == (12, {"score": 6})
    first = fake.predictions[0]
    assert labels_of(first) == ["light", "Dark"]
    assert first["score"] == pytest.approx((0.25 + 0.5 + 1 / 3) / 2)

    again = prelabel()
    assert (again.written, again.skipped, again.is_complete) == (0, 6, True)
    assert fake.times("POST", "/api/predictions/") == 6
    other = prelabel(model_version="v10")
    assert (other.written, len(fake.predictions)) == (6, 12)


def test_the_masks_are_those_of_the_model(fake, prelabel):
    prelabel(limit=1)
    [prediction] = fake.predictions
    masks = {region.labels[0]: region.mask.to_array() for region in read_regions(prediction["result"]).masks}
    assert masks["light"][:, 8:].all()
    assert not masks["light"][:, :8].any()
    assert (masks["Dark"] == ~masks["light"]).all()


def test_options_leave_regions_out(fake, prelabel):
    summary = prelabel(limit=1, max_regions=1)
    assert (summary.total, labels_of(fake.predictions[-1]), summary.dropped) == (1, ["light"], {"score": 1, "number": 1})
    summary = prelabel(limit=1, min_area=97, model_version="v2")
    assert (summary.empty, fake.predictions[-1]["result"], summary.dropped["area"]) == (1, [], 2)
    summary = prelabel(limit=1, threshold=0.4, model_version="v3")
    assert labels_of(fake.predictions[-1]) == ["light"]


def test_failing_tasks_cost_no_other(fake, prelabel):
    fake.files |= {"2.png": picture(POISON), "3.png": b"no picture", "4.png": picture(CRASH)}
    fake.tasks[5] = {"video": "x"}
    fake.tasks[6] = {"image": "https://elsewhere.invalid/a.png"}
    summary = prelabel()
    codes = [(failed.task, failed.error.code) for failed in summary.failed]
    assert codes == [
        (2, "run.not_finite"),
        (3, "image.unknown_format"),
        (4, "internal"),
        (5, "task.data"),
        (6, "fetch.not_allowed"),
    ]
    assert (summary.written, summary.stopped, summary.is_complete) == (1, None, False)
    fake.files["3.png"] = picture()
    again = prelabel()
    assert (again.written, again.skipped, len(again.failed)) == (1, 1, 4)


def test_a_refused_prediction_is_that_tasks_failure(fake, prelabel):
    def refuse(method, path):
        if method == "POST" and fake.times(method, path) == 1:
            raise Refused(400, b'{"detail": "Validation error", "validation_errors": {"score": ["bad"]}}')

    fake.before = refuse
    summary = prelabel()
    [failed] = summary.failed
    assert failed.error.code == "label_studio.refused"
    assert "score" in failed.error.message
    assert summary.written == 5


@pytest.mark.parametrize(("status", "code"), [(0, "fetch.unreachable"), (401, "fetch.unauthorised")])
def test_a_run_gives_up_when_label_studio_goes_and_the_next_goes_on(fake, prelabel, status, code):
    def leave(method, path):
        if len(fake.predictions) >= 2:
            raise Refused(status)

    fake.before = leave
    summary = prelabel()
    assert summary.stopped.code == code
    assert (summary.is_complete, len(fake.predictions)) == (False, 2)
    fake.before = lambda method, path: None
    again = prelabel()
    assert (again.written, again.skipped) == (4, 2)
    assert sorted(found["task"] for found in fake.predictions) == [1, 2, 3, 4, 5, 6]


def test_a_run_gives_up_when_nothing_can_be_written(fake, prelabel):
    def lose(method, path):
        if method == "POST":
            raise Refused(0)

    fake.before = lose
    summary = prelabel()
    assert (summary.stopped.code, summary.written, summary.failed) == ("fetch.unreachable", 0, ())


def test_interrupted_runs_go_on(fake, prelabel):
    control = Control()
    summary = prelabel(progress=lambda done, total: control.finishing.set() if done == 2 else None, control=control)
    assert summary.interrupted
    assert 2 <= summary.written == len(fake.predictions) < 6
    stopped = Control()
    stopped.stop.set()
    assert prelabel(control=stopped).interrupted
    assert prelabel().is_complete
    assert sorted(found["task"] for found in fake.predictions) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "config",
    [
        '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="Dark"/></Choices></View>',
        '<View><Image name="image" value="$image"/><BrushLabels name="m" toName="image"><Label value="A"/></BrushLabels></View>',
        "<View",
    ],
)
def test_a_config_without_a_place_for_the_masks(fake, prelabel, config):
    fake.config = config
    with pytest.raises(BadRequest) as caught:
        prelabel()
    assert caught.value.code in {"config.unusable", "config.bad"}
    assert fake.predictions == []


def test_each_class_goes_to_the_control_that_has_its_label(fake, prelabel):
    fake.config = """<View><Image name="image" value="$image"/>
      <BrushLabels name="mask" toName="image"><Label value="bright"/></BrushLabels>
      <RectangleLabels name="box" toName="image"><Label value="spot"/></RectangleLabels></View>"""
    summary = prelabel(limit=1)
    assert [region["from_name"] for region in fake.predictions[0]["result"]] == ["box", "mask"]
    assert (summary.unmapped, summary.dropped) == (("dark",), {"label": 1})


@pytest.mark.parametrize("version", ["", "a,b", " a", "a\n", "x" * 201])
def test_model_versions_that_label_studio_would_confuse(version):
    with pytest.raises(BadOption):
        Options(1, version)


def test_no_project_is_an_error(fake, prelabel):
    fake.before = lambda method, path: (_ for _ in ()).throw(Refused(404)) if "projects" in path else None
    with pytest.raises(FetchFailed):
        prelabel()


@pytest.fixture
def call(fake, monkeypatch, capsys):
    monkeypatch.setattr(command, "_load", lambda options, settings: Shades())
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", LEGACY)

    def run_it(*options):
        code = run(["label-studio", "prelabel", "--url", fake.url, "--project", "1", *options])
        out, err = capsys.readouterr()
        assert LEGACY not in out + err
        return code, out, err

    return run_it


def test_the_command_for_people(fake, call):
    fake.files["3.png"] = b"no picture"
    code, out, err = call("--progress")
    assert code == 3
    assert out.startswith("5 of 6 tasks of project 1 got predictions with 10 regions by mask2former-mini-")
    assert "task 3: error [image.unknown_format]" in out
    assert "5 regions below the score" in out
    assert out.endswith("the same command goes on from there\n")
    assert "6/6" in err


def test_the_command_for_machines(fake, call):
    code, out, _ = call("--json", "--model-version", "mine")
    result = json.loads(out)
    assert code == 0
    assert (result["written"], result["model_version"], result["failed"]) == (6, "mine", [])
    fake.tasks = {}
    assert call("--json", "--model-version", "mine")[0] == 0


LABELLED = """<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">
  <Label value="Left" predicted_values="at 0 0 5 12"/><Label value="Right" predicted_values="at 9 0 16 12" model_skip="true"/>
  <Label value="Bright" predicted_values="at 8 2 16 9,zebra"/></BrushLabels></View>"""


def test_a_model_that_understands_text_looks_for_the_labels(fake, prelabel):
    fake.config = LABELLED
    words = EchoTextModel()
    summary = prelabel(GroundedSam2(words, BoxModel()), limit=2)
    assert {prompt.phrases for prompt in words.asked} == {("at 0 0 5 12", "at 8 2 16 9", "zebra")}
    assert (summary.written, summary.regions, summary.unmapped) == (2, 4, ())
    found = {one.labels[0]: one.mask.box.xywh for one in read_regions(fake.predictions[0]["result"]).masks}
    assert found == {"Left": (0, 0, 5, 12), "Bright": (8, 2, 8, 7)}
    fake.config = LABELLED.replace("Label value", "Other value")
    with pytest.raises(BadRequest) as caught:
        prelabel(GroundedSam2(words, BoxModel()), model_version="v2")
    assert caught.value.code == "config.unusable"


def test_the_command_takes_a_pair_of_models(fake, call):
    code, out, _ = call("--json", "--model", "grounded-sam2")
    assert code == 0
    version = json.loads(out)["model_version"]
    assert version.startswith("grounding-dino-mini+classic-")
    assert version == open_service(load_settings(server={"prelabel_model": "grounded-sam2"})).version
    assert call("--model", "grounding-dino-mini+nothing")[0] == 1


def test_a_command_without_a_key(fake, monkeypatch, capsys):
    monkeypatch.delenv("LOCARA_LABEL_STUDIO_API_KEY", raising=False)
    assert run(["label-studio", "prelabel", "--url", fake.url, "--project", "1"]) == 2
    assert "LOCARA_LABEL_STUDIO_API_KEY" in capsys.readouterr().err


TWO_PICTURES = """<View><Image name="left" value="$left"/><Image name="pages" valueList="$pages"/>
<BrushLabels name="one" toName="left"><Label value="dark"/></BrushLabels>
<BrushLabels name="other" toName="pages"><Label value="bright"/></BrushLabels></View>"""


def test_every_picture_and_page_of_a_task(fake, prelabel):
    fake.config = TWO_PICTURES
    address = fake.tasks[1]["image"]
    fake.tasks = {1: {"left": address, "pages": [address, address, address]}}
    summary = prelabel()
    assert (summary.written, summary.failed, summary.regions) == (1, (), 4)
    regions = [(region["to_name"], region.get("item_index"), region["from_name"]) for region in fake.predictions[0]["result"]]
    assert regions == [("left", None, "one"), ("pages", 0, "other"), ("pages", 1, "other"), ("pages", 2, "other")]


def test_some_tasks_only(fake, prelabel):
    summary = prelabel(only=frozenset({2, 5}))
    assert (summary.written, summary.total) == (2, 2)
    assert sorted(found["task"] for found in fake.predictions) == [2, 5]
