"""`locara-label label-studio`: check a Label Studio, pre-label one of its projects and export what was labeled."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.label_studio_access import access_to, connection_options
from locara_label.cli.label_studio_export import export
from locara_label.cli.label_studio_review import review
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, MINI_NOTE, emit, json_option, note
from locara_label.cli.progress_bar import Bar
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.findings import Finding
    from locara_label.hosts.label_studio.batch import Summary
    from locara_label.hosts.label_studio.targets import Options
    from locara_label.models.base import SegmentationModel
    from locara_label.models.grounded import GroundedSam2
    from locara_label.settings import Settings

_MARKS = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}
_FINISHING = "finishing the tasks in work; press Ctrl-C again to stop at once"
_REASONS = {
    "label": "of classes that no label of the project stands for",
    "score": "below the score that the labeling config asks for",
    "area": "smaller than --min-area",
    "number": "beyond --max-regions",
}


@click.group("label-studio")
def label_studio() -> None:
    """Check a Label Studio, pre-label its projects, export and review them."""


label_studio.add_command(export)
label_studio.add_command(review)


@label_studio.command()
@connection_options
@click.option("--project", type=click.IntRange(min=1), help="Check this project too.")
@click.option("--backend", help="Address at which Label Studio is to reach the backend. [default: the connected ones]")
@json_option
def check(url: str | None, api_key: str | None, project: int | None, backend: str | None, *, as_json: bool) -> int:
    """Say what works, and what to do about the rest.

    Nothing is changed. Exits with 1 if there is a problem, with 0 otherwise.
    """
    from locara_label.hosts.label_studio.check import run_checks
    from locara_label.settings import load

    access = access_to(load(), url, api_key)
    with access.connect() as client:
        findings = run_checks(client, access.fetcher(), project, backend)
    problems = sum(finding.status == "problem" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    lines = [*map(_line, findings), f"{problems} problems, {warnings} warnings"]
    emit({"ok": not problems, "checks": [asdict(finding) for finding in findings]}, lines, as_json=as_json)
    return EXIT_FAILED if problems else EXIT_OK


@label_studio.command()
@connection_options
@click.option("--project", type=click.IntRange(min=1), required=True, help="Id of the project.")
@click.option("--model", default="mini", show_default=True, help="A name of `locara-label models list`, or grounded-sam2.")
@click.option("--task", type=click.Choice(["semantic", "instance", "panoptic"]), help="Of the mini model. [default: panoptic]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least score of a region. [default: the model's]")
@click.option("--min-area", type=click.IntRange(min=0), help="Least area of a region in pixels. [default: the setting, 0]")
@click.option("--max-regions", type=click.IntRange(min=1), help="Regions of one task at most. [default: the setting, 100]")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first tasks, by id.")
@click.option("--model-version", help="Name of the predictions in Label Studio. [default: of the model and its weights]")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def prelabel(url: str | None, api_key: str | None, *, progress: bool | None, as_json: bool, **options: Any) -> int:
    """Write a prediction for each task of a project.

    A task that has a prediction of the same model version is left alone, so the same command goes on with a run that was
    interrupted, whatever ended it. Exits with 3 when tasks failed or the run ended early.

    grounded-sam2, or two models such as grounding-dino-tiny+sam2.1-hiera-small, look for the labels of the project by name.
    """
    from locara_label.batch.interrupts import steering
    from locara_label.batch.worker import Control
    from locara_label.hosts.label_studio.batch import prelabel_project
    from locara_label.settings import load

    settings = load()
    access, chosen = access_to(settings, url, api_key), _options(options, settings)
    control, bar = Control(), Bar("tasks", wanted=progress)
    with access.connect() as client:
        model = _load(options, settings)
        with bar, steering(control, on_first=lambda: bar.say(_FINISHING)):
            summary = prelabel_project(client, model, chosen, bar.show, fetcher=access.fetcher(), control=control)
    result = _result(model.name, summary)
    emit(result, _lines(result, summary), as_json=as_json)
    return _exit_code(summary)


def _options(options: dict[str, Any], settings: Settings) -> Options:
    from locara_label.hosts.label_studio.targets import Options
    from locara_label.images import Limits

    version = options["model_version"] or _version(options, settings)
    server = settings.server
    return Options(
        options["project"],
        version,
        threshold=_first(options["threshold"], server.threshold),
        min_area=_first(options["min_area"], server.min_area),
        max_regions=_first(options["max_regions"], server.max_regions),
        tolerance_px=server.polygon_tolerance,
        limit=options["limit"],
        limits=Limits(settings.max_image_bytes, settings.max_pixels),
        deadline_s=settings.deadline_s,
    )


def _version(options: dict[str, Any], settings: Settings) -> str:
    """Says too what the models that need no download are good for."""
    from locara_label.batch.identity import pair_identity, weights_identity
    from locara_label.cli.grounded import note_models
    from locara_label.engine.grounding import is_grounded
    from locara_label.engine.loading import find_row

    if is_grounded(options["model"]):
        note_models(options["model"], "--model", "--model")
        name, identity = pair_identity(options["model"], settings.store())
        return f"{name}-{identity[:8]}"
    row = find_row(options["model"], options["task"])
    if row.task == "matting":
        raise BadOption(f"{row.name} cuts out people; it gives no pre-labels", code="option.task")
    if options["model"] == "mini":
        note(f"note: {MINI_NOTE}")
    return f"{row.name}-{weights_identity(row, settings.store())[:8]}"


def _first(given: Any, setting: Any) -> Any:
    return setting if given is None else given


def _load(options: dict[str, Any], settings: Settings) -> SegmentationModel | GroundedSam2:
    from locara_label.batch.worker import AT_A_TIME
    from locara_label.engine.grounding import is_grounded, load_grounded
    from locara_label.engine.loading import load

    if is_grounded(options["model"]):
        return load_grounded(options["model"], options["device"], settings=settings)

    return load(options["model"], device=options["device"], task=options["task"], settings=settings, at_a_time=AT_A_TIME)


def _line(finding: Finding) -> str:
    line = f"{_MARKS[finding.status]}{finding.name}: {finding.text}"
    return f"{line}\n        -> {finding.remedy}" if finding.remedy else line


def _result(model: str, summary: Summary) -> dict[str, Any]:
    failed = [{"task": item.task, "error": item.error.to_json()} for item in summary.failed]
    return {
        "project": summary.project,
        "model": model,
        "model_version": summary.model_version,
        "complete": summary.is_complete,
        "interrupted": summary.interrupted,
        "stopped": summary.stopped.to_json() if summary.stopped else None,
        "tasks": summary.total,
        "written": summary.written,
        "empty": summary.empty,
        "skipped": summary.skipped,
        "failed": failed,
        "regions": summary.regions,
        "dropped": summary.dropped,
        "unmapped": list(summary.unmapped),
        "seconds": round(summary.seconds, 3),
    }


def _lines(result: dict[str, Any], summary: Summary) -> list[str]:
    got = f"{summary.written} of {summary.total} tasks of project {summary.project} got predictions"
    lines = [f"{got} with {summary.regions} regions by {summary.model_version}, in {summary.seconds:.1f} s"]
    if summary.skipped:
        lines.append(f"{summary.skipped} tasks had one of this version already")
    if summary.empty:
        lines.append(f"{summary.empty} predictions have no region")
    lines += [f"{number} regions {_REASONS[reason]} were left out" for reason, number in summary.dropped.items()]
    if summary.unmapped:
        lines.append(f"{len(summary.unmapped)} classes of {result['model']} have no label: {', '.join(summary.unmapped[:12])}")
    lines += [f"task {item.task}: error [{item.error.code}]: {item.error.message}" for item in summary.failed]
    if summary.stopped:
        lines.append(f"gave up: error [{summary.stopped.code}]: {summary.stopped.message}")
    if not summary.is_complete:
        lines.append("the same command goes on from there")
    return lines


def _exit_code(summary: Summary) -> int:
    if summary.is_complete:
        return EXIT_OK
    done = summary.written + summary.skipped
    return EXIT_PARTIAL if done or summary.interrupted else EXIT_FAILED
