"""`locara-label label-config`: labeling configs for Label Studio that behave."""

from __future__ import annotations

import click

from locara_label.cli.output import EXIT_OK, emit, json_option


@click.command("label-config")
@click.argument("kind", required=False)
@click.option("--label", "labels", multiple=True, help="A label in place of the examples; may be repeated.")
@json_option
def label_config(kind: str | None, labels: tuple[str, ...], *, as_json: bool) -> int:
    """Print the labeling config of a KIND, to be pasted into a project; without one, name the kinds."""
    from locara_label.hosts.label_studio.ready import DESCRIPTIONS, kinds, labeling_config

    if kind is None:
        emit({"kinds": kinds()}, [f"{name:14} {DESCRIPTIONS[name]}" for name in kinds()], as_json=as_json)
        return EXIT_OK
    config = labeling_config(kind, labels)
    emit({"kind": kind, "config": config}, [config.rstrip("\n")], as_json=as_json)
    return EXIT_OK
