"""Labels of a project as categories of a data set, and the names of its pictures and videos."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from locara_label.datasets.records import Category
from locara_label.errors import BadOption, BadRequest
from locara_label.hosts.label_studio.config import ControlTag, LabelingConfig, ObjectTag
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, LostTask
from locara_label.hosts.label_studio.fields import Fields
from locara_label.hosts.label_studio.requests import Task

OBJECT = "object"
"""The category of everything where the project has no labels at all."""
_PICTURE_SHAPES = ("bitmask", "brush", "polygon", "rectangle", "ellipse", "labels", "vector")
_VIDEO_SHAPES = ("videorectangle", "labels")
_UPLOAD = re.compile(r"/data/upload/\d+/([^/?#]+)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Layout:
    """What a project shows and what is taken of it.

    Attributes:
        config: None where only an export file is at hand; then labels are those that its regions have.
        kind: of object tag, "image" or "video".
        names: labels, each with its category; other labels are left out where `wanted` says so, and an error otherwise.
        wanted: labels that are taken; empty for all.
    """

    config: LabelingConfig | None
    kind: str
    names: Mapping[str, Category] = field(hash=False)
    wanted: frozenset[str] = frozenset()

    @property
    def categories(self) -> list[Category]:
        """Those that are taken; their ids are those of the whole project, so that they do not depend on `wanted`."""
        return [one for one in self.names.values() if not self.wanted or one.name in self.wanted]

    def shown(self, to_name: str) -> ObjectTag | None:
        """The object tag that regions are drawn on; None where the config is not known.

        Raises:
            BadRequest: code `region.object`; the config has no such tag.
        """
        if self.config is None:
            return None
        found = self.config.object(to_name)
        if found is None:
            raise BadRequest(f"the labeling config has no {to_name!r:.100}", code="region.object")
        return found

    def asks_only(self, from_name: str) -> bool:
        """Whether a control draws nothing by itself: what is left of it is a prompt and no object."""
        control = self.config.control(from_name) if self.config else None
        return control is not None and control.smart_only


def layout(
    config: LabelingConfig | None, kind: str, tasks: Iterable[AnnotatedTask | LostTask], wanted: Iterable[str] = ()
) -> Layout:
    """The layout of a project; goes through the tasks only where the config does not tell the labels.

    Raises:
        BadOption: code `option.labels`; a wanted label is none of the project.
        BadRequest: code `config.unusable`; nothing of this kind can be labeled in the project.
    """
    chosen = frozenset(wanted)
    controls = [] if config is None else _controls(config, kind)
    if config is not None and not controls:
        raise BadRequest(f"the labeling config has nothing to draw on a {kind}", code="config.unusable")
    names = list(dict.fromkeys(name for control in controls for name in control.label_names))
    if config is None or any(control.dynamic for control in controls):
        names += sorted(_met(tasks, kind) - set(names))
    if unknown := sorted(chosen - set(names or [OBJECT])):
        raise BadOption(f"no label is called {unknown[0]!r:.100}; there are {', '.join(names)[:500]}", code="option.labels")
    found = {name: Category(number, name) for number, name in enumerate(names or [OBJECT], 1)}
    return Layout(config, kind, found, chosen)


def _controls(config: LabelingConfig, kind: str) -> list[ControlTag]:
    shapes = _PICTURE_SHAPES if kind == "image" else _VIDEO_SHAPES
    shown = {tag.name for tag in config.objects if tag.kind == kind}
    return [tag for tag in config.controls if tag.shape in shapes and shown & set(tag.to_name)]


def _met(tasks: Iterable[AnnotatedTask | LostTask], kind: str) -> set[str]:
    entries = (
        entry
        for task in tasks
        if isinstance(task, AnnotatedTask)
        for annotation in task.annotations
        for entry in _list(annotation.get("result"))
        if isinstance(entry, dict)
    )
    return {name for entry in entries if _is_of(entry, kind) for name in _labels(entry)}


def _is_of(entry: Fields, kind: str) -> bool:
    """Whether the labels of an entry may be those of a picture's masks, or of a video's boxes."""
    value, named = entry.get("value"), str(entry.get("type", "")).lower()
    if not isinstance(value, dict) or named.startswith("keypoint"):
        return False
    return ("sequence" in value) == (kind == "video") and (kind == "video" or "original_width" in entry)


def _labels(entry: Fields) -> list[str]:
    value = entry["value"]
    kinds = {str(entry.get("type", "")).lower(), "labels"}
    return [
        name for kind in kinds if kind.endswith("labels") for name in _list(value.get(kind)) if isinstance(name, str) and name
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def reference(task: AnnotatedTask, tag: ObjectTag | None, to_name: str, page: int = 0) -> str:
    """Where the picture or video of a region lies, as the task's data says.

    Without a config it is the only text of the data, or the one that is called like the tag or the kind.

    Raises:
        BadRequest: code `task.data`.
    """
    if tag is not None:
        urls = Task(task.id, task.data).urls(tag)
        if page >= len(urls):
            raise BadRequest(f"task {task.id} has {len(urls)} pages and a region on page {page + 1}", code="task.data")
        return urls[page]
    texts = {key: value for key, value in task.data.items() if isinstance(value, str) and value}
    for key in (to_name, "image", "video", *([*texts] if len(texts) == 1 else [])):
        if key in texts:
            return texts[key]
    raise BadRequest(f"which of {', '.join(map(str, task.data))[:200]} is shown? Give the labeling config", code="task.data")


def file_name(url: str, task: int) -> str:
    """The name of a picture or video, from its reference.

    Uploads: the name that Label Studio gave the file; local files: the path below the document root; others: the path of the
    address, without the host. No name leads out of a folder.
    """
    upload = _UPLOAD.search(url)
    parts = [] if url.startswith("data:") else _path(upload[1] if upload else url).replace("\\", "/").split("/")
    kept = [_UNSAFE.sub("_", part) for part in parts if part not in ("", ".", "..")]
    return "/".join(kept) or f"task-{task}"


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.path.rstrip("/").endswith("/data/local-files"):
        return parse_qs(parts.query).get("d", [""])[0]
    return unquote(parts.path)
