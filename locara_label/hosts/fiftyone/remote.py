"""Finders, and what follows objects, whose models are in a running `locara-label serve`; see `locara_label.remote`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import fiftyone.core.media as fomm

from locara_label.despeckle import despeckle
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.finders import Finder, Found, Prompter
from locara_label.hosts.fiftyone.labels import Region
from locara_label.models.base import NO_LIMIT, Image, Limit, checked_threshold, picture_hash
from locara_label.remote import Server, picture_of, read_picture
from locara_label.remote_video import RemoteSession
from locara_label.types import Candidate, Embedding, Label, Prompt, TextPrompt


def segmenter(
    server: Server, model: str | None = None, threshold: float | None = None, classes: Collection[str] | None = None
) -> Finder:
    """Everything that a server's segmentation model finds, or only some classes of it.

    Raises:
        BadOption: a threshold that is not in 0..1, or no class to keep.
    """
    return _Segmenter(server, model, threshold, classes)


def prompter(
    server: Server, model: str | None, prompt_field: str, *, use_masks: bool = False, speck_px: int = 0, jitters: int = 0
) -> Finder:
    """The objects that a field of boxes, masks or key points shows, see `finders.Prompter`; a server makes the masks."""
    return _Prompter(RemotePrompts(server, model), prompt_field, use_masks=use_masks, speck_px=speck_px, jitters=jitters)


def speller(
    server: Server,
    prompt: str | None,
    classes: Sequence[str] | None = None,
    threshold: float | None = None,
    speck_px: int = 0,
) -> Finder:
    """Everything that words ask for; a server looks for it.

    Raises:
        BadOption, BadPrompt: not one of prompt and classes, or no word in it; a threshold that is not in 0..1.
    """
    if (prompt is None) == (classes is None):
        raise BadOption("give prompt or classes, one of them", code="option.prompt")
    sought = TextPrompt.of(prompt if prompt is not None else list(classes or ()), threshold)
    return _Speller(server, sought, list(classes) if classes is not None else list(sought.phrases), speck_px)


class Follow:
    """A server's model that follows objects, for `propagate.propagate`; each video's file is sent there."""

    def __init__(self, server: Server, model: str | None = None) -> None:
        """`model` None takes the server's own; others have to be granted there."""
        self.server, self.model = server, model
        self.name = f"{model or 'the model'} of {server.address.shown}"

    def open(self, path: str, limit: Limit = NO_LIMIT, *, pointers: bool = False) -> RemoteSession:
        """A session on a file; see `RemoteSession`."""
        return RemoteSession(self.server, path, self.model, limit, pointers=pointers)


def _sent(image: Image, sample: Any) -> bytes:
    """The file of a picture; of a video's frame, its pixels."""
    return read_picture(sample.filepath) if sample.media_type == fomm.IMAGE else picture_of(image)


class _Segmenter:
    reads: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()

    def __init__(self, server: Server, model: str | None, threshold: float | None, classes: Collection[str] | None) -> None:
        if classes is not None and not classes:
            raise BadOption("no class is asked for", code="option.classes")
        self.server, self.model = server, model
        self.name = f"{model or 'the model'} of {server.address.shown}"
        self.threshold = None if threshold is None else checked_threshold(threshold, 0)
        self.classes = None if classes is None else frozenset(classes)

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:  # noqa: ARG002 - a `Finder`
        found = self.server.segment(_sent(image, sample), self.threshold, self.model)
        return Found([Region.of_instance(one) for one in found if self.classes is None or one.label in self.classes])


class _Speller:
    reads: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()

    def __init__(self, server: Server, sought: TextPrompt, names: Sequence[str], speck_px: int) -> None:
        self.server, self.sought, self.speck_px = server, sought, speck_px
        self.name, self.threshold = f"the text model of {server.address.shown}", sought.box_threshold
        self._names = {TextPrompt.of([name]).phrases[0]: name for name in names}

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:  # noqa: ARG002 - a `Finder`; the file is sent
        found = self.server.find(read_picture(sample.filepath), self.sought.phrases, self.sought.box_threshold)
        regions = [Region.of_grounded(one, self._names.get(one.phrase, one.phrase)) for one in found if one.mask.area]
        return Found([self._clean(region) for region in regions])

    def _clean(self, region: Region) -> Region:
        mask = despeckle(region.mask, self.speck_px) if self.speck_px else region.mask
        return region.with_mask(mask) if mask.area else region


class _Prompter(Prompter):
    """As its parent, whose model does not see the file: this one hands it over."""

    model: RemotePrompts

    def find(self, image: Image, sample: Any, limit: Limit = NO_LIMIT) -> Found:
        picture = read_picture(sample.filepath)
        return Prompter(
            self.model.of(picture),
            self.prompt_field,
            use_masks=self.use_masks,
            speck_px=self.speck_px,
            jitters=self.jitters,
        ).find(image, sample, limit)


class RemotePrompts:
    """A server's model for clicks, as a `PromptModel`. Its embedding stays there, and ours holds the file instead."""

    refines, provider = False, "remote"

    def __init__(self, server: Server, model: str | None = None, picture: bytes = b"") -> None:
        self.server, self.model, self.picture = server, model, picture
        self.name = self.identity = f"{model or 'the model'} of {server.address.shown}"

    def of(self, picture: bytes) -> RemotePrompts:
        """The same, for prompts on one picture: its file's bytes."""
        return RemotePrompts(self.server, self.model, picture)

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:  # noqa: ARG002 - a `PromptModel`
        """Nothing is sent before the first prompt."""
        return Embedding(self.identity, picture_hash(image), (image.shape[0], image.shape[1]), ())

    def decode(self, embedding: Embedding, prompt: Prompt, limit: Limit = NO_LIMIT) -> list[Candidate]:
        """See `PromptModel`."""
        return self.decode_many(embedding, [prompt], limit)[0]

    def decode_many(self, embedding: Embedding, prompts: Sequence[Prompt], limit: Limit = NO_LIMIT) -> list[list[Candidate]]:  # noqa: ARG002
        """See `PromptModel`; raises as `Server.masks`."""
        return self.server.masks(self.picture, prompts, self.model)
