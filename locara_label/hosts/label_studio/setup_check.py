"""What is wrong with a labeling config, each with the XML that mends it. Label Studio itself would say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from locara_label.hosts.label_studio.config import ControlTag, LabelingConfig, ObjectTag, threshold

_PROMPTS = ("keypoint", "rectangle", "ellipse", "polygon", "brush", "bitmask")
_MASKS = ("brush", "bitmask")
_ASKS = {"smart": "true", "smartOnly": "true"}
_DRAWS = {"smart": "false"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not work.

    Attributes:
        code: stable, for machines.
        message: a sentence for the owner of the project.
        xml: what to add, or to write in place of the tag of this name.
        is_fatal: nothing can be predicted with this config.
    """

    code: str
    message: str
    xml: str
    is_fatal: bool = False


def problems(config: LabelingConfig) -> list[Problem]:
    """All problems of a config, the fatal ones first; empty for one that behaves."""
    if not config.images and not config.videos:
        message = "The labeling config shows no picture and no video, so there is nothing to segment."
        return [Problem("config.no_image", message, '<Image name="image" value="$image" zoom="true"/>', is_fatal=True)]
    found = [problem for shown in config.images for problem in _of_image(config, shown)]
    found += [problem for shown in config.videos for problem in _of_video(config, shown)]
    found += [problem for control in config.controls for problem in _of_threshold(control)]
    return sorted(found, key=lambda problem: not problem.is_fatal)


def _of_image(config: LabelingConfig, shown: ObjectTag) -> Iterable[Problem]:
    controls = config.controls_of(shown.name)
    outputs = config.outputs(shown.name)
    if not outputs:
        message = f"No tag can hold a mask of {shown.name!r}: a BrushLabels, BitmaskLabels or PolygonLabels is needed."
        yield Problem(
            "config.no_output", message, _tag("BrushLabels", "brush", shown, _labels_of(controls), _DRAWS), is_fatal=True
        )
    for output in outputs:
        if output.names is None:
            message = f"{output.shape.kind} {output.shape.name!r} draws without labels; a Labels tag names what it draws."
            yield Problem("config.no_labels", message, _tag("Labels", "labels", shown, ("Object",)))
    prompts = [tag for tag in controls if tag.smart and _can_ask(tag)]
    if not prompts:
        message = f"No tag of {shown.name!r} asks the model when it is used: clicks and boxes do nothing."
        names = outputs[0].names.label_names if outputs and outputs[0].names else ("Object",)
        yield Problem("config.no_prompt", message, _tag("KeyPointLabels", "point", shown, names, _ASKS))
    yield from (problem for tag in controls for problem in _of_smart(tag))
    yield from (problem for tag in controls for problem in _of_text(tag, has_pages=shown.value_list is not None))
    yield from _of_prompt_labels(config, shown, prompts)


def _can_ask(tag: ControlTag) -> bool:
    """Brushes are smart unless they say otherwise, but are meant to draw."""
    return tag.shape == "textarea" or (tag.shape in _PROMPTS and (tag.shape not in _MASKS or tag.smart_only))


def _of_smart(tag: ControlTag) -> Iterable[Problem]:
    if tag.shape in _MASKS and tag.smart and not tag.smart_only:
        message = f'Each stroke of {tag.kind} {tag.name!r} asks the model: tags that hold masks need smart="false".'
        yield Problem("config.smart_mask", message, _rewritten(tag, _DRAWS))
    said = tag.options.get("smart", "").lower() == "true"
    if tag.shape in ("keypoint", "rectangle", "ellipse") and said and not tag.smart_only:
        message = f'{tag.kind} {tag.name!r} also has a plain tool, which asks nothing: prompts need smartOnly="true".'
        yield Problem("config.not_smart_only", message, _rewritten(tag, _ASKS))


def _of_text(tag: ControlTag, *, has_pages: bool) -> Iterable[Problem]:
    """A TextArea asks, tells or is somebody's notes; only the config can say which."""
    if tag.shape != "textarea":
        return
    if "smart" not in tag.options:
        message = f'Each text in {tag.kind} {tag.name!r} asks the model, for smart is "true" where it is not written: write it.'
        yield Problem("config.text_asks", message, _rewritten(tag, {"smart": "true" if _is_prompt(tag) else "false"}))
    elif not tag.smart and _is_prompt(tag):
        message = f'Texts in {tag.kind} {tag.name!r} ask nothing: a text prompt needs smart="true".'
        yield Problem("config.text_not_smart", message, _rewritten(tag, {"smart": "true"}))
    if tag.smart and tag.options.get("maxSubmissions"):
        message = (
            f"{tag.kind} {tag.name!r} takes {tag.options['maxSubmissions']} texts and no more: prompts need no maxSubmissions."
        )
        yield Problem("config.text_once", message, _rewritten(tag, {"smart": "true"}, without="maxSubmissions"))
    if has_pages and tag.options.get("smart", "").lower() == "true" and tag.options.get("perItem") != "true":
        message = f'Nobody knows which page a text in {tag.kind} {tag.name!r} is about: it needs perItem="true".'
        yield Problem("config.text_page", message, _rewritten(tag, {"perItem": "true"}))


def _is_prompt(tag: ControlTag) -> bool:
    return "prompt" in tag.name.lower()


def _of_prompt_labels(config: LabelingConfig, shown: ObjectTag, prompts: Iterable[ControlTag]) -> Iterable[Problem]:
    outputs = config.outputs(shown.name)
    for tag in prompts:
        missing = tuple(name for name in tag.label_names if not any(output.may_have(name) for output in outputs))
        names = outputs[0].names if outputs else None
        if missing and names is not None:
            message = f"No mask can get the labels {', '.join(missing)} of {tag.kind} {tag.name!r}: {names.name!r} lacks them."
            yield Problem("config.labels_differ", message, "".join(f"<Label value={quoteattr(name)}/>" for name in missing))


def _of_video(config: LabelingConfig, shown: ObjectTag) -> Iterable[Problem]:
    controls = config.controls_of(shown.name)
    boxes = [tag for tag in controls if tag.shape == "videorectangle"]
    if not boxes:
        message = f"No VideoRectangle follows objects of {shown.name!r}; Label Studio has no other tag for them."
        xml = f'<VideoRectangle name="box" toName={quoteattr(shown.name)} smart="true"/>'
        yield Problem("config.no_output", message, xml, is_fatal=True)
    elif not any(tag.smart for tag in boxes):
        message = f'{boxes[0].kind} {boxes[0].name!r} asks nothing: boxes that are followed need smart="true".'
        yield Problem("config.no_prompt", message, _rewritten(boxes[0], {"smart": "true"}))
    yield from _of_video_labels(shown, [tag for tag in controls if tag.shape == "labels"])
    yield from (problem for tag in controls for problem in _of_text(tag, has_pages=False))
    if shown.framerate is None:
        message = f"The editor counts 24 frames a second of {shown.name!r}, whatever the file has: a framerate says how many."
        value = quoteattr(shown.value or "")
        yield Problem("config.framerate", message, f'<Video name={quoteattr(shown.name)} value={value} framerate="25"/>')


def _of_video_labels(shown: ObjectTag, labels: Iterable[ControlTag]) -> Iterable[Problem]:
    """Tracking starts when a box gets a label; a box that is corrected gets it again, so it has to lose it first."""
    tags = list(labels)
    if not tags:
        message = f"Boxes of {shown.name!r} have no labels, and tracking starts when a label is chosen."
        yield Problem("config.no_labels", message, _tag("Labels", "labels", shown, ("Object",), {"allowEmpty": "true"}))
    for tag in tags:
        if tag.options.get("allowEmpty", "").lower() != "true":
            message = f"A corrected box asks again when its label is taken off and chosen anew: {tag.name!r} needs allowEmpty."
            yield Problem("config.no_again", message, _rewritten(tag, {"allowEmpty": "true"}))


def _of_threshold(control: ControlTag) -> Iterable[Problem]:
    if "model_score_threshold" in control.options and threshold(control.options) is None:
        written = control.options["model_score_threshold"]
        message = f"model_score_threshold={written!r} of {control.name!r} is not a number from 0 to 1 and counts as absent."
        yield Problem("config.threshold", message, 'model_score_threshold="0.5"')


def _labels_of(controls: Iterable[ControlTag]) -> tuple[str, ...]:
    return next((tag.label_names for tag in controls if tag.labels), ("Object",))


def _rewritten(tag: ControlTag, how: Mapping[str, str], without: str = "") -> str:
    """The same tag, all else as it was."""
    labels = "".join(f"<Label{_attributes(label.options)}/>" for label in tag.labels)
    kept = {name: value for name, value in tag.options.items() if name != without}
    start = f"<{tag.kind}{_attributes(kept | dict(how))}"
    return f"{start}>{labels}</{tag.kind}>" if labels else f"{start}/>"


def _attributes(given: Mapping[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in given.items())


def _tag(kind: str, name: str, shown: ObjectTag, labels: Iterable[str], how: Mapping[str, str] | None = None) -> str:
    given = _attributes({"name": name, "toName": shown.name, **(how or {})})
    inside = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    return f"<{kind}{given}>{inside}</{kind}>"
