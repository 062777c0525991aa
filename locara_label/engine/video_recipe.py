"""What makes a session on a video what it is, small enough to keep: what people said, and which frames were gone through.

Gone through again in the same order, by the same model and video, it gives the same masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from locara_label.engine.text_tracking import Asking
from locara_label.engine.tracking import Session
from locara_label.engine.tracks import Found, Step, Track
from locara_label.engine.turns import Turns
from locara_label.errors import BadOption
from locara_label.models.base import Clock, Seen, VideoModel
from locara_label.types import Grounded, Prompt
from locara_label.video.video import Video

_ENTRY_BYTES = 100
"""Of an entry of a dict or a set, with its small number; measured."""
_FOUND_BYTES = 500
"""Of what is found of an object on a frame, beside the mask's counts and the pointer's numbers; measured."""
_SLOTS = 4
"""Frames that an open video holds to hand them over."""
_TIME_BYTES = 50
"""Of each frame in the video's index."""


@dataclass(frozen=True)
class Shown:
    """An object was shown on a frame."""

    frame: int
    number: int
    prompt: Prompt


@dataclass(frozen=True)
class Detected:
    """What an object was just shown by on a frame is what a text found, and the object is called by its phrase."""

    frame: int
    number: int
    phrase: str


@dataclass(frozen=True)
class Ran:
    """Objects were looked for on frames first, first + stride ... ; a negative stride goes backward."""

    way: int
    first: int
    stride: int
    count: int

    def with_next(self, other: Ran) -> Ran | None:
        """This and a run of one frame, where that goes on in the same way."""
        stride = other.first - self.first if self.count == 1 else self.stride
        follows = other.way == self.way and stride * self.way > 0 and other.first == self.first + self.count * stride
        return Ran(self.way, self.first, stride, self.count + 1) if follows else None

    def one_by_one(self) -> Iterator[Ran]:
        """Its frames as runs of their own."""
        return (Ran(self.way, self.first + at * self.stride, self.way, 1) for at in range(self.count))


@dataclass(frozen=True)
class Locked:
    """A frame of an object was locked, or no longer."""

    frame: int
    number: int
    locked: bool


@dataclass(frozen=True)
class Labelled:
    """An object was given a name."""

    number: int
    label: str


@dataclass(frozen=True)
class Removed:
    """An object was removed."""

    number: int


Event = Shown | Detected | Ran | Locked | Labelled | Removed


@dataclass(eq=False)
class Recipe:
    """Attributes:
    asking: what was asked for in words, and by which model.
    events: in their order.
    nbytes: of the events.
    """

    asking: Asking
    events: list[Event] = field(default_factory=list)
    nbytes: int = 0

    def add(self, event: Event) -> None:
        """Notes what has happened."""
        last = self.events[-1] if self.events else None
        longer = last.with_next(event) if isinstance(last, Ran) and isinstance(event, Ran) else None
        if longer is None:
            self.extend([event])
        else:
            self.events[-1] = longer

    def extend(self, events: Sequence[Event]) -> None:
        """Notes what has happened elsewhere, as it was noted there."""
        self.events += events
        prompts = (event.prompt for event in events if isinstance(event, Shown))
        self.nbytes += 2 * _ENTRY_BYTES * len(events) + sum(map(_prompt_bytes, prompts))

    def clear(self) -> None:
        """Nothing is left of what has happened."""
        self.events.clear()
        self.nbytes = 0

    def pieces(self) -> Iterator[Event]:
        """What has happened, frame by frame."""
        for event in tuple(self.events):
            yield from event.one_by_one() if isinstance(event, Ran) else (event,)


class Recorded(Session):
    """A session that keeps its recipe, and knows what it holds.

    Attributes:
        recipe: grows with every change, except while it is gone through again.
        nbytes: of masks, banks, embeddings, waiting pictures and the recipe; read from any thread.
    """

    def __init__(
        self, video: Video, model: VideoModel, recipe: Recipe, most_bytes: int, stepped: Callable[[], None] = lambda: None
    ) -> None:
        """Args:
        video: closed with the session.
        model: follows the objects.
        recipe: empty for a new session; else `rebuild` has to be called before anything else.
        most_bytes: the session may hold; nothing more is looked for beyond that.
        stepped: called after each frame of a run, from any thread.
        """
        super().__init__(video, model)
        self._asking = recipe.asking
        self.recipe, self._most, self._stepped = recipe, most_bytes, stepped
        self._found_bytes = 0
        self._pieces = recipe.pieces()
        self._piece = next(self._pieces, None)
        self.nbytes = 0
        self._measure()

    @property
    def complete(self) -> bool:
        """The whole recipe was gone through."""
        return self._piece is None

    def rebuild(self, turns: Turns) -> None:
        """Goes through the recipe, piece by piece; after an error the next call goes on where this one ended.

        Raises:
            BadVideo, RunError: see `Session.prompt`, and `Turns.take`.
        """
        while (piece := self._piece) is not None:
            turns.take(lambda limit, piece=piece: self._again(piece, Clock(limit)))  # type: ignore[misc]
            self._piece = next(self._pieces, None)

    def label(self, object_id: int, label: str) -> None:
        """Names an object, which the session knows; see `Track.label`."""
        with self._lock:
            if object_id in self.tracks and self.tracks[object_id].label != label:
                self.tracks[object_id].label = label
                self._note(Labelled(object_id, label))

    def lock(self, frame: int, object_id: int) -> None:
        with self._lock:
            super().lock(frame, object_id)
            self._note(Locked(frame, object_id, locked=True))

    def unlock(self, frame: int, object_id: int) -> None:
        with self._lock:
            super().unlock(frame, object_id)
            self._note(Locked(frame, object_id, locked=False))

    def remove(self, object_id: int) -> None:
        with self._lock:
            track = self.tracks.get(object_id)
            if track is None:
                return
            super().remove(object_id)
            self._found_bytes -= sum(map(_found_bytes, track.found.values()))
            self._note(Removed(object_id))
            if not self.tracks and self.complete:
                self.recipe.clear()

    def _show(self, frame: int, object_id: int, prompt: Prompt, clock: Clock) -> Found:
        self._check()
        found = super()._show(frame, object_id, prompt, clock)
        self._note(Shown(frame, object_id, prompt))
        return found

    def _show_found(self, frame: int, number: int, found: Grounded, clock: Clock) -> None:
        super()._show_found(frame, number, found, clock)
        self._note(Detected(frame, number, found.phrase))

    def _step(self, frame: int, way: int, clock: Clock) -> Step:
        self._check()
        with self._lock:
            step = super()._step(frame, way, clock)
            if step.objects:
                self._note(Ran(way, frame, way, 1))
        if step.objects:
            self._stepped()
        return step

    def _keep(self, track: Track, frame: int, seen: Seen) -> Found:
        before = track.found.get(frame)
        found = super()._keep(track, frame, seen)
        self._found_bytes += _found_bytes(found) - (0 if before is None else _found_bytes(before))
        return found

    def _again(self, piece: Event, clock: Clock) -> None:
        with self._lock:
            match piece:
                case Shown(frame, number, prompt):
                    self._show(frame, number, prompt, clock)
                    self.tracks[number].by_text.discard(frame)
                case Detected(frame, number, phrase):
                    self.tracks[number].by_text.add(frame)
                    self.tracks[number].label = phrase
                case Ran(way, first):
                    self._step(first, way, clock)
                case Locked(frame, number, locked):
                    (self.lock if locked else self.unlock)(frame, number)
                case Labelled(number, label):
                    self.label(number, label)
                case Removed(number):
                    self.remove(number)

    def _note(self, event: Event) -> None:
        if self.complete:
            self.recipe.add(event)
        self._measure()

    def _check(self) -> None:
        if self.nbytes > self._most:
            raise BadOption(f"the session holds {self.nbytes} bytes, the limit is {self._most}", code="video.session_full")

    def _measure(self) -> None:
        height, width = self.video.size
        pictures = _SLOTS * 3 * height * width + self.video.count * _TIME_BYTES
        held = self._embeddings, [track.bank for track in self.tracks.values()]
        self.nbytes = self._found_bytes + _held_bytes(held, set()) + self.recipe.nbytes + pictures


def _found_bytes(found: Found) -> int:
    return _FOUND_BYTES + len(found.mask.counts) + (0 if found.pointer is None else found.pointer.nbytes)


def _prompt_bytes(prompt: Prompt) -> int:
    drawn = 0 if prompt.mask is None else len(prompt.mask.counts)
    return drawn + _ENTRY_BYTES * len(prompt.points) + (0 if prompt.logits is None else prompt.logits.nbytes)


def _held_bytes(value: Any, seen: set[int]) -> int:
    """Bytes of all arrays and texts in a value, whatever it is made of, each counted once."""
    if isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        return _held_bytes(value.base, seen)  # a part keeps the whole
    if isinstance(value, (int, float, type(None))):
        return _ENTRY_BYTES
    if id(value) in seen:
        return 0
    seen.add(id(value))
    return _ENTRY_BYTES + _own_bytes(value) + sum(_held_bytes(part, seen) for part in _parts(value))


def _own_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (bytes, str)):
        return len(value)
    return _ENTRY_BYTES * len(value) if isinstance(value, set) else 0


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    return [getattr(value, one.name) for one in fields(value)] if is_dataclass(value) else []
