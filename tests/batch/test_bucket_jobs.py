"""Jobs from and to a server of the S3 protocol, by one process and by a Ray cluster."""

import json
import subprocess
import sys

import pytest
from ray_nodes import environment, start

from locara_label.batch import inputs
from locara_label.batch.buckets import Bucket
from locara_label.errors import BatchError
from tests.batch.test_batch_buckets import stored, untimed
from tests.faults.batch_kill import OPTIONS, run, tree, weights_beside, write_scenes
from tests.required import need

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray")]

_SERVER = """
from moto.server import ThreadedMotoServer
import sys, threading
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""
_CALLER = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def store():
    """The address of a bucket; the environment says where its server is."""
    need("s3fs", "moto")
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = process.stdout.readline().strip()
        with environment(AWS_ENDPOINT_URL=address, **_CALLER):
            import fsspec

            fsspec.filesystem("s3").mkdir("labels")
            yield Bucket("s3://labels/job")
    finally:
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def pictures(store, tmp_path_factory):
    folder = write_scenes(tmp_path_factory.mktemp("scenes") / "pictures", 24)
    for path in folder.iterdir():
        store.upload(path, f"pictures/{path.name}")
    return folder


def call(store, pictures, out, *words):
    options = ["--weights", weights_beside(pictures), *OPTIONS[:-1], "--shard-size", "4", *words]
    return start(store.at("pictures"), "--out", store.at(out), *options)


def test_one_process(store, pictures, tmp_path):
    run(pictures, tmp_path / "out", "--shard-size", "4")
    wanted = untimed(tree(tmp_path / "out"))
    out, err = call(store, pictures, "local").communicate(timeout=120)
    assert json.loads(out)["files"][0] == "s3://labels/job/local/coco.json"
    assert "canary" not in out + err
    assert untimed(stored(store, "local")) == wanted


def test_a_cluster_whose_workers_write_to_the_store(store, pictures):
    """One of the job's own: its processes know the store from this one's environment."""
    call(store, pictures, "local").communicate(timeout=240)
    out, err = call(store, pictures, "ray", "--runner", "ray").communicate(timeout=240)
    assert json.loads(out)["complete"], err
    assert stored(store, "ray") == stored(store, "local")


def test_a_store_that_is_not_there(store):
    import s3fs

    with environment(AWS_ENDPOINT_URL="http://127.0.0.1:9"):
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(BatchError) as caught:
            inputs.find("s3://nowhere/pictures")
    assert caught.value.code == "batch.store"
