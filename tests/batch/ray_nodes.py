"""A Ray cluster of several machines' processes on this machine, closed to those without its token."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

PRELABEL = [sys.executable, "-c", "from locara_label.cli import main; main()", "prelabel"]
WORKERS = 2
_STORE_BYTES = 80 << 20
_TOKEN = secrets.token_hex(32)  # of every cluster of this process: Ray keeps the first that it reads


@contextmanager
def environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Nodes:
    """A head without CPUs and workers with one each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self._cluster.address
        self._workers = []
        self.complete()

    def complete(self):
        """Starts workers in place of killed ones."""
        while len(self._workers) < WORKERS:
            self._workers.append(self._cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES))

    def kill_one(self):
        """What a machine's power cut does: its raylet, actors and tasks are gone at once."""
        self._cluster.remove_node(self._workers.pop(0), allow_graceful=False)

    def shutdown(self):
        with suppress(Exception):
            self._cluster.shutdown()


@contextmanager
def nodes():
    with environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=_TOKEN):
        from locara_label.batch import ray_cluster

        ray_cluster.prepare()
        made = Nodes()
        try:
            yield made
        finally:
            made.shutdown()


def start(*words, **variables):
    """A driver in a process of its own."""
    line = [*PRELABEL, *map(str, words), "--json"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables})


def wait_until(condition, process, seconds=120):
    """Until something is so while a process still runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
