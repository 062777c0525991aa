"""Masklets of a view as YouTube-VIS files and back, exact to the pixel, one video in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm
from bson import ObjectId

from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.records import Category, Problem
from locara_label.datasets.youtube_vis import YoutubeVisSource, YoutubeVisWriter
from locara_label.errors import BadDataset, BadOption, Cancelled, InputError, LocaraError
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.exports import INFO, Source
from locara_label.hosts.fiftyone.extras import as_float
from locara_label.hosts.fiftyone.imports import Target
from locara_label.hosts.fiftyone.labels import Region, Size, to_detection, to_region
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.propagate import describe
from locara_label.hosts.fiftyone.samples import FRAMES, check_field, check_media, common_root, database, dataset_of, in_batches
from locara_label.hosts.fiftyone.work import record
from locara_label.runtime.session import Stop
from locara_label.video.opening import open_video_file


@dataclass(eq=False)
class _Track:
    """One object: its regions by place among the annotated frames."""

    label: str
    index: int | None
    instance: str | None
    regions: dict[int, Region] = field(default_factory=dict)
    other_labels: set[str] = field(default_factory=set)


def export_youtube_vis(
    view: foc.SampleCollection,
    label_field: str,
    path: Path | str,
    *,
    root: Path | str | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """A YouTube-VIS file: one annotation for each object, with a mask or null for each annotated frame.

    A frame counts as annotated where it has the field, with or without objects. Objects are told apart by `index`, else by
    `instance`. Scores, keyframes, predicted IoUs and instances are kept in fields that other readers leave alone.

    Args:
        view: videos.
        label_field: frame field with Detections with masks; "frames." in front may be left out.
        path: of the file, which appears whole when the last video was written, or not at all.
        root: folder that names of videos are relative to; None takes the one that all files are in.
        stop: cancels from another thread.

    Raises:
        BadOption: at once.
        Cancelled, RunError, OSError: on the way; there is no file then.
    """
    check_media(view, fomm.VIDEO)
    name, dataset = check_field(label_field, fomm.VIDEO), dataset_of(view)
    if not dataset.has_frame_field(name):
        raise BadOption(f"the frames have no field {name!r:.120}", code="option.field")
    with database():
        folder = common_root(view.values("filepath")) if root is None else str(root)
        labels = sorted(label for label in view.distinct(f"{FRAMES}{name}.detections.label") if label)
    categories = {label: Category(number, label) for number, label in enumerate(labels, 1)}
    return _export(Source(view, name, {}, folder), Path(path), categories, stop)


def _export(source: Source, path: Path, categories: Mapping[str, Category], stop: Stop | None) -> Iterator[Progress]:
    with database():
        total = source.view.count()
    with YoutubeVisWriter(path, list(categories.values()), INFO) as writer:
        for number, sample in enumerate(in_batches(source.view, (FRAMES + source.field,), at_a_time=1), 1):
            if stop is not None and stop.is_set:
                raise Cancelled(f"cancelled after {number - 1} of {total} videos; nothing is left of the export")
            yield _written(source, sample, writer, categories, (number, total))


def _written(
    source: Source, sample: Any, writer: YoutubeVisWriter, categories: Mapping[str, Category], place: tuple[int, int]
) -> Progress:
    error: LocaraError | None = None
    regions, note = 0, ""
    try:
        video, note = to_masklets(sample, source.field, source.name_of(sample), categories)
        writer.add(video)
        regions = sum(masklet.present for masklet in video.masklets)
    except InputError as raised:
        error = raised
    return Progress(*place, str(sample.id), sample.filepath, regions, error, note)


def to_masklets(sample: Any, name: str, video_name: str, categories: Mapping[str, Category]) -> tuple[MaskletVideo, str]:
    """A video sample with the objects of a frame field, and in words what could not be kept.

    Raises:
        BadDataset: `track.missing`, a detection without index and instance; `track.id_twice`, an object twice on a frame.
        BadMask, BadVideo: a mask or the file is none.
    """
    size, count = extent(sample)
    numbers, tracks, bare = list[int](), dict[Any, _Track](), 0
    for number, frame in sorted(sample.frames.items()):
        value = frame[name] if frame.has_field(name) else None
        if value is None:
            continue
        numbers.append(number)
        for detection in value.detections:
            region = to_region(detection, size)
            bare += region is None
            if region is not None:
                _put(tracks, region, len(numbers) - 1, number)
    frames = tuple(number - 1 for number in numbers)
    masklets = tuple(_masklets(list(tracks.values()), len(frames), categories))
    return MaskletVideo(video_name, size[1], size[0], count, frames, masklets), _note(tracks, bare)


def _note(tracks: Mapping[Any, _Track], bare: int) -> str:
    texts = [f"{bare} detections have no mask and are left out"] if bare else []
    named = [track for track in tracks.values() if track.other_labels]
    if named:
        texts.append(f"{len(named)} objects have several labels and are written with their first")
    return "; ".join(texts)


def _put(tracks: dict[Any, _Track], region: Region, place: int, number: int) -> None:
    key = region.index if region.index is not None else region.instance
    if key is None:
        text = f"frame {number}: {region.label!r:.120} has neither index nor instance, so its object is not known"
        raise BadDataset(text, code="track.missing")
    track = tracks.setdefault(key, _Track(region.label, region.index, region.instance))
    if place in track.regions:
        raise BadDataset(f"frame {number}: object {key} is there twice", code="track.id_twice")
    track.regions[place] = region
    if region.label != track.label:
        track.other_labels.add(region.label)


def _masklets(tracks: Sequence[_Track], length: int, categories: Mapping[str, Category]) -> Iterator[Masklet]:
    fresh = 1 + max((track.index for track in tracks if track.index is not None), default=0)
    for track in tracks:
        number, fresh = (fresh, fresh + 1) if track.index is None else (track.index, fresh)
        if track.label not in categories:
            raise BadDataset(f"object {number} has no label", code="label.unknown")
        found = [track.regions.get(place) for place in range(length)]
        scores = [None if one is None else one.score for one in found]
        kept = None if all(score is None for score in scores) else tuple(scores)
        masks = tuple(None if one is None else one.mask for one in found)
        yield Masklet(number, categories[track.label], masks, scores=kept, meta=_meta(track, found))


def _meta(track: _Track, found: Sequence[Region | None]) -> dict[str, Any]:
    """What YouTube-VIS has no place for; values of each frame in lists as long as the masks."""
    meta: dict[str, Any] = {} if track.instance is None else {"instance": track.instance}
    meta |= {"unnumbered": True} if track.index is None else {}
    ious = [None if one is None else one.predicted_iou for one in found]
    keys = [place for place, one in enumerate(found) if one is not None and one.attributes.get("keyframe") is True]
    meta |= {} if all(iou is None for iou in ious) else {"predicted_iou": ious}
    return meta | ({"keyframe": keys} if keys else {})


def extent(sample: Any) -> tuple[Size, int]:
    """Height and width in pixels and the number of frames: as the sample's metadata says, else as its file does.

    Raises:
        BadVideo, MissingRuntime: see `open_video_file`.
    """
    known = sample.metadata
    if known is not None and known.frame_height and known.frame_width and known.total_frame_count:
        return (int(known.frame_height), int(known.frame_width)), int(known.total_frame_count)
    with open_video_file(sample.filepath) as video:
        return video.size, video.count


def import_youtube_vis(
    dataset: fo.Dataset, path: Path | str, label_field: str, *, root: Path | str, stop: Stop | None = None
) -> Iterator[Progress]:
    """Objects of a YouTube-VIS file as Detections of frames, with `index` and `instance`.

    Args:
        dataset: of videos; a file that has no sample yet gets one.
        path: of the JSON file. Its videos are named as the files of the samples are.
        label_field: is replaced on the annotated frames; the others stay as they are.
        root: folder that names of videos are relative to.
        stop: cancels from another thread.

    Raises:
        BadOption, BadDataset: at once.
        Cancelled, RunError: on the way; what was read by then is saved.
    """
    check_media(dataset, fomm.VIDEO)
    name = check_field(label_field, fomm.VIDEO)
    if not Path(root).is_dir():
        raise BadOption(f"{root} is not a folder", code="option.root")
    source = YoutubeVisSource(Path(path))
    return _import(Target(dataset, name, Path(root).absolute(), stop), source)


def _import(target: Target, source: YoutubeVisSource) -> Iterator[Progress]:
    with source:
        classes, total = [category.name for category in source.categories.values()], sum(1 for _ in source.places())
        for number, video in enumerate(source.checked(), 1):
            target.check_stop(number - 1, total)
            yield _read(target, video, (number, total))
            fields.prepare(target.dataset, target.field, fo.Detections, classes)


def _read(target: Target, video: MaskletVideo | Problem, place: tuple[int, int]) -> Progress:
    if isinstance(video, Problem):
        return Progress(*place, "", video.where, 0, BadDataset(str(video), code=video.code))
    error: LocaraError | None = None
    sample, regions = None, 0
    try:
        sample = target.sample(video.name)
        regions = from_masklets(sample, target.field, video)
        with database():
            record(sample, target.field, "")
    except InputError as raised:
        error, regions = raised, 0
    return Progress(*place, "" if sample is None else str(sample.id), str(target.root / video.name), regions, error)


def from_masklets(sample: Any, name: str, video: MaskletVideo) -> int:
    """Sets a frame field of a video sample on the annotated frames, and gives the number of regions; does not save the sample.

    Raises:
        BadDataset: code `video.size`; the file is not of the size and length that the masklets are for.
        BadVideo: the file is none.
    """
    with open_video_file(sample.filepath) as file:
        describe(sample, file)
        found = (*file.size, file.count)
    if found != (*video.size, video.frame_count):
        text = f"{video.name!r:.200} has {found[2]} frames of {found[1]} x {found[0]} pixels, the data set says"
        raise BadDataset(f"{text} {video.frame_count} of {video.width} x {video.height}", code="video.size")
    instances = {masklet.track_id: _instance(masklet) for masklet in video.masklets}
    count = 0
    for place, frame in enumerate(video.frames):
        regions = [
            _region(masklet, place, instances[masklet.track_id]) for masklet in video.masklets if masklet.masks[place] is not None
        ]
        sample.frames[frame + 1][name] = fo.Detections(detections=[to_detection(region) for region in regions])
        count += len(regions)
    return count


def _instance(masklet: Masklet) -> str | None:
    """The object's id in FiftyOne: the one it had, or a new one where the file is of others."""
    given = masklet.meta.get("instance")
    if isinstance(given, str) and ObjectId.is_valid(given):
        return given
    return None if "keyframe" in masklet.meta or "predicted_iou" in masklet.meta else str(ObjectId())


def _region(masklet: Masklet, place: int, instance: str | None) -> Region:
    mask, meta = masklet.masks[place], masklet.meta
    if mask is None:
        raise BadDataset("an absent object has no region", code="track.field")
    scores, ious, keys = masklet.scores or (), meta.get("predicted_iou"), meta.get("keyframe")
    iou = ious[place] if isinstance(ious, list) and len(ious) == len(masklet.masks) else None
    index = None if meta.get("unnumbered") is True else masklet.track_id
    attributes = {"keyframe": True} if isinstance(keys, list) and place in keys else {}
    score = scores[place] if scores else masklet.score
    return Region(masklet.category.name, mask, score, as_float(iou), index, instance, (), attributes)
