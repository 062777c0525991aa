"""Pictures and jobs in an object store: `memory://` here, a server of the S3 protocol in test_bucket_jobs.py."""

import json
import pickle
from dataclasses import replace

import pytest
from shades_model import POISON, Shades, write_pictures

from locara_label.batch import inputs, job, sheet
from locara_label.batch.buckets import Bucket, is_plain, place
from locara_label.batch.job import Job
from locara_label.batch.plan import Plan
from locara_label.batch.worker import Control, ModelSource
from locara_label.errors import BadOption, BatchError, MissingRuntime, PlanChanged
from tests.required import needed

fsspec = needed("fsspec")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FORMATS = ("coco", "panoptic", "semantic")


@pytest.fixture
def bucket(tmp_path):
    """An empty folder of the store, of this test alone."""
    made = Bucket(f"memory://{tmp_path.name}")
    yield made
    for name, *_ in list(made.listed()):
        made.remove(name)


@pytest.fixture
def pictures(tmp_path, bucket):
    """The same pictures on the disk and in the store, with those that are none."""
    folder = write_pictures(tmp_path / "pics", 10, marks={4: POISON})
    (folder / "p006.png").write_bytes(b"junk")
    (folder / "p007.png").write_bytes(b"")
    for path in folder.iterdir():
        bucket.upload(path, f"pics/{path.name}")
    return folder


def make(source, out, model=None, **options):
    found = inputs.find(str(source))
    frozen = Plan("shades", "w", "semantic", options.pop("threshold", None), found.items, 4)
    return Job(frozen, found.root, place(str(out)), ModelSource(lambda: model or Shades()), formats=FORMATS, **options)


def stored(bucket, below):
    """What a folder of the store holds, times of pictures aside."""
    return {name.removeprefix(f"{below}/"): bucket.read(name) for name, *_ in bucket.listed(below)}


def untimed(files):
    """Without plan and keys of shards, which depend on the times of pictures."""
    kept = {name: content for name, content in files.items() if name not in {"plan.json", ".lock"}}
    return {name: content.rpartition(b'{"end"')[0] if "shards/" in name else content for name, content in kept.items()}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_job_in_a_store_gives_what_one_on_a_disk_gives(pictures, bucket, tmp_path):
    summary = job.run(make(bucket.at("pics"), bucket.at("out")))
    assert (summary.counts.pictures, summary.counts.failed) == (7, 3)
    job.run(make(pictures, tmp_path / "out"))
    assert untimed(stored(bucket, "out")) == untimed(tree(tmp_path / "out"))
    assert [row["code"] for row in json.loads(bucket.read("out/failures.json"))["failures"]] == [
        "run.not_finite", "image.unknown_format", "image.empty",
    ]  # fmt: skip


def test_it_goes_on_where_it_was(pictures, bucket):
    control = Control()
    control.tick = control.finishing.set
    assert not job.run(make(bucket.at("pics"), bucket.at("out"), control=control)).is_complete
    assert sorted(stored(bucket, "out")) == ["plan.json", "shards/00000.jsonl"]
    model = Shades()
    summary = job.run(make(bucket.at("pics"), bucket.at("out"), model))
    assert (summary.is_complete, summary.ran, model.calls) == (True, 6, 4)
    assert job.run(make(bucket.at("pics"), bucket.at("out"))).ran == 0


def test_a_damaged_shard_is_redone(pictures, bucket):
    job.run(make(bucket.at("pics"), bucket.at("out")))
    before = stored(bucket, "out")
    bucket.write("out/shards/00001.jsonl", b"half")
    assert job.run(make(bucket.at("pics"), bucket.at("out"))).ran == 4
    assert stored(bucket, "out") == before


def test_another_plan_and_files_of_strangers(pictures, bucket):
    job.run(make(bucket.at("pics"), bucket.at("out")))
    with pytest.raises(PlanChanged, match=r"memory://.*/out holds a job with another plan \(threshold"):
        job.run(make(bucket.at("pics"), bucket.at("out"), threshold=0.5))
    bucket.write("out/mine.txt", b"mine")
    bucket.write("pics/p006.png", bucket.read("pics/p000.png"))
    bucket.write("pics/p007.png", bucket.read("pics/p000.png"))
    bucket.write("pics/p004.png", bucket.read("pics/p000.png"))
    assert job.run(make(bucket.at("pics"), bucket.at("out"), new=True)).counts.failed == 0
    assert {"mine.txt", "coco.json"} < set(stored(bucket, "out"))
    assert "failures.json" not in stored(bucket, "out")
    bucket.write("other/coco.json", b"mine")
    for new in (False, True):
        with pytest.raises(BatchError, match=r"other/coco\.json is not of a pre-labelling job"):
            job.run(make(bucket.at("pics"), bucket.at("other"), new=new))
    bucket.write("third/plan.json", b"mine")
    with pytest.raises(BatchError, match=r"third/plan\.json is not of"):
        job.run(make(bucket.at("pics"), bucket.at("third")))


def test_a_plan_is_only_written_once(bucket):
    bucket.write("plan.json", b"theirs", new=True)
    with pytest.raises(BatchError) as caught:
        bucket.write("plan.json", b"ours", new=True)
    assert (caught.value.code, bucket.read("plan.json")) == ("batch.busy", b"theirs")


def test_a_picture_that_changes_or_goes_is_a_failure(pictures, bucket):
    planned = make(bucket.at("pics"), bucket.at("out"))
    bucket.write("pics/p001.png", bucket.read("pics/p000.png") + b"x")
    bucket.remove("pics/p002.png")
    job.run(planned)
    rows = {row["file_name"]: row["code"] for row in json.loads(bucket.read("out/failures.json"))["failures"]}
    assert (rows["p001.png"], rows["p002.png"]) == ("image.changed", "image.missing")


def test_what_is_listed(pictures, bucket):
    for name in (".hidden.png", "notes.txt", "a/.cache/x.png", "a/b.JPG", "out/panoptic/000000000001.png"):
        bucket.write(f"pics/{name}", b"x")
    found = inputs.find(bucket.at("pics"), [Bucket(bucket.at("pics/out"))])
    assert [item.file_name for item in found.items] == ["a/b.JPG", *(f"p{number:03d}.png" for number in range(10))]
    assert found.items[0].size == 1
    with pytest.raises(BadOption) as caught:
        inputs.find(bucket.at("nothing"))
    assert caught.value.code == "batch.no_inputs"


@pytest.mark.parametrize("name", ["../../x.png", "a//x.png", "a/./x.png", "a\\x.png", "/x.png"])
def test_names_that_only_a_store_allows_are_failures_and_reach_no_disk(bucket, monkeypatch, name):
    monkeypatch.setattr(Bucket, "listed", lambda self, below="": iter([(name, 3, 0)] if self.url.endswith("pics") else []))
    assert not is_plain(name)
    summary = job.run(make(bucket.at("pics"), bucket.at("out")))
    assert [(failed.file_name, failed.error.code) for failed in summary.counts.examples] == [(name, "image.unreadable")]


def test_a_contact_sheet_of_pictures_in_a_store(pictures, bucket, tmp_path):
    planned = make(bucket.at("pics"), bucket.at("out"))
    assert sheet.write(tmp_path / "sheet.png", job.run(planned).merge, planned.root) == 7


def test_what_a_store_raises_is_one_error(bucket, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no credentials")

    bucket.write("a", b"")
    monkeypatch.setattr(bucket._files, "pipe_file", refuse)
    with pytest.raises(BatchError, match="cannot be used: RuntimeError: no credentials") as caught:
        bucket.write("b", b"")
    assert caught.value.code == "batch.store"


def test_places(tmp_path):
    assert place("file:///data/a%20b") == place("/data/a b")
    assert place("s3://bucket/x/") == Bucket("s3://bucket/x")
    assert (str(place("gs://b")), place("memory://b").is_shared, place("s3://b").is_shared) == ("gs://b", False, True)
    assert pickle.loads(pickle.dumps(replace(make_task(), root=Bucket("s3://b")))).root == Bucket("s3://b")
    for wrong in ("http://host/x", "s3://", "s3://key:secret@bucket/x", "simplecache::s3://b", "file://host/x"):
        with pytest.raises(BadOption) as caught:
            place(wrong)
        assert caught.value.code == "option.place"
        assert "secret" not in str(caught.value)


def make_task():
    from locara_label.batch.worker import Task

    return Task(Plan("m", "w", "semantic", None, ()), Bucket("s3://a"), Bucket("s3://b"), ModelSource(Shades))


def test_a_store_whose_library_is_not_there(monkeypatch):
    def missing(*_, **__):
        raise ImportError("no gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(MissingRuntime, match="gs://b needs the package gcsfs: pip install gcsfs"):
        list(Bucket("gs://b").listed())
