import json
import pickle
import shutil
import time
from dataclasses import replace
from functools import partial

import pytest
from shades_model import CRASH, LABELS, POISON, WRONG, Shades, Wrong, write_pictures

from locara_label.batch import inputs, job, outputs, sheet
from locara_label.batch.job import Job
from locara_label.batch.labels import LabelMap
from locara_label.batch.plan import Plan
from locara_label.batch.worker import Control, ModelSource, Task
from locara_label.datasets import check, panoptic, semantic
from locara_label.errors import BadOption, BatchError, PlanChanged

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FORMATS = ("coco", "panoptic", "semantic")


def make(source, out, model=None, **options):
    found = inputs.find(str(source))
    frozen = Plan("shades", "w", "semantic", options.pop("threshold", None), found.items, options.pop("shard_size", 4))
    return Job(frozen, found.root, out, ModelSource(lambda: model or Shades()), **{"formats": FORMATS, **options})


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pics", 10)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_all_formats_of_a_clean_run(pictures, out):
    ticks = []
    summary = job.run(make(pictures, out, progress=ticks.append, control=Control(tick=lambda: ticks.append("."))))
    assert (summary.is_complete, summary.done, summary.ran) == (True, 10, 10)
    assert (summary.counts.pictures, summary.counts.instances, summary.counts.failed) == (10, 30, 0)
    assert ticks == [0, *"." * 10]
    assert not list(check.problems(out / "coco.json", pictures))
    assert not list(check.problems(out / "panoptic.json", pictures))
    assert len(list(panoptic.read(out / "panoptic.json").pictures())) == 10
    assert len(list((out / "semantic").glob("*.png"))) == 10
    assert semantic.read_labels(out / "semantic" / "labels.json") == list(LABELS)
    assert not (out / "failures.json").exists()


def test_coco_content(pictures, out):
    job.run(make(pictures, out))
    data = json.loads((out / "coco.json").read_text())
    assert [image["id"] for image in data["images"]] == list(range(1, 11))
    assert data["images"][3]["file_name"] == "p003.png"
    assert [row["name"] for row in data["categories"]] == ["dark", "bright", "spot"]
    assert {row["score"] for row in data["annotations"]} == {0.25, 0.833333, 0.9}
    assert data["info"]["model"] == "shades"


def test_the_same_pictures_give_the_same_bytes(pictures, tmp_path):
    job.run(make(pictures, tmp_path / "one"))
    job.run(make(pictures, tmp_path / "two"))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_finished_job_needs_no_model_again(pictures, out):
    job.run(make(pictures, out))
    before = tree(out)

    def none():
        raise AssertionError("loaded")

    summary = job.run(replace(make(pictures, out), source=ModelSource(none)))
    assert (summary.ran, summary.done) == (0, 10)
    assert tree(out) == before


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_only_a_damaged_shard_is_redone(pictures, out, damage):
    job.run(make(pictures, out))
    before = tree(out)
    damage(out / "shards" / "00001.jsonl")
    model = Shades()
    assert job.run(make(pictures, out, model)).ran == model.calls == 4
    assert tree(out) == before


def test_finishing_stops_after_the_shard(pictures, out, tmp_path):
    control, ticks = Control(), []

    def tick():
        ticks.append(".")
        if len(ticks) == 5:
            control.finishing.set()

    control.tick = tick
    summary = job.run(make(pictures, out, control=control))
    assert (summary.is_complete, summary.done, summary.counts) == (False, 8, None)
    assert not (out / "coco.json").exists()
    assert job.run(make(pictures, out)).ran == 2
    job.run(make(pictures, tmp_path / "whole"))
    assert tree(out) == tree(tmp_path / "whole")


def test_stopping_loses_the_shard_in_work(pictures, out, tmp_path):
    control = Control()
    first = out / "shards" / "00000.jsonl"

    def stop_after_the_first_shard(number: int) -> None:
        while number == 6 and not control.stop.is_set:  # pictures run two at a time, so one of the first may still be in work
            time.sleep(0.01)
            if first.exists():
                control.stop.set()

    summary = job.run(make(pictures, out, Shades(before=stop_after_the_first_shard), control=control))
    assert (summary.is_complete, summary.done) == (False, 4)
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["00000.jsonl"]
    job.run(make(pictures, out))
    job.run(make(pictures, tmp_path / "whole"))
    assert tree(out) == tree(tmp_path / "whole")


def test_stopping_while_data_sets_are_written(pictures, out):
    control = Control()
    model = Shades(before=lambda number: None)
    job.run(make(pictures, out, model))
    control.stop.set()
    summary = job.run(make(pictures, out, model, control=control))
    assert not summary.is_complete
    assert job.run(make(pictures, out)).is_complete


def test_a_changed_plan_is_refused_and_new_starts_afresh(pictures, out):
    job.run(make(pictures, out))
    (out / "notes.txt").write_text("mine")
    (out / "semantic" / "mine.png").write_text("mine")
    write_pictures(pictures, 11)
    before = tree(out)
    with pytest.raises(PlanChanged, match=r"threshold: the default before, 0.5 now; inputs: 1 new \(p010.png\), 10 changed"):
        job.run(make(pictures, out, threshold=0.5))
    assert tree(out) == before
    summary = job.run(make(pictures, out, threshold=0.5, new=True, formats=["coco"]))
    assert summary.counts.pictures == 11
    assert sorted(name for name in tree(out) if "shards" not in name) == [
        ".lock", "coco.json", "notes.txt", "plan.json", "semantic/mine.png",
    ]  # fmt: skip


def test_new_does_not_touch_files_of_a_stranger(pictures, out):
    out.mkdir()
    (out / "coco.json").write_text("mine")
    for new in (False, True):
        with pytest.raises(BatchError, match=r"coco\.json is not of a pre-labelling job"):
            job.run(make(pictures, out, new=new))
    assert (out / "coco.json").read_text() == "mine"


def test_another_provider_or_other_labels_are_another_plan(pictures, out):
    job.run(make(pictures, out))
    (out / "shards" / "00000.jsonl").unlink()
    model = Shades(labels=LABELS[::-1])
    with pytest.raises(PlanChanged, match="labels"):
        job.run(make(pictures, out, model))
    model = Shades()
    model.provider = "CUDAExecutionProvider"
    with pytest.raises(PlanChanged, match="CUDAExecutionProvider"):
        job.run(make(pictures, out, model))


def test_every_kind_of_failure_is_a_row(tmp_path, out):
    source = write_pictures(tmp_path / "pics", 8, marks={1: POISON, 2: WRONG, 3: CRASH})
    (source / "p004.png").write_bytes(b"junk")
    (source / "p005.png").write_bytes((source / "p005.png").read_bytes()[:60])
    (source / "p007.png").unlink()
    (source / "p007.png").symlink_to(source / "gone.png")
    summary = job.run(make(source, out, Wrong()))
    assert (summary.counts.pictures, summary.counts.failed) == (2, 6)
    rows = json.loads((out / "failures.json").read_text())["failures"]
    assert [(row["file_name"], row["code"]) for row in rows] == [
        ("p001.png", "run.not_finite"),
        ("p002.png", "run.contract"),
        ("p003.png", "internal"),
        ("p004.png", "image.unknown_format"),
        ("p005.png", "image.truncated"),
        ("p007.png", "image.missing"),
    ]
    assert [image["id"] for image in json.loads((out / "coco.json").read_text())["images"]] == [1, 7]
    assert not list(check.problems(out / "coco.json", source))


def test_a_picture_that_changes_during_the_job_is_a_failure(pictures, out):
    planned = make(pictures, out)
    (pictures / "p009.png").write_bytes((pictures / "p000.png").read_bytes() + b"x")
    job.run(planned)
    assert json.loads((out / "failures.json").read_text())["failures"][0]["code"] == "image.changed"


def test_retrying_failed_pictures_after_their_repair(tmp_path, out):
    source = write_pictures(tmp_path / "pics", 10)
    sound = (source / "p005.png").read_bytes()
    (source / "p005.png").write_bytes(b"junk")
    assert job.run(make(source, out)).counts.failed == 1
    model = Shades()
    assert job.run(make(source, out, model, retry_failed=True)).counts.failed == 1
    assert model.calls == 3
    (source / "p005.png").write_bytes(sound)
    with pytest.raises(PlanChanged, match=r"1 changed \(p005.png\)"):
        job.run(make(source, out))
    summary = job.run(make(source, out, retry_failed=True))
    assert (summary.ran, summary.counts.failed, summary.counts.pictures) == (4, 0, 10)
    assert not (out / "failures.json").exists()
    job.run(make(source, tmp_path / "whole"))
    assert tree(out) == tree(tmp_path / "whole")


def test_too_many_failures_end_the_job_and_it_goes_on_with_more_patience(tmp_path, out):
    source = write_pictures(tmp_path / "pics", 12, marks=dict.fromkeys(range(2, 9), POISON))
    with pytest.raises(BatchError, match="6 of 8 pictures failed") as caught:
        job.run(make(source, out, max_errors=2))
    assert caught.value.code == "batch.too_many_errors"
    assert job.run(make(source, out, max_errors=7)).counts.failed == 7


def test_one_bad_picture_in_a_thousand(tmp_path, out):
    source = write_pictures(tmp_path / "pics", 1000, marks={567: POISON})
    summary = job.run(make(source, out, formats=["coco"], shard_size=16))
    assert (summary.counts.pictures, summary.counts.failed) == (999, 1)
    assert [failed.file_name for failed in summary.counts.examples] == ["p567.png"]
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 999


def test_another_label_map_needs_no_model(pictures, out):
    job.run(make(pictures, out))
    model = Shades()
    label_map = LabelMap({"dark": "ground", "bright": "ground"})
    summary = job.run(make(pictures, out, model, label_map=label_map))
    assert (model.calls, summary.counts.dropped, summary.counts.instances) == (0, 10, 10)
    data = json.loads((out / "coco.json").read_text())
    assert [(row["id"], row["name"]) for row in data["categories"]] == [(1, "ground")]
    assert {row["area"] for row in data["annotations"]} == {12 * 16}
    assert not list(check.problems(out / "panoptic.json", pictures))


def test_a_label_map_that_does_not_fit_costs_no_run(pictures, out):
    model = Shades()
    with pytest.raises(BadOption, match="'darkk' is no label"):
        job.run(make(pictures, out, model, label_map=LabelMap({"darkk": "x"})))
    assert model.calls == 0


def test_a_shard_that_vanishes_before_the_merge(pictures, out, monkeypatch):
    original = outputs.write

    def write(*arguments):
        (out / "shards" / "00002.jsonl").unlink()
        return original(*arguments)

    monkeypatch.setattr(outputs, "write", write)
    with pytest.raises(BatchError, match=r"00002\.jsonl is missing or damaged"):
        job.run(make(pictures, out))
    assert not (out / "coco.json").exists()


def test_another_map_function_sees_a_picklable_task(pictures, out, tmp_path):
    """What a cluster does: the task travels, shards come back in any order."""

    def scattered(task, shards, control):
        travelled = pickle.loads(pickle.dumps(task))
        assert isinstance(travelled, Task)
        for shard in reversed(shards):
            yield from travelled.open().outcomes([shard])

    one = replace(make(pictures, out), source=ModelSource(partial(Shades)))
    assert job.run(one, scattered).is_complete
    job.run(make(pictures, tmp_path / "local"))
    assert tree(out) == tree(tmp_path / "local")


def test_a_contact_sheet(pictures, out, tmp_path):
    planned = make(pictures, out)
    summary = job.run(planned)
    (pictures / "p000.png").unlink()
    assert sheet.write(tmp_path / "sheet.png", summary.merge, planned.root) == 9
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_full_disk_and_on_it_goes(pictures, out, tmp_path, monkeypatch):
    import errno
    import os

    real, written = os.fsync, []

    def fsync(handle):
        written.append(handle)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(BatchError, match="No space left on device; finished shards are kept") as caught:
            job.run(make(pictures, out))
    assert caught.value.code == "batch.disk_full"
    assert job.run(make(pictures, out)).ran < 10
    job.run(make(pictures, tmp_path / "whole"))
    assert tree(out) == tree(tmp_path / "whole")


def test_moved_pictures_are_the_same_job(pictures, out, tmp_path):
    job.run(make(pictures, out))
    shutil.move(pictures, tmp_path / "elsewhere")
    assert job.run(make(tmp_path / "elsewhere", out)).ran == 0
