"""`locara-label coco`: look after COCO files."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, emit, json_option

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def coco() -> None:
    """Check COCO files."""


@coco.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--images", "images_root", type=_FOLDER, help="Folder of the pictures: they must be there, in the sizes of FILE.")
@click.option("--masks", "png_folder", type=_FOLDER, help="Folder of panoptic PNGs. [default: FILE without .json]")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Stop after this many problems.")
@json_option
def check_file(file: Path, images_root: Path | None, png_folder: Path | None, limit: int, *, as_json: bool) -> int:
    """Say what is wrong with a COCO instance or panoptic FILE, by id. Exits with 0 when nothing is and with 1 otherwise."""
    from locara_label.datasets.check import problems

    found = problems(file, images_root, png_folder=png_folder)
    shown = list(islice(found, limit))
    more = len(shown) == limit and next(found, None) is not None
    result = {"file": str(file), "clean": not shown, "problems": [problem.to_json() for problem in shown], "more": more}
    emit(result, [*map(str, shown), _summary(file, len(shown), more=more)], as_json=as_json)
    return EXIT_FAILED if shown else EXIT_OK


def _summary(file: Path, count: int, *, more: bool) -> str:
    if not count:
        return f"{file}: clean"
    return f"{file}: {count} problem{'s' if count > 1 else ''}{' and more; raise --limit to see them' if more else ''}"
