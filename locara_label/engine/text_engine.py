"""Pictures and words in, masks out: boxes by a text model, masks by a prompt model, and no click waits for either."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from locara_label.engine.embeddings import Embeddings
from locara_label.engine.engine import Bounds, Engine, Known, Picture, Size
from locara_label.engine.lanes import Lanes, Priority
from locara_label.engine.tickets import Newest, Ticket
from locara_label.models.base import Image, Limit, PromptModel, TextModel
from locara_label.models.grounded import GroundedSam2, LabelledPhrases, box_prompts, distinct, grounded
from locara_label.types import Candidate, Detection, Grounded, Instance, Prompt, TextPrompt

log = logging.getLogger("locara_label.engine")


@dataclass(frozen=True)
class Found:
    """What a text prompt found.

    Attributes:
        objects: best box first.
        left_out: how many boxes were beyond the number that was asked for, the least sure ones.
        picture: the embedding's hash.
        size: height and width of the picture in pixels.
    """

    objects: list[Grounded]
    left_out: int
    picture: str
    size: Size


class TextEngine:
    """Answers text prompts. Threads may share it.

    Both models' work, the masks of the boxes included, is done in the lane of the slow models: hundreds of boxes may take
    seconds, and clicks on known pictures have the lane of the decoder for themselves. Embeddings are shared with the engine
    that answers clicks, so a picture that was asked about in words is ready to be clicked on.
    """

    def __init__(
        self,
        text_model: TextModel,
        prompt_model: PromptModel,
        *,
        embeddings: Embeddings,
        bounds: Bounds,
        lanes: Lanes,
        known: Known,
    ) -> None:
        slow = replace(lanes, decoding=lanes.encoding)
        self.boxes = Engine[TextPrompt, Detection](text_model, embeddings=embeddings, bounds=bounds, lanes=slow, known=known)
        self.masks = Engine[Prompt, Candidate](prompt_model, embeddings=embeddings, bounds=bounds, lanes=slow, known=known)
        self.text_model, self.prompt_model = text_model, prompt_model
        self._newest = Newest()

    def find(
        self,
        picture: Picture,
        prompt: TextPrompt,
        ticket: Ticket,
        most: int,
        *,
        replaces: Hashable | None = None,
        priority: Priority = Priority.CLICK,
    ) -> Found:
        """Everything that the phrases ask for, duplicates left out.

        Args:
            picture: what to look at; each model encodes it if it is new to it.
            prompt: phrases and thresholds.
            ticket: the deadline and cancellation of both models together.
            most: boxes that are made masks, the best ones.
            replaces: a newer request with the same value cancels this one, whichever model is at work.
            priority: among the jobs that wait.

        Raises:
            BadPrompt, BadImage, FetchError, QueueFull, DeadlineExceeded, InferenceFailed, Cancelled: see `Engine.prompt`.
        """
        once = Picture(picture.key, _read_once(picture.read))
        with self._newest.of(replaces, ticket):
            answer = self.boxes.prompt(once, [prompt], ticket, priority=priority)
            found = distinct(answer.candidates[0])
            kept = found[:most]
            masks = self.masks.prompt(once, box_prompts(kept), ticket, priority=priority).candidates if kept else []
        return Found(grounded(kept, masks), len(found) - len(kept), answer.picture, answer.size)


def _read_once(read: Callable[[Limit], bytes]) -> Callable[[Limit], bytes]:
    """Both models read the picture one after the other, if they do not know it yet."""
    content: list[bytes] = []

    def reading(limit: Limit) -> bytes:
        if not content:
            content.append(read(limit))
        return content[0]

    return reading


class LabelEngine:
    """Pre-labels by a text model: everything that a set of labels asks for. Takes the place of an `Engine` that pre-labels."""

    def __init__(self, text: TextEngine, phrases: tuple[str, ...], most: int) -> None:
        """Args:
        text: finds.
        phrases: to find; they are the classes.
        most: regions of one picture, the best ones.

        Raises:
            BadOption, BadPrompt: see `GroundedSam2.of_labels`.
        """
        self.segmentation_model: LabelledPhrases = GroundedSam2(text.text_model, text.prompt_model).of_labels(phrases)
        self._images = Engine[Prompt, Candidate](
            None, self.segmentation_model, embeddings=text.masks.embeddings, bounds=text.masks.bounds, lanes=text.masks.lanes
        )
        self._text, self._most = text, most

    def segment(self, picture: Picture, threshold: float | None, ticket: Ticket) -> tuple[list[Instance], Size]:
        """See `Engine.segment`; the embeddings are kept for clicks that follow."""
        prompt = TextPrompt(self.segmentation_model.phrases, threshold)
        found = self._text.find(picture, prompt, ticket, self._most, priority=Priority.PRELABEL)
        if found.left_out:
            log.info("%d objects were left out: no more than %d are made masks of one picture", found.left_out, self._most)
        return self.segmentation_model.labelled(found.objects).instances, found.size

    def segment_image(self, image: Image, threshold: float | None, ticket: Ticket) -> list[Instance]:
        """See `Engine.segment_image`."""
        return self._images.segment_image(image, threshold, ticket)
