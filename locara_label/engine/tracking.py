"""Objects through a video: prompts on any frame, masks on all, corrections anywhere, nothing lost.

What people said (prompts, locked masks) is kept for good; what was found is kept by frame and object. The model's memory of the
past is in banks that are bounded, so a long clip takes no more than a short one but for its masks, which are compressed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self, overload

from locara_label.engine.fetched_video import open_reference
from locara_label.engine.frame_reading import FrameReader
from locara_label.engine.loading import DEFAULT_TEXT_MODEL, load_video_model
from locara_label.engine.text_tracking import LOW_SCORE, Asking, asked, match
from locara_label.engine.tracks import Found, Route, Step, Track
from locara_label.errors import BadOption, BadPrompt
from locara_label.fetch import Rules
from locara_label.models.base import NO_LIMIT, Clock, Limit, Seen, TextModel, VideoModel
from locara_label.models.grounded import box_prompts, grounded
from locara_label.models.video_memory import BACKWARD, FORWARD, Asked, Course
from locara_label.types import Candidate, Embedding, Grounded, Prompt, TextPrompt
from locara_label.video.limits import DEFAULT_LIMITS, VideoLimits
from locara_label.video.video import Video

__all__ = ["MAX_FRAMES", "MAX_OBJECTS", "Found", "Session", "Step", "Track", "open_video"]

MAX_FRAMES = 150
"""Of one run in one direction, unless more are asked for."""
MAX_OBJECTS = 100
KEPT_EMBEDDINGS = 2

DEFAULT_VIDEO_MODEL = "classic"

Direction = Literal["forward", "backward", "both"]
Text = str | Sequence[str] | TextPrompt
"""Phrases with dots between them ("red car . person"), a list of phrases, or phrases and thresholds."""
_LOG = logging.getLogger("locara_label.tracking")


class Session:
    """Objects of one video, one caller at a time; threads wait for each other."""

    def __init__(self, video: Video, model: VideoModel, text_model: TextModel | str = DEFAULT_TEXT_MODEL) -> None:
        """The session closes the video when it is closed itself. A text model that is named is loaded when it is needed."""
        self.video, self.model = video, model
        self.tracks: dict[int, Track] = {}
        self._asking = Asking(text_model)
        self._embeddings: OrderedDict[int, Embedding] = OrderedDict()
        self._frames = FrameReader(video)
        self._lock = threading.RLock()

    def frame_at(self, time_s: float) -> int:
        """The frame that is shown at a time in seconds since the first frame, also where the rate varies.

        It is the last one that begins at that time or before it, as players do; see `Timeline.index_at`. Raises BadOption.
        """
        return self.video.index_at(time_s)

    @overload
    def prompt(self, frame: int, object_id: int, prompt: Prompt, limit: Limit = NO_LIMIT) -> Found: ...

    @overload
    def prompt(self, *, time_s: float, object_id: int, prompt: Prompt, limit: Limit = NO_LIMIT) -> Found: ...

    @overload
    def prompt(self, frame: int, *, text: Text, limit: Limit = NO_LIMIT) -> dict[int, Found]: ...

    @overload
    def prompt(self, *, time_s: float, text: Text, limit: Limit = NO_LIMIT) -> dict[int, Found]: ...

    def prompt(
        self,
        frame: int | None = None,
        object_id: int | None = None,
        prompt: Prompt | None = None,
        limit: Limit = NO_LIMIT,
        *,
        time_s: float | None = None,
        text: Text | None = None,
    ) -> Found | dict[int, Found]:
        """Shows an object on a frame, or asks for objects in words, and gives their masks there at once.

        A second prompt on a frame replaces the first. A mask alone is taken as the answer. Points or a box on a frame that has
        been tracked refine what was found there.

        A text gives every object that it finds, by number: those that the session follows already keep theirs (see
        `text_tracking.match`), others are new, with the phrase as `Track.label`. Nothing found is an empty dict. What a person
        has shown or locked on the frame stays as it is.

        Args:
            frame: from 0; or `time_s` instead.
            object_id: of a known object, to correct it, or of a new one.
            prompt: in pixels of the video.
            limit: cancels or bounds the run; then nothing has changed, but for objects of a text that were shown before.
            time_s: of the frame; see `frame_at`.
            text: what to look for, in place of an object and its prompt.

        Raises:
            BadOption: there is no such frame, it is locked, or there are too many objects.
            BadPrompt: a text beside an object or a prompt, or one of them without the other (code prompt.mixed).
            ModelError: the text model cannot be loaded.
            BadPrompt, BadVideo, Cancelled, DeadlineExceeded, InferenceFailed: see `VideoModel.step` and `TextModel`.
        """
        at = self._place(frame, time_s)
        clock = Clock(limit)
        if text is not None and object_id is None and prompt is None:
            sought = asked(text)
            with self._lock:
                self._asking.widen(sought)
                return self._ask(at, sought, clock)
        if text is not None or object_id is None or prompt is None:
            raise BadPrompt("a prompt is an object's number and what shows it, or a text", code="prompt.mixed")
        with self._lock:
            found = self._show(at, object_id, prompt, clock)
            self.tracks[object_id].by_text.discard(at)
        return found

    def propagate(
        self,
        direction: Direction = "forward",
        start: int | None = None,
        max_frames: int = MAX_FRAMES,
        stride: int = 1,
        limit: Limit = NO_LIMIT,
        *,
        redetect: int | None = None,
    ) -> Iterator[Step]:
        """Finds the objects on other frames, and gives each frame as it is done. What is done stays, however the run ends.

        Only what is missing or stale is found again. Each object is followed forward from its first prompt on, and backward from
        there; prompts on later frames count for all frames.

        Args:
            direction: which way; "both" goes forward first.
            start: frame to start from; None takes the first where there is something to do, counted in strides from the prompt.
            max_frames: frames to go through, in each direction.
            stride: 2 leaves out every other frame, and so on.
            limit: cancels or bounds the run.
            redetect: every so many frames all texts so far are asked again: what they find confirms an object, shows it anew
                where it was followed badly or is back in sight, or is a new object, which is followed from there.

        Raises:
            BadOption: there is no such frame, a number is not positive, or there is no text to be asked again.
            BadPrompt: there is no object yet, nor any that a text could find.
            BadVideo, Cancelled, DeadlineExceeded, InferenceFailed: see `VideoModel.step`.
        """
        if max_frames < 1 or stride < 1 or direction not in {"forward", "backward", "both"}:
            raise BadOption(f"{max_frames} frames by {stride} {direction!r:.20} is no run", code="option.range")
        self._check_redetect(redetect)
        with self._lock:
            if redetect is None and not any(track.prompts for track in self.tracks.values()):
                raise BadPrompt("no object was shown yet", code="prompt.empty")
        if start is not None and not 0 <= start < self.video.count:
            raise BadOption(f"frames are 0 to {self.video.count - 1}, got {start}", code="option.range")
        ways = {"forward": (FORWARD,), "backward": (BACKWARD,), "both": (FORWARD, BACKWARD)}[direction]
        clock = Clock(limit)
        route = Route(start, max_frames, stride, redetect)
        return (step for way in ways for step in self._run(way, route, clock) if step.objects)

    def lock(self, frame: int, object_id: int) -> None:
        """Keeps a frame's mask as a person has accepted it: no run changes it, and it counts as a prompt for the others.

        Raises:
            BadOption: there is no mask of the object there.
        """
        with self._lock:
            track = self.tracks.get(object_id)
            if track is None or frame not in track.found:
                raise BadOption(f"object {object_id} has no mask on frame {frame}", code="video.no_mask")
            if frame not in track.prompts:
                self.prompt(frame, object_id, Prompt(mask=track.found[frame].mask))
            track.locked.add(frame)
            track.by_text.discard(frame)

    def unlock(self, frame: int, object_id: int) -> None:
        """The opposite of `lock`; the mask stays a prompt."""
        with self._lock:
            if object_id in self.tracks:
                self.tracks[object_id].locked.discard(frame)

    def remove(self, object_id: int) -> None:
        """Forgets an object; the others stay as they are."""
        with self._lock:
            self.tracks.pop(object_id, None)
            self._asking.named.pop(object_id, None)

    def phrases(self, object_id: int) -> frozenset[str]:
        """Those that have found an object, whoever showed it first."""
        with self._lock:
            return frozenset(self._asking.named.get(object_id, ()))

    def close(self) -> None:
        """Frees the video."""
        self._frames.close()
        self.video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place(self, frame: int | None, time_s: float | None) -> int:
        if frame is not None and time_s is None:
            return frame
        if frame is None and time_s is not None:
            return self.frame_at(time_s)
        raise BadOption(f"a prompt is on a frame or at a time, got {frame!r} and {time_s!r}", code="option.range")

    def _check_redetect(self, redetect: int | None) -> None:
        if redetect is not None and redetect < 1:
            raise BadOption(f"a text is asked again every 1 or more frames, got {redetect}", code="option.range")
        if redetect is not None and self._asking.sought is None:
            raise BadOption("no text was asked that could be asked again", code="option.redetect")

    def _show(self, frame: int, object_id: int, prompt: Prompt, clock: Clock) -> Found:
        """Every prompt comes this way, a person's and a text's."""
        track = self._track(object_id)
        if frame in track.locked:
            raise BadOption(f"frame {frame} of object {object_id} is locked", code="video.locked")
        embedding = self._embedding(frame, clock)
        asked_for = Asked(track.bank, self._refining(track, frame, prompt))
        (seen,) = self.model.step(embedding, frame, [asked_for], Course(FORWARD, self.video.count), clock.left)
        self.tracks[object_id] = track
        track.prompts[frame] = prompt
        track.stale.discard(frame)
        track.ways.pop(frame, None)
        track.changed(frame)
        return self._keep(track, frame, seen)

    def _track(self, object_id: int) -> Track:
        if object_id not in self.tracks and len(self.tracks) >= MAX_OBJECTS:
            raise BadOption(f"a session has at most {MAX_OBJECTS} objects", code="video.too_many_objects")
        return self.tracks.get(object_id) or Track(self.model.bank())

    def _refining(self, track: Track, frame: int, prompt: Prompt) -> Prompt:
        """Clicks on a tracked frame start from the mask that was found there."""
        before = track.found.get(frame)
        if before is None or before.prompted or not before.present or not prompt.points or prompt.box or prompt.mask:
            return prompt
        return Prompt(prompt.points, mask=before.mask) if self.model.refines else prompt

    def _ask(self, frame: int, sought: TextPrompt, clock: Clock) -> dict[int, Found]:
        """Every object that a text finds on a frame, in the order of the objects' numbers."""
        found = self._spotted(frame, sought, clock)
        matches = match({number: track.followed(frame) for number, track in self.tracks.items()}, found)
        numbers = matches.confirmed | matches.back
        for at, number in numbers.items():
            if self._needs_showing(self.tracks[number], frame):
                self._show_found(frame, number, found[at], clock)
        numbers |= matches.known
        room = MAX_OBJECTS - len(self.tracks)
        for at in matches.fresh[:room]:
            numbers[at] = max(self.tracks, default=0) + 1
            self._show_found(frame, numbers[at], found[at], clock)
        if len(matches.fresh) > room:
            left_out = len(matches.fresh) - room
            _LOG.warning("%d objects on frame %d left out: a session has at most %d", left_out, frame, MAX_OBJECTS)
        if sought == self._asking.sought:
            self._asking.done.add(frame)
        for at, number in numbers.items():
            self._asking.named.setdefault(number, set()).add(found[at].phrase)
        return {number: self.tracks[number].found[frame] for number in sorted(numbers.values())}

    @staticmethod
    def _needs_showing(track: Track, frame: int) -> bool:
        """Where it was lost or badly followed; never where a person has shown it, nor a text before."""
        here = track.found[frame]
        return frame not in track.prompts and (not here.present or here.score < LOW_SCORE)

    def _show_found(self, frame: int, number: int, found: Grounded, clock: Clock) -> None:
        self._show(frame, number, Prompt(box=found.box), clock)
        track = self.tracks[number]
        track.label = found.phrase
        track.by_text.add(frame)

    def _spotted(self, frame: int, sought: TextPrompt, clock: Clock) -> list[Grounded]:
        """What a text finds on a frame, best first, with the masks that the model makes of objects that it has never seen."""
        boxes = self._asking.boxes(self._frames.frame(frame, clock), sought, clock)
        if not boxes:
            return []
        wanted = [Asked(self.model.bank(), prompt) for prompt in box_prompts(boxes)]
        course = Course(FORWARD, self.video.count)
        seen = self.model.step(self._embedding(frame, clock), frame, wanted, course, clock.left)
        return grounded(boxes, [[Candidate(one.mask(self.video.size), one.score)] for one in seen])

    def _run(self, way: int, route: Route, clock: Clock) -> Iterator[Step]:
        with self._lock:
            begun = [min(track.prompts) for track in self.tracks.values() if track.prompts]
            frames = route.frames(way, begun, self.video.count)
            due = set(frames[:: route.asking]) - self._asking.done if route.asking else set[int]()
            busy = (at for at, frame in enumerate(frames) if frame in due or self._wanting(frame, way))
            first = 0 if route.start is not None else next(busy, len(frames))
        for frame in frames[first : first + route.max_frames]:
            step = self._step(frame, way, clock)
            yield self._asked_again(step, clock) if frame in due else step

    def _wanting(self, frame: int, way: int) -> dict[int, Track]:
        return {number: track for number, track in self.tracks.items() if track.wants(frame, way)}

    def _step(self, frame: int, way: int, clock: Clock) -> Step:
        with self._lock:
            wanting = self._wanting(frame, way)
            if not wanting:
                return Step(frame, float(self.video.times_s[frame]), {})
            embedding = self._embedding(frame, clock)
            wanted = [Asked(track.bank) for track in wanting.values()]
            seen = self.model.step(embedding, frame, wanted, Course(way, self.video.count), clock.left)
            found: dict[int, Found] = {}
            for (number, track), one in zip(wanting.items(), seen, strict=True):
                found[number] = self._keep(track, frame, one)
                track.ways[frame] = way
                track.stale.discard(frame)
            return Step(frame, float(self.video.times_s[frame]), found)

    def _asked_again(self, step: Step, clock: Clock) -> Step:
        """A frame of a run, with what the texts find on it."""
        with self._lock:
            sought = self._asking.sought
            found = {} if sought is None else self._ask(step.frame, sought, clock)
            return Step(step.frame, step.time_s, step.objects | found)

    def _keep(self, track: Track, frame: int, seen: Seen) -> Found:
        mask = seen.mask(self.video.size)
        found = Found(mask, seen.score, seen.present and mask.area > 0, seen.pointer, frame in track.prompts)
        track.found[frame] = found
        return found

    def _embedding(self, frame: int, clock: Clock) -> Embedding:
        if frame not in self._embeddings:
            self._embeddings[frame] = self.model.encode(self._frames.frame(frame, clock), clock.left)
            while len(self._embeddings) > KEPT_EMBEDDINGS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(frame)
        return self._embeddings[frame]


def open_video(
    path: Path | str,
    model: VideoModel | str = DEFAULT_VIDEO_MODEL,
    text_model: TextModel | str = DEFAULT_TEXT_MODEL,
    *,
    limits: VideoLimits = DEFAULT_LIMITS,
    rules: Rules | None = None,
) -> Session:
    """A session on a video file, a folder of pictures, or a video behind an address; close it, or use it in a `with` block.

    Args:
        path: of the video; or an address (https://..., or any other that `Fetcher` takes with its scheme), whose video is
            fetched whole into a private file that is gone with the session.
        model: that follows objects, or the name of one; see `load_video_model`.
        text_model: that finds objects for texts, or the name of one, which is loaded when it is needed.
        limits: what the file may cost.
        rules: which addresses may be fetched; None takes the grants of the settings. Paths need no grant.

    Raises:
        BadVideo, MissingRuntime: see `open_video_file`.
        FetchError: the address is not granted, or its video cannot be fetched.
        ModelError: the named model cannot be loaded.
    """
    tracking = load_video_model(model) if isinstance(model, str) else model
    return Session(open_reference(path, limits, rules), tracking, text_model)
