"""What the options of a cluster mean; no cluster is started."""

import subprocess
import sys

import pytest

from locara_label.batch.ray_cluster import Cluster
from locara_label.cli.app import run
from locara_label.errors import BadOption
from tests.batch.shades_model import write_pictures


def test_actors_that_take_all_cpus_leave_their_decoders_room():
    made = Cluster(decoders=4)
    assert (made.actor_cpus, made.decoder_cpus, made.actors({"CPU": 2.0})) == (1, 0, 2)
    assert Cluster(threads=4).actors({"CPU": 9.0}) == 2


def test_shares_of_gpus():
    made = Cluster(gpus_per_actor=0.25, decoders=3)
    assert (made.actors({"CPU": 16.0, "GPU": 2.0}), made.decoder_cpus) == (8, 1)
    assert Cluster(gpus_per_actor=0.1).actors({"CPU": 4.0, "GPU": 1.0}) == 10
    with pytest.raises(BadOption) as caught:
        Cluster(gpus_per_actor=1.5)
    assert caught.value.code == "option.gpus"


def test_more_than_fit_are_refused_here_and_awaited_on_a_cluster_that_may_grow():
    with pytest.raises(BadOption, match="3 actors do not fit on this machine's 2 CPUs, 2 do"):
        Cluster(num_actors=3).actors({"CPU": 2.0})
    with pytest.raises(BadOption, match="1 actors do not fit on this machine's 0 GPUs, 0 do"):
        Cluster(gpus_per_actor=1).actors({"CPU": 2.0})
    assert Cluster("auto", num_actors=3).actors({"CPU": 2.0}) == 3
    assert Cluster("auto").actors({}) == 1


def test_ray_client_is_refused():
    with pytest.raises(BadOption, match="run the command on a machine of the cluster"):
        Cluster("ray://host:10001")


def test_options_of_ray_without_it(tmp_path, capsys):
    write_pictures(tmp_path / "pics", 1)
    assert run(["prelabel", str(tmp_path / "pics"), "--out", str(tmp_path / "out"), "--num-actors", "2"]) == 2
    assert "--num-actors goes with --runner ray" in capsys.readouterr().err


def test_the_local_runner_loads_neither_ray_nor_libraries_of_stores(tmp_path):
    write_pictures(tmp_path / "pics", 2)
    code = (
        "import sys; from locara_label.cli.app import run; "
        f"code = run(['prelabel', {str(tmp_path / 'pics')!r}, '--out', {str(tmp_path / 'out')!r}, '--task', 'semantic']); "
        "print(code, sorted({'ray', 'fsspec', 's3fs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
