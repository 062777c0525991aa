"""`locara-label prelabel`: many pictures to a data set of pre-labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, MINI_NOTE, emit, json_option, note
from locara_label.cli.prelabel_runner import cluster_of, pair_on_machine, runner_options, running, settings_of, weights_on_machine
from locara_label.cli.progress_bar import Bar
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.batch.buckets import Place
    from locara_label.batch.job import Job, Summary
    from locara_label.batch.labels import LabelMap
    from locara_label.batch.plan import Plan
    from locara_label.batch.worker import ModelSource
    from locara_label.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", metavar="SRC")
@click.option("--out", required=True, help="Folder of the data sets, or its address, s3://bucket/folder.")
@click.option("--model", default="mini", show_default=True, help="A name of `locara-label models list`, or grounded-sam2.")
@click.option("--prompt", help='For grounded-sam2: what to look for, "red car . person". [default: what --labels names]')
@click.option("--task", type=click.Choice(["semantic", "instance", "panoptic"]), help="Of the mini model. [default: panoptic]")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with the model's files.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--threads", type=click.IntRange(min=0), help="Threads of a model run; 0 chooses. [default: the setting, 0]")
@click.option(
    "--threshold", "--box-threshold", "threshold", type=click.FloatRange(0, 1),
    help="Least score of an instance. [default: the model's]",
)  # fmt: skip
@click.option("--text-threshold", type=click.FloatRange(0, 1), help="For grounded-sam2: least score of a word.")
@click.option("--labels", "map_file", type=_FILE, help="TOML file that maps the model's labels to yours.")
@click.option(
    "--format", "formats", multiple=True, default=["coco"], show_default=True, help="May be repeated.",
    type=click.Choice(["coco", "panoptic", "semantic"]),
)  # fmt: skip
@click.option("--shard-size", type=click.IntRange(1, 100_000), default=16, show_default=True, help="Pictures in a shard.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first pictures, by name.")
@click.option("--new/--resume", default=False, help="Start afresh, or go on with the job in the folder. [default: resume]")
@click.option("--retry-failed", is_flag=True, help="Try pictures again that failed before.")
@click.option("--max-errors", type=click.IntRange(min=0), help="Give up when more pictures fail. [default: never]")
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="PNG of the first 16 pictures with their masks.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@runner_options
@json_option
def prelabel(source: str, formats: tuple[str, ...], sheet: Path | None, *, as_json: bool, **options: Any) -> int:
    """Pre-label the pictures of SRC into a data set.

    SRC is a folder, a quoted pattern, a .txt file with one path a line, - for such lines on standard input, a picture, or the
    address of a folder of an object store, such as s3://bucket/folder.
    The same command goes on with a job that was interrupted, whatever ended it. Exits with 3 when pictures failed or the job was
    interrupted.
    """
    from locara_label.batch import job as jobs
    from locara_label.batch.interrupts import steering
    from locara_label.batch.worker import Control

    cluster = cluster_of(options)
    options["out"] = _folder(options["out"])
    _check_sheet(sheet, options["out"])
    job = _job(source, formats, sheet, options)
    bar = Bar("pictures", len(job.plan.items), wanted=options["progress"])
    job = replace(job, progress=bar.show, control=Control(tick=bar.advance))
    with bar, running(cluster, bar.say) as (workers, describe), steering(job.control, on_first=lambda: bar.say(_FINISHING)):
        summary = jobs.run(job, workers, describe)
    drawn = _draw(job, summary, sheet)
    result = _result(job, summary, drawn)
    emit(result, _lines(job, summary, result), as_json=as_json)
    return _exit_code(summary)


_FINISHING = "finishing the pictures in work; press Ctrl-C again to stop at once"


def _folder(text: str) -> Place:
    from locara_label.batch.buckets import place

    found = place(text)
    if isinstance(found, Path) and found.is_file():
        raise BadOption(f"--out names a folder, and {found} is a file", code="option.out")
    return found


def _check_sheet(sheet: Path | None, out: Place) -> None:
    if sheet is None:
        return
    parent = sheet.absolute().parent
    is_out = isinstance(out, Path) and parent == out.absolute()
    if sheet.suffix.lower() != ".png" or not (parent.is_dir() or is_out):
        raise BadOption(f"--sheet names a .png file in --out or in a folder that is there, got {sheet}", code="option.sheet")


def _job(source: str, formats: tuple[str, ...], sheet: Path | None, options: dict[str, Any]) -> Job:
    from locara_label.batch import inputs, labels
    from locara_label.batch.job import Job
    from locara_label.images import Limits
    from locara_label.settings import load

    settings = settings_of(options, load(**({} if options["threads"] is None else {"threads": options["threads"]})))
    label_map = labels.read_map(options["map_file"]) if options["map_file"] else None
    plan, model, label_map = _chosen(options, settings, label_map)
    out: Place = options["out"]
    found = inputs.find(source, [out, *([sheet] if sheet else [])])
    return Job(
        plan=replace(plan, items=found.items[: options["limit"]], shard_size=options["shard_size"]),
        root=found.root,
        folder=out.absolute() if isinstance(out, Path) and options["runner"] == "ray" else out,
        source=model,
        label_map=label_map,
        formats=formats,
        new=options["new"],
        retry_failed=options["retry_failed"],
        max_errors=options["max_errors"],
        limits=Limits(settings.max_image_bytes, settings.max_pixels),
        deadline_s=settings.deadline_s,
    )


def _chosen(options: dict[str, Any], settings: Settings, label_map: LabelMap | None) -> tuple[Plan, ModelSource, LabelMap | None]:
    """The plan without its pictures, the model, and the map from its labels."""
    from locara_label.batch.identity import weights_identity
    from locara_label.batch.plan import Plan
    from locara_label.engine.grounding import is_grounded
    from locara_label.engine.loading import KINDS, find_row

    if is_grounded(options["model"]):
        return _grounded(options, settings, label_map)
    if options["prompt"] is not None or options["text_threshold"] is not None:
        raise BadOption(f"{options['model']} reads no text; --prompt goes with grounded-sam2", code="option.prompt")
    row = find_row(options["model"], options["task"])
    if row.task == "matting" or row.task in KINDS:
        does = "cuts out people" if row.task == "matting" else KINDS[row.task][0]
        raise BadOption(f"{row.name} {does}; it gives no pre-labels", code="option.task")
    weights = weights_identity(row, settings.store(), options["weights"])
    if options["model"] == "mini":
        note(f"note: {MINI_NOTE}")
    source = _model_source(options, settings)
    source.identity = partial(weights_on_machine, row, settings, options["weights"])
    return Plan(row.name, weights, row.task, options["threshold"], ()), source, label_map


def _grounded(
    options: dict[str, Any], settings: Settings, label_map: LabelMap | None
) -> tuple[Plan, ModelSource, LabelMap | None]:
    """As `_chosen`, for a pair of models that is asked in words: its labels are the phrases."""
    from locara_label.batch.identity import pair_identity
    from locara_label.batch.phrases import asked
    from locara_label.batch.plan import Plan
    from locara_label.batch.worker import ModelSource
    from locara_label.cli.grounded import note_models, note_unasked
    from locara_label.engine.grounding import load_labelled

    if options["weights"] is not None or options["task"] not in (None, "instance"):
        raise BadOption(f"{options['model']} takes no --weights and no other --task than instance", code="option.task")
    sought = asked(options["prompt"], label_map)
    model, weights = pair_identity(options["model"], settings.store())
    note_models(model, "--model TEXT+MASKS", "--model TEXT+MASKS")
    note_unasked(sought)
    least, word = options["threshold"], options["text_threshold"]
    load = partial(load_labelled, model, sought.phrases, word, options["device"], settings=settings)
    plan = Plan(model, weights, "instance", least, (), prompt=sought.prompt, text_threshold=word)
    return plan, ModelSource(load, partial(pair_on_machine, model, settings)), sought.label_map


def _model_source(options: dict[str, Any], settings: Settings) -> ModelSource:
    from locara_label.batch.worker import AT_A_TIME, ModelSource
    from locara_label.engine.loading import load

    name, weights, device, task = (options[key] for key in ("model", "weights", "device", "task"))
    return ModelSource(partial(load, name, weights, device, task=task, settings=settings, at_a_time=AT_A_TIME))


def _draw(job: Job, summary: Summary, path: Path | None) -> int:
    from locara_label.batch import sheet

    if path is None or not summary.is_complete:
        return 0
    return sheet.write(path, summary.merge, job.root, job.limits)


def _result(job: Job, summary: Summary, drawn: int) -> dict[str, Any]:
    from locara_label.batch.outputs import paths

    folder, plan, counts = summary.merge.folder, summary.merge.plan, summary.counts
    files = [folder.shown(path) for path in paths(folder, job.formats)] if counts else []
    return {
        "out": str(job.folder),
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
        "failures": folder.shown(folder.failures) if counts and counts.failed else None,
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
