"""`locara-label prelabel`: many pictures to a data set of pre-labels."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, MINI_NOTE, emit, json_option, note
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.batch.job import Job, Summary
    from locara_label.batch.worker import ModelSource
    from locara_label.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", metavar="SRC")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the data sets.")
@click.option("--model", default="mini", show_default=True, help="A name of `locara-label models list`.")
@click.option("--task", type=click.Choice(["semantic", "instance", "panoptic"]), help="Of the mini model. [default: panoptic]")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with the model's files.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--threads", type=click.IntRange(min=0), help="Threads of a model run; 0 chooses. [default: the setting, 0]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least score of an instance. [default: the model's]")
@click.option("--labels", "map_file", type=_FILE, help="TOML file that maps the model's labels to yours.")
@click.option(
    "--format", "formats", multiple=True, default=["coco"], show_default=True, help="May be repeated.",
    type=click.Choice(["coco", "panoptic", "semantic"]),
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first pictures, by name.")
@click.option("--new/--resume", default=False, help="Start afresh, or go on with the job in the folder. [default: resume]")
@click.option("--retry-failed", is_flag=True, help="Try pictures again that failed before.")
@click.option("--max-errors", type=click.IntRange(min=0), help="Give up when more pictures fail. [default: never]")
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="PNG of the first 16 pictures with their masks.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def prelabel(source: str, formats: tuple[str, ...], sheet: Path | None, *, as_json: bool, **options: Any) -> int:
    """Pre-label the pictures of SRC into a data set.

    SRC is a folder, a quoted pattern, a .txt file with one path a line, - for such lines on standard input, or a picture.
    The same command goes on with a job that was interrupted, whatever ended it. Exits with 3 when pictures failed or the job was
    interrupted.
    """
    from locara_label.batch import job as jobs
    from locara_label.batch.interrupts import steering
    from locara_label.batch.worker import Control

    _check_sheet(sheet, options["out"])
    job = _job(source, formats, sheet, options)
    bar = _Bar(len(job.plan.items), shown=_is_shown(options["progress"]))
    job = replace(job, progress=bar.start, control=Control(tick=bar.advance))
    with bar, steering(job.control, on_first=lambda: bar.say(_FINISHING)):
        summary = jobs.run(job)
    drawn = _draw(job, summary, sheet)
    result = _result(job, summary, drawn)
    emit(result, _lines(job, summary, result), as_json=as_json)
    return _exit_code(summary)


_FINISHING = "finishing the pictures in work; press Ctrl-C again to stop at once"


def _check_sheet(sheet: Path | None, out: Path) -> None:
    if sheet is None:
        return
    parent = sheet.absolute().parent
    if sheet.suffix.lower() != ".png" or not (parent.is_dir() or parent == out.absolute()):
        raise BadOption(f"--sheet names a .png file in --out or in a folder that is there, got {sheet}", code="option.sheet")


def _job(source: str, formats: tuple[str, ...], sheet: Path | None, options: dict[str, Any]) -> Job:
    from locara_label.batch import inputs, labels
    from locara_label.batch.identity import weights_identity
    from locara_label.batch.job import Job
    from locara_label.batch.plan import Plan
    from locara_label.engine.loading import find_row
    from locara_label.images import Limits
    from locara_label.settings import load

    settings = load(**({} if options["threads"] is None else {"threads": options["threads"]}))
    row = find_row(options["model"], options["task"])
    if row.task == "matting":
        raise BadOption(f"{row.name} cuts out people; it gives no pre-labels", code="option.task")
    out: Path = options["out"]
    label_map = labels.read_map(options["map_file"]) if options["map_file"] else None
    found = inputs.find(source, [out, *([sheet] if sheet else [])])
    weights = weights_identity(row, settings.store(), options["weights"])
    if options["model"] == "mini":
        note(f"note: {MINI_NOTE}")
    return Job(
        plan=Plan(row.name, weights, row.task, options["threshold"], found.items[: options["limit"]]),
        root=found.root,
        folder=out,
        source=_model_source(options, settings),
        label_map=label_map,
        formats=formats,
        new=options["new"],
        retry_failed=options["retry_failed"],
        max_errors=options["max_errors"],
        limits=Limits(settings.max_image_bytes, settings.max_pixels),
        deadline_s=settings.deadline_s,
    )


def _model_source(options: dict[str, Any], settings: Settings) -> ModelSource:
    from locara_label.batch.worker import AT_A_TIME, ModelSource
    from locara_label.engine.loading import load

    name, weights, device, task = (options[key] for key in ("model", "weights", "device", "task"))
    return ModelSource(partial(load, name, weights, device, task=task, settings=settings, at_a_time=AT_A_TIME))


def _is_shown(progress: bool | None) -> bool:
    return sys.stderr.isatty() if progress is None else progress


class _Bar:
    """Pictures done, rate and time left, on standard error."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._shown = total, shown
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, done: int) -> None:
        if not self._shown:
            return
        from tqdm import tqdm

        self._bar = tqdm(total=self._total, initial=done, unit="pictures", file=sys.stderr, dynamic_ncols=True)

    def advance(self) -> None:
        if self._bar is None:
            return
        self._bar.update()
        if self._bar.n >= self._total:  # or its clock would go on while the data sets are written
            self._bar.close()

    def say(self, text: str) -> None:
        if self._bar is None:
            note(text)
        else:
            self._bar.write(text, file=sys.stderr)


def _draw(job: Job, summary: Summary, path: Path | None) -> int:
    from locara_label.batch import sheet

    if path is None or not summary.is_complete:
        return 0
    return sheet.write(path, summary.merge, job.root, job.limits)


def _result(job: Job, summary: Summary, drawn: int) -> dict[str, Any]:
    from locara_label.batch.outputs import paths

    folder, plan, counts = summary.merge.folder, summary.merge.plan, summary.counts
    files = [str(path) for path in paths(folder, job.formats)] if counts else []
    return {
        "out": str(folder.root),
        "model": plan.model,
        "task": plan.task,
        "complete": summary.is_complete,
        "pictures": len(plan.items),
        "done": summary.done,
        "ran": summary.ran,
        "labelled": counts.pictures if counts else None,
        "failed": counts.failed if counts else None,
        "instances": counts.instances if counts else None,
        "dropped": counts.dropped if counts else None,
        "seconds": round(summary.seconds, 3),
        "pictures_per_s": round(summary.ran / summary.seconds, 3) if summary.ran else None,
        "files": files,
        "failures": str(folder.failures) if counts and counts.failed else None,
        "on_sheet": drawn,
    }


def _lines(job: Job, summary: Summary, result: dict[str, Any]) -> list[str]:
    counts = summary.counts
    if counts is None:
        command = "the same command without --new" if job.new else "the same command"
        return [f"interrupted after {summary.done} of {result['pictures']} pictures; {command} goes on from there"]
    lines = [f"{counts.pictures} pictures, {counts.instances} instances by {result['model']}: {', '.join(result['files'])}"]
    if summary.ran:
        lines.append(f"{summary.ran} pictures in {summary.seconds:.1f} s, {result['pictures_per_s']:.2f} a second")
    if counts.dropped:
        lines.append(f"{counts.dropped} instances of labels that the label map leaves out were dropped")
    if counts.failed:
        lines += [f"{failed.file_name}: error [{failed.error.code}]: {failed.error.message}" for failed in counts.examples]
        lines.append(f"{counts.failed} pictures failed, see {result['failures']}; --retry-failed tries them again")
    return lines


def _exit_code(summary: Summary) -> int:
    if summary.counts is None:
        return EXIT_PARTIAL
    if not summary.counts.failed:
        return EXIT_OK
    return EXIT_PARTIAL if summary.counts.pictures else EXIT_FAILED
