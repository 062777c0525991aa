"""The runner on a Ray cluster, with models and pictures that end the processes that touch them."""

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import shades_model
from shades_model import CRASH, LABELS, POISON, Shades, write_pictures

from locara_label.batch import inputs, job
from locara_label.batch.job import Job
from locara_label.batch.plan import Plan
from locara_label.batch.ray_cluster import Cluster, joined
from locara_label.batch.worker import Control, ModelSource
from locara_label.errors import BatchError, InferenceFailed, PlanChanged
from locara_label.types import Label

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

LETHAL = 9


def shades():
    """Made where it runs, without files of this suite."""
    return Shades()


class Lethal(Shades):
    """A model that some pictures kill outright."""

    def segment(self, image, threshold=None, limit=None):
        if image[0, 0, 0] == LETHAL:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().segment(image, threshold, limit)


class Slow(Shades):
    def __init__(self):
        super().__init__(delay_s=0.2)


class Broken(Shades):
    def __init__(self):
        raise InferenceFailed("no such weights", code="run.not_finite")


class Trap:
    """A folder with one picture whose decoding kills the process."""

    def __init__(self, root, name):
        self.root, self.name = root, name

    def __truediv__(self, name):
        if name == self.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(self.root) / name


@pytest.fixture(scope="module")
def runner(cluster):
    with joined(Cluster(cluster.address)):
        from ray import cloudpickle

        for module in (shades_model, sys.modules[__name__]):  # the workers do not have this suite
            cloudpickle.register_pickle_by_value(module)
        from locara_label.batch.ray_runner import RayRunner

        yield RayRunner


@pytest.fixture
def make(tmp_path):
    def planned(count=24, model=shades, out="out", marks=None, **options):
        source = tmp_path / f"pics-{count}"
        if not source.exists():
            write_pictures(source, count, marks=marks)
        found = inputs.find(str(source))
        frozen = Plan("shades", "w", "semantic", None, found.items, options.pop("shard_size", 4))
        return Job(frozen, found.root, tmp_path / out, ModelSource(model), **options)

    return planned


@pytest.fixture
def work(runner):
    def run(planned, **options):
        made = runner(Cluster("auto", num_actors=2, **options))
        return job.run(planned, made, made.describe)

    return run


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failures(folder):
    return [(row["file_name"], row["code"]) for row in json.loads((folder / "failures.json").read_text())["failures"]]


def test_the_same_bytes_as_one_process(make, work, tmp_path):
    marks = {5: POISON, 7: CRASH}
    assert work(make(marks=marks), decoders=3).counts.failed == 2
    job.run(make(marks=marks, out="local"))
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


def test_a_picture_that_ends_decoders_is_one_failure(make, work, tmp_path):
    planned = make()
    summary = work(replace(planned, root=Trap(str(planned.root), "p006.png")))
    assert (summary.counts.pictures, summary.counts.failed) == (23, 1)
    assert failures(tmp_path / "out") == [("p006.png", "image.worker_died")]


def test_a_picture_that_ends_workers_is_one_failure(make, work, tmp_path):
    summary = work(make(12, Lethal, marks={6: LETHAL}))
    assert (summary.counts.pictures, summary.counts.failed) == (11, 1)
    assert failures(tmp_path / "out") == [("p006.png", "run.worker_died")]


def test_too_many_failures_end_the_job(make, work):
    with pytest.raises(BatchError, match="pictures failed, --max-errors allows 1"):
        work(make(marks=dict.fromkeys(range(24), POISON), max_errors=1))


def test_a_stop_ends_the_job_and_it_goes_on(make, work, tmp_path):
    control = Control()
    planned = make(24, Slow, control=control)

    def stop():
        while not list((tmp_path / "out" / "shards").glob("0*")):
            threading.Event().wait(0.02)
        control.stop.set()

    watcher = threading.Thread(target=stop)
    watcher.start()
    summary = work(planned)
    watcher.join()
    assert (summary.is_complete, summary.done < 24) == (False, True)
    assert work(make()).is_complete
    job.run(make(out="local"))
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


def test_what_a_model_says_when_it_cannot_be_loaded(make, work):
    with pytest.raises(InferenceFailed, match="no such weights"):
        work(make(4, Broken))


def test_a_machine_with_other_weights_or_without_the_folders(make, work, tmp_path):
    planned = make(4)
    other = ModelSource(shades, lambda: "other weights")
    with pytest.raises(PlanChanged, match=r"has other weights of shades \(other weight\) than the plan \(w\)"):
        work(replace(planned, source=other))
    with pytest.raises(BatchError, match="does not see the pictures") as caught:
        work(replace(planned, root=tmp_path / "elsewhere"))
    assert caught.value.code == "batch.not_shared"


def test_labels_are_those_of_the_actors_model(make, work, tmp_path):
    made = make(4, partial(Shades, tuple(Label(label.index, label.name) for label in LABELS)))
    assert work(made).is_complete
    assert not json.loads((tmp_path / "out" / "plan.json").read_text())["labels"][0][2]
