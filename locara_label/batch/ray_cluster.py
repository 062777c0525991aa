"""A Ray cluster to work on: one that runs, or one of this machine for as long as a job takes. Never open to strangers."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from locara_label.errors import BadOption, BatchError, MissingRuntime

_STORE_BYTES = 2 << 30
_BESIDE_GPU = 0.5


@dataclass(frozen=True)
class Cluster:
    """Where a job runs, and what each of its workers takes of it.

    A worker is an actor with one model, and tasks that decode pictures for it. On CPUs they share the `threads` CPUs that the
    actor reserves, and the tasks reserve none: wherever an actor finds room, its decoders have theirs. Beside a GPU each decoder
    has a CPU of its own, on any machine.

    Attributes:
        address: of a cluster that runs, "HOST:PORT" or "auto"; None starts one on this machine.
        num_actors: None takes as many as fit.
        gpus_per_actor: a share of one GPU, or whole ones; 0 runs on CPUs.
        decoders: tasks that decode for one model at a time; also how many shards it has in work.
        threads: of one run of the model on CPUs.
    """

    address: str | None = None
    num_actors: int | None = None
    gpus_per_actor: float = 0
    decoders: int = 2
    threads: int = 1

    def __post_init__(self) -> None:
        if (self.address or "").startswith("ray://"):
            text = f"{self.address} is for Ray's client; run the command on a machine of the cluster, with --address auto"
            raise BadOption(text, code="option.address")
        if self.gpus_per_actor > 1 and self.gpus_per_actor % 1:
            raise BadOption(f"{self.gpus_per_actor} GPUs are neither a share of one nor whole ones", code="option.gpus")

    @property
    def actor_cpus(self) -> float:
        return _BESIDE_GPU if self.gpus_per_actor else self.threads

    @property
    def decoder_cpus(self) -> float:
        return 1 if self.gpus_per_actor else 0

    def actors(self, resources: dict[str, float]) -> int:
        """How many actors to run on a cluster that has these resources now.

        Raises:
            BadOption: more are asked for than ever fit; code option.actors.
        """
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        fitting = int(gpus / self.gpus_per_actor + 1e-6) if self.gpus_per_actor else int(cpus / self.threads)
        wanted = self.num_actors or max(fitting, 1)
        if self.address is None and wanted > fitting:
            has = f"{cpus:g} CPUs" if not self.gpus_per_actor else f"{gpus:g} GPUs"
            raise BadOption(f"{wanted} actors do not fit on this machine's {has}, {fitting} do", code="option.actors")
        return wanted


def prepare() -> None:
    """Sets what Ray reads from the environment when it is imported; what the user set stays.

    Callers must not have imported ray. Processes of a cluster without a token obey everyone who reaches them.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Is part of a cluster inside the block; one that is started for it ends with it, even where this process is killed.

    Standard output is standard error inside the block: Ray prints there what it hears of machines that are lost.

    Raises:
        BatchError: it cannot be reached, or refuses the token; code batch.ray.
        MissingRuntime: Ray is not installed; code batch.missing_library.
    """
    prepare()
    try:
        import ray
    except ImportError as error:
        text = "Ray is not installed: pip install 'locara-label[ray]'"
        raise MissingRuntime(text, code="batch.missing_library") from error
    with redirect_stdout(sys.stderr):
        try:
            ray.init(**_options(cluster))
        except Exception as error:
            where = cluster.address or "this machine"
            text = f"no Ray cluster on {where}: {type(error).__name__}: {' '.join(str(error).split())}"
            raise BatchError(f"{text[:400]}; its token is looked for as `ray get-auth-token` says", code="batch.ray") from error
        try:
            yield
        finally:
            ray.shutdown()


def _options(cluster: Cluster) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if cluster.address is not None:
        return {"address": cluster.address, **quiet}
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this job alone, and in no file
    return {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        **quiet,
    }
