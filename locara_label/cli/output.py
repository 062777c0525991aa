"""What commands print: one JSON object with --json, else lines for people; the rest goes to standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from locara_label.errors import BadOption, LocaraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_PARTIAL = 0, 1, 2, 3

MINI = "the mini model answers: it ships with locara-label, was trained on generated scenes, and knows nothing of real photos; "
MINI_NOTE = f"{MINI}for those run `locara-label models pull mask2former-swin-tiny-coco-panoptic` and name that model with --model"

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Adds `--json`; the command receives it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")(command)


def emit(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Prints the outcome of a command: `result` for machines or `lines` for people."""
    if as_json:
        click.echo(_printable(json.dumps(result, ensure_ascii=False, allow_nan=False)))
        return
    for line in lines:
        click.echo(_printable(line))


def region_lines(file: str, regions: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """What was found in a picture, for people: names, each with the `score`, `area` and `bbox` of a COCO annotation."""
    lines = [
        f"{file}: {name}, score {found['score']:.2f}, area {found['area']} px, "
        f"box x {found['bbox'][0]:g} y {found['bbox'][1]:g} w {found['bbox'][2]:g} h {found['bbox'][3]:g}"
        for name, found in regions
    ]
    return lines or [f"{file}: nothing found"]


def note(text: str) -> None:
    """A line for people on standard error."""
    click.echo(_printable(text), err=True)


def report(error: LocaraError, *, as_json: bool) -> None:
    """An error on standard error; with `as_json` also as JSON on standard output."""
    note(f"error [{error.code}]: {error.message}")
    if as_json:
        emit({"error": error.to_json()}, (), as_json=True)


def write_picture(path: Path, array: NDArray[np.uint8]) -> None:
    """Writes a PNG that appears whole or not at all.

    Raises:
        BadOption: with code `option.out`, if there is no way to write there.
    """
    from locara_label import images

    try:
        images.write_png(path, array)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}", code="option.out") from error


def _printable(text: str) -> str:
    """File names need not be Unicode; what is not becomes an escape, which JSON reads as the same name."""
    return text.encode("utf-8", "backslashreplace").decode()
