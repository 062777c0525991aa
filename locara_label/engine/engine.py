"""Pictures and prompts in, masks out, for many users at once: one encode a picture, the newest click first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from locara_label import images
from locara_label.engine.embeddings import Embeddings, Key
from locara_label.engine.flights import Flights, Urgency
from locara_label.engine.lanes import Lane, Lanes, Priority
from locara_label.engine.tickets import Newest, Ticket
from locara_label.errors import BadOption
from locara_label.images import Limits
from locara_label.models.base import Image, Limit, PromptedModel, SegmentationModel
from locara_label.types import Embedding, Instance

T = TypeVar("T")
PromptT = TypeVar("PromptT")
FoundT = TypeVar("FoundT")
Size = tuple[int, int]
Prompts = Sequence[PromptT] | Callable[[Size], Sequence[PromptT]]
"""Prompts, or what makes them once the picture's height and width in pixels are known."""

_MAX_KNOWN = 10_000


@dataclass(frozen=True)
class Picture:
    """Where a picture comes from.

    Attributes:
        key: what it was asked for by, such as its address. The same key gives the same bytes, at least for a while.
        read: gives the file's bytes; only called when the embedding is not at hand.
    """

    key: str
    read: Callable[[Limit], bytes]

    @classmethod
    def of(cls, content: bytes) -> Picture:
        """A picture that is here already."""
        return cls(sha256(content).hexdigest(), lambda _: content)


@dataclass(frozen=True)
class Bounds:
    """What the engine takes on.

    Attributes:
        waiting: requests that may wait in each queue; more are refused.
        encode_s: seconds that reading and encoding one picture may take, whoever waits for it.
        images: what one picture may cost.
    """

    waiting: int = 32
    encode_s: float = 90
    images: Limits = images.DEFAULT_LIMITS


@dataclass(frozen=True, eq=False)
class Answer(Generic[FoundT]):
    """What each prompt found, and the picture it belongs to: its embedding's hash, its height and width in pixels."""

    candidates: list[list[FoundT]]
    picture: str
    size: Size


@dataclass
class Counts:
    """What the engine has done since it started."""

    encodes: int = 0
    decodes: int = 0
    segments: int = 0
    embedding_hits: int = 0
    replaced: int = 0


class Engine(Generic[PromptT, FoundT]):
    """Answers prompts and makes pre-labels. Threads may share it; nothing of one request reaches another.

    Reading, the slow models and the decoder have queues of their own, so that a click on a known picture never waits for
    somebody else's new one. Engines of several models may share them, so that these do not fight for the cores, and may share
    what is known of pictures.
    """

    def __init__(
        self,
        prompt_model: PromptedModel[PromptT, FoundT] | None = None,
        segmentation_model: SegmentationModel | None = None,
        *,
        embeddings: Embeddings | None = None,
        bounds: Bounds | None = None,
        lanes: Lanes | None = None,
        known: Known | None = None,
    ) -> None:
        self.prompt_model, self.segmentation_model = prompt_model, segmentation_model
        self.embeddings = Embeddings() if embeddings is None else embeddings
        self.bounds = bounds or Bounds()
        self.counts = Counts()
        self.lanes = lanes or Lanes.of(self.bounds.waiting)
        self.known = known or Known(self.embeddings.budget.age_s)
        self._flights: Flights[Embedding] = Flights()
        self._newest = Newest()

    def prompt(
        self,
        picture: Picture,
        prompts: Prompts[PromptT],
        ticket: Ticket,
        replaces: Hashable | None = None,
        priority: Priority = Priority.CLICK,
    ) -> Answer[FoundT]:
        """Masks for prompts on one picture.

        Args:
            picture: what the prompts are about; encoded if it is new, once for all who wait for it.
            prompts: decoded as one batch.
            ticket: the request's deadline and cancellation.
            replaces: a newer request with the same value (annotator and object) cancels this one.
            priority: among the jobs that wait.

        Raises:
            BadOption: there is no prompt model.
            BadPrompt, BadImage, FetchError: the prompt or the picture is wrong.
            QueueFull, DeadlineExceeded, InferenceFailed: too busy, too slow, failed.
            Cancelled: with code run.replaced, a newer request came.
        """
        model = self._prompt_model()
        with self._newest.of(replaces, ticket):
            embedding = self._embedding(picture, ticket, priority)
            asked = prompts(embedding.size) if callable(prompts) else prompts
            decode = lambda: model.decode_many(embedding, asked, ticket.limit)  # noqa: E731 - a closure is a job
            candidates = self._run(self.lanes.decoding, decode, ticket, priority)
        self.counts.decodes += 1
        return Answer(candidates, embedding.picture, embedding.size)

    def segment(self, picture: Picture, threshold: float | None, ticket: Ticket) -> tuple[list[Instance], Size]:
        """Pre-labels of a picture, and its height and width in pixels.

        Raises:
            BadOption: there is no segmentation model.
            BadImage, FetchError, QueueFull, DeadlineExceeded, InferenceFailed: see `prompt`.
        """
        image = self._run(self.lanes.reading, lambda: self._decoded(picture.read(ticket.limit)), ticket)
        return self.segment_image(image, threshold, ticket), (image.shape[0], image.shape[1])

    def segment_image(self, image: Image, threshold: float | None, ticket: Ticket) -> list[Instance]:
        """Pre-labels of RGB uint8 [H, W, 3], behind the clicks that wait; see `segment`."""
        model = self.segmentation_model
        if model is None:
            raise BadOption("no model for pre-labels is loaded", code="option.no_model")
        work = lambda: model.segment(image, threshold, ticket.limit)  # noqa: E731 - a closure is a job
        found = self._run(self.lanes.encoding, work, ticket, Priority.PRELABEL)
        self.counts.segments += 1
        return found

    def warm(self, picture: Picture) -> None:
        """Encodes a picture that somebody will probably ask about, when nothing else is to do. Failing is no matter.

        Raises:
            QueueFull: there is enough to do.
        """
        if self.prompt_model is not None and self._cached(picture) is None:
            self._flight(picture, Priority.WARM)

    def close(self) -> None:
        """Gives up what waits and lets what runs finish."""
        self.lanes.close()

    def _prompt_model(self) -> PromptedModel[PromptT, FoundT]:
        if self.prompt_model is None:
            raise BadOption("no model for prompts is loaded", code="option.no_model")
        return self.prompt_model

    def _run(self, lane: Lane, work: Callable[[], T], ticket: Ticket, priority: Priority = Priority.CLICK) -> T:
        future = lane.submit(work, priority)
        try:
            return ticket.wait(future)
        finally:
            future.cancel()

    def _embedding(self, picture: Picture, ticket: Ticket, priority: Priority) -> Embedding:
        found = self._cached(picture)
        if found is not None:
            self.counts.embedding_hits += 1
            return found
        return ticket.wait(self._flight(picture, priority))

    def _cached(self, picture: Picture) -> Embedding | None:
        digest = self.known.get(picture.key)
        return self.embeddings.get(self._key(digest)) if digest is not None else None

    def _key(self, digest: str) -> Key:
        return self._prompt_model().identity, digest

    def _flight(self, picture: Picture, priority: Priority) -> Future[Embedding]:
        """Reading and encoding, shared by all who ask for the same picture meanwhile; nobody's deadline but its own."""
        read = lambda urgency: self._read(picture, Ticket(self.bounds.encode_s), urgency)  # noqa: E731
        return self._flights.join(picture.key, priority, self.lanes.reading, read)

    def _read(self, picture: Picture, ticket: Ticket, urgency: Urgency) -> Embedding | Future[Embedding]:
        found = self._cached(picture)  # another flight of the same picture may just have landed
        if found is not None:
            return found
        content = picture.read(ticket.limit)
        digest = sha256(content).hexdigest()
        found = self.embeddings.get(self._key(digest))
        if found is not None:
            self.known.put(picture.key, digest)
            return found
        encode = lambda _: self._encode(digest, content, ticket)  # noqa: E731
        future = self._flights.join(self._key(digest), urgency.priority, self.lanes.encoding, encode)
        urgency.follow(lambda priority: self._flights.hurry(self._key(digest), priority))
        future.add_done_callback(lambda done: self._note(picture.key, digest, done))
        return future

    def _note(self, key: str, digest: str, done: Future[Embedding]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.known.put(key, digest)

    def _decoded(self, content: bytes) -> Image:
        return images.read(content, self.bounds.images)

    def _encode(self, digest: str, content: bytes, ticket: Ticket) -> Embedding:
        found = self.embeddings.get(self._key(digest))  # the same picture by another key may just have landed
        if found is not None:
            return found
        image = self._decoded(content)  # only now: many may wait, and a picture takes more than its file
        embedding = self._prompt_model().encode(image, ticket.limit)
        self.counts.encodes += 1
        self.embeddings.put(self._key(digest), embedding)
        return embedding


class Known:
    """Which content a picture's key stood for, for a while."""

    def __init__(self, age_s: float) -> None:
        self.age_s = age_s
        self._digests: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        with self._lock:
            digest, since = self._digests.get(key, (None, 0.0))
            return digest if time.monotonic() - since < self.age_s else None

    def put(self, key: str, digest: str) -> None:
        with self._lock:
            self._digests[key] = digest, time.monotonic()
            while len(self._digests) > _MAX_KNOWN:
                self._digests.popitem(last=False)
