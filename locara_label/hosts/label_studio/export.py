"""Annotations of a Label Studio project as a data set: masks exact to the pixel, verified, nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from locara_label.datasets.masklets import MaskletVideo
from locara_label.datasets.records import CocoImage
from locara_label.datasets.video_files import refuse_filled
from locara_label.errors import BadOption, InputError, LocaraError
from locara_label.hosts.label_studio import export_sinks as sinks
from locara_label.hosts.label_studio.config import LabelingConfig
from locara_label.hosts.label_studio.export_labels import Layout, layout
from locara_label.hosts.label_studio.export_pictures import Measure, PictureReader, Shot
from locara_label.hosts.label_studio.export_report import Report
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, Choice, FileTasks, LostTask, Tasks
from locara_label.hosts.label_studio.export_videos import Sources, VideoReader

__all__ = ["Options", "export", "export_videos"]


@dataclass(frozen=True)
class Options:
    """What to export and how.

    Attributes:
        format: one of `export_sinks.FORMATS`.
        out: a file, or for "semantic", "sa-v" and "mots" a new folder.
        choice: which annotations of a task.
        labels: take only these; empty for all.
        empty: pictures without a mask are written too.
        verify: compare the size of every picture with that of its masks.
        info: for the data set, plain JSON.

    Raises:
        BadOption: codes option.format and option.out.
        BadDataset: code dataset.exists; the folder to be made has something in it.
    """

    format: str
    out: Path
    choice: Choice = field(default_factory=Choice)
    labels: tuple[str, ...] = ()
    empty: bool = True
    verify: bool = False
    info: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.format not in sinks.FORMATS:
            raise BadOption(f"a format is one of {', '.join(sinks.FORMATS)}, got {self.format!r:.80}", code="option.format")
        if not self.out.name or not self.out.absolute().parent.is_dir():
            raise BadOption(f"the folder of {self.out} is not there", code="option.out")
        if self.is_folder:
            refuse_filled(self.out)
        elif self.out.is_dir():
            raise BadOption(f"{self.out} is a folder; {self.format} writes a file", code="option.out")
        if self.format == "panoptic":
            self._check_panoptic()

    def _check_panoptic(self) -> None:
        if self.out.suffix != ".json":
            raise BadOption(f"panoptic writes a .json file and a folder beside it, got {self.out}", code="option.out")
        refuse_filled(self.out.with_suffix(""))

    @property
    def is_video(self) -> bool:
        return self.format in sinks.VIDEO_FORMATS

    @property
    def is_folder(self) -> bool:
        suffix = {"sa-v": ".json", "mots": ".txt"}.get(self.format)
        return self.format == "semantic" or (suffix is not None and self.out.suffix != suffix)


Progress = Callable[[int], None]


def export(
    tasks: Tasks, config: LabelingConfig | None, options: Options, measure: Measure, progress: Progress = lambda _: None
) -> Report:
    """Writes a data set of pictures; one bad task or region is told in the report and costs no other.

    Args:
        tasks: of one project, by the API or from a file.
        config: of the project; None takes labels as the regions have them.
        options: what and how.
        measure: tells the size of a picture without a mask.
        progress: told after each task how many are done.

    Raises:
        BadOption, BadRequest: see `export_labels.layout`.
        BadDataset: the tasks cannot be read, or what was written is unsound (`export.unsound`); then nothing is written.
        FetchFailed: Label Studio cannot be asked any more; nothing is written.
    """
    found = layout(config, "image", tasks, options.labels)
    report = Report()
    reader = PictureReader(found, report, measure, empty=options.empty, verify=options.verify)
    numbered = numbered_by_task(tasks, found)
    with (
        sinks.staged(options.out, found.categories, options.info, report) as stage,
        sinks.pictures(options.format, stage) as add,
    ):
        for number, task in enumerate(tasks, 1):
            for shot in _shots(task, options, reader, report):
                _add(shot, add, report, shot.task if numbered else None)
            progress(number)
    return report


def export_videos(
    tasks: Tasks,
    config: LabelingConfig | None,
    options: Options,
    sources: Sources,
    progress: Progress = lambda _: None,
) -> Report:
    """As `export`, for masklets of video tasks; `sources` says where masks come from.

    Raises:
        StoreFailed: the store of masklets cannot be read; nothing is written.
    """
    found = layout(config, "video", tasks, options.labels)
    report = Report()
    reader = VideoReader(found, report, sources, empty=options.empty)
    numbered = numbered_by_task(tasks, found)
    with (
        sinks.staged(options.out, found.categories, options.info, report) as stage,
        sinks.videos(options.format, stage) as add,
    ):
        for number, task in enumerate(tasks, 1):
            meant = picked(task, options.choice, report)
            for video in reader.read(*meant) if meant is not None else ():
                _add_video(video if numbered else replace(video, id=None), add, report)
            progress(number)
    return report


def _add_video(video: MaskletVideo, add: sinks.AddVideo, report: Report) -> None:
    try:
        add(video)
    except InputError as error:
        report.lose(f"video {video.name:.100}", error)
        return
    report.pictures += 1
    report.masklets += len(video.masklets)
    report.masks += sum(masklet.present for masklet in video.masklets)


def _shots(task: AnnotatedTask | LostTask, options: Options, reader: PictureReader, report: Report) -> list[Shot]:
    meant = picked(task, options.choice, report)
    return list(reader.read(*meant)) if meant is not None else []


def picked(
    task: AnnotatedTask | LostTask, choice: Choice, report: Report
) -> tuple[AnnotatedTask, tuple[Mapping[str, Any], ...]] | None:
    """A task with its annotations that are meant, None where there is none; told to the report."""
    report.tasks += 1
    if isinstance(task, LostTask):
        report.lose(task.place, task.error)
        return None
    annotations, left = choice.of(task)
    report.left_out.update(left)
    report.annotations += len(annotations)
    report.left_out["task.unannotated"] += not annotations
    return (task, annotations) if annotations else None


def _add(shot: Shot, add: sinks.AddShot, report: Report, number: int | None) -> None:
    height, width = shot.size
    try:
        add(CocoImage(shot.file_name, width, height, number), shot)
    except LocaraError as error:
        if error.code == "export.unsound":
            raise
        report.lose(shot.place, error)
        return
    report.pictures += 1
    report.masks += len(shot.instances)


def numbered_by_task(tasks: Tasks, found: Layout) -> bool:
    """Whether the number of a task can be that of its picture: one picture a task, and numbers that rise."""
    shown = [tag for tag in found.config.objects if tag.kind == found.kind] if found.config else []
    if found.config and (len(shown) != 1 or shown[0].value_list is not None):
        return False
    if not isinstance(tasks, FileTasks):
        return True
    last = 0
    for task in tasks:
        if isinstance(task, LostTask):
            continue
        if task.id <= last or (found.config is None and len(_places(task)) > 1):
            return False
        last = task.id
    return True


def _places(task: AnnotatedTask) -> set[tuple[object, object]]:
    results = (annotation.get("result") for annotation in task.annotations)
    entries = (entry for result in results if isinstance(result, list) for entry in result if isinstance(entry, dict))
    return {(str(entry.get("to_name")), str(entry.get("item_index") or 0)) for entry in entries if "original_width" in entry}
