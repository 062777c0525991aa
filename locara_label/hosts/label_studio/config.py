"""A labeling config (XML) as a value: the pictures it shows, and what can be drawn on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from locara_label.errors import BadRequest, MissingRuntime

MAX_CHARACTERS = 1 << 20
_MAX_DEPTH = 100
_MAX_TAGS = 20_000
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_SHAPES = ("bitmask", "brush", "polygon", "rectangle", "ellipse", "keypoint")
"""What can hold a mask of a picture, the most exact first."""

_TRUE = {"1", "true", "yes"}


@dataclass(frozen=True, slots=True)
class ObjectTag:
    """What is shown.

    Attributes:
        name: what controls refer to.
        kind: "image", "video", ..., in lower case.
        value: where its URL stands in the task's data, as written: "$image".
        value_list: the same for a list of pages; None for a single picture.
        framerate: of a video, as written: a number, or "$variable".
    """

    name: str
    kind: str
    value: str | None
    value_list: str | None = None
    framerate: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectLabel:
    """A label of the project.

    Attributes:
        name: what regions carry: the alias where there is one, else the value.
        predicted_values: names of the model's classes that it stands for.
        score_threshold: the least score; None to leave it to the control or the model.
        skip: no prediction gets this label.
        options: all attributes as written.
    """

    name: str
    predicted_values: tuple[str, ...] = ()
    score_threshold: float | None = None
    skip: bool = False
    options: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ControlTag:
    """What can be drawn or written.

    Attributes:
        name: `from_name` of its regions.
        kind: the tag as written: "BrushLabels".
        to_name: the objects that it belongs to.
        labels: in the config's order, without duplicates.
        dynamic: labels come from the task's data, so that `labels` may be incomplete.
        smart: the annotator's drawing with it asks the model while Auto-Annotation is on; Label Studio's default is yes.
        smart_only: it draws nothing by itself, it only asks.
        score_threshold: the least score of predictions.
        skip: no prediction is written with it.
        options: all attributes as written.
    """

    name: str
    kind: str
    to_name: tuple[str, ...]
    labels: tuple[ProjectLabel, ...] = ()
    dynamic: bool = False
    smart: bool = True
    smart_only: bool = False
    score_threshold: float | None = None
    skip: bool = False
    options: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    @property
    def shape(self) -> str:
        """What it draws: "brush", "rectangle" ...; "labels", "textarea" and other kinds in lower case."""
        lower = self.kind.lower()
        return lower if lower == "labels" else lower.removesuffix("labels")

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def may_have(self, label: str | None) -> bool:
        return label is None or self.dynamic or label in self.label_names


@dataclass(frozen=True, slots=True)
class Output:
    """Where masks are written: the control that draws, and the one that names what is drawn.

    Both are the same for `<BrushLabels>`; `<Brush>` goes with a `<Labels>`, or with None where the config has none.
    """

    shape: ControlTag
    names: ControlTag | None

    def may_have(self, label: str | None) -> bool:
        return label is None or (self.names is not None and self.names.may_have(label))


@dataclass(frozen=True, slots=True)
class LabelingConfig:
    """Everything of a config that matters here, in its order."""

    objects: tuple[ObjectTag, ...]
    controls: tuple[ControlTag, ...]

    def object(self, name: str) -> ObjectTag | None:
        return next((tag for tag in self.objects if tag.name == name), None)

    def control(self, name: str) -> ControlTag | None:
        return next((tag for tag in self.controls if tag.name == name), None)

    @property
    def images(self) -> tuple[ObjectTag, ...]:
        return tuple(tag for tag in self.objects if tag.kind == "image")

    @property
    def videos(self) -> tuple[ObjectTag, ...]:
        return tuple(tag for tag in self.objects if tag.kind == "video")

    def controls_of(self, to_name: str) -> tuple[ControlTag, ...]:
        return tuple(tag for tag in self.controls if to_name in tag.to_name)

    def outputs(self, to_name: str) -> tuple[Output, ...]:
        """All places for masks of this picture, the most exact first; not what only asks, nor what says `model_skip`."""
        drawn = [tag for tag in self.controls_of(to_name) if tag.shape in _SHAPES and not tag.smart_only and not tag.skip]
        drawn.sort(key=lambda tag: _SHAPES.index(tag.shape))
        return tuple(Output(tag, self._names_for(tag, to_name)) for tag in drawn)

    def output(self, to_name: str, label: str | None = None) -> Output | None:
        """The best place for a mask of this picture: one that has the label before one that has not. None: there is none."""
        places = self.outputs(to_name)
        return next((place for place in places if place.may_have(label)), places[0] if places else None)

    def tracks(self, to_name: str) -> Output | None:
        """Where objects of this video are shown: the first VideoRectangle, and the Labels that name them."""
        control = next((tag for tag in self.controls_of(to_name) if tag.shape == "videorectangle" and not tag.skip), None)
        return None if control is None else Output(control, self._names_for(control, to_name))

    def message_area(self, to_name: str) -> ControlTag | None:
        """The TextArea that can tell the annotator something: one that is no prompt before one that is."""
        areas = [tag for tag in self.controls_of(to_name) if tag.shape == "textarea" and tag.options.get("perRegion") != "true"]
        return min(areas, key=lambda tag: tag.smart, default=None)

    def _names_for(self, control: ControlTag, to_name: str) -> ControlTag | None:
        if control.kind.lower().endswith("labels"):
            return control
        return next((tag for tag in self.controls_of(to_name) if tag.shape == "labels"), None)


@lru_cache(maxsize=16)
def parse(config: str) -> LabelingConfig:
    """A labeling config as Label Studio sends it; the last few are remembered.

    Raises:
        BadRequest: code `config.bad`; not XML, too large, nested too deep, with a document type, or without an object's value.
        MissingRuntime: label-studio-sdk, whose parser is used, is not installed.
    """
    if not isinstance(config, str) or len(config) > MAX_CHARACTERS:
        raise BadRequest(f"a labeling config is a text of at most {MAX_CHARACTERS} characters", code="config.bad")
    bare = _DECLARATION.sub("", config, count=1)
    tags = _checked_tags(bare)
    parsed = _parsed(bare)
    attributes = {given["name"]: given for kind, given in tags if "name" in given and "toName" in given}
    controls = tuple(_control(name, found, attributes.get(name, {})) for name, found in parsed.items())
    return LabelingConfig(tuple(_object(kind, given) for kind, given in tags if _shows(given)), controls)


def _checked_tags(config: str) -> list[tuple[str, dict[str, str]]]:
    """Kind and attributes of each tag. No other parser sees a config that did not pass this one."""
    tags: list[tuple[str, dict[str, str]]] = []
    depth = 0

    def start(kind: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        tags.append((kind, attributes))
        if depth > _MAX_DEPTH or len(tags) > _MAX_TAGS:
            raise BadRequest(f"a config has at most {_MAX_TAGS} tags and depth {_MAX_DEPTH}", code="config.bad")

    def end(_kind: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_declared: object) -> None:
        raise BadRequest("a labeling config has no document type and no entities", code="config.bad")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, refuse
    try:
        parser.Parse(config.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise BadRequest(f"the labeling config is not XML: {error}", code="config.bad") from error
    return tags


def _parsed(config: str) -> dict[str, dict[str, Any]]:
    try:
        from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
    except ImportError as error:
        raise MissingRuntime(f"label-studio-sdk is needed to read labeling configs: {error}") from error
    try:
        parsed: dict[str, dict[str, Any]] = parse_config(config)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise BadRequest(f"the labeling config cannot be read: {str(error)[:200]}", code="config.bad") from error
    return parsed


def _shows(given: Mapping[str, str]) -> bool:
    return bool(given.get("name") and (given.get("value") or given.get("valueList")) and not given.get("toName"))


def _object(kind: str, given: Mapping[str, str]) -> ObjectTag:
    framerate = next((value for name, value in given.items() if name.lower() == "framerate"), None)
    return ObjectTag(given["name"], kind.lower(), given.get("value"), given.get("valueList"), framerate)


def _control(name: str, found: Mapping[str, Any], given: Mapping[str, str]) -> ControlTag:
    return ControlTag(
        name,
        found["type"],
        tuple(part.strip() for part in found["to_name"]),
        tuple(_label(label, attributes) for label, attributes in found["labels_attrs"].items()),
        dynamic=bool(found.get("dynamic_labels")),
        smart=given.get("smart", "true").lower() != "false",
        smart_only=given.get("smartOnly", "").lower() in _TRUE,
        score_threshold=threshold(given),
        skip=given.get("model_skip", "").lower() in _TRUE,
        options=dict(given),
    )


def _label(name: str, given: Mapping[str, str]) -> ProjectLabel:
    predicted = tuple(part.strip() for part in given.get("predicted_values", "").split(",") if part.strip())
    return ProjectLabel(name, predicted, threshold(given), given.get("model_skip", "").lower() in _TRUE, dict(given))


def threshold(given: Mapping[str, str]) -> float | None:
    """`model_score_threshold` of a tag, 0..1; None where it is absent or no such number (`setup_check` tells the second)."""
    try:
        value = float(given.get("model_score_threshold", "nan"))
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
