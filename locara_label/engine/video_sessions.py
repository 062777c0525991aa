"""Sessions on videos that stay open between requests: whose they are, what they may cost, and how they come back.

What is not used for long makes room for others: of it only the recipe is kept, and the next access builds it again, with the
same masks, see `video_recipe`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from locara_label.engine.loading import DEFAULT_TEXT_MODEL
from locara_label.engine.text_tracking import Asking
from locara_label.engine.turns import Turns, Unhurried
from locara_label.engine.video_entry import Entry, bytes_of, holding, unknown
from locara_label.engine.video_recipe import Recipe, Recorded
from locara_label.engine.video_views import Extent, SessionView, objects_of
from locara_label.errors import BadOption, BadVideo, QueueFull
from locara_label.models.base import TextModel, VideoModel
from locara_label.video.video import Video

_ID_BYTES = 24
_SOON_S = 0.05
_DEAD = {"video.crashed", "video.no_memory", "video.too_slow"}
"""After these a decoder answers no more, or not for long."""


@dataclass(frozen=True)
class SessionBudget:
    """What all sessions together may cost.

    Attributes:
        open: with everything in memory; more are evicted, the longest unused first.
        bytes: of masks, banks, embeddings, pictures and recipes in memory.
        known: open or evicted; more are refused.
        idle_s: a session that is unused so long is closed for good.
        age_s: as is one that is so old, once nobody uses it.
    """

    open: int = 8
    bytes: int = 2 << 30
    known: int = 1000
    idle_s: float = 7200
    age_s: float = 86400


@dataclass
class SessionCounts:
    """What has happened so far."""

    opened: int = 0
    evictions: int = 0
    rebuilds: int = 0
    frames: int = 0


class VideoSessions:
    """All open sessions of a process. Threads may share it.

    An owner is a text that tells users apart; a session of another owner is unknown, like one that never was.

    Attributes:
        counts: what has happened so far.
    """

    def __init__(self, budget: SessionBudget | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget or SessionBudget()
        self.counts = SessionCounts()
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def open(self) -> int:
        """Sessions that are in memory."""
        with self._lock:
            return sum(entry.open for entry in self._entries.values())

    @property
    def nbytes(self) -> int:
        """Bytes that sessions hold."""
        with self._lock:
            return sum(bytes_of(entry) for entry in self._entries.values())

    def start(
        self,
        owner: str,
        model: VideoModel,
        opener: Callable[[], Video],
        *,
        name: str | None = None,
        text_model: TextModel | str = DEFAULT_TEXT_MODEL,
        free: Callable[[], None] = lambda: None,
    ) -> str:
        """Opens a session, and gives its id.

        Args:
            owner: whose it is.
            model: follows the objects.
            opener: opens the video, now and after each eviction; the same one each time, until `free` is called.
            name: by which `find` finds it.
            text_model: finds objects for texts; one that is named is loaded when it is needed.
            free: called once, when the session is closed for good, or could not be opened.

        Raises:
            BadOption: code video.name_taken; the owner has a session of that name.
            QueueFull: there are too many, or all that are open are in use.
            BadVideo, MissingRuntime: see `open_video_file`.
        """
        now, session_id = self._clock(), secrets.token_urlsafe(_ID_BYTES)
        self._begin(session_id, Entry(owner, name, model, opener, free, now, now, Recipe(Asking(text_model))))
        return session_id

    def resume(
        self,
        owner: str,
        session_id: str,
        model: VideoModel,
        opener: Callable[[], Video],
        recipe: Recipe,
        *,
        name: str | None = None,
        free: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens a session that another process had, under its id; the next use goes through the recipe. See `start`."""
        now = self._clock()
        self._begin(session_id, Entry(owner, name, model, opener, free, now, now, recipe))

    def _begin(self, session_id: str, entry: Entry) -> None:
        try:
            self._admit(session_id, entry)
        except BaseException:
            entry.free()
            raise
        try:
            with holding(entry, Unhurried(), run=False):
                self._open(entry)
        except BaseException:
            self._forget(session_id)
            raise
        finally:
            self._leave(entry)
        self.counts.opened += 1

    def find(self, owner: str, name: str) -> str | None:
        """The id of the owner's session of a name."""
        self.expire()
        with self._lock:
            return self._named(owner, name)

    @contextmanager
    def use(self, owner: str, session_id: str, turns: Turns | None = None, *, run: bool = False) -> Iterator[Recorded]:
        """The session, for the caller alone until the end of the block; built again if it was evicted, and not evicted meanwhile.

        Args:
            owner: whose it is.
            session_id: from `start`.
            turns: how building it again gets done, and what `cancel` ends; None does all in this thread.
            run: it will take long, so that others are refused rather than made to wait.

        Raises:
            BadRequest: code video.unknown_session; or video.busy, a run is under way.
            Cancelled, DeadlineExceeded: see `Turns.check`; others had it for too long.
            QueueFull: all open ones are in use, or the recipes alone take more than there is.
            BadVideo, RunError: it could not be built again; the next use goes on with that. Where the decoder died, also during
                the block, the next use begins with another one.
        """
        turns = turns or Unhurried()
        entry = self._joined(owner, session_id)
        try:
            self._check_recipes()
            with holding(entry, turns, run=run), self._dropping(entry):
                if entry.closed:
                    unknown(session_id)
                session = entry.session or self._open(entry)
                if not session.complete:
                    session.rebuild(turns)
                yield session
        finally:
            self._leave(entry)

    def view(self, owner: str, session_id: str) -> SessionView:
        """What a session is like, also while it is in use. Raises BadRequest as `use`."""
        entry = self._joined(owner, session_id)
        try:
            session, extent = entry.session, entry.extent
            if extent is None:  # it is being opened, and may not come to be
                unknown(session_id)
            complete = session is not None and session.complete
            objects = objects_of(session) if session is not None and complete else entry.objects
            damage = extent.damage if session is None else session.video.damaged
            return SessionView(entry.name, entry.model.name, extent, damage, entry.running, not complete, objects)
        finally:
            self._leave(entry)

    def cancel(self, owner: str, session_id: str) -> bool:
        """Ends what is under way in a session; whether there was something. Raises BadRequest as `use`."""
        with self._lock:
            turns = self._known(owner, session_id).turns
        if turns is not None:
            turns.cancel()
        return turns is not None

    def stop(self, owner: str, session_id: str) -> None:
        """Closes a session for good; what is under way in it is cancelled. Raises BadRequest as `use`."""
        with self._lock:
            entry = self._known(owner, session_id)
        self._forget(session_id)
        if entry.turns is not None:
            entry.turns.cancel()
        self._freed(entry)

    def close(self) -> None:
        """Closes all sessions, and opens no more."""
        with self._lock:
            self._closed = True
            entries, self._entries = dict(self._entries), {}
            for entry in entries.values():
                entry.closed = True
            if self._timer is not None:
                self._timer.cancel()
        for entry in entries.values():
            if entry.turns is not None:
                entry.turns.cancel()
            self._freed(entry)

    def expire(self) -> None:
        """Closes what was unused for too long; called by itself."""
        now = self._clock()
        with self._lock:
            late = [key for key, entry in self._entries.items() if not entry.users and self._ends_s(entry) <= now]
            gone = [entry for key in late if (entry := self._forget(key)) is not None]
        for entry in gone:
            self._freed(entry)

    def _ends_s(self, entry: Entry) -> float:
        return min(entry.used_s + self.budget.idle_s, entry.began_s + self.budget.age_s)

    def _admit(self, session_id: str, entry: Entry) -> None:
        self.expire()
        with self._lock:
            if self._closed or len(self._entries) >= self.budget.known:
                raise QueueFull(f"there are {len(self._entries)} sessions already", retry_after_s=30)
            if entry.name is not None and self._named(entry.owner, entry.name) is not None:
                raise BadOption(f"there is a session of the name {entry.name!r:.120}", code="video.name_taken")
            self._entries[session_id] = entry

    def _named(self, owner: str, name: str) -> str | None:
        return next((key for key, one in self._entries.items() if (one.owner, one.name) == (owner, name)), None)

    def _known(self, owner: str, session_id: str) -> Entry:
        entry = self._entries.get(session_id)
        if entry is None or entry.owner != owner or (not entry.users and self._ends_s(entry) <= self._clock()):
            unknown(session_id)
        return entry

    def _joined(self, owner: str, session_id: str) -> Entry:
        with self._lock:
            entry = self._known(owner, session_id)
            entry.users += 1
            return entry

    def _check_recipes(self) -> None:
        with self._lock:
            said = sum(entry.recipe.nbytes for entry in self._entries.values())
        if said > self.budget.bytes:
            text = f"what was shown to {len(self)} sessions takes {said} bytes, the limit is {self.budget.bytes}: close some"
            raise QueueFull(text, retry_after_s=30)

    def _leave(self, entry: Entry) -> None:
        with self._lock:
            entry.users -= 1
            entry.used_s = self._clock()
        self._freed(entry)
        self._trim()
        self._wake()

    def _forget(self, session_id: str) -> Entry | None:
        with self._lock:
            entry = self._entries.pop(session_id, None)
            if entry is not None:
                entry.closed = True
            return entry

    def _freed(self, entry: Entry) -> None:
        """Frees what a closed session holds, once nobody uses it."""
        with self._lock:
            if not entry.closed or entry.users:
                return
            session, entry.session = entry.session, None
            free, entry.free = entry.free, lambda: None
        if session is not None:
            session.close()
        free()

    def _open(self, entry: Entry) -> Recorded:
        """Puts a session in memory, of which its recipe is still to be gone through; called by who holds it."""
        with self._lock:
            self._make_room(entry)
            entry.opening = True
        try:
            session = Recorded(entry.opener(), entry.model, entry.recipe, self.budget.bytes, self._stepped)
            extent = Extent.of(session.video)
            if entry.extent not in {None, extent}:
                session.close()
                raise BadVideo(f"the video is not the same any more: {extent}, it was {entry.extent}", code="video.changed")
            entry.extent, entry.session = extent, session
        finally:
            entry.opening = False
        self.counts.rebuilds += not session.complete
        return session

    def _make_room(self, entry: Entry) -> None:
        while sum(one.open for one in self._entries.values() if one is not entry) >= self.budget.open:
            if not self._evict():
                raise QueueFull(f"all {self.budget.open} open sessions are in use", retry_after_s=5)

    def _stepped(self) -> None:
        with self._lock:
            self.counts.frames += 1
        self._trim()

    def _trim(self) -> None:
        with self._lock:
            while sum(bytes_of(entry) for entry in self._entries.values()) > self.budget.bytes:
                if not self._evict():
                    return

    def _evict(self) -> bool:
        """Takes the session that was unused for the longest time out of memory, if there is one."""
        idle = [entry for entry in self._entries.values() if entry.session is not None and not entry.users]
        entry = min(idle, key=lambda one: one.used_s, default=None)
        if entry is None or entry.session is None:
            return False
        self._drop(entry, entry.session)
        return True

    def _drop(self, entry: Entry, session: Recorded) -> None:
        entry.session = None
        if session.complete:
            entry.objects = objects_of(session)
        session.close()
        self.counts.evictions += 1

    @contextmanager
    def _dropping(self, entry: Entry) -> Iterator[None]:
        """Takes a session whose decoder died out of memory."""
        try:
            yield
        except BadVideo as error:
            with self._lock:
                if error.code in _DEAD and entry.session is not None:
                    self._drop(entry, entry.session)
            raise

    def _wake(self) -> None:
        """Has what is unused looked for when the first of them may be too old; no thread works until then."""
        with self._lock:
            ends = [self._ends_s(entry) for entry in self._entries.values() if not entry.users]
            if self._closed or not ends or self._timer is not None:
                return
            first = min(ends)
            self._timer = threading.Timer(min(max(first - self._clock(), _SOON_S), threading.TIMEOUT_MAX), self._woken)
            self._timer.name, self._timer.daemon = "video-sessions", True
            self._timer.start()

    def _woken(self) -> None:
        with self._lock:
            self._timer = None
        self.expire()
        self._wake()
