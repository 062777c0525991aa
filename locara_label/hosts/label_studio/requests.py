"""Bodies of Label Studio's /setup and /predict as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.config import MAX_CHARACTERS, LabelingConfig, ObjectTag, parse
from locara_label.hosts.label_studio.fields import Fields, fields, items, optional_text, text, whole
from locara_label.hosts.label_studio.prompts import PromptRequest, parse_context

MAX_TASKS = 10_000
MAX_PAGES = 10_000
_VARIABLE = re.compile(r"\$([\w\[\].{}]+)")
_STEP = re.compile(r"[\w{}-]+")


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """What Label Studio says when it connects, and again with each page of the Data Manager.

    Attributes:
        project: the project's number; None if it is not told.
        schema: the labeling config as text.
        hostname: where Label Studio says it answers. An untrusted hint.
        access_token: a legacy token, dead by default since 1.20.
        extra_params: whatever the owner of the backend's entry wrote.
    """

    project: int | None
    schema: str
    hostname: str | None = None
    access_token: str | None = field(default=None, repr=False)
    extra_params: Any = field(default=None, repr=False)

    def config(self) -> LabelingConfig:
        """Raises BadRequest: code `config.bad`."""
        return parse(self.schema)


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        id: as Label Studio numbers it; None for a task that is not stored.
        data: as imported.
        regions: ids of the regions in its annotations and drafts. Drafts come seconds late.
    """

    id: int | None
    data: Fields = field(hash=False)
    regions: frozenset[str] = frozenset()

    def urls(self, shown: ObjectTag) -> tuple[str, ...]:
        """What an object tag shows of this task: one URL, or one for each page of a `valueList`.

        Raises:
            BadRequest: code `task.data`; the variable is missing or is not a URL or a list of them.
        """
        written = shown.value_list or shown.value or ""
        found = _resolved(written, self.data)
        if shown.value_list is not None:
            pages = items(found, f"{written} of task {self.id}", "task.data", MAX_PAGES)
            return tuple(text(page, f"a page of {written} of task {self.id}", "task.data", 1 << 20) for page in pages)
        return (text(found, f"{written} of task {self.id}", "task.data", 1 << 20),)


def _resolved(written: str, data: Fields) -> Any:
    whole_match = _VARIABLE.fullmatch(written)
    if whole_match:
        return _looked_up(whole_match[1], data)
    return _VARIABLE.sub(lambda match: str(_looked_up(match[1], data)), written)


def _looked_up(path: str, data: Fields) -> Any:
    if path in data:
        return data[path]
    value: Any = data
    for step in _STEP.findall(path):
        if isinstance(value, list) and step.isdecimal() and len(step) < 10 and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            known = ", ".join(sorted(map(str, data))[:20])
            raise BadRequest(f"the task's data has no {path!r}, only: {known}", code="task.data")
    return value


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What is to be predicted.

    Attributes:
        tasks: at least one.
        project: the project's number; None if it is not told.
        label_config: the labeling config as text.
        context: the annotator's prompts. None for a batch: predict each task. Only the first task is meant otherwise.
    """

    tasks: tuple[Task, ...]
    project: int | None
    label_config: str
    context: PromptRequest | None = None

    @property
    def is_interactive(self) -> bool:
        return self.context is not None

    def config(self) -> LabelingConfig:
        """Raises BadRequest: code `config.bad`."""
        return parse(self.label_config)


def parse_setup(body: Any) -> SetupRequest:
    """The JSON of POST /setup.

    Raises:
        BadRequest: code `request.setup`.
    """
    given = fields(body, "the body of /setup", "request.setup")
    return SetupRequest(
        _project(given.get("project")),
        text(given.get("schema"), "schema", "request.setup", MAX_CHARACTERS),
        optional_text(given.get("hostname"), "hostname", "request.setup"),
        optional_text(given.get("access_token"), "access_token", "request.setup", 10_000),
        given.get("extra_params"),
    )


def parse_predict(body: Any) -> PredictRequest:
    """The JSON of POST /predict. Labels, sizes and regions are checked here; tags and URLs when they are used.

    Raises:
        BadRequest: code `request.predict`, `request.too_many`, or of `parse_context`.
        BadMask: a brush stroke or bitmask of the context is damaged.
    """
    given = fields(body, "the body of /predict", "request.predict")
    tasks = items(given.get("tasks"), "tasks", "request.predict", MAX_TASKS)
    if not tasks:
        raise BadRequest("there is no task to predict", code="request.predict")
    params = given.get("params")
    context = None if params is None else fields(params, "params", "request.predict").get("context")
    return PredictRequest(
        tuple(_task(task) for task in tasks),
        _project(given.get("project")),
        text(given.get("label_config"), "label_config", "request.predict", MAX_CHARACTERS),
        None if context is None else parse_context(context),
    )


def _task(value: Any) -> Task:
    given = fields(value, "a task", "request.predict")
    number = given.get("id")
    return Task(
        None if number is None else whole(number, "a task's id", "request.predict"),
        fields(given.get("data"), "a task's data", "request.predict"),
        frozenset(_region_ids(given.get("annotations"))) | frozenset(_region_ids(given.get("drafts"))),
    )


def _region_ids(kept: Any) -> Iterator[str]:
    """Only a hint: what is not as Label Studio writes it is passed over."""
    for one in kept if isinstance(kept, list) else ():
        regions = one.get("result") if isinstance(one, dict) else None
        for region in regions if isinstance(regions, list) else ():
            if isinstance(region, dict) and isinstance(region.get("id"), str):
                yield region["id"]


def _project(value: Any) -> int | None:
    """Of "3.1795224891" the 3; the rest is the second at which the project was made."""
    if value is None or value == "":
        return None
    number = str(value).partition(".")[0]
    if not isinstance(value, (str, int)) or not number.isascii() or not number.isdecimal() or len(number) > 15:
        raise BadRequest(f"project is a number and a time, got {str(value)[:50]!r}", code="request.project")
    return int(number)
