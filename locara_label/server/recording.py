"""Writes down which requests of annotators were answered, and when, for `locara-label label-studio review`.

An answer never waits for it and never fails because of it: rows are written by a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from queue import Empty, Full, Queue

from locara_label.errors import BadOption, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.prompts import PromptRequest
from locara_label.hosts.label_studio.requests import PredictRequest
from locara_label.hosts.label_studio.results import Region
from locara_label.hosts.label_studio.review_store import MAX_ID, MAX_OBJECTS, Answer, AnswerStore, Asked, Kind
from locara_label.server.metrics import Metrics

log = logging.getLogger("locara_label.server")

_WAITING, _AT_ONCE = 10_000, 256
CLOSE_S = 5.0
"""What is left to write at the end gets this long; a disk that takes longer loses it."""

Groups = list[list[Region]]
"""What is answered, by object shown; one group for words."""


class Recorder:
    """The answers of one server. Threads may share it."""

    def __init__(self, where: Path | str, metrics: Metrics, *, wanted: bool = True) -> None:
        """Opens nothing yet; `where` is the store of masklets."""
        self._where, self._metrics, self._wanted = where, metrics, wanted
        self._queue: Queue[Answer | None] = Queue(_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told: str | None = None

    @contextmanager
    def answering(self, request: PredictRequest, context: PromptRequest, model: str) -> Iterator[Groups]:
        """Notes a request when the block ends, answered with what the block puts into the list, or failed."""
        at_s, began = time.time(), time.monotonic()
        groups: Groups = []
        try:
            yield groups
        finally:
            seconds, task = time.monotonic() - began, request.tasks[0].id
            if self._wanted and request.project is not None and task is not None:
                with suppress(BadOption):  # what has no place in the store is no request of Label Studio's
                    kind: Kind = "video" if context.videos else "click" if context.objects else "text"
                    self._note(Answer(request.project, task, at_s, seconds, kind, model, _asked(context, groups)))

    def close(self) -> None:
        """Writes what is left."""
        with self._starting:
            self._wanted, thread = False, self._thread
        if thread is not None:
            with suppress(Full):
                self._queue.put(None, timeout=CLOSE_S)
            thread.join(CLOSE_S)

    def _note(self, answer: Answer) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(answer)
        except Full:
            self._failed(StoreFailed("the disk is too slow to record answers", code="store.busy"))

    def _write(self) -> None:
        store: AnswerStore | None = None
        opened: MaskletStore | None = None
        while (answers := self._next()) is not None:
            try:
                if store is None:
                    opened = opened or MaskletStore(self._where)
                    store = AnswerStore(opened)
                store.add(answers)
                self._told = None
            except StoreFailed as error:
                self._failed(error)
            except Exception:
                log.exception("answers are not recorded")
        if opened is not None:
            with suppress(StoreFailed):
                opened.close()

    def _next(self) -> list[Answer] | None:
        """What waits, at least one; None at the end."""
        first = self._queue.get()
        if first is None:
            return None
        found = [first]
        with suppress(Empty):
            while len(found) < _AT_ONCE:
                one = self._queue.get_nowait()
                if one is None:
                    self._queue.put_nowait(None)
                    break
                found.append(one)
        return found

    def _failed(self, error: StoreFailed) -> None:
        """Counts it; tells it once for each reason."""
        self._metrics.errors.labels(error.code).inc()
        if self._told != error.code:
            self._told = error.code
            log.warning("answers are not recorded: [%s] %s", error.code, error.message, extra={"code": error.code})


def _asked(context: PromptRequest, groups: Sequence[Sequence[Region]]) -> tuple[Asked, ...]:
    answered = [_ids(group) for group in groups]
    if context.videos:
        found = {one for group in answered for one in group}
        shown = [one.region_id for one in context.videos]
        return tuple(Asked(_short([one]), _short([one] if one in found else [])) for one in shown[:MAX_OBJECTS])
    if context.objects:
        given = chain(answered, repeat(()))
        pairs = zip(context.objects[:MAX_OBJECTS], given, strict=False)
        return tuple(Asked(_short(one.region_ids), regions) for one, regions in pairs)
    text = [context.text_id] if context.text_id else []
    return (Asked(_short(text), tuple(one for group in answered for one in group)),)


def _ids(regions: Iterable[Region]) -> tuple[str, ...]:
    """Of masks and tracks, without the messages beside them."""
    return _short(dict.fromkeys(str(one["id"]) for one in regions if one["type"] != "textarea"))


def _short(ids: Iterable[str]) -> tuple[str, ...]:
    """Label Studio's have ten characters; longer ones are somebody else's, and nothing to fill a disk with."""
    return tuple(one for one in ids if 0 < len(one) <= MAX_ID)
