"""Jobs on a real Ray cluster of a head and two workers; machines, workers and drivers are killed while they work."""

import json
import os
import signal

import pytest
from ray_nodes import start, wait_until

from tests.faults.batch_kill import OPTIONS, run, tree, weights_beside, write_scenes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray")]

SHARDS = ["--shard-size", "4"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Scenes, of which the fourth is no picture."""
    return write_scenes(tmp_path_factory.mktemp("scenes") / "pictures", 96)


@pytest.fixture(scope="module")
def wanted(pictures, tmp_path_factory):
    """What one process makes of them."""
    out = tmp_path_factory.mktemp("local") / "out"
    run(pictures, out, *SHARDS)
    return tree(out)


@pytest.fixture
def driver(cluster, pictures, tmp_path):
    begun = []

    def call(*words, **variables):
        options = ["--weights", weights_beside(pictures), *OPTIONS[:-1], *SHARDS, "--runner", "ray", *words]
        address = ["--address", cluster.address] if "--address" not in words else []
        begun.append(start(pictures, "--out", tmp_path / "out", *options, *address, **variables))
        return begun[-1]

    yield call
    for process in begun:
        process.kill()
        process.communicate()


def finished(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 3, err  # the picture that is none
    return json.loads(out)


def shards(folder):
    return len(list((folder / "shards").glob("0*.jsonl")))


def test_a_machine_dies_in_the_middle(cluster, driver, wanted, tmp_path):
    process = driver("--num-actors", "2")
    wait_until(lambda: shards(tmp_path / "out") >= 3, process)
    cluster.kill_one()
    done = shards(tmp_path / "out")
    result = finished(process)
    assert done < 24
    assert (result["complete"], result["labelled"], result["failed"], result["ran"]) == (True, 95, 1, 96)
    assert tree(tmp_path / "out") == wanted
    cluster.complete()


def test_a_driver_that_is_killed_goes_on(driver, wanted, tmp_path):
    process = driver("--num-actors", "2")
    wait_until(lambda: shards(tmp_path / "out") >= 3, process)
    process.kill()
    process.communicate()
    assert 3 <= shards(tmp_path / "out") < 24
    result = finished(driver())
    assert result["ran"] < 96
    assert tree(tmp_path / "out") == wanted


def test_one_ctrl_c_finishes_what_is_in_work(driver, wanted, tmp_path):
    process = driver("--num-actors", "1")
    wait_until(lambda: shards(tmp_path / "out") >= 2, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    result = json.loads(out)
    assert (result["complete"], result["done"]) == (False, 4 * shards(tmp_path / "out"))
    assert finished(driver())["complete"]
    assert tree(tmp_path / "out") == wanted


def test_strangers_are_refused(driver):
    process = driver(RAY_AUTH_TOKEN="0" * 64)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error [batch.ray]: no Ray cluster on" in err


def test_more_actors_than_cpus_do_not_stand_in_each_others_way(pictures, wanted, tmp_path):
    """Three actors on a machine of two CPUs are refused; two leave their decoders room. A cluster of the job's own."""
    options = ["--out", tmp_path / "out", "--weights", weights_beside(pictures), *OPTIONS[:-1], *SHARDS, "--runner", "ray"]
    cpus = os.cpu_count() or 1
    process = start(pictures, *options, "--num-actors", cpus + 1)
    assert f"{cpus} do" in process.communicate(timeout=120)[1]
    assert process.returncode == 2
    finished(start(pictures, *options))
    assert tree(tmp_path / "out") == wanted
