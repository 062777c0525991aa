"""A job of phrases that is killed goes on where it was and gives the same bytes, as every other job does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.faults.batch_kill import PRELABEL, stage, stamps, tree, write_scenes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
OPTIONS = ["--model", "mini+mini", "--prompt", "blue . red star", "--threshold", "0.2", "--threads", "1", "--json"]


def command(pictures, out):
    return [*PRELABEL, str(pictures), "--out", str(out), *OPTIONS]


def finished(pictures, out):
    """A whole run; one picture is bad, so the exit code is 3."""
    done = subprocess.run(command(pictures, out), capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    return json.loads(done.stdout)


def killed(pictures, out, after_shards):
    process = subprocess.Popen(command(pictures, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = out / "shards" / f"{after_shards - 1:05d}.jsonl"
    while not last.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_bytes(tmp_path):
    pictures = write_scenes(tmp_path / "pictures", 40)
    whole = finished(pictures, tmp_path / "whole")
    assert (whole["complete"], whole["failed"], whole["labelled"]) == (True, 1, 39)
    for after in (1, 2):
        out = tmp_path / f"killed-{after}"
        killed(pictures, out, after)
        assert stage(out) in {f"{after} shards", f"{after + 1} shards"}
        before = stamps(out)
        assert 0 < finished(pictures, out)["ran"] < 40
        assert {name: stamps(out)[name] for name in before} == before
        assert tree(out) == tree(tmp_path / "whole")
        shutil.rmtree(out)
