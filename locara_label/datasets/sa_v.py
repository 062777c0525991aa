"""SA-V masklet files: one JSON object per video, `masklet[frame][object]` a compressed RLE, empty where the object is absent.

Source of the format: the SA-V data set of SAM 2. Its videos have 24 frames per second and are annotated every 4th frame. A video
annotated otherwise has the frames under `masklet_frame_index`, a key of ours. SA-V has no classes: its objects are `object`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from locara_label import rle
from locara_label.datasets import segmentation
from locara_label.datasets.fields import Fields, is_number, text, whole
from locara_label.datasets.json_stream import MAX_ITEM_CHARS, scan
from locara_label.datasets.losses import OBJECT, STRIDE
from locara_label.datasets.masklet_files import MaskletSource, MaskletWriter, listed
from locara_label.datasets.masklets import MAX_CELLS, Masklet, MaskletVideo, check_cells, check_extent, visible
from locara_label.datasets.notes import Notes
from locara_label.datasets.records import Category, located
from locara_label.datasets.video_files import OneOrMany, check_bytes, file_name, files_in
from locara_label.errors import BadDataset, InputError
from locara_label.types import Mask

__all__ = ["SaVSource", "SaVWriter"]

_LEAST_AREA = {"medium": 32**2, "large": 96**2}
_FIRST = ("video_id", "video_duration")
"""Keys come in the order that SA-V has them in, so that its files come back byte by byte."""

_PER_OBJECT = "masklet_"
_OWN = {
    "video_id", "video_frame_count", "video_height", "video_width", "video_resolution",
    "masklet", "masklet_id", "masklet_num", "masklet_frame_index",
}  # fmt: skip


class SaVSource(MaskletSource):
    """Reads a file, or all `*.json` files of a folder in the order of their names."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet; `BadDataset` when the folder has no such file."""
        super().__init__()
        self._files = files_in(path, ".json")
        self.categories = {OBJECT.id: OBJECT}

    def places(self) -> Iterator[Path]:
        yield from self._files

    def load(self, place: Path) -> MaskletVideo:
        try:
            video = self._video(_read(place))
            video.check_fields()
        except InputError as error:
            raise located(error, place.name) from error
        return video

    def _video(self, raw: _Raw) -> MaskletVideo:
        code, row = "video.field", raw.sections
        name, size = text(row, "video_id", code), (_count(row, "video_height"), _count(row, "video_width"))
        frame_count = _count(row, "video_frame_count")
        check_extent(name, size, frame_count)
        frames = _frames(row, frame_count, len(raw.frames))
        ids = _ids(row, len(raw.frames[0]) if raw.frames else None)
        check_cells(name, len(frames), len(ids))
        masks = [_masks(values, size, frame, len(ids)) for frame, values in zip(frames, raw.frames, strict=True)]
        masklets = tuple(
            Masklet(number, OBJECT, tuple(found[place] for found in masks), meta=_per_object(row, place, len(ids)))
            for place, number in enumerate(ids)
        )
        video = MaskletVideo(name, size[1], size[0], frame_count, frames, masklets, meta=_rest(row, len(ids)))
        self.notes.add("masklet.stats", sum(row[key] != value for key, value in statistics(video).items() if key in row))
        return video


@dataclass
class _Raw:
    """A file as it is.

    Attributes:
        frames: the items of `masklet`.
        sections: all the others.
    """

    frames: list[list[Any]] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)


def _read(path: Path) -> _Raw:
    check_bytes(path)
    raw, cells = _Raw(), 0
    for entry in scan(path):
        if entry.section == "masklet":
            cells += _take_frame(raw, entry.index, entry.value)
        elif entry.index is None:
            raw.sections[entry.section] = entry.value
        elif entry.index < 0:
            raw.sections[entry.section] = []
        else:
            raw.sections[entry.section].append(entry.value)
            cells += 1
        if cells > MAX_CELLS:
            raise BadDataset(f"more than {MAX_CELLS} masks", code="video.masks")
    return raw


def _take_frame(raw: _Raw, index: int | None, value: Any) -> int:
    if index == -1:
        raw.sections["masklet"] = True
        return 0
    if not isinstance(value, list):
        raise BadDataset(f"masklet[{index}] is not a list: {value!r:.80}", code="section.kind")
    raw.frames.append(value)
    return len(value) + 1


def _count(row: Fields, name: str) -> int:
    """SA-V writes whole numbers as 848.0."""
    value = row.get(name)
    exact = int(value) if is_number(value) and value == int(value) else value  # type: ignore[arg-type]
    return whole({name: exact} if name in row else {}, name, "video.field")


def _frames(row: Fields, frame_count: int, annotated: int) -> tuple[int, ...]:
    if "masklet" not in row:
        raise BadDataset("masklet is missing", code="section.missing")
    if "masklet_frame_index" in row:
        given = listed(row["masklet_frame_index"], "masklet_frame_index", annotated, "video.frames")
        return tuple(whole({"a frame index": value}, "a frame index", "video.frames") for value in given)
    for step in (STRIDE, 1):
        if len(frames := range(0, frame_count, step)) == annotated:
            return tuple(frames)
    raise BadDataset(f"{annotated} frames are annotated, neither each nor every 4th of {frame_count}", code="video.frames")


def _ids(row: Fields, objects: int | None) -> list[int]:
    code, given = "track.field", row.get("masklet_id")
    if given is None:
        return list(range(objects or 0))
    if objects is None and isinstance(given, list):
        objects = len(given)
    ids = listed(given, "masklet_id", objects or 0, code)
    return [whole({"masklet_id": value}, "masklet_id", code) for value in ids]


def _masks(values: list[Any], size: tuple[int, int], frame: int, objects: int) -> list[Mask | None]:
    if len(values) != objects:
        raise BadDataset(f"frame {frame}: {len(values)} masks for {objects} objects", code="track.length")
    masks: list[Mask | None] = []
    for place, value in enumerate(values):
        try:
            masks.append(visible(segmentation.decode(value, size)))
        except InputError as error:
            raise located(error, f"frame {frame} object {place}") from error
    return masks


def _per_object(row: Fields, place: int, objects: int) -> Mapping[str, Any]:
    return {key: value[place] for key, value in _unread(row) if _is_one_each(key, value, objects)}


def _rest(row: Fields, objects: int) -> Mapping[str, Any]:
    return {key: value for key, value in _unread(row) if not _is_one_each(key, value, objects)}


def _unread(row: Fields) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in row.items() if key not in _OWN and key not in _STATISTICS)


_STATISTICS = (
    "masklet_size_rel", "masklet_size_abs", "masklet_size_bucket", "masklet_visibility_changes",
    "masklet_first_appeared_frame", "masklet_frame_count",
)  # fmt: skip


def statistics(video: MaskletVideo) -> dict[str, list[Any]]:
    """What SA-V says about each object, from its masks (checked against a file of SA-V itself).

    Sizes are means over the annotated frames that the object is in, in pixels or parts of the picture. Frames are counted among
    the annotated ones, changes of visibility from the first appearance on. An object that is nowhere has sizes of zero and no
    first frame.
    """
    rows = [_statistics(masklet, video.width * video.height) for masklet in video.masklets]
    return {key: [row[place] for row in rows] for place, key in enumerate(_STATISTICS)}


def _statistics(masklet: Masklet, resolution: int) -> tuple[Any, ...]:
    areas = [0 if mask is None else mask.area for mask in masklet.masks]
    there = np.array(areas, np.int64) > 0
    mean = sum(areas) / max(int(there.sum()), 1)
    seen = np.trim_zeros(there, "f")
    first = float(there.size - seen.size) if seen.size else None
    changes = int((seen[1:] != seen[:-1]).sum())
    return round(mean / resolution, 10), round(mean, 10), _bucket(mean), changes, first, len(areas)


def _bucket(area: float) -> str:
    return next((name for name in ("large", "medium") if area >= _LEAST_AREA[name]), "small")


class SaVWriter(MaskletWriter):
    """Writes one file, when `path` ends with `.json`, or a new folder with a file for each video."""

    CANNOT = (
        "category.look",
        "category.supercategory",
        "dataset.info",
        "masklet.category",
        "masklet.iscrowd",
        "masklet.score",
        "masklet.scores",
        "video.file_names",
        "video.id",
        "video.stride",
        "video.times",
    )

    def __init__(self, path: Path, categories: Sequence[Category], info: Mapping[str, Any] | None = None) -> None:
        super().__init__(path, categories, info)
        self._out = OneOrMany(path, ".json")

    def __enter__(self) -> Self:
        self._out.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._out.__exit__(kind, error, trace)

    @classmethod
    def losses(cls, video: MaskletVideo) -> Notes:
        notes = super().losses(video)
        notes.add("video.meta", _video_meta(video).keys() != video.meta.keys())
        notes.add("masklet.meta", sum(not masklet.meta.keys() <= set(_masklet_keys(video)) for masklet in video.masklets))
        return notes

    def _write(self, video: MaskletVideo) -> None:
        kinds = [masklet.meta.get("masklet_type") for masklet in video.masklets]
        kind = "auto" if kinds and all(found == "auto" for found in kinds) else "manual"
        with self._out.open(f"{file_name(video.name)}_{kind}.json") as file:
            _write(file, video)


def _write(file: BinaryIO, video: MaskletVideo) -> None:
    head, tail = _head(video), _tail(video)
    absent = Mask(video.size, rle.compress([video.width * video.height], video.size))
    file.write(b"{" + b"".join(_member(key, value) + b", " for key, value in head.items()) + b'"masklet": [')
    for place in range(len(video.frames)):
        frame = [(masklet.masks[place] or absent).to_coco() for masklet in video.masklets]
        line = json.dumps(frame).encode("ascii")
        if len(line) > MAX_ITEM_CHARS:
            raise BadDataset(f"frame {video.frames[place]} is longer than {MAX_ITEM_CHARS} characters", code="dataset.item_size")
        file.write((b", " if place else b"") + line)
    file.write(b"]" + b"".join(b", " + _member(key, value) for key, value in tail.items()) + b"}")


def _member(key: str, value: Any) -> bytes:
    return f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}".encode("ascii")


def _head(video: MaskletVideo) -> dict[str, Any]:
    """Numbers as SA-V writes them: floats."""
    sizes = {"video_height": float(video.height), "video_width": float(video.width)}
    counts = {"video_frame_count": float(video.frame_count), **sizes, "video_resolution": float(video.width * video.height)}
    head = {"video_id": video.name, **counts, **_video_meta(video)}
    return {key: head[key] for key in dict.fromkeys((*_FIRST, *head)) if key in head}


def _tail(video: MaskletVideo) -> dict[str, Any]:
    own: dict[str, Any] = {"masklet_id": [masklet.track_id for masklet in video.masklets]}
    if video.frames != tuple(range(0, video.frame_count, STRIDE)):
        own["masklet_frame_index"] = list(video.frames)
    kept = {key: [masklet.meta.get(key) for masklet in video.masklets] for key in _masklet_keys(video)}
    return {**own, **statistics(video), **kept, "masklet_num": len(video.masklets)}


def _video_meta(video: MaskletVideo) -> dict[str, Any]:
    """What can be written beside the keys of SA-V and read back as the video's."""
    taken = {*_OWN, *_STATISTICS, *_masklet_keys(video)}
    return {
        key: value for key, value in video.meta.items() if key not in taken and not _is_one_each(key, value, len(video.masklets))
    }


def _masklet_keys(video: MaskletVideo) -> list[str]:
    keys = dict.fromkeys(key for masklet in video.masklets for key in masklet.meta)
    return [key for key in keys if key.startswith(_PER_OBJECT) and key not in _OWN and key not in _STATISTICS]


def _is_one_each(key: str, value: Any, objects: int) -> bool:
    return key.startswith(_PER_OBJECT) and isinstance(value, list) and len(value) == objects
