"""`locara-label config`: the settings as they apply here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from locara_label.cli.output import emit, json_option


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show the effective settings; secrets are masked.

    A flag outranks the environment (LOCARA_...), that outranks the file (locara.toml, or what LOCARA_CONFIG names), that the
    default.
    """
    from locara_label.settings import config_file, load

    settings = load()
    values = settings.model_dump(mode="json")
    file = str(config_file().absolute()) if config_file().is_file() else None
    emit({"file": file, "settings": values}, [f"# {file or 'no locara.toml'}", *_lines(values)], as_json=as_json)


def _lines(values: dict[str, Any]) -> Iterator[str]:
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    yield from (f"{name} = {value!r}" for name, value in values.items() if name not in tables)
    for name, table in tables.items():
        yield from ("", f"[{name}]")
        yield from (f"{key} = {value!r}" for key, value in table.items())
