"""The options of `prelabel` that say where its shards are worked on, and the cluster that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.batch.ray_cluster import Cluster
    from locara_label.batch.runner import Describe, Map
    from locara_label.settings import Settings
    from locara_label.weights.catalogue import Row

Command = TypeVar("Command", bound=Callable[..., Any])

_OF_RAY = ("address", "num_actors", "gpus_per_actor", "decoders")


def runner_options(command: Command) -> Command:
    """Adds `--runner` and the options that go with Ray."""
    for option in reversed(
        (
            click.option(
                "--runner", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Who does the work."
            ),
            click.option("--address", help="Of a Ray cluster, HOST:PORT or auto. [default: one on this machine, for this job]"),
            click.option("--num-actors", type=click.IntRange(min=1), help="Models on the cluster. [default: as many as fit]"),
            click.option("--gpus-per-actor", type=click.FloatRange(min=0), help="May be a share of one, 0.5. [default: 0, CPUs]"),
            click.option("--decoders", type=click.IntRange(1, 64), help="Tasks that decode for a model. [default: 2]"),
        )
    ):
        command = option(command)
    return command


def cluster_of(options: dict[str, Any]) -> Cluster | None:
    """The cluster that the options ask for; None for the local runner.

    Raises:
        BadOption: options of Ray without `--runner ray`, or ones that do not fit together.
    """
    from locara_label.batch.ray_cluster import Cluster

    given = {name: options[name] for name in _OF_RAY if options[name] is not None}
    if options["runner"] == "ray":
        return Cluster(threads=options["threads"] or 1, **given)
    if given:
        raise BadOption(f"--{next(iter(given)).replace('_', '-')} goes with --runner ray", code="option.runner")
    return None


@contextmanager
def running(cluster: Cluster | None, say: Callable[[str], None]) -> Iterator[tuple[Map, Describe]]:
    """Who works on shards and who describes the model, inside the block."""
    from locara_label.batch import runner

    if cluster is None:
        yield runner.local, runner.loaded
        return
    from locara_label.batch.ray_cluster import joined

    with joined(cluster):
        from locara_label.batch.ray_runner import RayRunner

        workers = RayRunner(cluster, say)
        yield workers, workers.describe


def settings_of(options: dict[str, Any], settings: Settings) -> Settings:
    """What a model is loaded with. To a cluster no secret travels, and beside other models each runs on its own CPUs."""
    if options["runner"] == "local":
        return settings
    from locara_label.settings import Server

    options["device"] = options["device"] or settings.device
    if options["device"] == "auto" and not options["gpus_per_actor"]:
        options["device"] = "cpu"
    kept = {"token": None, "server": Server(), "threads": options["threads"] or (0 if options["gpus_per_actor"] else 1)}
    return settings.model_copy(update=kept)


def weights_on_machine(row: Row, settings: Settings, folder: Path | None) -> str:
    """The identity of the weights where this is called; see `identity.weights_identity`."""
    from locara_label.batch.identity import weights_identity

    return weights_identity(row, settings.store(), folder)


def pair_on_machine(name: str, settings: Settings) -> str:
    """As `weights_on_machine`, for a pair of models."""
    from locara_label.batch.identity import pair_identity

    return pair_identity(name, settings.store())[1]
