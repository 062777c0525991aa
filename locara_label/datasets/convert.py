"""From one format of masklets to another: read a video, check it, write it, and say what could not be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locara_label.datasets import losses
from locara_label.datasets.coco_frames import CocoFramesSource, CocoFramesWriter
from locara_label.datasets.masklet_files import MaskletSource, MaskletWriter
from locara_label.datasets.masklets import MaskletVideo
from locara_label.datasets.mots import MotsSource, MotsWriter
from locara_label.datasets.notes import Notes
from locara_label.datasets.records import Problem
from locara_label.datasets.sa_v import SaVSource, SaVWriter
from locara_label.datasets.youtube_vis import YoutubeVisSource, YoutubeVisWriter
from locara_label.errors import BadDataset, BadOption, InputError

__all__ = ["FORMATS", "Counts", "Report", "convert", "open_source", "verify"]


@dataclass(frozen=True, slots=True)
class Format:
    source: Callable[[Path], MaskletSource]
    writer: type[MaskletWriter]


FORMATS: Mapping[str, Format] = {
    "coco-frames": Format(CocoFramesSource, CocoFramesWriter),
    "mots": Format(MotsSource, MotsWriter),
    "sa-v": Format(SaVSource, SaVWriter),
    "youtube-vis": Format(YoutubeVisSource, YoutubeVisWriter),
}
"""By the names that the command line has for them."""


@dataclass
class Counts:
    """How much was read."""

    videos: int = 0
    masklets: int = 0
    frames: int = 0
    masks: int = 0

    def add(self, video: MaskletVideo) -> None:
        self.videos += 1
        self.masklets += len(video.masklets)
        self.frames += len(video.frames)
        self.masks += sum(masklet.present for masklet in video.masklets)


@dataclass
class Report:
    """What came of it.

    Attributes:
        notes: what was changed on reading or could not be kept.
        problems: what is wrong; only `verify` goes on after the first.
    """

    counts: Counts = field(default_factory=Counts)
    notes: Notes = field(default_factory=Notes)
    problems: list[Problem] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        counts = {**vars(self.counts), "notes": self.notes.to_json()}
        return {**counts, "problems": [problem.to_json() for problem in self.problems]}


def open_source(path: Path | str, format_name: str) -> MaskletSource:
    """A data set to be read; use it in a `with` block.

    Raises:
        BadOption: `option.format`.
        BadDataset: the data set cannot be read.
    """
    try:
        return _format(format_name).source(Path(path))
    except BadDataset as error:
        raise BadDataset(f"{Path(path).name}: {error.message}", code=error.code) from error


def convert(path: Path | str, out: Path | str, source: str, target: str) -> Report:
    """Writes a data set in another format (or anew in its own); `out` appears whole or not at all.

    Args:
        path: a file, or for SA-V and MOTS also a folder.
        out: a file, or a folder that is not there yet: SA-V and MOTS write a single file where the name ends with theirs.
        source: format of `path`, a key of `FORMATS`.
        target: format of `out`.

    Raises:
        BadOption: `option.format`, or `option.out` when there is no way to write there.
        BadDataset: what is wrong with the data set, or why the other format cannot hold it.
        BadMask: a mask that does not describe its video.
    """
    report, kind = Report(), _format(target)
    with open_source(path, source) as videos:
        try:
            with kind.writer(Path(out), list(videos.categories.values()), videos.info) as writer:
                for video in videos.videos():
                    writer.add(video)
                    report.counts.add(video)
        except OSError as error:
            raise BadOption(f"{out} cannot be written: {error.strerror or error}", code="option.out") from error
        report.notes.update(videos.notes)
        report.notes.update(writer.notes)
    return report


def verify(path: Path | str, source: str, target: str | None = None, limit: int = 100) -> Report:
    """Reads all of a data set and writes nothing; never raises for what the data set holds.

    Args:
        path: as for `convert`.
        source: its format.
        target: when given, `notes` also say what that format could not keep.
        limit: stop after this many problems.
    """
    report, kind = Report(), _format(target) if target else None
    try:
        with open_source(path, source) as videos:
            _verify(videos, report, kind, limit)
    except InputError as error:
        if isinstance(error, BadOption):
            raise
        report.problems.append(Problem.of(error, "file"))
    return report


def _verify(videos: MaskletSource, report: Report, kind: Format | None, limit: int) -> None:
    if kind is not None:
        report.notes.update(losses.of_categories(list(videos.categories.values()), kind.writer.CANNOT))
        report.notes.add("dataset.info", bool(videos.info) and "dataset.info" in kind.writer.CANNOT)
    for video in _good(videos, report, limit):
        report.counts.add(video)
        if kind is not None:
            _compare(video, report, kind)
    report.notes.update(videos.notes)


def _good(videos: MaskletSource, report: Report, limit: int) -> Iterator[MaskletVideo]:
    for found in videos.checked():
        if not isinstance(found, Problem):
            yield found
            continue
        report.problems.append(found)
        if len(report.problems) >= limit:
            return


def _compare(video: MaskletVideo, report: Report, kind: Format) -> None:
    try:
        report.notes.update(kind.writer.losses(video))
    except InputError as error:
        report.problems.append(Problem.of(error, f"video {video.name!r:.120}"))


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise BadOption(f"a format is one of {', '.join(sorted(FORMATS))}, got {name!r:.80}", code="option.format")
    return FORMATS[name]
