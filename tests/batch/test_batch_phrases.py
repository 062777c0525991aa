from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from locara_label.batch import inputs, job, plan
from locara_label.batch.identity import pair_identity
from locara_label.batch.job import Job
from locara_label.batch.labels import LabelMap, read_map
from locara_label.batch.phrases import asked, map_of_names
from locara_label.batch.plan import Plan
from locara_label.batch.worker import ModelSource
from locara_label.errors import BadOption, BadPrompt, NotDownloaded, PlanChanged, UnknownModel
from locara_label.models.classic import Classic
from locara_label.models.grounded import GroundedSam2
from locara_label.settings import load
from locara_label.weights import catalogue
from locara_label.weights.store import MINI
from tests.batch.shades_model import write_pictures
from tests.engine.echo_model import EchoModel
from tests.engine.echo_text_model import EchoTextModel

SPOT, WALL = "at 2 2 6 6", "at 0 0 16 12"


def test_a_prompt_alone():
    sought = asked("Red car. person?traffic_light ..", None)
    assert (sought.phrases, sought.label_map, sought.unasked) == (("red car", "person", "traffic light"), None, ())
    assert sought.prompt == "red car . person . traffic light"


def test_labels_alone_are_the_prompt():
    sought = asked(None, LabelMap({"Traffic_Light": "lamp", "stop sign": "sign", "tree": ""}, digest="d"))
    assert sought.phrases == ("traffic light", "stop sign", "tree")
    assert sought.label_map.names == {"traffic light": "lamp", "stop sign": "sign", "tree": ""}
    assert sought.label_map.digest == "d"


def test_names_are_labels_and_phrases():
    sought = asked(None, map_of_names(["T-Shirt", "Red_Car"]))
    assert sought.label_map.names == {"t-shirt": "T-Shirt", "red car": "Red_Car"}
    assert map_of_names(["a"]).digest != map_of_names(["b"]).digest


def test_a_prompt_asks_and_the_map_labels():
    given = LabelMap({"red car": "car", "Blue_Car": "car", "dog": "dog", "cat": ""}, supercategories={"car": "x", "dog": "y"})
    sought = asked("red car . person . blue car", given)
    assert sought.phrases == ("red car", "person", "blue car")
    assert sought.label_map.names == {"red car": "car", "blue car": "car"}
    assert sought.label_map.supercategories == {"car": "x"}
    assert sought.unasked == ("dog",)


@pytest.mark.parametrize(
    ("prompt", "names", "error"),
    [
        (None, None, BadOption),
        (None, {"car": "a", "Car": "b"}, BadOption),
        (None, {"...": "a"}, BadOption),
        (None, {}, BadPrompt),
        ("person", {"car": "car"}, BadOption),
        ("car", {"car": ""}, BadOption),
        ("", {"car": "car"}, BadPrompt),
        (" . _ ? ", None, BadPrompt),
        ("car " * 10_000, None, BadPrompt),
    ],
)
def test_what_cannot_be_asked_for(prompt, names, error):
    with pytest.raises(error):
        asked(prompt, None if names is None else LabelMap(names))


def test_unlabelled_phrases_may_be_kept():
    assert asked("person", LabelMap({"car": "car"}, keep_unmapped=True)).label_map.names == {}


@pytest.fixture
def store(tmp_path):
    return load(cache_dir=tmp_path / "cache").store()


def test_the_identity_of_a_pair(store):
    name, identity = pair_identity("grounded-sam2", store)
    assert name == "grounding-dino-mini+classic"
    assert pair_identity("mini+classic", store) == (name, identity)
    other, others = pair_identity("mini+mini", store)
    assert other == "grounding-dino-mini+sam2-mini"
    assert others != identity
    for bad, error in (("mini", UnknownModel), ("classic+mini", UnknownModel), ("mini+segformer-mini", BadOption)):
        with pytest.raises(error):
            pair_identity(bad, store)
    with pytest.raises(NotDownloaded):
        pair_identity("grounding-dino-tiny+classic", store)


@pytest.mark.parametrize("changed", ["vocab.txt", "model.safetensors", "config.json"])
def test_every_file_that_a_text_model_reads_counts(store, tmp_path, changed):
    from locara_label.batch.identity import weights_identity

    row, copied = catalogue.find("grounding-dino-mini"), shutil.copytree(MINI / "grounding-dino", tmp_path / "copy")
    before = weights_identity(row, store, copied)
    assert before == weights_identity(row, store)
    (copied / changed).write_bytes((copied / changed).read_bytes() + b"\n")
    assert weights_identity(row, store, copied) != before


def make(pictures, out, phrases=(SPOT,), label_map=None, loads=None, **changes):
    sought = asked(" . ".join(phrases), label_map)
    found = inputs.find(str(pictures))
    options = {"threshold": None, "text_threshold": None, "weights": "w", **changes}
    frozen = Plan("echo", options["weights"], "instance", options["threshold"], found.items,
                  prompt=sought.prompt, text_threshold=options["text_threshold"])  # fmt: skip

    def load_model():
        (loads if loads is not None else []).append(1)
        return GroundedSam2(EchoTextModel(), EchoModel()).of_labels(sought.phrases, text_threshold=options["text_threshold"])

    return Job(frozen, found.root, out, ModelSource(load_model), label_map=sought.label_map)


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pics", 5)


def test_a_job_of_phrases(pictures, tmp_path):
    summary = job.run(make(pictures, tmp_path / "out", (SPOT, WALL, "nothing")))
    assert (summary.counts.pictures, summary.counts.instances, summary.counts.dropped) == (5, 10, 0)
    data = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [row["name"] for row in data["categories"]] == [SPOT, WALL, "nothing"]
    assert (data["info"]["prompt"], data["info"]["text_threshold"]) == (f"{SPOT} . {WALL} . nothing", None)
    assert {row["score"] for row in data["annotations"]} == {0.9}


def test_phrases_without_a_label_are_counted(pictures, tmp_path):
    summary = job.run(make(pictures, tmp_path / "out", (SPOT, WALL), LabelMap({"At_2 2 6 6": "spot"})))
    assert (summary.counts.instances, summary.counts.dropped) == (5, 5)


@pytest.mark.parametrize(
    "change",
    [{"phrases": (WALL,)}, {"phrases": (WALL, SPOT)}, {"threshold": 0.5}, {"text_threshold": 0.5}, {"weights": "other"}],
)
def test_another_prompt_does_not_go_on_with_an_old_job(pictures, tmp_path, change):
    job.run(make(pictures, tmp_path / "out"))
    with pytest.raises(PlanChanged, match=r"prompt: at 2|hreshold: the default before, 0.5 now|weights: w before, other now"):
        job.run(make(pictures, tmp_path / "out", **change))


def test_a_shard_of_another_prompt_is_no_shard_of_this_job(pictures, tmp_path):
    first = make(pictures, tmp_path / "out").plan
    keys = {next(made.shards()).key for made in (first, make(pictures, tmp_path / "out", (WALL,)).plan)}
    assert len(keys) == 2


def test_other_labels_need_no_new_run(pictures, tmp_path):
    loads: list[int] = []
    for name in ("spot", "stain"):
        job.run(make(pictures, tmp_path / "out", (SPOT, WALL), LabelMap({SPOT: name}), loads))
    assert len(loads) == 1
    data = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [row["name"] for row in data["categories"]] == ["stain"]


def test_a_plan_is_read_as_it_was_written(pictures, tmp_path):
    made = make(pictures, tmp_path / "out", text_threshold=0.25).plan
    (tmp_path / "plan.json").write_bytes(made.to_bytes())
    assert plan.read(tmp_path / "plan.json") == made


def test_plans_of_other_models_are_as_before(tmp_path):
    old = Plan("shades", "w", "semantic", None, ())
    assert b"prompt" not in old.to_bytes()
    assert b"text_threshold" not in old.to_bytes()
    (tmp_path / "plan.json").write_bytes(old.to_bytes())
    assert plan.read(tmp_path / "plan.json") == old


def test_real_masks_from_echoed_boxes(pictures, tmp_path):
    model = GroundedSam2(EchoTextModel(), Classic())
    source = ModelSource(partial(model.of_labels, ["at 1 0 16 12"]))
    made = make(pictures, tmp_path / "out", ("at 1 0 16 12",))
    summary = job.run(Job(made.plan, made.root, made.folder, source))
    assert summary.counts.instances == 5


def test_a_map_file(tmp_path):
    (tmp_path / "map.toml").write_text('[labels]\n"Red_Car" = "car"\n')
    sought = asked(None, read_map(tmp_path / "map.toml"))
    assert sought.label_map.names == {"red car": "car"}
