"""Results of jobs into data sets, in slices that an interruption loses one of."""

import json
from dataclasses import replace

import fiftyone as fo
import pytest

from locara_label.batch import inputs, job
from locara_label.batch.job import Job
from locara_label.batch.labels import LabelMap
from locara_label.batch.plan import Plan
from locara_label.batch.worker import ModelSource
from locara_label.cli.app import run
from locara_label.errors import BadOption, BatchError, Cancelled
from locara_label.hosts.fiftyone import bulk, imports
from locara_label.hosts.fiftyone.labels import to_region
from locara_label.runtime.session import Stop
from tests.batch.shades_model import POISON, Shades, write_pictures

SIZE = (12, 16)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pics", 20, SIZE, marks={7: POISON})


@pytest.fixture
def results(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "PICTURES", 8)
    found = inputs.find(str(pictures))
    job.run(Job(Plan("shades", "w", "semantic", None, found.items, 4), found.root, tmp_path / "out", ModelSource(Shades)))
    return tmp_path / "out"


def shapes(dataset, field):
    """Every label with its exact mask, by the pictures' names."""
    found = {}
    for sample in dataset:
        listed = sample[field].detections if sample[field] is not None else []
        regions = [to_region(one, SIZE) for one in listed]
        found[sample.filename] = [(region.label, region.score, bytes(region.mask.counts)) for region in regions]
    return found


def test_the_same_labels_as_the_coco_file(dataset, results, pictures):
    steps = list(bulk.load(dataset, results, "ours", root=pictures))
    assert [(step.done, step.total, step.added) for step in steps] == [(8, 20, 7), (16, 20, 8), (20, 20, 4)]
    assert sum(step.regions for step in steps) == 57
    assert [step.problems for step in steps] == [(("p007.png", "run.not_finite: poisoned"),), (), ()]
    other = fo.Dataset()
    list(imports.import_coco(other, results / "coco.json", "ours", root=pictures))
    assert shapes(dataset, "ours") == shapes(other, "ours")
    sample = dataset.first()
    assert (sample.metadata.height, sample.metadata.width) == SIZE
    other.delete()


def test_samples_that_are_there_keep_what_they_have(dataset, results, pictures):
    dataset.add_samples([fo.Sample(filepath=str(path), tags=["mine"]) for path in sorted(pictures.iterdir())])
    held = dataset[str(pictures / "p003.png")]
    steps = list(bulk.load(dataset, results, "ours", root=pictures))
    assert (sum(step.added for step in steps), len(dataset)) == (0, 20)
    assert dataset.count_sample_tags() == {"mine": 20}
    assert len(held.ours.detections) == 3
    assert dataset[str(pictures / "p007.png")]["ours_error"] == "run.not_finite: poisoned"
    assert dataset.first()["ours_error"] is None


def test_an_interrupted_load_goes_on(dataset, results, pictures):
    stop = Stop()
    steps = bulk.load(dataset, results, "ours", root=pictures, stop=stop)
    next(steps)
    stop.set()
    with pytest.raises(Cancelled, match="cancelled after 8 of 20 pictures"):
        next(steps)
    assert len(dataset) == 7
    steps = list(bulk.load(dataset, results, "ours", root=pictures))
    assert [step.done for step in steps] == [16, 20]
    assert len(dataset) == 19
    assert list(bulk.load(dataset, results, "ours", root=pictures)) == []


def test_a_slice_that_was_written_and_not_noted_is_written_again(dataset, results, pictures, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(bulk._Load, "_note", lambda self, count: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(bulk.load(dataset, results, "ours", root=pictures))
    list(bulk.load(dataset, results, "ours", root=pictures))
    assert len(dataset) == 19
    assert all(len(sample.ours.detections) == 3 for sample in dataset)


def test_an_unfinished_job_is_loaded_as_far_as_it_is(dataset, results, pictures):
    shard = results / "shards" / "00002.jsonl"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(BatchError, match=r"00002\.jsonl is missing or damaged"):
        list(bulk.load(dataset, results, "ours", root=pictures))
    assert len(dataset) == 7
    shard.write_bytes(content)
    assert [step.done for step in bulk.load(dataset, results, "ours", root=pictures)] == [16, 20]


def test_another_label_map_is_another_load(dataset, results, pictures):
    list(bulk.load(dataset, results, "ours", root=pictures))
    chosen = LabelMap({"spot": "stain"}, digest="1")
    assert sum(step.regions for step in bulk.load(dataset, results, "ours", root=pictures, label_map=chosen)) == 19
    assert set(dataset.distinct("ours.detections.label")) == {"stain"}


def test_pictures_that_are_elsewhere_or_of_another_size(dataset, results, pictures):
    (pictures / "p001.png").unlink()
    odd = fo.Sample(filepath=str(pictures / "p002.png"), metadata=fo.ImageMetadata(width=99, height=9))
    dataset.add_sample(odd)
    problems = dict(problem for step in bulk.load(dataset, results, "ours", root=pictures) for problem in step.problems)
    assert problems["p001.png"] == "path.missing: there is no such picture"
    assert problems["p002.png"].startswith("image.size: the sample is (9, 99)")
    assert dataset[str(pictures / "p002.png")].ours is None


def test_names_that_lead_out_are_told(dataset, results, pictures, monkeypatch):
    whole = bulk._Load._rows
    monkeypatch.setattr(
        bulk._Load,
        "_rows",
        lambda self, shard: [replace(row, file_name=f"../pics/{row.file_name}") for row in whole(self, shard)],
    )
    steps = list(bulk.load(dataset, results, "ours", root=pictures))
    assert len(dataset) == 0
    assert sum(len(step.problems) for step in steps) == 20


def test_wrong_arguments(dataset, results, pictures, tmp_path):
    for wrong, code in (({"root": tmp_path / "no"}, "option.root"), ({"results": pictures}, "option.results")):
        with pytest.raises(BadOption) as caught:
            bulk.load(dataset, **{"results": results, "field": "ours", "root": pictures, **wrong})
        assert caught.value.code == code
    with pytest.raises(BadOption):
        bulk.load(dataset, results, "filepath", root=pictures)


def test_the_command(results, pictures, capsys):
    words = ["fiftyone", "load", str(results), "bulk-test", "--root", str(pictures), "--json"]
    try:
        assert run(words) == 3
        result = json.loads(capsys.readouterr().out)
        assert (result["added"], result["regions"], len(result["problems"])) == (19, 57, 1)
        assert fo.load_dataset("bulk-test").persistent
        assert run(words) == 0
    finally:
        fo.delete_dataset("bulk-test")
