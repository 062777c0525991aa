"""What one run through a video shows and finds: prompts from records to the session, masks from the session to the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from locara_label.engine.text_tracking import SAME
from locara_label.engine.tracks import Found, Step
from locara_label.engine.turns import Turns
from locara_label.engine.video_recipe import Recorded
from locara_label.errors import BadPrompt, LocaraError
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.hosts.label_studio.video_wishes import prompt_of
from locara_label.models.video_memory import BACKWARD, FORWARD
from locara_label.rle import Size
from locara_label.server.video_jobs import Key
from locara_label.server.video_texts import EVERY_S, Text
from locara_label.types import Mask
from locara_label.video.timeline import Timeline

_KEPT_STEPS, _KEPT_S = 32, 1.0
"""What a process that is killed may have to find again."""


@dataclass(eq=False)
class Tracked:
    """What a session knows of regions.

    Attributes:
        session_id: of the registry.
        video: the reference.
        size, timeline: of the video.
        numbers: of the session's objects, by region.
        shown: what was shown of each region, by frame.
        unsaved: the session may know more than the store.
    """

    session_id: str
    video: str
    size: Size
    timeline: Timeline
    numbers: dict[str, int] = field(default_factory=dict)
    shown: dict[str, dict[int, Any]] = field(default_factory=dict)
    unsaved: bool = False

    def number(self, region: str, session: Recorded) -> int:
        """Of the region's object, a new one where it has none."""
        return self.numbers.setdefault(region, max([0, *self.numbers.values(), *session.tracks]) + 1)

    def regions(self) -> dict[int, str]:
        return {number: region for region, number in self.numbers.items()}


class Run:
    """The objects of a run, and what is found until it is stored."""

    def __init__(
        self,
        store: MaskletStore,
        changing: threading.Lock,
        session: Recorded,
        tracked: Tracked,
        records: Sequence[Record],
        *,
        others: Sequence[Record] = (),
    ) -> None:
        """`records` are to be found; `others` of the same video are known already, by whichever session."""
        self._store, self._changing, self.session, self._tracked = store, changing, session, tracked
        self._records = {record.place.region: record for record in records}
        self._others = [other for other in others if other.place.region not in tracked.numbers]
        self._masks: dict[str, dict[int, Mask]] = {}
        self._texts: list[tuple[Key, Text]] = []
        self._found: dict[Place, list[StoredFrame]] = {}
        self._saving = threading.Lock()
        self._steps, self._saved_s = 0, time.monotonic()

    @contextmanager
    def saved(self) -> Iterator[None]:
        """Stores what was found, however the block ends; and what a run before this one could not store."""
        if self._tracked.unsaved:
            self._keep_all()
        self._tracked.unsaved = True
        try:
            yield
        finally:
            self.save()
            self._tracked.unsaved = False

    def _keep_all(self) -> None:
        for region, record in self._records.items():
            track = self.session.tracks.get(self._tracked.numbers.get(region, 0))
            for frame, found in track.found.items() if track is not None else ():
                self._keep(record, frame, found)

    def left(self) -> int:
        """Frames that have to be gone through."""
        tracks, frames = list(self.session.tracks.values()), range(self.session.video.count)
        return sum(any(track.wants(at, way) for track in tracks) for way in (FORWARD, BACKWARD) for at in frames)

    def show(self, turns: Turns) -> None:
        """Shows the session what is new. An object that cannot be found fails by itself."""
        for region, record in list(self._records.items()):
            try:
                self._show(region, record, turns)
            except BadPrompt as error:
                self._forget(region)
                del self._records[region]
                self._change(record, failed(record, error))

    def _show(self, region: str, record: Record, turns: Turns) -> None:
        shown = self._tracked.shown.get(region, {})
        if not set(shown) <= set(record.prompts):
            self._forget(region)
            self._store.replace(record, ())
            shown = {}
        number = self._tracked.number(region, self.session)
        for frame, written in record.prompts.items():
            if shown.get(frame) != written:
                prompt = prompt_of(written)
                found = turns.take(lambda limit, at=frame, what=prompt: self.session.prompt(at, number, what, limit))  # type: ignore[misc]
                if "phrase" in written:
                    self.session.label(number, written["phrase"])
                if not found.mask.area:
                    raise BadPrompt(f"nothing was found in the box on frame {written.get('at', frame)}", code="prompt.nothing")
                self._keep(record, frame, found)
        self._tracked.shown[region] = dict(record.prompts)
        self.save()

    def _forget(self, region: str) -> None:
        number = self._tracked.numbers.pop(region, None)
        self._tracked.shown.pop(region, None)
        if number is not None:
            self.session.remove(number)

    def ask(self, key: Key, text: Text, turns: Turns) -> None:
        """Asks for objects in words, on the text's frame, and has them asked for again later."""
        self._texts.append((key, text))
        if not text.asked:
            found = turns.take(lambda limit: self.session.prompt(text.frame, text=text.sought, limit=limit))
            text.asked = True
            self._adopt(text.frame, found)
            for number, region in self._tracked.regions().items():  # also on frames that were looked at before
                for phrase in self.session.phrases(number).intersection(text.labels):
                    text.note(phrase, region)

    @property
    def asked_every(self) -> int | None:
        """Frames after which texts are asked again; None without texts."""
        return max(1, round(EVERY_S * float(self.session.video.rate))) if self._texts else None

    def _adopt(self, frame: int, found: Mapping[int, Found]) -> None:
        """Notes objects that a text has found, and makes records of new ones."""
        for number, one in found.items():
            phrases = self.session.phrases(number)
            asked = [(key, text, phrase) for key, text in self._texts for phrase in text.labels if phrase in phrases]
            if not asked or not one.mask.area:
                continue
            region = self._tracked.regions().get(number) or self._stored_at(frame, one.mask)
            if region is None and one.prompted:
                region = self._begin(*asked[0], frame, one)
            if region is not None:
                self._tracked.numbers[region] = number
                for _, text, phrase in asked:
                    text.note(phrase, region)

    def _begin(self, key: Key, text: Text, phrase: str, frame: int, one: Found) -> str:
        """The region of a new record."""
        record = text.record(key, self._tracked.video, phrase, frame, one.mask, timeline=self._tracked.timeline)
        self._store.replace(record, ())
        region = record.place.region
        self._records[region], self._tracked.shown[region] = record, dict(record.prompts)
        self._keep(record, frame, one)
        text.begun.add(region)
        return region

    def _stored_at(self, frame: int, mask: Mask) -> str | None:
        """The region of an object that an earlier session has followed to the same place."""
        for other in self._others:
            region = other.place.region
            if region not in self._masks:
                self._masks[region] = {seen.frame: seen.mask for seen in self._store.frames(other.place) if seen.present}
            there = self._masks[region].get(frame)
            if region not in self._tracked.numbers and there is not None and there.iou(mask) >= SAME:
                return region
        return None

    def add(self, step: Step) -> None:
        """Takes what a frame gave."""
        if self._texts:
            self._adopt(step.frame, step.objects)
        regions = self._tracked.regions()
        for number, found in step.objects.items():
            record = self._records.get(regions.get(number, ""))
            if record is not None:
                self._keep(record, step.frame, found)
        self._steps += 1
        if self._steps >= _KEPT_STEPS or time.monotonic() - self._saved_s >= _KEPT_S:
            self.save()

    def _keep(self, record: Record, frame: int, found: Found) -> None:
        time_s = float(self.session.video.times_s[frame])
        stored = StoredFrame(
            frame, time_s, found.mask, _share(found.score), found.present and found.mask.area > 0, found.prompted
        )
        with self._saving:
            self._found.setdefault(record.place, []).append(stored)

    def save(self) -> None:
        """Stores what was found so far; from any thread."""
        with self._saving:
            found, self._found = self._found, {}
            for place, frames in found.items():
                self._store.add(place, frames)
            self._steps, self._saved_s = 0, time.monotonic()

    def finish(self) -> None:
        """Everything that was wanted when the run began is found; what was wanted since then keeps its record running."""
        for _, text in self._texts:
            text.ended = True
        for record in self._records.values():
            self._change(record, replace(record, state="done", error=None, model=self.session.model.name))

    def _change(self, record: Record, becomes: Record) -> None:
        """Unless something else is wanted by now."""
        with self._changing, self._store.alone(record.place.project, record.place.task):
            now = self._store.read(record.place)
            if now is not None and now.state == "running" and now.prompts == record.prompts:
                self._store.put(replace(becomes, label=now.label, wanted=now.wanted))


def failed(record: Record, error: LocaraError) -> Record:
    return replace(record, state="failed", error=f"[{error.code}] {error.message}"[:1000])


def _share(score: float) -> float:
    return min(max(float(score), 0.0), 1.0)
