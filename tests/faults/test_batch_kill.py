import json
import os
import signal
import subprocess
import time

import pytest

from tests.faults.batch_kill import command, kill_often, run, stage, tree, write_scenes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_bytes(tmp_path):
    result = kill_often(tmp_path, kills=3, count=40, seed=1)
    assert result["identical"] == 3


@pytest.mark.slow
def test_killed_runs_of_more_shards_resume_to_the_same_bytes(tmp_path):
    """All 100 kills are `python -m tests.reliability run batch`."""
    assert kill_often(tmp_path, kills=6, count=80, seed=2)["identical"] == 6


def started(pictures, out):
    return subprocess.Popen(command(pictures, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.fixture
def pictures(tmp_path):
    return write_scenes(tmp_path / "pictures", 100)


@pytest.mark.slow
def test_an_interrupt_finishes_the_shard_and_tells_how_to_go_on(pictures, tmp_path):
    out = tmp_path / "out"
    process = started(pictures, out)
    wait_for((out / "shards" / "00000.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    result = json.loads(stdout)
    assert process.returncode == 3
    assert not result["complete"]
    assert 16 < result["done"] < 100
    assert result["done"] % 16 == 0
    assert "Ctrl-C again" in stderr
    before = stage(out)
    assert before == f"{result['done'] // 16} shards"
    run(pictures, out)
    run(pictures, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_two_interrupts_stop_at_once(pictures, tmp_path):
    out = tmp_path / "out"
    process = started(pictures, out)
    wait_for((out / "shards" / "00000.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    assert any("Ctrl-C again" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert not json.loads(stdout)["complete"]
    assert not list((out / "shards").glob(".*"))
    assert run(pictures, out)["complete"]
