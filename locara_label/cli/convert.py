"""`locara-label convert`: masklets from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, emit, json_option
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.datasets.convert import Report

_FORMAT = click.Choice(["coco-frames", "mots", "sa-v", "youtube-vis"])


@click.command()
@click.argument("source", metavar="IN", type=click.Path(exists=True, path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path), required=False)
@click.option("--from", "from_format", type=_FORMAT, required=True, help="Format of IN.")
@click.option("--to", "to_format", type=_FORMAT, help="Format of OUT.")
@click.option("--check", "check_only", is_flag=True, help="Read and verify all of IN and write nothing.")
@json_option
def convert(source: Path, out: Path | None, from_format: str, to_format: str | None, *, check_only: bool, as_json: bool) -> int:
    """Convert the masklets of IN into OUT, exact to the pixel.

    Every mask is verified. OUT appears whole or not at all, and what its format cannot keep is listed. SA-V and MOTS have one
    file per video: IN may be a file or a folder of them; OUT is a file when it ends with .json or .txt, else a new folder.

    With --check, every video that is wrong is named; add --to to see what that format could not keep. Exits with 1 if any is.
    """
    from locara_label.datasets.convert import convert as run
    from locara_label.datasets.convert import verify

    if check_only:
        report = verify(source, from_format, to_format)
    else:
        report = run(source, _checked(source, out), from_format, _named(to_format))
    result = {"file": str(source), "from": from_format, "to": to_format, "out": None if check_only else str(out)}
    emit({**result, **report.to_json()}, _lines(source, None if check_only else out, report), as_json=as_json)
    return EXIT_FAILED if report.problems else EXIT_OK


def _checked(source: Path, out: Path | None) -> Path:
    if out is None:
        raise BadOption("OUT is missing; only --check goes without", code="option.out")
    if not out.absolute().parent.is_dir():
        raise BadOption(f"the folder of {out} is not there", code="option.out")
    if out.exists() and out.samefile(source):
        raise BadOption(f"OUT is IN itself, {source}", code="option.out")
    return out


def _named(to_format: str | None) -> str:
    if to_format is None:
        raise BadOption("--to is missing; only --check goes without", code="option.format")
    return to_format


def _lines(source: Path, out: Path | None, report: Report) -> list[str]:
    counts: dict[str, Any] = vars(report.counts)
    found = ", ".join(f"{count} {what}" for what, count in counts.items())
    lines = [f"{out or source}: {found}"]
    lines += [f"note: {note['count']} {note['what']} [{note['code']}]" for note in report.notes.to_json()]
    return [*map(str, report.problems), *lines]
