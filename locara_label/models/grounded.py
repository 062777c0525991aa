"""Text to masks: the boxes that a text model finds, each made a mask by a prompt model ("Grounded-SAM 2").

Source: Ren et al., "Grounded SAM: Assembling Open-World Models for Diverse Visual Tasks", 2024, with the model after SAM.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from locara_label import geometry
from locara_label.errors import BadOption
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, PromptedModel, PromptModel, TextModel, checked_threshold
from locara_label.types import Candidate, Detection, Embedding, Grounded, Instance, Label, Prompt, TextPrompt

MAX_OVERLAP = 0.7
"""IoU of two boxes, or of two masks, of one phrase above which they show one object."""

Encode = Callable[[PromptedModel[Any, Any], Image, Limit], Embedding]
_LOG = logging.getLogger("locara_label.grounded")
_NO_WORD = re.compile("[._?]")


def distinct(found: Sequence[Detection]) -> list[Detection]:
    """Best first; of the boxes of one asked phrase that overlap with an IoU above `MAX_OVERLAP` the best stays.

    Boxes without an area, which nothing can be in, are left out. Boxes of different phrases never push each other out.
    """
    ordered = [one for one in sorted(found, key=lambda one: -one.score) if one.box.x0 < one.box.x1 and one.box.y0 < one.box.y1]
    corners = np.array([(one.box.x0, one.box.y0, one.box.x1, one.box.y1) for one in ordered], np.float64).reshape(-1, 4)
    kept: list[int] = []
    of_phrase: dict[str, list[int]] = {}
    for number, one in enumerate(ordered):
        rivals = of_phrase.setdefault(one.asked, [])
        if not (geometry.box_ious(corners[number], corners[rivals]) > MAX_OVERLAP).any():
            rivals.append(number)
            kept.append(number)
    return [ordered[number] for number in kept]


def box_prompts(found: Sequence[Detection]) -> list[Prompt]:
    """A prompt for each detection, which asks for the one best mask in its box.

    Raises:
        BadPrompt: a box has no area; those of `distinct` have one.
    """
    return [Prompt(box=one.box) for one in found]


def grounded(found: Sequence[Detection], answers: Sequence[Sequence[Candidate]]) -> list[Grounded]:
    """Detections with the masks that answer their `box_prompts`, best box first.

    Those with an empty mask are left out, and those whose mask is nearly the one of a better box of the same phrase: boxes of one
    object may have little in common.
    """
    pairs = [(one, answer[0]) for one, answer in zip(found, answers, strict=True) if answer and answer[0].mask.area]
    objects = [Grounded(one.asked, one.box, one.score, best.mask, best.score) for one, best in pairs]
    kept: dict[str, list[Grounded]] = {}
    for one in sorted(objects, key=lambda one: -one.box_score):
        rivals = kept.setdefault(one.phrase, [])
        if all(one.mask.iou(other.mask) <= MAX_OVERLAP for other in rivals):
            rivals.append(one)
    return sorted((one for rivals in kept.values() for one in rivals), key=lambda one: -one.box_score)


def phrase_of(name: str) -> str:
    """What a label's name asks for: as `TextPrompt.of` writes a phrase, with underscores as spaces; may be empty.

    "Traffic_Light" asks for "traffic light". Hyphens stay, for they are part of words such as "t-shirt", and the tokenizer
    takes words apart at them anyway.
    """
    return " ".join(_NO_WORD.sub(" ", name).lower().split())


def _encoded(model: PromptedModel[Any, Any], image: Image, limit: Limit) -> Embedding:
    return model.encode(image, limit)


class GroundedSam2:
    """A text model and a prompt model as one. Threads may share it.

    Attributes:
        name: both catalogue names with a plus between them, as `engine.grounding.load_grounded` takes it.
        identity: of both models and their weights; changes when either does.
        provider: of both models, one name where they share it.
    """

    def __init__(self, text_model: TextModel, prompt_model: PromptModel, encode: Encode = _encoded) -> None:
        """`encode` gives the embedding of a picture by a model; a caller that keeps embeddings gives its own."""
        self.text_model, self.prompt_model = text_model, prompt_model
        self.name = f"{text_model.name}+{prompt_model.name}"
        self.identity = f"{text_model.identity}+{prompt_model.identity}"
        self.provider = "+".join(dict.fromkeys((text_model.provider, prompt_model.provider)))
        self._encode = encode

    def find(self, image: Image, prompt: TextPrompt, limit: Limit = NO_LIMIT) -> list[Grounded]:
        """Everything that the phrases ask for, best box first; nothing found is an empty list.

        Each model encodes the picture once, the prompt model only where there is a box; all boxes are decoded as one call.

        Args:
            image: RGB uint8 [H, W, 3].
            prompt: phrases and thresholds.
            limit: for both models together.

        Raises:
            BadImage, BadPrompt: the picture or the prompt is wrong; see `TextModel`.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        clock = Clock(limit)
        seen = self._encode(self.text_model, image, clock.left)
        found = distinct(self.text_model.decode_many(seen, [prompt], clock.left)[0])
        if not found:
            return []
        embedding = self._encode(self.prompt_model, image, clock.left)
        return grounded(found, self.prompt_model.decode_many(embedding, box_prompts(found), clock.left))

    def of_labels(
        self,
        phrases: Mapping[str, Sequence[str]] | Sequence[str],
        *,
        unlabelled: Sequence[str] = (),
        text_threshold: float | None = None,
    ) -> LabelledPhrases:
        """A model that finds everything of a label set in one call.

        Args:
            phrases: label names, each of which is its own phrase (see `phrase_of`), or label names with the phrases that ask
                for them; a label without phrases is asked for by its name.
            unlabelled: phrases that are asked for too, and whose objects are dropped and counted.
            text_threshold: see `TextPrompt`.

        Raises:
            BadOption: there is no label, a name has no word, or two labels share a phrase; code option.labels.
            BadPrompt: there are too many phrases, or the threshold is not in 0..1.
        """
        return LabelledPhrases(self, _LabelSet.of(phrases, unlabelled), text_threshold)


@dataclass(frozen=True)
class Labelled:
    """Objects under their labels.

    Attributes:
        instances: those whose phrase has a label, best first.
        dropped: how many objects of each phrase without a label were left out.
    """

    instances: list[Instance]
    dropped: Counter[str]


class LabelledPhrases:
    """Implements `SegmentationModel`: its classes are the labels, a region's score is that of its box. Regions may overlap.

    Attributes:
        identity: of the models, their weights, and what is asked for.
        phrases: all that it asks for.
    """

    def __init__(self, model: GroundedSam2, labels: _LabelSet, text_threshold: float | None) -> None:
        self.name, self.provider = model.name, model.provider
        self.labels = labels.listed
        self._model, self._set = model, labels
        self._prompt = TextPrompt(labels.phrases, None, text_threshold)
        self.phrases = self._prompt.phrases
        self._dropped: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def dropped(self) -> Counter[str]:
        """How many objects of each phrase without a label `segment` has left out since the model was made; a copy."""
        with self._lock:
            return self._dropped.copy()

    def segment(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Instance]:
        """See `SegmentationModel`; `threshold` is that of the boxes. What is left out is logged, and counted in `dropped`."""
        found = self.labelled(self.find(image, threshold, limit))
        if found.dropped:
            _LOG.warning("%d objects left out, their phrases have no label: %s", found.dropped.total(), dict(found.dropped))
            with self._lock:
                self._dropped.update(found.dropped)
        return found.instances

    def find(self, image: Image, threshold: float | None = None, limit: Limit = NO_LIMIT) -> list[Grounded]:
        """What `segment` gives labels to, with phrases, boxes and both scores.

        Raises:
            BadOption: the threshold is not in 0..1.
            BadImage, BadPrompt, Cancelled, DeadlineExceeded, InferenceFailed: see `GroundedSam2.find`.
        """
        least = None if threshold is None else checked_threshold(threshold, 0)
        return self._model.find(image, TextPrompt(self._prompt.phrases, least, self._prompt.text_threshold), limit)

    def label_of(self, phrase: str) -> Label | None:
        """The label that a phrase asks for; None where it has none."""
        return self._set.by_phrase.get(phrase)

    def labelled(self, found: Sequence[Grounded]) -> Labelled:
        """Objects under the labels of their phrases, in the same order, and what has none; changes no counter."""
        known = [(one, label) for one in found if (label := self.label_of(one.phrase)) is not None]
        dropped = Counter(one.phrase for one in found if self.label_of(one.phrase) is None)
        return Labelled([Instance(label.name, label.index, one.box_score, one.mask) for one, label in known], dropped)


@dataclass(frozen=True)
class _LabelSet:
    """Labels, all phrases that are asked for, and which label each one has; some have none."""

    listed: tuple[Label, ...]
    phrases: tuple[str, ...]
    by_phrase: Mapping[str, Label]

    @classmethod
    def of(cls, given: Mapping[str, Sequence[str]] | Sequence[str], unlabelled: Sequence[str]) -> _LabelSet:
        rows = given.items() if isinstance(given, Mapping) else [(name, ()) for name in _texts(given)]
        by_phrase: dict[str, Label] = {}
        listed = []
        for index, (name, phrases) in enumerate(rows):
            listed.append(Label(index, name))
            for phrase in _phrases(name, phrases):
                other = by_phrase.setdefault(phrase, listed[-1])
                if other is not listed[-1]:
                    text = f"the labels {other.name!r:.120} and {name!r:.120} share the phrase {phrase!r:.120}"
                    raise BadOption(text, code="option.labels")
        if not listed:
            raise BadOption("there is no label to look for", code="option.labels")
        others = [phrase for name in unlabelled for phrase in _phrases(name, ())]
        return cls(tuple(listed), tuple(dict.fromkeys([*by_phrase, *others])), by_phrase)


def _phrases(name: str, phrases: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(phrase_of(text) for text in _texts(phrases) or (name,)))
    if not all(found):
        raise BadOption(f"a phrase of the label {name!r:.120} has no word to look for", code="option.labels")
    return found


def _texts(given: Sequence[str]) -> Sequence[str]:
    """A lone text is one phrase, not its letters."""
    return (given,) if isinstance(given, str) else given
