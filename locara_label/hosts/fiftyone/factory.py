"""Models for `dataset.apply_model`, without torch."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import fiftyone as fo
import fiftyone.core.media as fomm
import fiftyone.core.models as fom
import numpy as np
from numpy.typing import NDArray

from locara_label.engine.grounding import is_grounded, load_grounded, pair
from locara_label.engine.loading import (
    DEFAULT_PROMPT_MODEL,
    DEFAULT_TEXT_MODEL,
    PROMPT_TASK,
    TEXT_TASK,
    is_prompt_model,
    is_text_model,
    load,
    load_prompt_model,
    load_text_model,
)
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.finders import Finder, Prompter, Segmenter, Speller
from locara_label.hosts.fiftyone.labels import mask_targets, to_detections, to_segmentation
from locara_label.models.base import Image, PromptModel
from locara_label.models.grounded import GroundedSam2, LabelledPhrases
from locara_label.settings import Settings
from locara_label.types import TextPrompt

Output = Literal["detections", "segmentation"]
_LOG = logging.getLogger("locara_label.fiftyone")
OWNER = "locara/"
"""What the names of our models start with in FiftyOne's zoo."""


def model(name: str, *, media_type: str = fomm.IMAGE, **options: Any) -> fom.Model:
    """A model by its name, with or without "locara/" in front.

    Args:
        name: as `finder` takes it; for videos as `engine.loading.load_video_model`.
        media_type: "image", or "video" for a model that follows objects.
        options: those of `finder` and `output`; of a video model those of `videos.VideoModel`.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime: the name, its weights or the options are wrong.
    """
    bare = name.removeprefix(OWNER)
    if media_type == fomm.VIDEO:
        from locara_label.hosts.fiftyone.videos import VideoModel

        return VideoModel(bare, **options)
    output = options.pop("output", "detections")
    return of_finder(finder(bare, **options), output)


def of_finder(found: Finder, output: Output = "detections") -> ImageModel:
    """A model of what finds regions.

    Raises:
        BadOption: code `option.output`; no such output, or a label map of what the prompts name.
    """
    if isinstance(found, Prompter):
        if output != "detections":
            raise BadOption(f"prompts are answered by detections, not by {output!r:.40}", code="option.output")
        return PromptedModel(found)
    return ImageModel(found, output)


def finder(
    name: str,
    *,
    task: str | None = None,
    prompt: str | None = None,
    classes: Collection[str] | None = None,
    threshold: float | None = None,
    text_threshold: float | None = None,
    masks: str = DEFAULT_PROMPT_MODEL,
    prompt_field: str | None = None,
    use_masks: bool = False,
    speck_px: int = 0,
    jitters: int = 0,
    weights: str | Path | None = None,
    device: str | None = None,
    settings: Settings | None = None,
) -> Finder:
    """What finds the regions of pictures.

    Args:
        name: of a segmentation model, of a model for clicks ("sam2.1-hiera-tiny", "classic"), of a text model, or of a pair of
            both ("grounded-sam2", "grounding-dino-tiny+sam2.1-hiera-tiny"); "mini" is the small one for the task.
        task: which mini model: "panoptic" (the default), "semantic", "prompt" or "text".
        prompt: words to look for, with dots between them.
        classes: with words, the labels to look for; otherwise those to keep.
        threshold: least score; None takes the model's default.
        text_threshold: see `TextPrompt`.
        masks: the model for clicks that makes masks of a text model's boxes.
        prompt_field: see `Prompter`; `apply_model` may give it too.
        use_masks: see `Prompter`.
        speck_px: as there.
        jitters: as there.
        weights: folder of the weights, see `engine.loading.load`.
        device: as there.
        settings: as there.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime: the name, its weights or the options are wrong.
    """
    asks = prompt is not None
    if name == "mini" and task is None:
        task = TEXT_TASK if asks else (PROMPT_TASK if prompt_field else None)
    if _is_text(name, task):
        text = _text_model(name, masks, device, settings)
        return Speller(_labelled(text, prompt, classes, text_threshold), threshold, speck_px)
    if asks:
        raise BadOption(f"{name} does not understand words; grounded-sam2 does", code="option.model")
    if task == PROMPT_TASK or is_prompt_model(name):
        answering = load_prompt_model(name, weights, device, settings=settings)
        return Prompter(answering, prompt_field, use_masks=use_masks, speck_px=speck_px, jitters=jitters)
    return Segmenter(load(name, weights, device, task=task, settings=settings), threshold, classes)


def _is_text(name: str, task: str | None) -> bool:
    return task == TEXT_TASK or is_grounded(name) or is_text_model(name)


def _text_model(name: str, masks: str, device: str | None, settings: Settings | None) -> GroundedSam2:
    if is_grounded(name):
        pair(name)
        return load_grounded(name, device, settings=settings)
    text = load_text_model(DEFAULT_TEXT_MODEL if name == "mini" else name, None, device, settings=settings)
    return GroundedSam2(text, load_prompt_model(masks, None, device, settings=settings))


def _labelled(
    text: GroundedSam2, prompt: str | None, classes: Collection[str] | None, text_threshold: float | None
) -> LabelledPhrases:
    if (prompt is None) == (classes is None):
        raise BadOption(f"{text.name} looks for words: give prompt or classes, one of them", code="option.prompt")
    sought = list(TextPrompt.of(prompt).phrases) if prompt is not None else list(classes or ())
    return text.of_labels(sought, text_threshold=text_threshold)


class Options:
    """What `apply_model` sets for the time of one call: its `confidence_thresh` and `classes`."""

    def __init__(self, confidence_thresh: float | None = None) -> None:
        self.confidence_thresh = confidence_thresh
        self.filter_classes: Collection[str] | None = None


class Plain(fom.Model):  # type: ignore[misc]
    """The parts of FiftyOne's contract that are the same for all: pictures come as they are, in batches or one by one."""

    media_type = fomm.IMAGE
    ragged_batches = False
    transforms = None
    preprocess = False

    def __init__(self) -> None:
        self.config = Options()


class ImageModel(Plain):
    """Finds regions of pictures.

    Attributes:
        finder: at work.
        output: "detections", which the App can edit, or "segmentation", one label map a picture.
        mask_targets: names by pixel value, for `dataset.mask_targets[field]`.
    """

    def __init__(self, finder: Finder, output: Output = "detections") -> None:
        """Raises BadOption with code `option.output`."""
        super().__init__()
        if output not in ("detections", "segmentation"):
            raise BadOption(f"an output is detections or segmentation, got {output!r:.40}", code="option.output")
        self.finder, self.output = finder, output
        self.mask_targets = mask_targets(finder.labels)

    def predict(self, arg: Image) -> fo.Label:
        """Labels of a picture, RGB uint8 [H, W, 3]; see `Finder.find`."""
        return self._labels(arg, None, self.finder)

    def predict_all(self, args: Iterable[Image]) -> list[fo.Label]:
        """Labels of each picture; a model run takes one picture."""
        return [self.predict(arg) for arg in args]

    def _labels(self, image: Image, sample: Any, finder: Finder) -> fo.Label:
        found = finder.find(np.ascontiguousarray(image), sample)
        if found.missing:
            _LOG.warning("%s: %s", "a picture" if sample is None else sample.filepath, found.missing)
        regions = [region for region in found.regions if self._wanted(region.label, region.score)]
        if self.output == "segmentation":
            return to_segmentation(regions, (image.shape[0], image.shape[1]), self.mask_targets)
        return to_detections(regions)

    def _wanted(self, label: str, score: float | None) -> bool:
        least, classes = self.config.confidence_thresh, self.config.filter_classes
        return (least is None or (score is not None and score >= least)) and (classes is None or label in classes)


class PromptedModel(fom.SamplesMixin, fom.EmbeddingsMixin, ImageModel):  # type: ignore[misc]
    """Makes masks of the boxes, masks or key points of a field that `apply_model` names as `prompt_field`; gives embeddings."""

    finder: Prompter

    def __init__(self, finder: Prompter) -> None:
        fom.SamplesMixin.__init__(self)
        ImageModel.__init__(self, finder)
        self._embeddings: NDArray[np.float32] | None = None

    def predict(self, arg: Image, sample: Any = None) -> fo.Label:
        """Detections, one for each prompt; a prompt that gives no mask is logged."""
        return self._labels(arg, sample, self.finder.on(self.needs_fields.get("prompt_field")))

    def predict_all(self, args: Iterable[Image], samples: Sequence[Any] | None = None) -> list[fo.Label]:
        """See `predict`."""
        images = list(args)
        return [self.predict(arg, sample) for arg, sample in zip(images, samples or [None] * len(images), strict=True)]

    @property
    def has_embeddings(self) -> bool:
        """Whether the model sees more than pixels; OpenCV's does not."""
        return self.finder.model.provider != "opencv"

    def embed(self, arg: Image) -> NDArray[np.float32]:
        """Float32 [D]; see `pooled`."""
        return np.asarray(self.embed_all([arg])[0], np.float32)

    def embed_all(self, args: Iterable[Image]) -> NDArray[np.float32]:
        """Float32 [N, D]; see `pooled`."""
        self._embeddings = np.stack([pooled(self.finder.model, np.ascontiguousarray(arg)) for arg in args])
        return self._embeddings

    def get_embeddings(self) -> NDArray[np.float32]:
        """Those of the last call."""
        if self._embeddings is None:
            raise BadOption("nothing was embedded yet", code="option.order")
        return self._embeddings


def pooled(model: PromptModel, image: Image) -> NDArray[np.float32]:
    """Float32 [D] of length 1: the mean over the picture of the embedding that prompts are answered from.

    Raises:
        BadOption: code `option.model`; the model has no such embedding.
    """
    arrays = [array for array in model.encode(image).arrays if array.ndim == 4 and array.dtype.kind == "f"]
    if not arrays:
        raise BadOption(f"{model.name} makes no embeddings of pictures", code="option.model")
    mean = arrays[-1].astype(np.float64).mean(axis=(0, 2, 3))
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)
