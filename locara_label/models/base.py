"""What every segmentation model offers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadImage, BadOption, BadPrompt, Cancelled, DeadlineExceeded
from locara_label.models.video_memory import Asked, Course
from locara_label.runtime.session import Stop
from locara_label.types import Candidate, Detection, Embedding, Instance, Label, Mask, Prompt, TextPrompt

Image = NDArray[np.uint8]
"""RGB, [H, W, 3]."""


@dataclass(frozen=True)
class Limit:
    """Bounds of one call: `stop` cancels it from another thread, `deadline_s` counts seconds from the call."""

    stop: Stop | None = None
    deadline_s: float | None = None


NO_LIMIT = Limit()


class Clock:
    """A limit from now on, for work between or without sessions."""

    def __init__(self, limit: Limit) -> None:
        self._limit, self._started = limit, time.monotonic()
        self.check()

    def check(self) -> None:
        """Raises `Cancelled` or `DeadlineExceeded` where the limit is reached."""
        seconds = time.monotonic() - self._started
        if self._limit.stop is not None and self._limit.stop.is_set:
            raise Cancelled(f"the run was cancelled after {seconds:.1f} s")
        if self._limit.deadline_s is not None and seconds >= self._limit.deadline_s:
            raise DeadlineExceeded(f"the run was stopped after {seconds:.1f} s, its deadline")

    @property
    def left(self) -> Limit:
        """What is left of the limit, for the next call; raises as `check` does."""
        self.check()
        deadline_s = self._limit.deadline_s
        return self._limit if deadline_s is None else Limit(self._limit.stop, deadline_s - (time.monotonic() - self._started))


class SegmentationModel(Protocol):
    """A loaded model. Calls are independent: nothing of one picture stays for the next, and threads may share a model.

    Attributes:
        name: the catalogue name.
        labels: every class in the order of the model's own indices.
        provider: the execution provider of ONNX Runtime that runs it.
    """

    name: str
    labels: tuple[Label, ...]
    provider: str

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """Finds regions.

        Args:
            image: RGB uint8 [H, W, 3].
            threshold: least score of a region, 0..1; None takes the family's published default.
            limit: cancels or bounds the run.

        Returns:
            Regions with masks of the picture's own size, never empty ones. They do not overlap, except those of instance models.

        Raises:
            BadImage: not an RGB uint8 array.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...


PromptT_contra = TypeVar("PromptT_contra", contravariant=True)
FoundT = TypeVar("FoundT")


class PromptedModel(Protocol[PromptT_contra, FoundT]):
    """A loaded model that sees a picture once and then answers prompts about it. Threads may share it.

    Attributes:
        name: the catalogue name.
        identity: name and weights, changes when either does; embeddings carry it.
        provider: the execution provider of ONNX Runtime, or "opencv".
    """

    name: str
    identity: str
    provider: str

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """The slow part, once for each picture.

        Args:
            image: RGB uint8 [H, W, 3].
            limit: cancels or bounds the run.

        Raises:
            BadImage: not an RGB uint8 array.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...

    def decode_many(self, embedding: Embedding, prompts: Sequence[PromptT_contra], limit: Limit = NO_LIMIT) -> list[list[FoundT]]:
        """Answers to each prompt, best first.

        Raises:
            BadPrompt: the embedding is another model's, or a prompt does not fit the picture or the model.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...


class PromptModel(PromptedModel[Prompt, Candidate], Protocol):
    """Points, boxes and masks in, one candidate or three out. All prompts of a call are decoded as one batch.

    A mask that is not of the picture's size, a prompt wholly outside the picture, and one that asks for what the model cannot do
    (code `prompt.no_refinement`) are refused.

    Attributes:
        refines: an earlier answer (`Prompt.logits`) or a mask can be part of a prompt.
    """

    refines: bool

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        """One candidate or three, best first; see `decode_many`."""
        ...


class TextModel(PromptedModel[TextPrompt, Detection], Protocol):
    """Phrases in, boxes out: every box above the thresholds, duplicates included."""


class Seen(Protocol):
    """What a video model found of one object on one frame."""

    @property
    def score(self) -> float:
        """Confidence in the mask, 0..1."""
        ...

    @property
    def present(self) -> bool:
        """Whether the object is in sight."""
        ...

    @property
    def pointer(self) -> NDArray[np.float32] | None:
        """A vector [D] that stands for the object; None where the model has none."""
        ...

    def mask(self, size: tuple[int, int]) -> Mask:
        """At the picture's own size, height and width in pixels; empty where the object is out of sight."""
        ...


class VideoModel(Protocol):
    """A loaded model that follows objects. What it remembers of an object is in the object's bank, which the caller holds.

    Attributes:
        name, identity, provider: as in `PromptedModel`.
        refines: points may come with a mask that they correct.
    """

    name: str
    identity: str
    provider: str
    refines: bool

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptedModel`; once for each frame, for all objects."""
        ...

    def bank(self) -> Any:
        """What is remembered of a new object: nothing."""
        ...

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[Any]], course: Course, limit: Limit = NO_LIMIT
    ) -> Sequence[Seen]:
        """Objects on one frame; their banks remember what was found. If it raises, no bank has changed.

        Args:
            embedding: of the frame.
            frame: its number, from 0.
            asked: objects, each to be tracked or with a prompt; one with a prompt on this frame from earlier is answered from
                memory.
            course: the direction, and the number of frames of the video.
            limit: cancels or bounds the run.

        Raises:
            BadPrompt: the embedding is another model's, an object to be tracked never had a prompt, or a prompt does not fit.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...


def picture_hash(image: Image) -> str:
    """Sha256 of the pixels and the size, hexadecimal."""
    digest = sha256(f"{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def checked_embedding(embedding: Embedding, identity: str) -> None:
    """Raises BadPrompt for an embedding that the model of this identity did not make."""
    if embedding.model != identity:
        raise BadPrompt(f"the embedding was made by {embedding.model}, not by {identity}", code="prompt.embedding")


def checked_prompts(embedding: Embedding, prompts: Sequence[Prompt], model: PromptModel) -> None:
    """The checks that every prompt model makes.

    Raises:
        BadPrompt: see `PromptModel`.
    """
    checked_embedding(embedding, model.identity)
    for prompt in prompts:
        _check_prompt(prompt, embedding.size, model)


def _check_prompt(prompt: Prompt, size: tuple[int, int], model: PromptModel) -> None:
    if (prompt.mask is not None or prompt.logits is not None) and not model.refines:
        raise BadPrompt(f"{model.name} cannot start from a mask: refinement is not available", code="prompt.no_refinement")
    if prompt.mask is not None and prompt.mask.size != size:
        raise BadPrompt(f"a mask of {prompt.mask.size} pixels for a picture of {size}", code="prompt.mask")
    height, width = size
    box = prompt.box
    if box is not None and not (box.x0 < width and box.y0 < height and box.x1 > 0 and box.y1 > 0):
        raise BadPrompt(f"{box} lies outside the picture of {width} x {height}", code="prompt.outside")
    outside = [point for point in prompt.points if not (0 <= point.x <= width and 0 <= point.y <= height)]
    if outside:
        raise BadPrompt(f"{outside[0]} lies outside the picture of {width} x {height}", code="prompt.outside")


def checked(image: Any) -> Image:
    """The picture, once it is known to be one.

    Raises:
        BadImage: not RGB uint8 [H, W, 3] with at least one pixel.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise BadImage(f"a picture is an RGB uint8 array [H, W, 3], got {found}", code="image.array")
    return image


def checked_threshold(threshold: float | None, default: float) -> float:
    """A threshold in 0..1.

    Raises:
        BadOption: outside that range, or not a number.
    """
    try:
        value = default if threshold is None else float(threshold)
    except (TypeError, ValueError) as error:
        raise BadOption(f"a threshold is a number between 0 and 1, got {threshold!r:.120}", code="option.threshold") from error
    if not 0 <= value <= 1:
        raise BadOption(f"a threshold lies between 0 and 1, got {value}", code="option.threshold")
    return value
