"""Texts on videos that are not done, or of which an annotator has to be told something: in the store, for the next server too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from locara_label.errors import StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.server.video_jobs import Key
from locara_label.server.video_texts import Text

log = logging.getLogger("locara_label.server")


class PendingTexts:
    """The texts of one store. Threads may share it. Every method raises StoreFailed."""

    def __init__(self, store: Callable[[], MaskletStore]) -> None:
        """`store` opens the store when it is first needed."""
        self._stored, self._lock = store, threading.Lock()

    def add(self, key: Key, video: str, text: Text) -> None:
        """Keeps a text until it is done."""
        with self._lock, self._stored().alone(key.project, key.task):
            videos = self._videos(key)
            videos.setdefault(key.to_name, {"texts": []})["video"] = video
            videos[key.to_name]["texts"].append(text.content)
            self._put(key, videos)

    def end(self, key: Key, texts: Iterable[Text]) -> None:
        """Forgets texts, but for those that have a `failure` to be told."""
        ended = {text.name: text for text in texts}
        if not ended:
            return
        with self._lock, self._stored().alone(key.project, key.task):
            videos = self._videos(key)
            asked = videos.get(key.to_name, {"texts": []})
            after = [ended[one["name"]].content if one["name"] in ended else one for one in asked["texts"]]
            asked["texts"] = [one for one in after if one["name"] not in ended or one["failure"] is not None]
            self._put(key, {name: one for name, one in videos.items() if one["texts"]})

    def failures(self, key: Key) -> list[Text]:
        """Those of a video that have failed."""
        with self._lock:
            return [text for name, text, _ in _texts(self._videos(key)) if name == key.to_name and text.failure is not None]

    def told(self, key: Key, texts: Iterable[Text]) -> None:
        """Forgets texts whose failures were told."""
        known = list(texts)
        for text in known:
            text.failure = None
        self.end(key, known)

    def left(self) -> Iterator[tuple[Key, str, Text]]:
        """Those that are not done, with the references of their videos; one that is damaged is logged and left out."""
        for wish in self._stored().wishes():
            try:
                for name, text, video in _texts(wish.content.get("videos", {})):
                    if text.failure is None:
                        yield Key(wish.project, wish.task, name), video, text
            except StoreFailed as error:
                log.error("masklets: [%s] %s", error.code, error.message, extra={"code": error.code})  # noqa: TRY400

    def _videos(self, key: Key) -> dict[str, Any]:
        """What is kept of a task, by Video tag."""
        found = self._stored().wish(key.project, key.task)
        return dict(found.content.get("videos", {})) if found is not None else {}

    def _put(self, key: Key, videos: dict[str, Any]) -> None:
        if videos:
            self._stored().put_wish(key.project, key.task, {"videos": videos})
        else:
            self._stored().remove_wish(key.project, key.task)


def _texts(videos: dict[str, Any]) -> Iterator[tuple[str, Text, str]]:
    for name, one in videos.items():
        for content in one["texts"]:
            yield name, Text.of(content), one["video"]
