"""Operators that label: by a model's own classes, by words, by boxes and key points, and through videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from locara_label.engine.grounding import GROUNDED_SAM2
from locara_label.engine.loading import DEFAULT_PROMPT_MODEL
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.factory import finder
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.prelabel_video import prelabel_video
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.propagate import propagate
from locara_label.hosts.fiftyone.remote import Follow, prompter, segmenter, speller
from locara_label.hosts.fiftyone.segment import known_classes, segment_boxes, segment_text
from locara_label.remote import connected, server_address
from locara_label.runtime.session import Stop

from .forms import PROMPTS, Form, parted, value
from .running import Work

DEFAULT_MODEL = "mask2former-mini"
FIELD = "label_field"


class Labeling(Work):
    """Work that writes labels to a field."""

    field = "pred"

    def shown(self, ctx: Any) -> list[str]:
        name = value(ctx, FIELD, self.field).removeprefix("frames.")
        return [f"frames.{name}" if ctx.dataset.media_type == "video" else name]

    def _ending(self, form: Form) -> None:
        """The fields that all of them end with."""
        form.new_field(FIELD, self.field, "Field for the labels")
        form.switch("only_new", "Only samples without this field", "goes on where an earlier run was stopped")

    def _common(self, ctx: Any, stop: Stop) -> dict[str, Any]:
        return {"only_new": bool(ctx.params.get("only_new")), "stop": stop}


class Prelabel(Labeling):
    """Regions of the classes that a model knows."""

    name_, title, about = "prelabel", "Pre-label", "Finds regions with a segmentation model and saves exact masks"

    def form(self, form: Form) -> None:
        form.target("Pre-label")
        chosen = form.model("regions", DEFAULT_MODEL)
        wanted = form.words("classes", "Only these classes", "with commas between them; empty for all")
        known = chosen.classes if chosen is not None else frozenset()
        unknown = [name for name in wanted if known and name not in known]
        if unknown:
            form.refuse("classes", f"the model does not know {', '.join(unknown)}")
        form.share("threshold", "Least score", "0 to 1; empty for the model's own")
        if form.is_video:
            form.number("stride", "Every how many frames", 1)
        elif server_address() is None:  # a server's labels are not known before it answers
            form.choice("output", (("detections", "Detections"), ("segmentation", "One label map")), "detections", "Output")
        self._ending(form)

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        view, field = ctx.target_view(), value(ctx, FIELD, self.field)
        threshold, classes = value(ctx, "threshold"), parted(value(ctx, "classes", "")) or None
        name, server = value(ctx, "model"), connected()
        if server is None:
            found = finder(name or DEFAULT_MODEL, threshold=threshold, classes=classes)
        else:
            found = segmenter(server, name, threshold, classes)
        if ctx.dataset.media_type == "video":
            return prelabel_video(view, found, field, stride=value(ctx, "stride", 1), **self._common(ctx, stop))
        return prelabel(view, found, field, output=value(ctx, "output", "detections"), **self._common(ctx, stop))


class SegmentText(Labeling):
    """Masks for words."""

    name_, title, about = "segment_text", "Segment by text", "Finds what words ask for, or the classes that the data set names"
    icon, field = "text_fields", "words"

    def form(self, form: Form) -> None:
        form.target("Segment")
        form.inputs.str("prompt", label="Words", description="with dots between them: red car . person")
        if form.get("prompt") is None:
            self._offer_classes(form)
        form.model("words", GROUNDED_SAM2)
        form.share("threshold", "Least score of a box", "0 to 1; empty for the model's own")
        self._ending(form)
        if form.is_video:
            form.refuse("prompt", "this works on pictures; label a frame and propagate from it")

    def _offer_classes(self, form: Form) -> None:
        try:
            names = known_classes(form.ctx.dataset, form.get(FIELD, self.field))
        except BadOption:
            form.refuse("prompt", "words to look for: the data set names no classes")
        else:
            form.notice("classes", f"empty: looks for the data set's classes, {', '.join(names)[:200]}")

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        view, field = ctx.target_view(), value(ctx, FIELD, self.field)
        prompt, threshold, common = value(ctx, "prompt"), value(ctx, "threshold"), self._common(ctx, stop)
        server = connected()
        if server is not None:
            sought = None if prompt is not None else known_classes(view, field)
            return prelabel(view, speller(server, prompt, sought, threshold), field, **common)
        return segment_text(view, field, prompt, model=value(ctx, "model", GROUNDED_SAM2), threshold=threshold, **common)


class SegmentBoxes(Labeling):
    """Masks for boxes and key points."""

    name_, title = "segment_boxes", "Segment boxes or points"
    about = "Turns boxes, masks or key points that are there already into masks"
    icon, field = "select_all", "masks"

    def form(self, form: Form) -> None:
        form.target("Segment")
        chosen = form.label_field("prompt_field", "Boxes or key points", PROMPTS)
        form.model("clicks", DEFAULT_PROMPT_MODEL)
        form.switch("use_masks", "Start from masks where there are some")
        form.number("jitters", "Ask again so many times, moved a little", 0, 0, "stores how stable each mask is, to sort by")
        self._ending(form)
        if chosen is not None and form.get(FIELD, self.field) == chosen:
            form.refuse(FIELD, f"{chosen} has the prompts; give another name")
        if form.is_video:
            form.refuse("prompt_field", "this works on pictures; 'Propagate masklets' works on videos")

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        view, field, shows = ctx.target_view(), value(ctx, FIELD, self.field), value(ctx, "prompt_field", "")
        options = {"use_masks": bool(ctx.params.get("use_masks")), "jitters": value(ctx, "jitters", 0)}
        server, name, common = connected(), value(ctx, "model"), self._common(ctx, stop)
        if server is not None:
            return prelabel(view, prompter(server, name, shows, **options), field, **common)
        return segment_boxes(view, shows, field, model=name or DEFAULT_PROMPT_MODEL, **options, **common)


class PropagateMasklets(Labeling):
    """Objects through videos."""

    name_, title = "propagate_masklets", "Propagate masklets"
    about = "Follows objects that boxes, masks or points of some frames show through the whole video"
    icon, field = "movie_filter", "masklets"

    def form(self, form: Form) -> None:
        form.target("Propagate")
        form.label_field("prompt_field", "Frame field that shows the objects", PROMPTS, "a corrected field may be named again")
        form.model("video", DEFAULT_PROMPT_MODEL)
        ways = (("both", "Both"), ("forward", "Forward"), ("backward", "Backward"))
        form.choice("direction", ways, "both", "Direction")
        form.number("max_frames", "Frames in each direction", None, 1, "empty for all")
        form.number("start", "Start from frame", None, 1, "empty for the first where there is something to do")
        self._ending(form)
        if not form.is_video:
            form.refuse("prompt_field", "this works on videos")

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        server, name = connected(), value(ctx, "model")
        return propagate(
            ctx.target_view(),
            value(ctx, "prompt_field", ""),
            value(ctx, FIELD, self.field),
            model=name or DEFAULT_PROMPT_MODEL if server is None else Follow(server, name),
            direction=value(ctx, "direction", "both"),
            max_frames=value(ctx, "max_frames"),
            start=value(ctx, "start"),
            **self._common(ctx, stop),
        )
