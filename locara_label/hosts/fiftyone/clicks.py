"""Clicks on pictures and on frames of videos: the models that answer, what they have seen, and the steps of one object.

One encode for each picture: later clicks cost only the decoder. Pictures whose masks a server makes are sent there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from locara_label import images
from locara_label.engine.embeddings import Budget, Embeddings
from locara_label.engine.engine import Engine, Picture
from locara_label.engine.grounding import GROUNDED_SAM2, load_grounded
from locara_label.engine.loading import load_prompt_model
from locara_label.engine.tickets import Ticket
from locara_label.errors import BadImage, BadPrompt, LocaraError
from locara_label.hosts.fiftyone.choices import find as find_choice
from locara_label.hosts.fiftyone.finders import Speller
from locara_label.hosts.fiftyone.labels import Region
from locara_label.models.base import Image, Limit
from locara_label.models.grounded import GroundedSam2
from locara_label.remote import Server, connected, read_picture
from locara_label.settings import load as load_settings
from locara_label.types import Box, Candidate, Point, Prompt, TextPrompt
from locara_label.video.opening import open_video_file
from locara_label.weights.states import State

CLICK_S = 60.0
EMBEDDING_BYTES = 1 << 30
_KEPT = 64
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Place:
    """What is clicked on: a picture's file, or a frame of a video, from 1."""

    path: str
    frame: int | None = None

    @property
    def key(self) -> str:
        """Changes when the file does.

        Raises:
            BadImage: the file is not there.
        """
        try:
            found = Path(self.path).stat()
        except OSError as error:
            raise BadImage(f"{self.path} cannot be read: {error.strerror or error}", code="image.missing") from error
        return f"{self.path}:{found.st_mtime_ns}:{found.st_size}:{self.frame}"

    def read(self) -> Image:
        """RGB uint8 [H, W, 3], upright.

        Raises:
            BadImage, BadVideo, BadOption: the file is no picture or video, or has no such frame.
        """
        if self.frame is None:
            return images.read(self.path)
        with open_video_file(self.path) as video:
            return video.frame(self.frame - 1)

    def file(self) -> bytes:
        """The file of the picture; of a frame one with the same pixels. Raises as `read`."""
        return read_picture(self.path) if self.frame is None else images.encode_png(self.read())


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a person did: a click, in pixels of the picture, or a box by two of its corners."""

    kind: Literal["point", "box"]
    xy: tuple[float, ...]
    positive: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "xy": list(self.xy), "positive": self.positive}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Act:
        """Raises BadPrompt: code `prompt.bad`; not what `to_json` gives."""
        try:
            kind, xy = value["kind"], tuple(float(number) for number in value["xy"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadPrompt(f"{value!r:.120} is no click") from error
        if (kind, len(xy)) not in {("point", 2), ("box", 4)}:
            raise BadPrompt(f"{value!r:.120} is no click")
        return cls(kind, xy, value.get("positive") is not False)


def prompt_of(acts: Sequence[Act]) -> Prompt:
    """All clicks and the last box. One positive click alone is ambiguous, so that asks for three candidates.

    Raises:
        BadPrompt: there is nothing, or a box without area.
    """
    points = tuple(Point(act.xy[0], act.xy[1], act.positive) for act in acts if act.kind == "point")
    boxes = [act.xy for act in acts if act.kind == "box"]
    box = None
    if boxes:
        x0, y0, x1, y1 = boxes[-1]
        box = Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    alone = len(points) == 1 and points[0].positive and box is None
    return Prompt(points, box, candidates=3 if alone else 1)


class Kept(OrderedDict[Key, Value]):
    """The values that were asked for last."""

    def __init__(self, most: int = _KEPT) -> None:
        super().__init__()
        self.most, self._lock = most, threading.Lock()

    def of(self, key: Key, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key in self:
                self.move_to_end(key)
                return self[key]
        value = make()
        with self._lock:
            self[key] = value
            while len(self) > self.most:
                self.popitem(last=False)
        return value


@dataclass(eq=False)
class _Loaded:
    """One model of this process: on its way, there, or broken."""

    state: State
    engine: Engine[Prompt, Candidate] | None = None
    error: LocaraError | None = None
    thread: threading.Thread | None = None


@dataclass(eq=False)
class Clicking:
    """Models that answer clicks, and what they have seen. Threads may share it.

    Attributes:
        server: answers in place of models of this process.
    """

    server: Server | None = None
    _models: dict[str, _Loaded] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _embeddings: Embeddings = field(default_factory=lambda: Embeddings(Budget(EMBEDDING_BYTES)))
    _answers: Kept[Any, list[Candidate]] = field(default_factory=Kept)
    _found: Kept[Any, list[Region]] = field(default_factory=Kept)

    def state(self, name: str) -> State:
        """What a model is doing; that of a server is ready."""
        if self.server is not None:
            return State("ready")
        with self._lock:
            loaded = self._models.get(name)
        return find_choice(name).state if loaded is None else loaded.state

    def begin(self, name: str, *, download: bool = False, accept_licence: bool = False) -> None:
        """Loads a model in a thread, unless it is here or on its way; one that failed is tried again.

        Args:
            name: of a model for clicks.
            download: its weights are fetched first.
            accept_licence: their terms are agreed to.
        """
        if self.server is not None:
            return
        with self._lock:
            found = self._models.get(name)
            if found is not None and found.state.kind != "error":
                return
            loaded = _Loaded(State("downloading" if download else "loading"))
            loaded.thread = threading.Thread(target=self._load, args=(name, loaded, download, accept_licence), daemon=True)
            self._models[name] = loaded
        loaded.thread.start()

    def answer(self, name: str, place: Place, acts: Sequence[Act]) -> list[Candidate]:
        """Masks for what a person did on a picture so far, the best first; empty ones are left out.

        Raises:
            BadPrompt: nothing was done, or no mask comes of it.
            ModelError, MissingRuntime: the model cannot be loaded.
            BadImage, BadVideo, RunError: see `Engine.prompt` and `Server.masks`.
        """
        found = self._answers.of((name, place.key, tuple(acts)), lambda: self._asked(name, place, prompt_of(acts)))
        if not found:
            raise BadPrompt("nothing is there: click elsewhere, or draw a box", code="prompt.no_mask")
        return found

    def find(self, text: str, place: Place, threshold: float | None = None) -> list[Region]:
        """What words ask for.

        Raises:
            BadPrompt: no word.
            BadImage, BadVideo, RunError: see `answer`.
        """
        return self._found.of((text, place.key, threshold), lambda: self._spelled(text, place, threshold))

    def warm(self, name: str, place: Place) -> None:
        """Encodes a picture that will probably be clicked on, meanwhile. Failing is no matter: a click will say why."""
        with self._lock:
            loaded = self._models.get(name)
        if loaded is not None and loaded.engine is not None:
            loaded.engine.warm(_picture(place))

    def _asked(self, name: str, place: Place, prompt: Prompt) -> list[Candidate]:
        if self.server is not None:
            found = self.server.masks(place.file(), [prompt], name or None)[0]
        else:
            found = self._engine(name).prompt(_picture(place), [prompt], Ticket(CLICK_S)).candidates[0]
        return [one for one in found if one.mask.area]

    def _spelled(self, text: str, place: Place, threshold: float | None) -> list[Region]:
        sought = TextPrompt.of(text, threshold)
        if self.server is not None:
            found = self.server.find(place.file(), sought.phrases, threshold)
            return [Region.of_grounded(one, one.phrase) for one in found if one.mask.area]
        finder = Speller(_text_model().of_labels(list(sought.phrases)), threshold)
        return list(finder.find(place.read(), None).regions)

    def _engine(self, name: str) -> Engine[Prompt, Candidate]:
        self.begin(name)
        with self._lock:
            loaded = self._models[name]
        if loaded.thread is not None:
            loaded.thread.join(CLICK_S)
        if loaded.engine is None:
            raise loaded.error or BadPrompt(f"{name} is not ready yet", code="model.loading")
        return loaded.engine

    def _load(self, name: str, loaded: _Loaded, download: bool, accept_licence: bool) -> None:
        try:
            if download:
                self._fetch(name, loaded, accept_licence=accept_licence)
            loaded.state = State("loading")
            loaded.engine = Engine(load_prompt_model(name), embeddings=self._embeddings)
            loaded.state = State("ready")
        except LocaraError as error:
            loaded.error, loaded.state = error, State("error", reason=error.message, retry=True)
        except Exception as error:  # noqa: BLE001 - a thread has nobody who would see it; the state shows it
            loaded.error = LocaraError(f"{type(error).__name__}: {error}", code="internal")
            loaded.state = State.of_error(loaded.error)

    @staticmethod
    def _fetch(name: str, loaded: _Loaded, *, accept_licence: bool) -> None:
        row = find_choice(name).row
        if row is not None:

            def told(progress: Any) -> None:
                loaded.state = State("downloading", progress.done / progress.total if progress.total else None)

            load_settings().store().pull(row, accept_licence=accept_licence, progress=told)


def _picture(place: Place) -> Picture:
    def read(limit: Limit) -> bytes:
        del limit
        return place.file() if place.frame is not None else _bytes_of(place.path)

    return Picture(place.key, read)


def _bytes_of(path: str) -> bytes:
    """A whole file; the engine checks what is in it, and its size."""
    most = images.DEFAULT_LIMITS.max_bytes
    try:
        with Path(path).open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror or error}", code="image.missing") from error


@lru_cache(maxsize=1)
def _text_model() -> GroundedSam2:
    return load_grounded(GROUNDED_SAM2)


@lru_cache(maxsize=4)
def clicking(address: str | None = None) -> Clicking:
    """The one of this process, or the one whose server `LOCARA_SERVER` names."""
    return Clicking() if address is None else Clicking(connected())
