"""Boxes of video tasks as masklets: the stored masks where they still belong to the boxes, else found anew, else told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.errors import BadRequest, LocaraError, StoreFailed
from locara_label.hosts.label_studio.export_labels import OBJECT, Layout, file_name, reference
from locara_label.hosts.label_studio.export_masklets import Seen, Sorted, Space, sort_frames
from locara_label.hosts.label_studio.export_pictures import is_moving
from locara_label.hosts.label_studio.export_recompute import Recomputing, recompute
from locara_label.hosts.label_studio.export_report import Report
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, annotation_id
from locara_label.hosts.label_studio.fields import Fields, fields, items, text, whole
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.hosts.label_studio.regions import MAX_REGIONS
from locara_label.hosts.label_studio.video_clock import EditorClock, config_rate, told_rate
from locara_label.hosts.label_studio.video_objects import VideoObject, judge, video_object
from locara_label.rle import Size
from locara_label.video.timeline import Timeline, check_ticks, of_rate
from locara_label.video.video import Video

OpenVideo = Callable[[str, AnnotatedTask], Video]
"""The video that a reference of a task leads to; raises what reading it raises."""

_TICKS = 1_000_000
_NAMED_FRAMES = 8
MAX_EDITOR_FRAMES = 200_000
"""Far more than any video that can be read has in any editor."""


@dataclass(frozen=True)
class Sources:
    """Where masks of videos come from.

    Attributes:
        store: of masklets; None for none.
        project: number of the tasks that do not tell theirs.
        open: reads videos; None reads none, and nothing is found anew.
        recomputing: the models.
        tolerance_px: how far a side of a box between keyframes may lie off its mask.
    """

    store: MaskletStore | None
    project: int | None
    open: OpenVideo | None
    recomputing: Recomputing
    tolerance_px: float


@dataclass(frozen=True)
class _Drawn:
    """An object of an annotation."""

    annotation: int
    asked: VideoObject
    labels: tuple[str, ...]
    place: str
    record: Record | None
    stored: Mapping[int, StoredFrame] = field(repr=False)


@dataclass(frozen=True)
class _Opened:
    """A video, or why there is none; neither where none was to be read."""

    video: Video | None = None
    why: LocaraError | None = None


class VideoReader:
    """Tasks to videos with masklets. What cannot be used is told to the report, with its code, and does not cost the rest."""

    def __init__(self, layout: Layout, report: Report, sources: Sources, *, empty: bool = True) -> None:
        self._layout, self._report, self._sources, self._empty = layout, report, sources, empty
        self._names: set[str] = set()

    def read(self, task: AnnotatedTask, annotations: Iterable[Fields]) -> Iterator[MaskletVideo]:
        """The videos of a task, one for each tag."""
        by_tag: dict[str, list[_Drawn]] = {name: [] for name in self._tags()}
        for annotation in annotations:
            for to_name, drawn in self._objects(task, annotation):
                by_tag.setdefault(to_name, []).append(drawn)
        for to_name, found in by_tag.items():
            place = f"task {task.id}" if len(by_tag) == 1 else f"task {task.id} {to_name:.60}"
            if not found and not self._empty:
                self._report.left_out["picture.empty"] += 1
                continue
            try:
                yield self._video(task, to_name, found)
            except LocaraError as error:
                self._report.lose(place, error)

    def _tags(self) -> list[str]:
        config = self._layout.config
        return [tag.name for tag in config.videos] if config else []

    def _objects(self, task: AnnotatedTask, annotation: Fields) -> Iterator[tuple[str, _Drawn]]:
        number = annotation_id(annotation)
        place = f"task {task.id} annotation {number}"
        try:
            result = items(annotation.get("result"), "result", "request.region", MAX_REGIONS)
            given = [fields(entry, "a region", "request.region") for entry in result]
        except BadRequest as error:
            self._report.lose(place, error)
            return
        moving = [entry for entry in given if is_moving(entry)]
        self._report.left_out["region.other_kind"] += len(given) - len(moving)
        for entry in moving:
            try:
                yield str(entry.get("to_name")), self._drawn(task, number, entry, place)
            except StoreFailed:
                raise
            except LocaraError as error:
                self._report.lose(f"{place} region {entry.get('id')!s:.60}", error)

    def _drawn(self, task: AnnotatedTask, annotation: int, entry: Fields, place: str) -> _Drawn:
        region = text(entry.get("id"), "id of a region", "request.region")
        tag = self._layout.shown(str(entry.get("to_name")))
        if tag is not None and tag.kind != "video":
            raise BadRequest(f"{tag.name:.60} is no video", code="region.object")
        labels = entry["value"].get("labels")
        names = tuple(name for name in labels if isinstance(name, str)) if isinstance(labels, list) else ()
        asked = video_object(region, names[0] if names else None, entry)
        record, stored = self._stored(task, region)
        return _Drawn(annotation, asked, names, f"{place} region {region:.60}", record, stored)

    def _stored(self, task: AnnotatedTask, region: str) -> tuple[Record | None, Mapping[int, StoredFrame]]:
        store, project = self._sources.store, task.project if task.project is not None else self._sources.project
        if store is None or project is None:
            return None, {}
        place = Place(project, task.id, region)
        record = store.read(place)
        return record, {one.frame: one for one in store.frames(place)} if record is not None else {}

    def _video(self, task: AnnotatedTask, to_name: str, found: Sequence[_Drawn]) -> MaskletVideo:
        tag = self._layout.shown(to_name)
        url = reference(task, tag, to_name)
        with ExitStack() as stack:
            opened = self._opened(url, task, stack)
            space = self._space(config_rate(tag.framerate if tag else None, task.data), found, opened)
            masklets: list[Masklet] = []
            for drawn in found:
                masklets += self._masklets(drawn, space, opened, len(masklets) + 1)
        count = len(space.clock.timeline.ticks)
        times = tuple(float(time) for time in space.clock.timeline.times_s)
        height, width = space.size
        meta = {"label_studio_task": task.id, "label_studio_url": url[:1000] if not url.startswith("data:") else "data:"}
        return MaskletVideo(
            self._name(url, task), width, height, count, tuple(range(count)), tuple(masklets), task.id, times_s=times, meta=meta
        )  # fmt: skip

    def _opened(self, url: str, task: AnnotatedTask, stack: ExitStack) -> _Opened:
        if self._sources.open is None:
            return _Opened()
        try:
            return _Opened(stack.enter_context(self._sources.open(url, task)))
        except LocaraError as error:
            return _Opened(why=error)

    def _space(self, rate: float, found: Sequence[_Drawn], opened: _Opened) -> Space:
        """By the video itself, else by what the store tells of it, else by what the editor does."""
        keys = [key for drawn in found for key in drawn.asked.keyframes]
        rate = next((told for key in keys if (told := told_rate(key.frame, key.time_s)) is not None), rate)
        count = next((each for each in map(_frames_count, found) if each), None)
        if opened.video is not None:
            size, timeline = opened.video.size, opened.video.timeline
        else:
            size, timeline = self._told(found, rate, count, opened.why)
        clock = EditorClock(rate, timeline)
        return Space(size, clock, count or clock.frame_count, self._sources.tolerance_px)

    def _told(self, found: Sequence[_Drawn], rate: float, count: int | None, why: LocaraError | None) -> tuple[Size, Timeline]:
        for drawn in found:
            if drawn.record is not None and (timeline := stored_timeline(drawn.record, drawn.stored)) is not None:
                return drawn.record.size, timeline
        judged = (judge(key.extras) for drawn in found for key in drawn.asked.keyframes)
        size = next((one.mask.size for one in judged if one.mask is not None), None)
        if size is None or count is None:
            raise why or BadRequest("nothing tells the size of the video, and it was not to be read", code="video.unknown")
        self._report.changed["video.editor_frames"] += 1
        return size, of_rate(count, Fraction(rate).limit_denominator(100_000))

    def _masklets(self, drawn: _Drawn, space: Space, opened: _Opened, number: int) -> Iterator[Masklet]:
        """One for each label that is wanted."""
        names = self._wanted(drawn)
        if not names:
            return
        sorted_frames = sort_frames(drawn.asked, drawn.stored if self._fits(drawn, space) else {}, space)
        seen = dict(sorted_frames.known)
        if sorted_frames.missing:
            seen |= self._recomputed(drawn, sorted_frames, opened)
        if sorted_frames.outside:
            said = f"the boxes of frames {_listed(sorted_frames.outside)} lie outside the picture or the video"
            self._report.lose_for(drawn.place, "region.outside", said)
        lost = sorted(sorted_frames.missing - set(seen))
        meta: dict[str, Any] = {"label_studio_annotation": drawn.annotation, "label_studio_region": drawn.asked.region_id}
        meta |= {"frames_without_mask": lost} if lost else {}
        frames = range(len(space.clock.timeline.ticks))
        masks = tuple(seen[at].mask if at in seen else None for at in frames)
        scores = tuple(seen[at].score if at in seen else None for at in frames)
        for place, name in enumerate(names):
            category = self._layout.names[name]
            told = scores if any(score is not None for score in scores) else None
            yield Masklet(number + place, category, masks, scores=told, meta=meta)

    def _fits(self, drawn: _Drawn, space: Space) -> bool:
        """Whether what is stored is of this video."""
        record = drawn.record
        return record is None or (record.size, record.frame_count) == (space.size, len(space.clock.timeline.ticks))

    def _wanted(self, drawn: _Drawn) -> list[str]:
        report, layout = self._report, self._layout
        names = list(drawn.labels) or ([OBJECT] if list(layout.names) == [OBJECT] else [])
        if not names:
            report.lose_for(drawn.place, "region.no_label", "the box has no label")
        wanted = [name for name in names if not layout.wanted or name in layout.wanted]
        report.left_out["region.label"] += bool(names and not wanted)
        for name in set(wanted) - set(layout.names):
            report.lose_for(drawn.place, "region.unknown_label", f"the project has no label {name!r:.100}")
        known = [name for name in wanted if name in layout.names]
        report.changed["region.labels"] += len(known) > 1
        return known

    def _recomputed(self, drawn: _Drawn, sorted_frames: Sorted, opened: _Opened) -> dict[int, Seen]:
        """Masks of the missing frames; those that stay without are told."""
        found: dict[int, Seen] = {}
        why = opened.why
        if opened.video is not None:
            try:
                session = self._sources.recomputing.session(opened.video, drawn.record.model if drawn.record else None)
                found = recompute(session, sorted_frames, 1)
            except LocaraError as error:
                why = error
        self._report.changed["frame.recomputed"] += len(set(found) & set(sorted_frames.stale))
        self._report.changed["frame.tracked"] += len(set(found) & sorted_frames.gaps)
        self._tell_missing(drawn, sorted_frames, found, why)
        return found

    def _tell_missing(self, drawn: _Drawn, sorted_frames: Sorted, found: Mapping[int, Seen], why: LocaraError | None) -> None:
        reason = f"; [{why.code}] {why.message}" if why is not None else ""
        stale = {frame: one.state for frame, one in sorted_frames.stale.items() if frame not in found}
        if stale:
            states = ", ".join(sorted(set(stale.values())))
            said = f"no mask belongs to the boxes of frames {_listed(stale)} ({states}){reason}"
            self._report.lose_for(drawn.place, "frame.stale", said)
        if gaps := sorted_frames.gaps - set(found):
            said = f"no mask was found for frames {_listed(gaps)} between keyframes{reason}"
            self._report.lose_for(drawn.place, "frame.no_mask", said)

    def _name(self, url: str, task: AnnotatedTask) -> str:
        """The file's name without its ending; unlike those before."""
        name = str(PurePosixPath(file_name(url, task.id)).with_suffix(""))
        if name in self._names:
            name = f"{name}-{task.id}"
        self._names.add(name)
        return name


def stored_timeline(record: Record, stored: Mapping[int, StoredFrame]) -> Timeline | None:
    """The times of a video's frames as far as stored frames tell them: all, or the rate of two; None for less."""
    count = record.frame_count
    if len(stored) == count:
        ticks = tuple(round(stored[frame].time_s * _TICKS) for frame in range(count))
        if check_ticks(ticks):
            return Timeline(ticks, Fraction(1, _TICKS))
    first, last = (min(stored), max(stored)) if stored else (0, 0)
    seconds = stored[last].time_s - stored[first].time_s if last > first else 0.0
    return of_rate(count, Fraction((last - first) / seconds).limit_denominator(100_000)) if seconds > 0 else None


def _frames_count(drawn: _Drawn) -> int | None:
    """What the editor counts; `BadRequest` with code video.frames for what it cannot count."""
    count = drawn.asked.fields["value"].get("framesCount")
    if count is None or count == 0:
        return None
    return whole(count, "framesCount", "video.frames", MAX_EDITOR_FRAMES)


def _listed(frames: Iterable[int]) -> str:
    ordered = sorted(frames)
    more = f" and {len(ordered) - _NAMED_FRAMES} more" if len(ordered) > _NAMED_FRAMES else ""
    return ", ".join(map(str, ordered[:_NAMED_FRAMES])) + more
