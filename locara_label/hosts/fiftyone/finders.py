"""What finds the regions of one picture, whichever model does it: the same for `apply_model` and for the operators' work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from locara_label.despeckle import despeckle
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.labels import Region
from locara_label.hosts.fiftyone.prompts import Shown, prompts_of
from locara_label.hosts.fiftyone.steady import Steadiness
from locara_label.models.base import NO_LIMIT, Image, Limit, PromptModel, SegmentationModel, checked_threshold
from locara_label.models.grounded import LabelledPhrases
from locara_label.types import Candidate, Embedding, Label


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The regions of one picture, and in words what was asked for and could not be given; empty where nothing is missing."""

    regions: list[Region]
    missing: str = ""


class Finder(Protocol):
    """Finds regions.

    Attributes:
        name: of the model, for people and for the data set's notes.
        labels: all that it can find; empty where the prompts name what is found.
        reads: fields of the sample that it looks at.
        threshold: least score that was asked for; None for the model's default.
    """

    name: str
    labels: tuple[Label, ...]
    threshold: float | None

    @property
    def reads(self) -> tuple[str, ...]: ...

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:
        """The regions of a picture, RGB uint8 [H, W, 3], of a sample.

        Raises:
            BadImage, BadPrompt, BadMask, BadOption: the picture or its prompts are wrong.
            Cancelled, DeadlineExceeded, InferenceFailed: see `runtime.session`.
        """
        ...


class Segmenter:
    """Everything that a segmentation model finds, or only some classes of it."""

    reads: tuple[str, ...] = ()

    def __init__(self, model: SegmentationModel, threshold: float | None = None, classes: Collection[str] | None = None) -> None:
        """Raises BadOption for a class that the model does not know, or a threshold that is not in 0..1."""
        self.model, self.name = model, model.name
        self.threshold = None if threshold is None else checked_threshold(threshold, 0)
        self.classes = checked_classes(classes, model.labels, model.name)
        self.labels = tuple(label for label in model.labels if self.classes is None or label.name in self.classes)

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:  # noqa: ARG002 - a `Finder`
        found = self.model.segment(image, self.threshold, limit)
        kept = [one for one in found if self.classes is None or one.label in self.classes]
        return Found([Region.of_instance(one) for one in kept])


class Speller:
    """Everything that words ask for."""

    reads: tuple[str, ...] = ()

    def __init__(self, model: LabelledPhrases, threshold: float | None = None, speck_px: int = 0) -> None:
        self.model, self.name, self.labels, self.speck_px = model, model.name, model.labels, speck_px
        self.threshold = None if threshold is None else checked_threshold(threshold, 0)

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:  # noqa: ARG002 - a `Finder`
        regions = []
        for one in self.model.find(image, self.threshold, limit):
            label = self.model.label_of(one.phrase)
            if label is not None:
                region = Region.of_grounded(one, label.name)
                regions.append(without_specks(region, self.speck_px))
        return Found(regions)


class Prompter:
    """The objects that a field of boxes, masks or key points shows, one mask for each."""

    labels: tuple[Label, ...] = ()
    threshold: float | None = None

    def __init__(
        self,
        model: PromptModel,
        prompt_field: str | None = None,
        *,
        use_masks: bool = False,
        speck_px: int = 0,
        jitters: int = 0,
    ) -> None:
        """Args:
        model: answers.
        prompt_field: with Detections or Keypoints.
        use_masks: see `prompts_of`.
        speck_px: specks and holes of fewer pixels go.
        jitters: how often each prompt is asked again, moved a little, to tell how stable the mask is; 0 asks once.
        """
        self.model, self.name = model, model.name
        self.prompt_field, self.use_masks, self.speck_px, self.jitters = prompt_field, use_masks, speck_px, jitters

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.prompt_field is None else (self.prompt_field,)

    def on(self, prompt_field: str | None) -> Prompter:
        """The same, with the prompts of another field; of its own where None is given."""
        if prompt_field in (None, self.prompt_field):
            return self
        model, masks = self.model, self.use_masks
        return Prompter(model, prompt_field, use_masks=masks, speck_px=self.speck_px, jitters=self.jitters)

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:
        if self.prompt_field is None:
            raise BadOption(f"{self.name} answers prompts: give prompt_field, a field with boxes or key points")
        size = (int(image.shape[0]), int(image.shape[1]))
        shown = prompts_of(value_of(sample, self.prompt_field), size, use_masks=self.use_masks)
        return self.answer(self.model.encode(image, limit), shown, limit) if shown else Found([])

    def answer(self, embedding: Embedding, shown: Sequence[Shown], limit: Limit = NO_LIMIT) -> Found:
        """Masks of objects on a picture that is encoded already."""
        answers = self.model.decode_many(embedding, [one.prompt for one in shown], limit)
        found = [answer[0] for answer in answers]
        regions = [
            without_specks(_region(one, best, self._stability(embedding, one, best, limit)), self.speck_px)
            for one, best in zip(shown, found, strict=True)
            if best.mask.area
        ]
        empty = len(shown) - len(regions)
        return Found(regions, f"{empty} of {len(shown)} prompts gave no mask" if empty else "")

    def _stability(self, embedding: Embedding, one: Shown, best: Candidate, limit: Limit) -> float | None:
        return Steadiness(self.model, self.jitters).of(embedding, one.prompt, best.mask, limit) if self.jitters else None


def _region(shown: Shown, best: Candidate, steady: float | None) -> Region:
    score = float(best.score)
    more = {} if steady is None else {"stability": steady}
    return Region(shown.label, best.mask, score, score, shown.index, shown.instance, attributes=more)


def without_specks(region: Region, speck_px: int) -> Region:
    """The region without specks and holes of fewer pixels; as it was, where nothing else would be left of it."""
    if not speck_px:
        return region
    mask = despeckle(region.mask, speck_px)
    return region.with_mask(mask) if mask.area else region


def value_of(sample: Any, name: str) -> Any:
    """The value of a field.

    Raises:
        BadOption: code `option.prompt_field`; there is no such field.
    """
    if sample is None or not sample.has_field(name):
        raise BadOption(f"the samples have no field {name!r:.120}", code="option.prompt_field")
    return sample[name]


def checked_classes(classes: Collection[str] | None, labels: Sequence[Label], model: str) -> frozenset[str] | None:
    """A filter of classes; None for all.

    Raises:
        BadOption: code `option.classes`; one that the model does not know, or an empty filter.
    """
    if classes is None:
        return None
    wanted = frozenset((classes,) if isinstance(classes, str) else classes)
    unknown = sorted(wanted - {label.name for label in labels})
    if unknown or not wanted:
        text = f"{model} does not know {', '.join(unknown[:5])!r:.200}" if unknown else "no class is asked for"
        raise BadOption(text, code="option.classes")
    return wanted
