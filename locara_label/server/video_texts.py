"""Texts on videos: what they ask for, under which labels it is shown, and what there is to say about the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from locara_label.errors import BadPrompt, BadRequest, StoreFailed
from locara_label.hosts.label_studio.config import LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.masklet_records import Place, Record
from locara_label.hosts.label_studio.phrases import place_of
from locara_label.hosts.label_studio.prompts import PromptRequest
from locara_label.hosts.label_studio.results import new_region_id
from locara_label.hosts.label_studio.video_regions import View
from locara_label.server.core import Core
from locara_label.server.texting import TYPED, quoted
from locara_label.server.video_jobs import Key
from locara_label.server.video_views import kept_view, view_kept
from locara_label.types import Mask, TextPrompt
from locara_label.video.timeline import Timeline

EVERY_S = 1.0
"""How often a text is asked again, in seconds of the video: who comes into sight later is found too."""
_KEPT = ("name", "labels", "unmapped", "from_name", "frame", "view", "model", "version", "area", "failure")


@dataclass(eq=False)
class Text:
    """What a text asks of a video.

    Attributes:
        sought: those of its phrases that a label stands for.
        labels: of the project, by phrase; None where boxes have no labels.
        unmapped: phrases that no label stands for.
        from_name: the control that draws the boxes.
        frame: of the file, where to look first.
        view: how the editor shows the video, as `kept_view` keeps it.
        model, version: as in `Record`.
        area: the TextArea that can tell the annotator something; None for none.
        name: its own.
        failure: what the annotator has to be told of it, and was not.
        found: regions of what it found, by phrase.
        begun: those of them that are its own; the others were there before.
        asked: it was, on its frame.
        ended: everything that it finds is found.
        answered: the annotator was told how it ended.
    """

    sought: TextPrompt
    labels: dict[str, str | None]
    unmapped: list[str]
    from_name: str
    frame: int
    view: dict[str, Any]
    model: str
    version: str
    area: str | None = None
    name: str = field(default_factory=new_region_id)
    failure: str | None = None
    found: dict[str, list[str]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    asked: bool = False
    ended: bool = False
    answered: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """Plain JSON, enough to ask it again; see `of`."""
        thresholds = self.sought.box_threshold, self.sought.text_threshold
        return {name: getattr(self, name) for name in _KEPT} | {"phrases": self.sought.phrases, "thresholds": thresholds}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Text:
        """Of its content. Raises StoreFailed: code store.damaged; it is none."""
        try:
            sought = TextPrompt(tuple(content["phrases"]), *content["thresholds"])
            return cls(sought=sought, **{name: content[name] for name in _KEPT})
        except (KeyError, TypeError, ValueError, BadPrompt) as error:
            raise StoreFailed(f"{content!r:.300} is no text on a video: {error!r}", code="store.damaged") from error

    def record(self, key: Key, video: str, phrase: str, frame: int, mask: Mask, *, timeline: Timeline) -> Record:
        """The record of an object that was found on a frame of the file."""
        at = view_kept(self.view, timeline).clock.editor_frame(frame)
        return Record(
            place=Place(key.project, key.task, new_region_id()),
            video=video,
            to_name=key.to_name,
            from_name=self.from_name,
            size=mask.size,
            frame_count=len(timeline.ticks),
            label=self.labels.get(phrase) or "",
            model=self.model,
            version=self.version,
            prompts={frame: {"mask": mask.to_coco(), "at": at, "phrase": phrase}},
            wanted=self.view,
        )

    def note(self, phrase: str, region: str) -> None:
        """A phrase has found an object."""
        regions = self.found.setdefault(phrase, [])
        if region not in regions:
            regions.append(region)

    @property
    def regions(self) -> list[str]:
        return list(dict.fromkeys(region for regions in self.found.values() for region in regions))

    def missing(self) -> list[str]:
        """A sentence about phrases that found nothing."""
        missing = [phrase for phrase in self.sought.phrases if phrase not in self.found]
        so_far = "" if self.ended else " so far"
        return [f"nothing was found for {quoted(missing)}{so_far}"] if missing and self.asked else []

    def told(self) -> list[str]:
        """Sentences about phrases that found nothing, or mean nothing."""
        return [*self.missing(), *([f"no label stands for {quoted(self.unmapped)}"] if self.unmapped else [])]

    def told_of(self, there: frozenset[str]) -> list[str]:
        """Sentences about phrases that found only what the annotation has already; `there` are its regions."""
        old = [phrase for phrase, regions in self.found.items() if there.difference(self.begun).issuperset(regions)]
        return [f"followed already: {quoted(old)}"] if old else []


def text_of(core: Core, context: PromptRequest, config: LabelingConfig, shown: ObjectTag, view: View) -> Text:
    """What the newest text of a context asks for.

    Raises:
        BadPrompt: code prompt.text, no model understands text; prompt.label, no label stands for any phrase; see `TextPrompt`.
        BadRequest: code config.unusable; no control can show boxes.
    """
    core.text_engine()
    output = config.tracks(shown.name)
    if output is None:
        raise BadRequest(f"no VideoRectangle follows objects of {shown.name!r}", code="config.unusable")
    server = core.settings.server
    prompt = TextPrompt.of(context.text or "", server.box_threshold, server.text_threshold)
    places = {phrase: place_of(phrase, (output,), context.text_label) for phrase in prompt.phrases}
    labels = {phrase: place.label for phrase, place in places.items() if place is not None}
    unmapped = [phrase for phrase in places if phrase not in labels]
    core.metrics.unmapped.labels(TYPED).inc(len(unmapped))
    if not labels:
        names = () if output.names is None else output.names.label_names
        raise BadPrompt(f"no label stands for {quoted(unmapped)}; labels are {quoted(names)}", code="prompt.label")
    area = config.message_area(shown.name)
    return Text(
        sought=TextPrompt(tuple(labels), server.box_threshold, server.text_threshold),
        labels=labels,
        unmapped=unmapped,
        from_name=output.shape.name,
        frame=view.clock.file_frame(context.frame) if context.frame else 0,
        view=kept_view(view),
        model=core.video_model().name,
        version=core.version,
        area=None if area is None else area.name,
    )
