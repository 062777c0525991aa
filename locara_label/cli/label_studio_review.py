"""`locara-label label-studio review`: how good the pre-labels were, and what the annotators had to do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.label_studio_access import access_to, connection_options
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, emit, json_option
from locara_label.cli.progress_bar import Bar
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.hosts.label_studio.review import Review, Wanted
    from locara_label.hosts.label_studio.review_rows import Pace, Row, Tables
    from locara_label.hosts.label_studio.review_store import Answer, AnswerStore
    from locara_label.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN = 20
_HEAD = (
    "kept", "edited", "deleted", "added", "answered", "iou", "boundary", "answer-iou", "clicks", "seconds",
)  # fmt: skip


@click.command()
@connection_options
@click.option("--project", type=click.IntRange(min=1), required=True, help="Id of the project.")
@click.option(
    "--pick", type=click.Choice(["ground-truth", "latest", "all"]), default="all", show_default=True,
    help="Annotations of a task: the newest one that is ground truth, else the newest; the newest; all.",
)  # fmt: skip
@click.option("--completed-by", multiple=True, help="Only of this annotator: id or e-mail address. May be repeated.")
@click.option("--label", "labels", multiple=True, help="Only this label. May be repeated.")
@click.option("--model-version", help="Compare with these predictions. [default: with those that each annotation started from]")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first tasks.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots to this file.")
@click.option("--masklets", "store_file", type=_FILE, help="Store with the recorded requests. [default: of the setting data_dir]")
@click.option("--forget", is_flag=True, help="Delete the recorded requests of the project, and do nothing else.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def review(url: str | None, api_key: str | None, *, progress: bool | None, as_json: bool, **options: Any) -> int:
    """Say what people made of the pre-labels of a project, and how many clicks and seconds objects took.

    Annotations and predictions are read through Label Studio's API; nothing is changed there. Clicks and seconds are those
    that the server recorded in its store. Exits with 3 when something could not be read; the rest is counted.
    """
    from locara_label.settings import load

    settings = load()
    if options["forget"]:
        return _forget(settings, options, as_json=as_json)
    _check_page(options["page"])
    access = access_to(settings, url, api_key)
    with ExitStack() as stack, Bar("tasks", wanted=progress) as bar:
        store = _store(settings, options["store_file"], stack)
        answers = store.of_project(options["project"]) if store else ()
        client = stack.enter_context(access.connect())
        found = _review(client, _wanted(options), answers, bar)
    return _tell(found, options["page"], as_json=as_json)


def _review(client: Any, wanted: Wanted, answers: tuple[Answer, ...], bar: Bar) -> Review:
    from locara_label.hosts.label_studio.review import review_project

    return review_project(client, wanted, answers, bar.show)


def _wanted(options: dict[str, Any]) -> Wanted:
    from locara_label.hosts.label_studio.export_tasks import Choice
    from locara_label.hosts.label_studio.review import Wanted

    choice = Choice(options["pick"], frozenset(options["completed_by"]))
    return Wanted(options["project"], choice, frozenset(options["labels"]), options["model_version"], options["limit"])


def _forget(settings: Settings, options: dict[str, Any], *, as_json: bool) -> int:
    if options["page"] is not None:
        raise BadOption("--forget does nothing else; it takes no --html", code="option.forget")
    with ExitStack() as stack:
        store = _store(settings, options["store_file"], stack)
        number = store.remove_project(options["project"]) if store else 0
    said = f"{number} recorded requests of project {options['project']} are deleted"
    emit({"project": options["project"], "forgotten": number}, [said], as_json=as_json)
    return EXIT_OK


def _store(settings: Settings, path: Path | None, stack: ExitStack) -> AnswerStore | None:
    """The store, None where there is no file yet: a review makes none."""
    from locara_label.hosts.label_studio.masklets import MaskletStore, is_stored
    from locara_label.hosts.label_studio.review_store import AnswerStore

    where = path or settings.masklets
    return AnswerStore(stack.enter_context(MaskletStore(where))) if is_stored(where) else None


def _check_page(path: Path | None) -> None:
    """Before everything is read: reading takes minutes."""
    if path is not None and not path.parent.is_dir():
        raise BadOption(f"there is no folder {path.parent}", code="option.html")


def _tell(found: Review, path: Path | None, *, as_json: bool) -> int:
    from locara_label.hosts.label_studio.review_rows import Tables

    tables = Tables.of(found)
    if path is not None:
        _write(path, found, tables)
    emit(_result(found, tables), _lines(found, tables, path), as_json=as_json)
    if found.report.is_complete:
        return EXIT_OK
    return EXIT_PARTIAL if found.annotations else EXIT_FAILED


def _write(path: Path, found: Review, tables: Tables) -> None:
    from locara_label.atomic import atomic_file
    from locara_label.hosts.label_studio.review_page import page

    content = page(found, tables).encode("utf-8", "replace")
    try:
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}", code="option.html") from error


def _result(found: Review, tables: Tables) -> dict[str, Any]:
    report = found.report.to_json()
    return {
        "project": found.project,
        "complete": found.report.is_complete,
        "tasks": report["tasks"],
        **tables.to_json(),
        "requests": {"recorded": found.requests, "failed": found.failed, "objects": found.objects, "unused": found.unused},
        "left_out": report["left_out"],
        "skipped": report["skipped"],
        "problems": report["problems"],
        "annotations": [one.to_json() for one in found.annotations],
        "regions": [one.to_json() for one in found.regions],
    }


def _lines(found: Review, tables: Tables, path: Path | None) -> list[str]:
    from locara_label.hosts.label_studio.review_rows import LEFT_OUT

    compared = sum(one.version is not None for one in found.annotations)
    lines = [f"project {found.project}: {len(found.annotations)} annotations, {compared} of them with a pre-label"]
    if found.regions:
        lines += _table("", [tables.total]) + _table("label", tables.labels)
        lines += _table("model version", tables.versions) + _table("annotator", tables.annotators)
    lines += [_paced(one) for one in tables.paces if one.timed]
    lines += _requests(found) + _doubt(tables.doubt)
    report = found.report.to_json()
    lines += [f"left out: {count} {LEFT_OUT[code]} [{code}]" for code, count in report["left_out"].items()]
    lines += [f"{one.place}: error [{one.code}]: {one.message}" for one in found.report.examples[:_SHOWN]]
    lost = sum(found.report.lost.values())
    lines += [f"{lost} things could not be read"] if lost else []
    return lines + ([f"the page is {path}"] if path is not None else [])


def _table(name: str, rows: tuple[Row, ...] | list[Row]) -> list[str]:
    """Columns as wide as their widest cell, after an empty line; names on the left, numbers on the right."""
    cells = [[name or "all", *_HEAD], *([one.name or ("all" if not name else "(none)"), *_cells(one)] for one in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    aligned = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in cells
    ]
    return ["", *("  ".join(row) for row in aligned)]


def _cells(one: Row) -> list[str]:
    counts = [one.kept, one.edited, one.deleted, one.added, one.answered]
    digits = [(one.iou, 3), (one.boundary_px, 2), (one.answer_iou, 3), (one.clicks, 2), (one.seconds, 1)]
    return [*map(str, counts), *("-" if value is None else f"{value:.{places}f}" for value, places in digits)]


def _paced(one: Pace) -> str:
    each = "" if one.object_s is None else f", {one.object_s:.1f} s an object"
    by = one.annotator or "(none)"
    made = f"annotator {by}: {one.annotations} annotations, {one.objects} objects"
    return f"{made}; by the clock of Label Studio {one.annotation_s:.1f} s an annotation{each}"


def _requests(found: Review) -> list[str]:
    if not found.requests:
        return ["no request was recorded: clicks and seconds are not known"]
    said = f"{found.requests} requests were recorded, {found.failed} of them without an answer"
    return [f"{said}; {found.unused} of {found.objects} objects that were shown on these tasks are in no annotation"]


def _doubt(value: float | None) -> list[str]:
    told = "" if value is None else f"scores of predictions against how well they agree: rank correlation {value:.2f}"
    return [told] if told else []
