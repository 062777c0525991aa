"""Sessions on videos that any of several servers goes on with: in memory where they were last used, their recipes in the store.

One server at a time has a session; another that is asked for it fetches the video and goes through the recipe, with the same
masks. Without a shared store sessions are in memory only, and all of this is passed by.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from locara_label.engine import recipe_json
from locara_label.engine.turns import Turns, Unhurried
from locara_label.engine.video_entry import unknown
from locara_label.engine.video_files import VideoFile
from locara_label.engine.video_recipe import Recorded
from locara_label.engine.video_views import SessionView
from locara_label.errors import BadRequest, Cancelled, LocaraError
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.session_store import KeptSession, SessionStore
from locara_label.models.base import VideoModel
from locara_label.server.core import Core
from locara_label.server.session_ages import SessionAges

log = logging.getLogger("locara_label.server")

SENT = "sent:"
"""The reference of a video that came with the request: it is a file of the server that got it, and of no other."""
_LOOK_S = 0.1
_SAVED_S = 2.0
"""What of a run a server that is killed may have to go through again."""
_NOTHING: dict[str, Any] = {"events": [], "sought": None, "asked": [], "named": {}}


class SharedSessions:
    """The registry of one server, and what it shares with others. Threads may share it."""

    def __init__(self, core: Core) -> None:
        self._core, self._sessions = core, core.video_sessions
        self._shared = core.settings.server.store is not None
        self._opening = threading.Lock()
        self._opened: MaskletStore | None = None
        self._closed = False
        self._versions: dict[str, int] = {}
        self._ages = SessionAges(self._sessions.budget.idle_s, self._sessions.budget.age_s)
        core.ends.append(self._close)

    def start(self, owner: str, model: VideoModel, file: VideoFile, reference: str, name: str | None) -> str:
        """Opens a session on a fetched video. Raises what `VideoSessions.start` does, and StoreFailed."""
        session_id = self._sessions.start(owner, model, file.open, name=name, free=file.free, **self._words)
        if self._shared:
            now = time.time()
            called = None if name is None else name.replace("\0", "").encode("utf-8", "replace").decode()
            try:
                self._forget_ended()
                self._kept.add(KeptSession(session_id, owner, model.name, reference, called, _NOTHING, 0, now, now))
                self._ages.see(session_id, now)
            except BaseException:
                self._sessions.stop(owner, session_id)
                raise
            self._versions[session_id] = 0
        return session_id

    @contextmanager
    def use(self, owner: str, session_id: str, turns: Turns | None = None, *, run: bool = False) -> Iterator[Recorded]:
        """See `VideoSessions.use`; what changed is kept when the block ends, in a run every few seconds too.

        Raises:
            BadRequest, Cancelled, DeadlineExceeded, QueueFull, BadVideo, RunError: as there; StoreFailed is one of them.
            NotAllowed, FetchFailed, ModelError: another server had it, and the video or the model is not to be had here.
            BadRequest: code video.elsewhere; another server had it, or this one before it was started, and the video was sent.
        """
        turns = turns or Unhurried()
        if not self._shared:
            with self._sessions.use(owner, session_id, turns, run=run) as session:
                yield session
            return
        with self._claimed(owner, session_id, turns):
            self._brought_here(owner, session_id)
            with (
                self._sessions.use(owner, session_id, turns, run=run) as session,
                self._keeping(owner, session_id, session, often=run),
            ):
                yield session

    def view(self, owner: str, session_id: str) -> SessionView:
        """See `VideoSessions.view`; another server's session comes here first. Raises what `use` does."""
        if self._shared and not self._is_running(owner, session_id) and not self._is_current(owner, session_id):
            with self.use(owner, session_id, self._core.video_turns(self._core.settings.server.click_s)):
                pass
        view = self._sessions.view(owner, session_id)
        if self._shared and self._ages.is_due(session_id):
            self._touch(owner, session_id)
        return view

    def cancel(self, owner: str, session_id: str) -> bool:
        """Ends what this server does in a session; whether there was something. Raises BadRequest, StoreFailed."""
        try:
            return self._sessions.cancel(owner, session_id)
        except BadRequest:
            if not self._shared or self._kept.version(owner, session_id) is None:
                raise
            return False

    def stop(self, owner: str, session_id: str) -> None:
        """Closes a session for good, wherever it is. Raises BadRequest, StoreFailed."""
        kept = self._shared and self._kept.remove(owner, session_id)
        self._versions.pop(session_id, None)
        try:
            self._sessions.stop(owner, session_id)
        except BadRequest:
            if not kept:
                raise

    @property
    def _words(self) -> dict[str, Any]:
        return {} if self._core.text is None else {"text_model": self._core.text.text_model}

    @property
    def _store(self) -> MaskletStore:
        with self._opening:
            if self._closed:
                raise Cancelled("the server closes")
            if self._opened is None:
                self._opened = MaskletStore(self._core.settings.masklets)
            return self._opened

    @property
    def _kept(self) -> SessionStore:
        return SessionStore(self._store)

    def _close(self) -> None:
        with self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened.close()

    def _touch(self, owner: str, session_id: str) -> None:
        used_s = time.time()
        self._kept.touch(owner, session_id, used_s)
        self._ages.see(session_id, used_s)

    @contextmanager
    def _claimed(self, owner: str, session_id: str, turns: Turns) -> Iterator[None]:
        while True:
            with self._store.claim(f"session {session_id}") as mine:
                if mine:
                    yield
                    return
            if self._is_running(owner, session_id):
                raise BadRequest("a run of the session is under way; cancel it, or wait for its end", code="video.busy")
            turns.check()
            time.sleep(_LOOK_S)

    def _forget_ended(self) -> None:
        used = self._kept.used()
        self._ages.forget_others(used)
        self._kept.remove_unused({one: used_s for one, used_s in used.items() if self._ages.is_over(one, used_s)})

    def _is_running(self, owner: str, session_id: str) -> bool:
        try:
            return self._sessions.view(owner, session_id).running
        except BadRequest:
            return False

    def _is_current(self, owner: str, session_id: str) -> bool:
        """Whether this server has the session as the store says that it is."""
        try:
            self._sessions.view(owner, session_id)
        except BadRequest:
            return False
        return self._versions.get(session_id) == self._kept.version(owner, session_id)

    def _brought_here(self, owner: str, session_id: str) -> None:
        """Opens a session here where it is not, or not as it is by now."""
        if self._is_current(owner, session_id):
            return
        kept = self._kept.read(owner, session_id)
        if kept is not None and kept.video == SENT:
            self._kept_here(owner, session_id, kept.version)
            return
        with suppress(BadRequest):
            self._sessions.stop(owner, session_id)
        self._versions.pop(session_id, None)
        if kept is None or self._ages.is_over(session_id, kept.used_s):
            unknown(session_id)
        model, words = self._core.video_model(kept.model), self._words
        recipe = recipe_json.read(dict(kept.recipe), words.get("text_model", "none"))
        taken = kept.name is not None and self._sessions.find(owner, kept.name) is not None
        file = self._core.video_files.fetch(kept.video)
        name = None if taken else kept.name
        self._sessions.resume(owner, session_id, model, file.open, recipe, name=name, free=file.free)
        self._versions[session_id] = kept.version
        log.info("a session on a video is gone on with, after %d events", len(recipe.events))

    def _kept_here(self, owner: str, session_id: str, version: int) -> None:
        """A session whose video was sent is the one that this server has, or there is none. Raises BadRequest."""
        try:
            self._sessions.view(owner, session_id)
        except BadRequest:
            text = "the video of this session was sent to another server, or before a restart: send it again"
            raise BadRequest(text, code="video.elsewhere") from None
        self._versions[session_id] = version

    @contextmanager
    def _keeping(self, owner: str, session_id: str, session: Recorded, *, often: bool) -> Iterator[None]:
        saved = [recipe_json.written(session.recipe)]
        over = threading.Event()

        def save() -> None:
            now, used_s = recipe_json.written(session.recipe), time.time()
            version = self._versions[session_id] + (now != saved[0])
            self._kept.save(owner, session_id, now, version, used_s)
            self._versions[session_id], saved[0] = version, now
            self._ages.see(session_id, used_s)

        def save_often() -> None:
            while not over.wait(_SAVED_S):
                try:
                    save()
                except LocaraError as error:  # the next one, or the last, may do
                    log.warning("a run is not kept yet: [%s] %s", error.code, error.message, extra={"code": error.code})

        thread = threading.Thread(target=save_often, name="keeping", daemon=True) if often else None
        if thread is not None:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread is not None:
                thread.join()
            save()
