"""COCO with a picture per annotated frame: images have `video_id` and `frame_index`, annotations `track_id`.

Beside the lists of COCO there are `videos` (id, name, size, `length`, which counts all frames) and `tracks` (id, video and
category), as in TAO. Ids of tracks are unique through the file; a track's own number within its video is its `track_id`.
Scores of a track, its crowd flag and metadata are in its row, so that the annotations stay what COCO tools expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from locara_label.datasets import segmentation
from locara_label.datasets.coco import CocoWriter
from locara_label.datasets.fields import Fields, flag, number, text, whole
from locara_label.datasets.masklet_files import MaskletWriter, plain, score_in, score_list
from locara_label.datasets.masklets import Masklet, MaskletVideo, check_cells, check_extent, own_names, visible
from locara_label.datasets.records import Category, CocoImage, by_name, located
from locara_label.datasets.shelf import MAX_VIDEO_CHARS, Row, ShelfSource, Table
from locara_label.datasets.youtube_vis import VideoNumbers, check_category
from locara_label.errors import BadDataset, BadMask, InputError
from locara_label.types import Instance, Mask

__all__ = ["CocoFramesSource", "CocoFramesWriter"]

CODE = "annotation.field"
_TABLES = (
    Table("videos", "video"),
    Table("images", "image", "video_id", "video"),
    Table("tracks", "track", "video_id", "video", optional=True),
    Table("annotations", "annotation", "image_id", "image"),
)


class CocoFramesSource(ShelfSource):
    """Reads what the writer writes, and files of others with `frame_id` for `frame_index`, or without `tracks` or lengths."""

    tables = _TABLES

    def _video(self, row: Row) -> MaskletVideo:
        images = sorted((_Image(found) for found in self._shelf.of("image", row.id)), key=lambda image: image.frame)
        extent = _Extent(row, images)
        frames = tuple(image.frame for image in images)
        names, times = [image.file_name for image in images], tuple(image.time_s for image in images)
        return MaskletVideo(
            extent.name,
            extent.width,
            extent.height,
            extent.frame_count,
            frames,
            tuple(self._masklet(track, images) for track in self._tracks(row.id, images)),
            row.id,
            own_names(extent.name, frames, names),
            None if not times or None in times else tuple(time for time in times if time is not None),
            plain(row.value),
        )

    def _tracks(self, video_id: int, images: list[_Image]) -> Iterator[_Track]:
        """Those that are listed, then those that only annotations name."""
        tracks = {row.id: _Track(row.id, row.value) for row in self._shelf.of("track", video_id)}
        chars = 0
        for place, image in enumerate(images):
            chars += self._shelf.chars("annotation", image.id)
            if chars > MAX_VIDEO_CHARS:
                raise BadDataset(f"the annotations are longer than {MAX_VIDEO_CHARS} characters", code="dataset.item_size")
            for row in self._shelf.of("annotation", image.id):
                try:
                    _add(tracks, place, row, image, video_id)
                except InputError as error:
                    raise located(error, f"annotation {row.id}") from error
        check_cells(str(video_id), len(images), len(tracks))
        yield from tracks.values()

    def _masklet(self, track: _Track, images: list[_Image]) -> Masklet:
        try:
            return self._read(track, len(images))
        except InputError as error:
            raise located(error, f"track {track.id}") from error

    def _read(self, track: _Track, length: int) -> Masklet:
        row, places = track.row, range(length)
        if track.category is None:
            track.category = whole(row, "category_id", "track.field")
        category = self.categories.get(track.category)
        if category is None:
            raise BadDataset(f"category {track.category} is not in the file", code="annotation.category_unknown")
        scores = score_list(row.get("scores"), length) if "score" in row else track.frame_scores(length)
        return Masklet(
            whole(row, "track_id", "track.field") if "track_id" in row else track.id,
            category,
            tuple(map(track.masks.get, places)),
            score_in(row.get("score")),
            scores,
            flag(row, "iscrowd", "annotation.iscrowd", default=False) or track.iscrowd,
            plain(row),
        )


class _Image:
    """An entry of `images`."""

    def __init__(self, row: Row) -> None:
        code, value = "image.field", row.value
        try:
            image = CocoImage.from_coco(value)
            self.id, self.size, self.file_name = row.id, image.size, image.file_name
            self.frame = whole(value, "frame_index" if "frame_index" in value else "frame_id", code)
            time = value.get("time_s")
            self.time_s = None if time is None else number(time, "time_s", code)
        except InputError as error:
            raise located(error, f"image {row.id}") from error


class _Extent:
    """The name, size and length of a video, from its own entry or else from its pictures."""

    def __init__(self, row: Row, images: list[_Image]) -> None:
        code, value = "video.field", row.value
        self.name = text(value, "name", code) if "name" in value else str(row.id)
        size = images[0].size if images and "width" not in value else (whole(value, "height", code), whole(value, "width", code))
        self.height, self.width = size
        self.frame_count = whole(value, "length", code) if "length" in value else images[-1].frame + 1 if images else 0
        check_extent(self.name, size, self.frame_count)
        for before, image in zip([None, *images], images, strict=False):
            if image.size != size:
                raise BadDataset(f"image {image.id} is of {image.size}, the video of {size} (height, width)", code="video.size")
            if before is not None and before.frame == image.frame:
                raise BadDataset(f"images {before.id} and {image.id} are both frame {image.frame}", code="image.frame_twice")


@dataclass
class _Track:
    """What is known of an object.

    Attributes:
        row: its entry of `tracks`, empty where there is none.
        masks: by the place of the frame among the annotated ones.
    """

    id: int
    row: Fields = field(default_factory=dict)
    category: int | None = None
    iscrowd: bool = False
    masks: dict[int, Mask | None] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def frame_scores(self, length: int) -> tuple[float | None, ...] | None:
        return tuple(map(self.scores.get, range(length))) if self.scores else None


def _add(tracks: dict[int, _Track], place: int, row: Row, image: _Image, video_id: int) -> None:
    value = row.value
    if "video_id" in value and whole(value, "video_id", CODE) != video_id:
        raise BadDataset(f"video_id is {value['video_id']}, that of its image {video_id}", code="annotation.video_unknown")
    track_id, category = whole(value, "track_id", CODE), whole(value, "category_id", CODE)
    track = tracks.setdefault(track_id, _Track(track_id))
    track.category = category if track.category is None else track.category
    if category != track.row.get("category_id", category) or category != track.category:
        raise BadDataset(f"track {track_id} is of category {category} and of {track.category}", code="track.category")
    if place in track.masks:
        raise BadDataset(f"track {track_id} is in frame {image.frame} twice", code="track.frame_twice")
    if not value.get("segmentation"):
        raise BadMask("there is a box at most and no mask", code="mask.missing")
    track.masks[place] = visible(segmentation.decode(value["segmentation"], image.size))
    track.iscrowd = flag(value, "iscrowd", "annotation.iscrowd", default=False) or track.iscrowd
    score = score_in(value.get("score"))
    if score is not None:
        track.scores[place] = score


@dataclass(frozen=True)
class _FrameImage(CocoImage):
    """A picture that is a frame of a video."""

    video_id: int = 0
    frame_index: int = 0
    time_s: float | None = None

    def to_coco(self) -> dict[str, Any]:
        time = {} if self.time_s is None else {"time_s": self.time_s}
        return {**CocoImage.to_coco(self), "video_id": self.video_id, "frame_index": self.frame_index, **time}


class CocoFramesWriter(MaskletWriter):
    """Writes through `CocoWriter`: compressed RLE, `iscrowd: 0`, true area and box, a score (1.0 for an object without one)."""

    CANNOT = ("category.look",)

    def __init__(self, path: Path, categories: Sequence[Category], info: Mapping[str, Any] | None = None) -> None:
        """Raises BadDataset when two categories share an id or name, or `info` is not JSON."""
        super().__init__(path, categories, info)
        self._categories = by_name(categories)
        self._coco = CocoWriter(path, categories, info, ("videos", "tracks"))
        self._videos, self._tracks = VideoNumbers(), 0

    def __enter__(self) -> Self:
        self._coco.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._coco.__exit__(kind, error, trace)

    def _write(self, video: MaskletVideo) -> None:
        for masklet in video.masklets:
            check_category(masklet, self._categories)
        video_id, first = self._videos.take(video.id), self._tracks + 1
        self.notes.add("video.id", video.id not in (None, video_id))
        self._coco.add_row("videos", {"id": video_id, **_video_row(video)})
        for track_id, masklet in enumerate(video.masklets, first):
            self._coco.add_row("tracks", {"id": track_id, "video_id": video_id, **_track_row(masklet)})
        for place, image in enumerate(_images(video, video_id)):
            self._add_frame(video, place, image, first)
        self._tracks += len(video.masklets)

    def _add_frame(self, video: MaskletVideo, place: int, image: _FrameImage, first: int) -> None:
        ids = {"video_id": image.video_id, "frame_index": image.frame_index}
        present = [
            (_instance(masklet, mask, place), {"track_id": track_id, **ids})
            for track_id, masklet in enumerate(video.masklets, first)
            if (mask := masklet.masks[place]) is not None
        ]
        self._coco.add(image, [instance for instance, _ in present], [extra for _, extra in present])


def _images(video: MaskletVideo, video_id: int) -> Iterator[_FrameImage]:
    times = [None] * len(video.frames) if video.times_s is None else video.times_s
    for frame, name, time in zip(video.frames, video.frame_names, times, strict=True):
        yield _FrameImage(name, video.width, video.height, None, video_id, frame, time)


def _instance(masklet: Masklet, mask: Mask, place: int) -> Instance:
    score = None if masklet.scores is None else masklet.scores[place]
    known = next((each for each in (score, masklet.score) if each is not None), 1.0)
    return Instance(masklet.category.name, masklet.category.id, known, mask)


def _video_row(video: MaskletVideo) -> dict[str, Any]:
    row = {"name": video.name, "width": video.width, "height": video.height, "length": video.frame_count}
    return row | ({"meta": dict(video.meta)} if video.meta else {})


def _track_row(masklet: Masklet) -> dict[str, Any]:
    """`score` is always there, so that a reader knows where the scores are."""
    row: dict[str, Any] = {"category_id": masklet.category.id, "track_id": masklet.track_id, "score": masklet.score}
    if masklet.scores is not None:
        row["scores"] = list(masklet.scores)
    row |= {"iscrowd": 1} if masklet.iscrowd else {}
    return row | ({"meta": dict(masklet.meta)} if masklet.meta else {})
