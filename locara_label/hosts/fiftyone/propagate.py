"""Masklets: objects that labels of some frames show, followed through the videos of a view."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm

from locara_label.engine.loading import load_video_model
from locara_label.engine.tracking import DEFAULT_VIDEO_MODEL, MAX_FRAMES, Direction, Session
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.following import Clip, Follower, Following, Run, nothing_shown, shown_by_frame, shows_any
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.remote import Follow
from locara_label.hosts.fiftyone.samples import FRAMES, check_field, check_media, database, dataset_of
from locara_label.hosts.fiftyone.work import each_video
from locara_label.models.base import Limit, VideoModel
from locara_label.runtime.session import Stop
from locara_label.settings import Settings
from locara_label.video.opening import open_video_file


def propagate(
    view: foc.SampleCollection,
    prompt_field: str,
    label_field: str,
    *,
    model: str | VideoModel | Follow = DEFAULT_VIDEO_MODEL,
    direction: Direction = "both",
    max_frames: int | None = MAX_FRAMES,
    stride: int = 1,
    start: int | None = None,
    only_new: bool = False,
    pointers: bool = False,
    stop: Stop | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    settings: Settings | None = None,
) -> Iterator[Progress]:
    """Follows objects through videos, and saves each frame as it is done.

    Every frame that shows an object counts, so later frames correct earlier ones. Frames are counted as FiftyOne counts them,
    from 1. A detection gets the `index` and `instance` of its object, `confidence`, `predicted_iou`, and `keyframe` where a
    person showed it. Frames that are not gone through stay as they are, and so do other objects in the field.

    Args:
        view: videos.
        prompt_field: frame field with Detections (masks or boxes) or Keypoints; "frames." in front may be left out. The field
            of the answers may be named again: then what is a `keyframe` counts, or the first frame where nothing is.
        label_field: frame field of the answers, Detections.
        model: for clicks with a memory, see `load_video_model`; "classic" needs no weights. Or one of a server.
        direction: "forward", "backward" or "both".
        max_frames: to go through in each direction; None for all.
        stride: 2 leaves out every other frame.
        start: frame to start from; None takes the first where there is something to do.
        only_new: passes over videos that have the field on some frame.
        pointers: each detection gets SAM 2's object pointer as `embedding`, to compare objects by.
        stop: cancels from another thread.
        weights: folder of the weights, see `load_video_model`.
        device: as there.
        settings: as there.

    Yields:
        A value for each frame, with `frames` set, then one for the video.

    Raises:
        BadOption, ModelError, MissingRuntime: at once.
        Cancelled: the stop was set; finished frames are saved.
        RunError: code `run.database`.
    """
    check_media(view, fomm.VIDEO)
    shows, field = (check_field(name, fomm.VIDEO) for name in (prompt_field, label_field))
    dataset, run = dataset_of(view), Run(direction, max_frames, stride, start)
    if not dataset.has_frame_field(shows):
        raise BadOption(f"the frames have no field {shows!r:.120}", code="option.prompt_field")
    loaded = load_video_model(model, weights, device, settings=settings) if isinstance(model, str) else model
    with database():
        names = dataset.distinct(f"{FRAMES}{shows}.{_list_of(dataset, shows)}.label")
    fields.prepare(dataset, field, fo.Detections, [name for name in names if name])
    fields.note(dataset, field, {"model": loaded.name, "prompts": shows, "direction": direction})
    work = _Propagation(loaded, shows, field, run, Limit(stop), pointers=pointers)
    return each_video(_without(view, field) if only_new else view, (FRAMES + field, FRAMES + shows), field, work, stop=stop)


def _without(view: foc.SampleCollection, field: str) -> foc.SampleCollection:
    """The videos without the field on any frame."""
    labeled = fo.ViewField("frames").filter(fo.ViewField(field).exists()).length() > 0
    return view.match(~labeled)


def _list_of(dataset: fo.Dataset, field: str) -> str:
    kind = getattr(dataset.get_frame_field_schema()[field], "document_type", None)
    if kind not in (fo.Detections, fo.Keypoints):
        raise BadOption(f"prompts are Detections or Keypoints; {field!r:.120} has none", code="option.prompt_field")
    return "detections" if kind is fo.Detections else "keypoints"


class _Propagation:
    """The work on one video after the other."""

    def __init__(self, model: VideoModel | Follow, shows: str, field: str, run: Run, limit: Limit, *, pointers: bool) -> None:
        self.model, self.shows, self.field, self.run = model, shows, field, run
        self._limit, self._pointers = limit, pointers

    def __call__(self, sample: Any, notes: list[str]) -> Iterator[tuple[int, int]]:
        with self._open(sample) as session:
            describe(sample, session.video)
            same, goal = self.shows == self.field, self.run.frames(session.video.count)
            shown = shown_by_frame(sample, self.shows, session.video.size, only_keyframes=same)
            following = Following(session, shown, pointers=self._pointers)
            for frame in sorted(following.ask(self._limit)):
                yield self._save(sample, frame, following), goal
            for frame in following.run(self.run, self._limit):
                yield self._save(sample, frame, following), goal
            notes += [session.video.damaged] if session.video.damaged else []

    def _open(self, sample: Any) -> Follower:
        if not isinstance(self.model, Follow):
            return Session(open_video_file(sample.filepath), self.model)
        if not shows_any(sample, self.shows):  # told before all of the file is sent
            nothing_shown()
        return self.model.open(sample.filepath, self._limit, pointers=self._pointers)

    def _save(self, sample: Any, number: int, following: Following) -> int:
        """Other objects stay on the frame, in front of ours."""
        found = following.detections(number)
        with database():
            frame = sample.frames[number]
            before = frame[self.field] if frame.has_field(self.field) else None
            others = [one for one in (before.detections if before is not None else ()) if not following.owns(one)]
            frame[self.field] = fo.Detections(detections=[*others, *found])
            sample.save()  # a new frame of a view cannot be saved alone
        return len(found)


def describe(sample: Any, video: Clip) -> None:
    """Gives a sample the metadata that the App wants; FiftyOne's own way needs ffprobe."""
    if sample.metadata is not None and sample.metadata.total_frame_count:
        return
    height, width = video.size
    with database():
        sample.metadata = fo.VideoMetadata(
            size_bytes=Path(sample.filepath).stat().st_size,
            mime_type=mimetypes.guess_type(sample.filepath)[0],
            frame_width=width,
            frame_height=height,
            frame_rate=float(video.rate),
            total_frame_count=video.count,
            duration=video.duration_s,
        )
        sample.save()
