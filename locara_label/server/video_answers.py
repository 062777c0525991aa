"""What the store has of the objects of videos, as regions of Label Studio; with what went wrong, which nothing else tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from locara_label.hosts.label_studio.config import ControlTag, LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record
from locara_label.hosts.label_studio.results import Region, message_region
from locara_label.hosts.label_studio.video_regions import Masklet, View, noted_too, region
from locara_label.hosts.label_studio.video_wishes import box_of, frames_of, spans_of
from locara_label.server.core import Core
from locara_label.server.video_finding import Tracked
from locara_label.server.video_jobs import Key
from locara_label.server.video_pending import PendingTexts
from locara_label.server.video_predictions import has_api
from locara_label.server.video_texts import Text
from locara_label.server.video_views import view_kept
from locara_label.types import Box

_AGAIN = "choose its label again to try again"


class Answers:
    """Regions of one store. Threads may share it."""

    def __init__(
        self, core: Core, store: Callable[[], MaskletStore], pending: PendingTexts, tracked: Callable[[Key, str], Tracked]
    ) -> None:
        """`store` opens the store when it is first needed, `tracked` gives the session of a video."""
        self._core, self._stored, self._pending, self._tracked = core, store, pending, tracked
        self._told: set[tuple[Place, str]] = set()
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """Where somebody who was answered early finds the rest."""
        if has_api(self._core):
            return "the whole of it will be a prediction of this task"
        return "choose its label again in a while, and the rest is there"

    def region(self, record: Record, view: View, where: str = "") -> Region:
        """What the store has of an object; `where` says where somebody who looks at it now finds the rest."""
        frames = self._stored().frames(record.place)
        seen = {one.frame: one.mask for one in frames if one.present}
        scores = [one.score for one in frames if one.present]
        told = {"model": record.model, "version": record.version, "prompts": {str(at): one for at, one in record.prompts.items()}}
        masklet = Masklet(
            region_id=record.place.region,
            from_name=record.from_name,
            to_name=record.to_name,
            label=record.label or None,
            masks=seen,
            prompted=frozenset(one["at"] for one in record.prompts.values() if "at" in one),
            hidden=frames_of(spans_of(record)),
            score=sum(scores) / len(scores) if scores else 0.0,
            meta={**told, "state": record.state, "frames": len(frames)},
            note=_note(record, len(frames), where),
            drawn=_drawn(record) if record.state == "failed" else {},
            size=record.size,
        )
        return region(masklet, view, self._core.settings.server.keyframe_tolerance)

    def prediction(self, key: Key) -> tuple[list[Region], float]:
        """Everything that is known of a video, and the share of it that is done."""
        records = [one for one in self._stored().of_task(key.project, key.task) if one.to_name == key.to_name]
        failures = [_message(text, key.to_name) for text in self._pending.failures(key)]
        shown = [one for one in records if one.state != "cancelled"]
        if not shown:
            return [one for one in failures if one is not None], 1.0
        timeline = self._tracked(key, shown[0].video).timeline
        found = [self.region(record, view_kept(record.wanted, timeline)) for record in shown]
        done = [record.state != "running" for record in shown]
        regions = [one for one in found if one["value"]["sequence"]]
        return [*regions, *(one for one in failures if one is not None)], sum(done) / len(done)

    def named(self, key: Key, text: Text, view: View, there: frozenset[str]) -> list[Region]:
        """What a text has found, but for what the annotation has already; `there` are its regions."""
        wanted = [region for region in text.regions if region in text.begun or region not in there]
        records = (self._stored().read(Place(key.project, key.task, region)) for region in wanted)
        found = [self.region(record, view, self.where) for record in records if record is not None]
        return [one for one in found if one["value"]["sequence"]]

    def messages(self, told: Sequence[str], config: LabelingConfig, shown: ObjectTag) -> list[Region]:
        """Sentences in the TextArea of a video, where it has one."""
        area = config.message_area(shown.name)
        return [message_region("; ".join(told), area, shown.name)] if told and area is not None else []

    def tell(self, record: Record) -> None:
        """The annotator is told now that an object has failed."""
        with self._lock:
            self._told.add((record.place, record.error or ""))

    def untold(self, key: Key, asked: Iterable[str]) -> list[str]:
        """Sentences about runs that have failed since somebody was told something; once each.

        Args:
            key: of the video.
            asked: regions whose answers tell it themselves.
        """
        own, said = set(asked), []
        for record in self._stored().of_task(key.project, key.task):
            if record.to_name != key.to_name or record.state != "failed" or record.place.region in own:
                continue
            with self._lock:
                new = (record.place, record.error or "") not in self._told
                self._told.add((record.place, record.error or ""))
            said += [f"{record.label or 'an object'} from frame {_first(record)} on: {record.error}; {_AGAIN}"] if new else []
        failures = self._pending.failures(key)
        said += [text.failure for text in failures if text.failure is not None]
        self._pending.told(key, failures)
        return said


def with_messages(regions: Sequence[Region], told: Sequence[str]) -> list[Region]:
    """The same regions, with sentences beside the first."""
    return [noted_too(regions[0], "; ".join(told)), *regions[1:]] if regions and told else list(regions)


def _note(record: Record, done: int, where: str) -> str | None:
    progress = f"{done} of {record.frame_count} frames are done"
    if record.state == "running":
        return f"still being followed, {progress}" + (f"; {where}" if where else "")
    return f"{record.error}; {progress}; {_AGAIN}" if record.state == "failed" else None


def _drawn(record: Record) -> dict[int, Box]:
    """Boxes that a person drew, by frame of the editor."""
    boxes = ((one["at"], box_of(one)) for one in record.prompts.values() if "at" in one)
    return {at: box for at, box in boxes if box is not None}


def _first(record: Record) -> int:
    """The first frame of the editor on which it was shown, or of the file."""
    frame = min(record.prompts, default=0)
    return int(record.prompts.get(frame, {}).get("at", frame + 1))


def _message(text: Text, to_name: str) -> Region | None:
    if text.area is None or text.failure is None:
        return None
    return message_region(text.failure, ControlTag(text.area, "TextArea", (to_name,)), to_name)
