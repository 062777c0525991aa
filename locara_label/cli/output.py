"""What commands print: one JSON object with --json, else lines for people; the rest goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from locara_label.errors import LocaraError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_PARTIAL = 0, 1, 2, 3

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Adds `--json`; the command receives it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")(command)


def emit(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Prints the outcome of a command: `result` for machines or `lines` for people."""
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return
    for line in lines:
        click.echo(line)


def note(text: str) -> None:
    """A line for people on standard error."""
    click.echo(text, err=True)


def report(error: LocaraError) -> None:
    """An error on standard error; with --json anywhere on the command line also as JSON on standard output."""
    note(f"error [{error.code}]: {error.message}")
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": error.to_json()}, ensure_ascii=False))
