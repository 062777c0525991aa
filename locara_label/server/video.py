"""`/v1/video/sessions`: plain JSON for own clients. A video and prompts in, masks out; runs are in `video_runs`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from locara_label.datasets.records import Category
from locara_label.datasets.tracked import masklets
from locara_label.datasets.youtube_vis import YoutubeVisWriter
from locara_label.engine.lanes import Priority
from locara_label.engine.tracks import Found
from locara_label.engine.turns import Turns
from locara_label.engine.video_files import VideoFile
from locara_label.engine.video_recipe import Recorded
from locara_label.engine.video_views import SessionView
from locara_label.errors import BadPrompt, BadRequest, Cancelled
from locara_label.hosts.label_studio.fields import Fields, number, optional_text, text, whole
from locara_label.runtime.session import Stop
from locara_label.server import v1
from locara_label.server.core import Core
from locara_label.server.video_sharing import SENT, SharedSessions
from locara_label.types import TextPrompt

log = logging.getLogger("locara_label.server")

T = TypeVar("T")
CODE = "request.video"
MAX_OBJECT = 1 << 31
_FARTHEST_S = 1e7
_MAX_REFERENCE = 1 << 16
_MAX_LABEL = 200
_NO_LABEL = "object"
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Call:
    """A request: whose, about which session (empty for none), its fields, and the object in its address."""

    owner: str
    session_id: str
    fields: Fields
    object_id: str = ""


class Videos:
    """What the routes do but for runs, without HTTP. Safe to call from many threads."""

    def __init__(self, core: Core, sessions: SharedSessions) -> None:
        self._core, self._sessions = core, sessions

    def create(self, call: Call, stop: Stop) -> dict[str, Any]:
        """`{"video", "model"?, "name"?}` to the state of a new session; the video is a reference, as pictures are.

        When `stop` is set, from another thread, there is no session in the end.

        Raises:
            BadRequest: the body is not this.
            NotAllowed, FetchFailed, Cancelled, BadVideo, ModelError, QueueFull: see `VideoFiles.fetch` and `VideoSessions.start`.
        """
        given = call.fields
        reference = text(given.get("video"), "video", CODE, _MAX_REFERENCE)
        name = optional_text(given.get("name"), "name", CODE)
        model = self._core.video_model(optional_text(given.get("model"), "model", "request.model"))
        file = self._core.video_files.fetch(reference, stop)
        return self._started(call, self._sessions.start(call.owner, model, file, reference, name), stop)

    def keep(self, call: Call, file: VideoFile, stop: Stop) -> dict[str, Any]:
        """As `create`, on a video that came with the request: with `model` and `name`. The file is freed however it ends."""
        try:
            name = optional_text(call.fields.get("name"), "name", CODE)
            model = self._core.video_model(optional_text(call.fields.get("model"), "model", "request.model"))
            session_id = self._sessions.start(call.owner, model, file, SENT, name)
        except BaseException:
            file.free()
            raise
        return self._started(call, session_id, stop)

    def _started(self, call: Call, session_id: str, stop: Stop) -> dict[str, Any]:
        if stop.is_set:
            self._sessions.stop(call.owner, session_id)
            raise Cancelled("the client left before the video was open")
        return described(session_id, self._sessions.view(call.owner, session_id))

    def state(self, call: Call) -> dict[str, Any]:
        """What the video is, and which objects were shown and found on which frames; at any time, also during a run.

        Raises:
            BadRequest: there is no such session.
        """
        return described(call.session_id, self._sessions.view(call.owner, call.session_id))

    def prompt(self, call: Call) -> dict[str, Any]:
        """Shows an object on a frame, or asks for objects in words; answers with their masks there.

        The body has `frame` or `time_s`, and either what `/v1/mask_from_prompt` takes for one prompt (`points`, `labels`, `box`,
        `mask`) with `object` (a number; a new one where it is left out) and `label` (what to call it), or `text`
        with `box_threshold` and `text_threshold`.

        Raises:
            BadRequest, BadPrompt, BadOption, BadMask: the body is not this, or does not fit the video.
            RunError: see `VideoSessions.use` and `Session.prompt`.
        """
        given = call.fields
        if given.get("text") is not None:
            return self._prompt_text(call)
        shown = v1.prompt_of(given)
        asked = None if given.get("object") is None else whole(given["object"], "object", CODE, MAX_OBJECT)
        label = optional_text(given.get("label"), "label", CODE, _MAX_LABEL)

        def show(session: Recorded, turns: Turns) -> tuple[int, dict[int, Found]]:
            frame = frame_of(session, given)
            of = max(session.tracks, default=0) + 1 if asked is None else asked
            found = turns.take(lambda limit: session.prompt(frame, of, shown, limit))
            if label is not None:
                session.label(of, label)
            return frame, {of: found}

        return self._shown(call, show, self._core.settings.server.click_s)

    def _prompt_text(self, call: Call) -> dict[str, Any]:
        given = call.fields
        if mixed := [name for name in ("points", "labels", "box", "mask", "object", "label") if given.get(name) is not None]:
            raise BadRequest(f"{', '.join(mixed)} cannot be asked for together with text", code=v1.CODE)
        self._core.text_engine()
        words: TextPrompt = v1.text_prompt_of(given)

        def ask(session: Recorded, turns: Turns) -> tuple[int, dict[int, Found]]:
            frame = frame_of(session, given)
            return frame, turns.take(lambda limit: session.prompt(frame, text=words, limit=limit))

        return self._shown(call, ask, self._core.settings.server.text_s)

    def _shown(
        self, call: Call, show: Callable[[Recorded, Turns], tuple[int, dict[int, Found]]], deadline_s: float
    ) -> dict[str, Any]:
        def told(session: Recorded, turns: Turns) -> dict[str, Any]:
            frame, found = show(session, turns)
            return described_frame(session, frame, found, pointers=flag(call.fields, "pointers"))

        return self._with(call, told, deadline_s)

    def lock(self, call: Call) -> dict[str, Any]:
        """`{"object", "frame" or "time_s", "locked"?}`: no run and no prompt changes the mask, until it is unlocked.

        Raises:
            BadRequest, BadOption: the body is not this, or there is no mask.
            RunError: see `VideoSessions.use`.
        """
        given = call.fields
        of, locked = whole(given.get("object"), "object", CODE, MAX_OBJECT), flag(given, "locked", default=True)

        def change(session: Recorded, turns: Turns) -> None:
            frame = frame_of(session, given)
            turns.take(lambda _: (session.lock if locked else session.unlock)(frame, of))

        self._with(call, change)
        return self.state(call)

    def remove(self, call: Call) -> dict[str, Any]:
        """Forgets an object; the others stay as they are. Raises BadRequest: there is no such session or object."""
        of = int(call.object_id) if call.object_id.isdecimal() and len(call.object_id) < 12 else -1

        def forget(session: Recorded, _: Turns) -> None:
            if of not in session.tracks:
                raise BadRequest(f"{call.object_id!r:.60} is no object of the session", code="video.unknown_object")
            session.remove(of)

        self._with(call, forget)
        return self.state(call)

    def result(self, call: Call) -> Iterator[bytes]:
        """All masklets as one YouTube-VIS file, in pieces. Objects without a label are of the category "object".

        Raises:
            BadRequest, BadPrompt: there is no such session, or no object in it.
            RunError: see `VideoSessions.use`.
        """
        with tempfile.TemporaryDirectory(prefix="locara-result-") as folder:
            path = Path(folder, "masklets.json")
            self._with(call, lambda session, _: self._write(session, path, call), self._core.settings.server.predict_s)
            file = path.open("rb")  # read on after its name is gone
        return _pieces(file)

    def _write(self, session: Recorded, path: Path, call: Call) -> None:
        if not session.tracks:
            raise BadPrompt("no object was shown yet", code="prompt.empty")
        labels = {of: track.label or _NO_LABEL for of, track in session.tracks.items()}
        categories = {label: Category(at, label) for at, label in enumerate(dict.fromkeys(labels.values()), 1)}
        name = self._sessions.view(call.owner, call.session_id).name or "video"
        with YoutubeVisWriter(path, list(categories.values()), {"model": session.model.name}) as writer:
            writer.add(masklets(session, name, {of: categories[label] for of, label in labels.items()}))

    def close(self, call: Call) -> dict[str, Any]:
        """Frees all that a session holds; a run ends. Raises BadRequest: there is no such session."""
        self._sessions.stop(call.owner, call.session_id)
        return {"session": call.session_id, "closed": True}

    def _with(self, call: Call, work: Callable[[Recorded, Turns], T], deadline_s: float | None = None) -> T:
        turns = self._core.video_turns(deadline_s or self._core.settings.server.click_s, Priority.CLICK)
        with self._sessions.use(call.owner, call.session_id, turns) as session:
            return work(session, turns)


def described(session_id: str, view: SessionView) -> dict[str, Any]:
    """The state of a session."""
    extent = view.extent
    return {
        "session": session_id,
        "name": view.name,
        "model": view.model,
        "size": list(extent.size),
        "frames": extent.frames,
        "duration_s": round(extent.duration_s, 6),
        "rate": round(extent.rate, 6),
        "start_s": round(extent.start_s, 6),
        "damage": view.damage,
        "running": view.running,
        "in_memory": not view.evicted,
        "objects": [
            {
                "object": of,
                "label": one.label,
                "prompted": list(one.prompted),
                "locked": list(one.locked),
                "found": one.found,
                "present": one.present,
            }
            for of, one in view.objects.items()
        ],
    }


def described_frame(session: Recorded, frame: int, found: dict[int, Found], *, pointers: bool) -> dict[str, Any]:
    """A frame, its time in seconds since the first one, and what was found of objects there."""
    objects = [
        {
            "object": of,
            **v1.described_mask(one.mask, one.score),
            "present": one.present,
            "prompted": one.prompted,
            **({"pointer": None if one.pointer is None else one.pointer.tolist()} if pointers else {}),
        }
        for of, one in found.items()
    ]
    return {"frame": frame, "time_s": round(float(session.video.times_s[frame]), 6), "objects": objects}


def frame_of(session: Recorded, given: Fields) -> int:
    """The frame that a body names by `frame` or `time_s`.

    Raises:
        BadRequest: by neither, or by both.
        BadOption: there is no such frame.
    """
    frame, time_s = given.get("frame"), given.get("time_s")
    if (frame is None) == (time_s is None):
        raise BadRequest("a frame is named by frame, or by time_s", code=CODE)
    if frame is None:
        return session.frame_at(number(time_s, "time_s", CODE, 0, _FARTHEST_S))
    return whole(frame, "frame", CODE, session.video.count - 1)


def flag(given: Fields, name: str, *, default: bool = False) -> bool:
    """True or false. Raises BadRequest for anything else."""
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false, got {value!r:.60}", code=CODE)
    return value


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
