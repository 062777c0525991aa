"""`locara-label models`: list, pull, verify, find and remove model weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, emit, json_option, note
from locara_label.errors import LocaraError
from locara_label.weights.catalogue import Row, find, rows

if TYPE_CHECKING:
    from locara_label.weights.store import Progress, Store


@click.group()
def models() -> None:
    """List, pull, verify and remove model weights."""


@models.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """Show every known model with its licence, size and state."""
    store = _store()
    described = [_describe(store, row) for row in rows()]
    emit({"models": described}, _table(described), as_json=as_json)


@models.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--accept-licence", is_flag=True, help="I have read the licence of these weights and agree to it.")
@click.option("--progress/--no-progress", default=None, help="Show progress bars; by default on a terminal only.")
@json_option
def pull(names: tuple[str, ...], accept_licence: bool, progress: bool | None, as_json: bool) -> int:
    """Download models; continues what was interrupted."""
    store, shown = _store(), sys.stderr.isatty() if progress is None else progress

    def one(row: Row) -> dict[str, Any]:
        if row.licence.must_accept and accept_licence:
            note(f"{row.name}: accepted {row.licence.name}, {row.licence.url}")
        with _bar(row, shown=shown) as report:
            folder = store.pull(row, accept_licence=accept_licence, progress=report)
        return {"name": row.name, "ok": True, "folder": str(folder), "licence": row.licence.id}

    return _each(names, one, lambda result: f"{result['name']}: {result['folder']}", as_json=as_json)


@models.command()
@click.argument("names", nargs=-1)
@json_option
def verify(names: tuple[str, ...], as_json: bool) -> int:
    """Hash the files of models again; without NAMES of every downloaded one."""
    store = _store()

    def one(row: Row) -> dict[str, Any]:
        report = store.verify(row)
        return {"name": row.name, "ok": report.is_sound, "files": report.files, "problems": list(report.problems)}

    chosen = names or tuple(row.name for row in rows() if store.is_downloaded(row))
    if not chosen:
        note("no model is downloaded")
    return _each(chosen, one, _verdict, as_json=as_json)


@models.command()
@click.argument("name")
@json_option
def path(name: str, as_json: bool) -> None:
    """Print the folder of a downloaded model."""
    folder = _store().folder(find(name))
    emit({"name": name, "folder": str(folder)}, [str(folder)], as_json=as_json)


@models.command()
@click.argument("names", nargs=-1, required=True)
@json_option
def remove(names: tuple[str, ...], as_json: bool) -> int:
    """Delete downloaded models."""
    store = _store()

    def one(row: Row) -> dict[str, Any]:
        return {"name": row.name, "ok": True, "freed_bytes": store.remove(row)}

    return _each(names, one, lambda result: f"{result['name']}: freed {_megabytes(result['freed_bytes'])}", as_json=as_json)


def _store() -> Store:
    from locara_label.settings import load

    return load().store()


def _each(
    names: tuple[str, ...], one: Callable[[Row], dict[str, Any]], line: Callable[[dict[str, Any]], str], *, as_json: bool
) -> int:
    """Does one thing for each name; a failure is told and does not stop the others, unless it is the only name."""
    results = [one(find(names[0]))] if len(names) == 1 else [_guarded(name, one) for name in names]
    emit({"models": results}, (line(result) for result in results if "error" not in result), as_json=as_json)
    done = sum(result["ok"] for result in results)
    return EXIT_OK if done == len(results) else EXIT_PARTIAL if done else EXIT_FAILED


def _guarded(name: str, one: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    try:
        return one(find(name))
    except LocaraError as error:
        note(f"{name}: error [{error.code}]: {error.message}")
        return {"name": name, "ok": False, "error": error.to_json()}


def _verdict(result: dict[str, Any]) -> str:
    if result["ok"]:
        return f"{result['name']}: {result['files']} files, all as downloaded"
    return "\n".join(f"{result['name']}: {problem}" for problem in result["problems"])


def _describe(store: Store, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "family": row.family,
        "task": row.task,
        "licence": {"id": row.licence.id, "name": row.licence.name, "url": row.licence.url},
        "must_accept": row.licence.must_accept,
        "about_bytes": row.about_bytes,
        "bundled": row.bundled is not None,
        **store.state(row).to_json(),
    }


def _table(described: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(entry["name"]) for entry in described)
    yield f"{'NAME':{width}}  {'TASK':8}  {'LICENCE':18}  {'SIZE':>8}  STATE"
    for entry in described:
        size = "shipped" if entry["bundled"] else _megabytes(entry["about_bytes"])
        licence = entry["licence"]["id"]
        yield f"{entry['name']:{width}}  {entry['task']:8}  {licence:18}  {size:>8}  {_state(entry)}"


def _state(entry: dict[str, Any]) -> str:
    from locara_label.weights.states import State

    return str(State(entry["state"], entry["fraction"], entry["reason"], entry["retry"]))


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"


@contextmanager
def _bar(row: Row, *, shown: bool) -> Iterator[Callable[[Progress], None] | None]:
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=row.name, unit="B", unit_scale=True, unit_divisor=1000, file=sys.stderr, disable=False) as bar:

        def report(progress: Progress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        yield report
