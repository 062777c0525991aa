"""MOTS text files: one per video, a line `time_frame id class_id img_height img_width rle` for each object in each frame.

Source of the format: the MOTS challenge on KITTI and MOTChallenge. `id` is class_id * 1000 + instance; the RLE is that of COCO.
A folder has the lines in `instances_txt/NAME.txt`, the last frame of each video in `seqmap.txt` (`NAME empty 000000 000153`) and
the names of classes in `labels.txt`, the line n from 0 for class n. Without `labels.txt` the classes are those of KITTI.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import unquote

from locara_label.datasets import segmentation
from locara_label.datasets.fields import MAX_WHOLE
from locara_label.datasets.json_stream import MAX_ITEM_CHARS
from locara_label.datasets.masklet_files import MaskletSource, MaskletWriter
from locara_label.datasets.masklets import MAX_FRAMES, Masklet, MaskletVideo, check_cells, check_extent, present, visible
from locara_label.datasets.notes import Notes
from locara_label.datasets.records import Category, by_name, located
from locara_label.datasets.video_files import OneOrMany, check_bytes, file_name, files_in
from locara_label.datasets.youtube_vis import check_category
from locara_label.errors import BadDataset, InputError
from locara_label.types import Mask

__all__ = ["MotsSource", "MotsWriter"]

LINES, SEQMAP, LABELS = "instances_txt", "seqmap.txt", "labels.txt"
KITTI = {1: "car", 2: "pedestrian", 10: "ignore"}
PER_CLASS = 1000
_MAX_CLASS = 10_000
"""Highest class that `labels.txt` has a line for."""

CODE = "mots.line"


class MotsSource(MaskletSource):
    """Reads a file, or all of a folder in the order of their names. Every frame of a video counts as annotated."""

    def __init__(self, path: Path) -> None:
        """Reads the classes of all files; `BadDataset` when there is no file, or one that cannot be read."""
        super().__init__()
        lines = path / LINES
        self._files = [file for file in files_in(lines if lines.is_dir() else path, ".txt") if file.name not in (SEQMAP, LABELS)]
        if not self._files:
            raise BadDataset(f"there are no lines in {path}", code="dataset.empty")
        self._last_frames = dict(_seqmap(path / SEQMAP)) if path.is_dir() else {}
        names = dict(_labels(path / LABELS)) if path.is_dir() and (path / LABELS).is_file() else KITTI
        found = {row.category for file in self._files for row in _rows(file)}
        named = set() if names is KITTI else set(names)
        self.categories = {number: Category(number, names.get(number, f"class {number}")) for number in sorted(found | named)}

    def places(self) -> Iterator[Path]:
        yield from self._files

    def load(self, place: Path) -> MaskletVideo | None:
        try:
            check_bytes(place)
            name = unquote(place.stem, errors="surrogatepass")
            video = self._video(name, place)
            if video is not None:
                video.check_fields()
        except InputError as error:
            raise located(error, place.name) from error
        return video

    def _video(self, name: str, path: Path) -> MaskletVideo | None:
        found = _Found()
        for row in _rows(path):
            found.add(row)
        if found.size is None:
            self.notes.add("video.empty")
            return None
        frame_count = found.last_frame + 1 if (last := self._last_frames.get(name)) is None else last + 1
        check_extent(name, found.size, frame_count)
        if frame_count <= found.last_frame:
            raise BadDataset(f"frame {found.last_frame} is behind the last of {SEQMAP}, {frame_count - 1}", code="video.frames")
        check_cells(name, frame_count, len(found.tracks))
        frames = range(frame_count)
        masklets = (self._masklet(number, track, frames) for number, track in sorted(found.tracks.items()))
        return MaskletVideo(name, found.size[1], found.size[0], frame_count, tuple(frames), tuple(masklets))

    def _masklet(self, number: int, track: _Track, frames: Iterable[int]) -> Masklet:
        return Masklet(number, self.categories[track.category], tuple(map(track.masks.get, frames)))


@dataclass(frozen=True, slots=True)
class _Line:
    frame: int
    track: int
    category: int
    size: tuple[int, int]
    counts: str
    number: int


@dataclass
class _Track:
    category: int
    masks: dict[int, Mask | None] = field(default_factory=dict)


@dataclass
class _Found:
    """What the lines of a file have shown so far."""

    tracks: dict[int, _Track] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    last_frame: int = -1

    def add(self, row: _Line) -> None:
        if self.size is None:
            self.size = row.size
            check_extent("a video", row.size, 1)
        track = self.tracks.setdefault(row.track, _Track(row.category))
        if row.size != self.size:
            _fail(row.number, f"size {row.size} where the lines before have {self.size}", "video.size")
        if track.category != row.category:
            _fail(row.number, f"object {row.track} is of class {row.category} and of {track.category}", "track.category")
        if row.frame in track.masks:
            _fail(row.number, f"object {row.track} is in frame {row.frame} twice", "track.frame_twice")
        track.masks[row.frame] = _mask(row)
        self.last_frame = max(self.last_frame, row.frame)


def _mask(row: _Line) -> Mask | None:
    try:
        return visible(segmentation.decode({"size": list(row.size), "counts": row.counts}, row.size))
    except InputError as error:
        raise located(error, f"line {row.number}") from error


def _rows(path: Path) -> Iterator[_Line]:
    for number, line in _lines(path):
        parts = line.split(" ")
        if len(parts) != 6:
            _fail(number, f"a line has 6 parts, this has {len(parts)}")
        frame, track, category, height, width = (_whole(part, number) for part in parts[:5])
        if frame >= MAX_FRAMES:
            _fail(number, f"frame {frame} is not below {MAX_FRAMES}", "video.frames")
        yield _Line(frame, track, category, (height, width), parts[5], number)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    try:
        with path.open("rb") as file:
            for number in count(1):
                line = file.readline(MAX_ITEM_CHARS + 1)
                if not line:
                    return
                if len(line) > MAX_ITEM_CHARS:
                    _fail(number, f"longer than {MAX_ITEM_CHARS} bytes", "dataset.item_size")
                if text := line.decode("utf-8").strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise BadDataset(f"{path.name} is not UTF-8 text: {error.reason}", code="dataset.encoding") from error
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}", code="dataset.unreadable") from error


def _whole(part: str, number: int) -> int:
    value = int(part) if part.isascii() and part.isdigit() and len(part) <= 16 else -1
    if not 0 <= value <= MAX_WHOLE:
        _fail(number, f"not a whole number from 0 up: {part!r:.80}")
    return value


def _fail(number: int, what: str, code: str = CODE) -> NoReturn:
    raise BadDataset(f"line {number}: {what}", code=code)


def _seqmap(path: Path) -> Iterator[tuple[str, int]]:
    """Names of videos and their last frames; none where the file is not there."""
    if not path.is_file():
        return
    for number, line in _lines(path):
        parts = line.split()
        if len(parts) != 4:
            _fail(number, f"a line of {SEQMAP} has 4 parts, this has {len(parts)}")
        yield unquote(parts[0], errors="surrogatepass"), _whole(parts[3], number)


def _labels(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in _lines(path):
        if number > 1:
            yield number - 1, line


class MotsWriter(MaskletWriter):
    """Writes one file, when `path` ends with `.txt`, or a new folder with a file for each video and the two beside them.

    Masks that overlap are written as they are, though the challenge's own tools refuse them; `notes` counts the frames.
    """

    CANNOT = (
        "category.look",
        "category.supercategory",
        "dataset.info",
        "masklet.absent",
        "masklet.iscrowd",
        "masklet.meta",
        "masklet.overlap",
        "masklet.score",
        "masklet.scores",
        "video.empty",
        "video.file_names",
        "video.frames",
        "video.id",
        "video.meta",
        "video.times",
    )

    def __init__(self, path: Path, categories: Sequence[Category], info: Mapping[str, Any] | None = None) -> None:
        """Raises BadDataset when two categories share an id or name."""
        super().__init__(path, categories, info)
        self._categories = by_name(categories)
        self._out = OneOrMany(path, ".txt")

    def __enter__(self) -> Self:
        self._out.__enter__()
        if self._out.folder is None:
            self.notes.add("category.name", sum(KITTI.get(each.id) != each.name for each in self._categories.values()))
        elif not _write_labels(self._out.folder, self._categories.values()):
            self.notes.add("category.name", len(self._categories))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._out.__exit__(kind, error, trace)

    @classmethod
    def losses(cls, video: MaskletVideo) -> Notes:
        notes = super().losses(video)
        notes.add("masklet.track_id", sum(old != new for old, new in object_ids(video).items()))
        return notes

    def _write(self, video: MaskletVideo) -> None:
        for masklet in video.masklets:
            check_category(masklet, self._categories)
        ids, name = object_ids(video), file_name(video.name)
        with self._out.open(f"{LINES}/{name}.txt") as file:
            for line in _lines_of(video, ids):
                file.write(line)
        if self._out.folder is None:
            last = max((frame for masklet in video.masklets for frame, _ in present(masklet, video)), default=-1)
            self.notes.add("video.frame_count", video.frame_count != last + 1)
        elif video.frame_count:
            with (self._out.folder / SEQMAP).open("a", encoding="ascii") as seqmap:
                seqmap.write(f"{name} empty 000000 {video.frame_count - 1:06d}\n")


def object_ids(video: MaskletVideo) -> dict[int, int]:
    """Track ids to ids of MOTS: the same where they are class_id * 1000 + instance already, else the next free ones.

    Raises:
        BadDataset: `mots.instances`, more than 1000 objects of a class.
    """
    kept = {masklet.track_id for masklet in video.masklets if masklet.track_id // PER_CLASS == masklet.category.id}
    return {number: number for number in kept} | _numbered(video, kept)


def _numbered(video: MaskletVideo, kept: set[int]) -> dict[int, int]:
    free = {
        number: (place for place in range(number * PER_CLASS, (number + 1) * PER_CLASS) if place not in kept)
        for number in {masklet.category.id for masklet in video.masklets}
    }
    given: dict[int, int] = {}
    for masklet in video.masklets:
        if masklet.track_id in kept:
            continue
        number = next(free[masklet.category.id], None)
        if number is None:
            raise BadDataset(f"more than {PER_CLASS} objects of class {masklet.category.id}", code="mots.instances")
        given[masklet.track_id] = number
    return given


def _lines_of(video: MaskletVideo, ids: Mapping[int, int]) -> Iterator[bytes]:
    for place, frame in enumerate(video.frames):
        for masklet in video.masklets:
            mask = masklet.masks[place]
            if mask is not None:
                head = f"{frame} {ids[masklet.track_id]} {masklet.category.id} {video.height} {video.width} "
                yield head.encode("ascii") + mask.counts + b"\n"


def _write_labels(folder: Path, categories: Iterable[Category]) -> bool:
    """Whether the names could be written: one line each, as far as the highest class."""
    names = {category.id: category.name for category in categories}
    if not all(number <= _MAX_CLASS and _is_line(name) for number, name in names.items()):
        return False
    lines = ["background", *(names.get(number, "") for number in range(1, max(names, default=0) + 1))]
    (folder / LABELS).write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")
    return True


def _is_line(name: str) -> bool:
    try:
        return name == name.strip() and name.splitlines() == [name] and bool(name.encode())
    except UnicodeEncodeError:
        return False
