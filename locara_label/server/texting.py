"""Label Studio's text prompts: what the newest text asks for, as masks under the project's labels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from locara_label.despeckle import despeckle
from locara_label.engine.engine import Size
from locara_label.engine.loading import DEFAULT_TEXT_MODEL
from locara_label.engine.text_engine import Found
from locara_label.errors import BadImage, BadPrompt, BadRequest
from locara_label.hosts.label_studio import results
from locara_label.hosts.label_studio.config import LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.phrases import Place, place_of
from locara_label.hosts.label_studio.prompts import PromptRequest
from locara_label.hosts.label_studio.requests import PredictRequest
from locara_label.hosts.label_studio.results import Region
from locara_label.hosts.label_studio.targets import MAX_QUICK_BRUSHES, slows_the_editor
from locara_label.server.core import Core
from locara_label.types import Grounded, TextPrompt

log = logging.getLogger("locara_label.server")

TYPED = "(typed)"
"""What `Metrics.unmapped` counts phrases under that people typed: there is no end of them."""
_NAMED, _LETTERS = 5, 60

Shown = tuple[Grounded, Place]


class TextAnswer:
    """The answer to one text prompt."""

    def __init__(
        self, core: Core, request: PredictRequest, context: PromptRequest, config: LabelingConfig, shown: ObjectTag
    ) -> None:
        """`shown` is the picture that the text is about.

        Raises:
            BadPrompt: there is no word, or too many; see `TextPrompt`.
        """
        self._core, self._request, self._context = core, request, context
        self._shown, self._area = shown, config.message_area(shown.name)
        server = core.settings.server
        self._prompt = TextPrompt.of(context.text or "", server.box_threshold, server.text_threshold)
        self._outputs = config.outputs(shown.name)
        places = {phrase: place_of(phrase, self._outputs, context.text_label) for phrase in self._prompt.phrases}
        self._places = {phrase: place for phrase, place in places.items() if place is not None}
        self._unmapped = [phrase for phrase in places if phrase not in self._places]

    def regions(self) -> list[Region]:
        """Masks; and where a part of the text finds nothing, or more than is shown, a text that says so, if there is a place.

        Raises:
            BadPrompt: code prompt.text, no model understands text; prompt.label, no label stands for any phrase;
                prompt.nothing, there is nothing to show; prompt.page; or of the model.
            BadRequest: code config.unusable; no control can show a mask.
            NotAllowed, FetchFailed, BadImage, RunError: see `TextEngine.find`.
        """
        found = self._found()
        shown = self._confident(found.objects)
        told = [*self._told(found, shown), *self._told_of_labels()]
        if not shown:
            raise BadPrompt(". ".join(told), code="prompt.nothing")
        regions = [region for one in shown for region in self._drawn(one, found.size)]
        if slows_the_editor(regions):
            log.warning("a text prompt gave more than %d brush masks, which freeze the editor", MAX_QUICK_BRUSHES)
        return regions + self._message(told)

    def _found(self) -> Found:
        engine, task, context = self._core.text_engine(), self._request.tasks[0], self._context
        if not self._outputs:
            raise BadRequest(f"no control of {self._shown.name!r} can show a mask", code="config.unusable")
        self._core.metrics.unmapped.labels(TYPED).inc(len(self._unmapped))
        if not self._places:
            raise BadPrompt(". ".join(self._told_of_labels()), code="prompt.label")
        picture = self._core.picture(self._url(), task_id=task.id, project_id=self._request.project)
        replaces = (self._request.project, task.id, self._shown.name, context.text_id)
        most = self._core.settings.server.max_regions
        found = engine.find(picture, self._prompt, self._core.text_ticket(), most, replaces=replaces)
        check_size(context.size, found.size)
        return replace(found, objects=self._clean(found.objects))

    def _url(self) -> str:
        """The page that the text is about. The editor tells it of a TextArea with perItem only."""
        urls, page = self._request.tasks[0].urls(self._shown), self._context.item_index
        if page is None and len(urls) > 1:
            text = 'nobody knows which page this text is about: write perItem="true" into the TextArea'
            raise BadPrompt(text, code="prompt.page")
        if (page or 0) >= len(urls):
            raise BadRequest(f"the task has {len(urls)} pages, not {(page or 0) + 1}", code="task.page")
        return urls[page or 0]

    def _clean(self, objects: Iterable[Grounded]) -> list[Grounded]:
        least = self._core.settings.server.despeckle
        cleaned = (replace(one, mask=despeckle(one.mask, least)) if least else one for one in objects)
        return [one for one in cleaned if one.mask.area]

    def _confident(self, objects: Iterable[Grounded]) -> list[Shown]:
        """What has a label and is sure enough for it."""
        placed = [(one, self._places[one.phrase]) for one in objects if one.phrase in self._places]
        return [(one, place) for one, place in placed if one.box_score >= place.threshold]

    def _told(self, found: Found, shown: Sequence[Shown]) -> list[str]:
        """Sentences about phrases that have a label and no mask, and about what is too much."""
        best: dict[str, float] = {}
        for one in found.objects:
            best[one.phrase] = max(best.get(one.phrase, 0.0), one.box_score)
        missing = [phrase for phrase in self._places if phrase not in {one.phrase for one, _ in shown}]
        nothing = [phrase for phrase in missing if phrase not in best]
        told = [f"nothing was found for {quoted(nothing)}{self._excuse()}"] if nothing else []
        for phrase in missing:
            if phrase in best:
                place = self._places[phrase]
                told.append(f"{quoted([phrase])} has a score of {best[phrase]:.2f}, {place.label} asks for {place.threshold:g}")
        return told + ([f"{found.left_out} more were found than are shown"] if found.left_out else [])

    def _told_of_labels(self) -> list[str]:
        if not self._unmapped:
            return []
        labels = [label for output in self._outputs if output.names is not None for label in output.names.label_names]
        return [f"no label stands for {quoted(self._unmapped)}; labels are {quoted(list(dict.fromkeys(labels)))}"]

    def _excuse(self) -> str:
        name = self._core.text_engine().text_model.name
        return f" ({name} knows generated shapes only)" if name == DEFAULT_TEXT_MODEL else ""

    def _message(self, told: Sequence[str]) -> list[Region]:
        if not told:
            return []
        log.info("task %s: %s", self._request.tasks[0].id, ". ".join(told))
        if self._area is None:
            return []
        return [results.message_region(". ".join(told), self._area, self._shown.name, self._context.item_index)]

    def _drawn(self, one: Shown, size: Size) -> list[Region]:
        found, place = one
        page = self._context.item_index or 0
        item_index = page if self._shown.value_list is not None else None
        return results.mask_regions(
            found.mask,
            place.label,
            place.output,
            results.Picture(self._shown.name, size, self._context.image_rotation, item_index),
            model_version=self._core.version,
            score=found.box_score,
            notes={"phrase": found.phrase, "mask_score": round(found.mask_score, 4)},
            tolerance_px=self._core.settings.server.polygon_tolerance,
        )


def check_size(told: Size | None, found: Size) -> None:
    """Raises BadImage: code image.changed; the editor shows a picture of another height and width than the file has."""
    if told is not None and told != found:
        shown, has = ((width, height) for height, width in (told, found))
        raise BadImage(f"the editor shows {shown} pixels, the file has {has}: it was changed", code="image.changed")


def quoted(phrases: Sequence[str]) -> str:
    """A few, each in quotes, without what cannot be printed."""
    names = ["".join(letter if letter.isprintable() else " " for letter in phrase[:_LETTERS]) for phrase in phrases[:_NAMED]]
    more = f" and {len(phrases) - _NAMED} more" if len(phrases) > _NAMED else ""
    return ", ".join(f'"{name}"' for name in names) + more
