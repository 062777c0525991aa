"""What we ask of Label Studio's API, as typed values.

Written against the HTTP interface: the client of `label-studio-sdk` reads answers without a bound, repeats no request safely that
stores something, and would leave checks, paging by id and the dry questions of `check` to us all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from locara_label.errors import BadRequest, FetchFailed
from locara_label.hosts.label_studio import fields as values
from locara_label.hosts.label_studio.connection import Connection, Patience, Unanswered

Region = Mapping[str, Any]

PAGE = 100
_CODE = "label_studio.answer"
_MANY = 1_000_000
_COLUMNS = "id,data,total_predictions,total_annotations,cancelled_annotations"


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `model_version` names the predictions, or the backend, that its tasks open with and may be empty."""

    id: int
    title: str
    config: str
    model_version: str
    tasks: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task; `predictions` counts those of every model version, `annotations` and `cancelled` are None where not told."""

    id: int
    data: Mapping[str, Any]
    predictions: int
    annotations: int | None = None
    cancelled: int | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as it is stored; `result` holds its regions."""

    id: int
    task: int
    model_version: str
    score: float | None
    result: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Backend:
    """A connected ML backend; `state` is Label Studio's word for how it stands, `error` what went wrong last."""

    id: int
    url: str
    title: str
    state: str
    error: str
    interactive: bool
    model_version: str


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str
    active: bool


class LabelStudio:
    """The API of one Label Studio. Threads may share it.

    Every method raises `FetchFailed`; see `Connection.ask` for the codes.
    """

    def __init__(self, url: str, api_key: str, patience: Patience | None = None, *, trust_env: bool = False) -> None:
        """Opens nothing yet.

        Args:
            url: such as http://localhost:8080.
            api_key: a personal access token, or a legacy token where the organisation still allows them.
            patience: how long and how often to ask.
            trust_env: obey proxy variables of the environment.

        Raises:
            BadOption: the address or the token cannot be one.
        """
        self.connection = Connection(url, api_key, patience, trust_env=trust_env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def url(self) -> str:
        return self.connection.url

    def version(self) -> str:
        """Of Label Studio; needs no token."""
        with _sound():
            found = values.fields(self.connection.get("/api/version", signed=False), "the version", _CODE)
            return values.text(found.get("release"), "release", _CODE, 100)

    def whoami(self) -> str:
        """The e-mail address of the token's user."""
        with _sound():
            found = values.fields(self.connection.get("/api/current-user/whoami"), "the user", _CODE)
            return values.text(found.get("email"), "email", _CODE)

    def project(self, number: int) -> Project:
        with _sound():
            return _project(self.connection.get(f"/api/projects/{number}/"))

    def projects(self) -> Iterator[Project]:
        """Every project that the token's user can see."""
        page = 1
        while True:
            found = self.connection.get("/api/projects/", {"page": page, "page_size": PAGE})
            with _sound():
                answer = values.fields(found, "the projects", _CODE)
                yield from map(_project, values.items(answer.get("results"), "results", _CODE, _MANY))
            if not answer.get("next"):
                return
            page += 1

    def tasks(self, project: int, *, after: int = 0) -> Iterator[Task]:
        """The project's tasks by rising id, from the first one above `after`; what comes or goes meanwhile moves no others."""
        yield from self._tasks(project, after, [])

    def tasks_with(self, project: int, model_version: str) -> set[int]:
        """Ids of the tasks that have a prediction of exactly this model version.

        Args:
            project: its id.
            model_version: without a comma, which Label Studio puts between versions.
        """
        asked = {"filter": "filter:tasks:predictions_model_versions", "operator": "contains", "type": "List"}
        rows = self._rows(project, 0, [asked | {"value": [model_version]}], "id,predictions_model_versions")
        return {number for number, row in rows if model_version in _versions(row)}

    def predictions(self, task: int) -> list[Prediction]:
        with _sound():
            found = values.items(self.connection.get("/api/predictions/", {"task": task}), "the predictions", _CODE, _MANY)
            return [_prediction(item) for item in found]

    def create_prediction(self, task: int, result: list[Any], score: float, model_version: str) -> int:
        """Stores a prediction; gives its id.

        When the answer is lost it looks first whether the prediction was stored, so one call never leaves two.
        """
        body = {"task": task, "result": result, "score": score, "model_version": model_version}
        for number in range(1, self.connection.attempts + 1):
            try:
                return _id(self.connection.ask("POST", "/api/predictions/", body))
            except Unanswered as error:
                if number == self.connection.attempts:
                    raise
                self.connection.pause(number, error)
                if (stored := self._stored(task, model_version)) is not None:
                    return stored
        raise AssertionError("the last attempt returns or raises")

    def update_prediction(self, number: int, result: list[Any], score: float, model_version: str) -> None:
        """Puts other regions into a prediction; asking twice does no harm."""
        body = {"result": result, "score": score, "model_version": model_version}
        self.connection.retry(lambda: self.connection.ask("PATCH", f"/api/predictions/{number}/", body))

    def delete_prediction(self, number: int) -> None:
        self.connection.ask("DELETE", f"/api/predictions/{number}/")

    def annotations(self, task: int, *, cancelled: bool = False) -> list[dict[str, Any]]:
        """The task's annotations as Label Studio gives them; with those of people who skipped it only if `cancelled`."""
        if cancelled:
            with _sound():
                found = values.fields(self.connection.get(f"/api/tasks/{task}/"), "the task", _CODE)
                return values.items(found.get("annotations"), "the annotations", _CODE, _MANY)
        with _sound():
            return values.items(self.connection.get(f"/api/tasks/{task}/annotations/"), "the annotations", _CODE, _MANY)

    def backends(self, project: int) -> list[Backend]:
        """The project's ML backends; Label Studio asks each how it is before it answers."""
        with _sound():
            found = values.items(self.connection.get("/api/ml", {"project": project}), "the backends", _CODE, 1000)
            return [_backend(item) for item in found]

    def connect_backend(self, project: int, url: str, title: str, *, interactive: bool = True) -> Backend:
        """Connects an ML backend; Label Studio calls it before it answers."""
        body = {"project": project, "url": url, "title": title, "is_interactive": interactive}
        with _sound():
            return _backend(self.connection.ask("POST", "/api/ml", body))

    def backend_versions(self, backend: int) -> tuple[str, ...]:
        """The model versions that a backend offers now, asked through Label Studio."""
        with _sound():
            found = values.fields(self.connection.get(f"/api/ml/{backend}/versions"), "the versions", _CODE)
            listed = values.items(found.get("versions"), "versions", _CODE, 1000)
            return tuple(values.text(item, "a version", _CODE) for item in listed)

    def webhooks(self, project: int) -> list[Webhook]:
        with _sound():
            found = values.items(self.connection.get("/api/webhooks/", {"project": project}), "the webhooks", _CODE, 10_000)
            return [_webhook(item) for item in found]

    def refuses_backend(self, url: str) -> str | None:
        """Why Label Studio would not connect to a backend at this address, None where it would try.

        Nothing is made or called: the request lacks the project, which Label Studio looks for after the address.
        """
        return self._refusal("/api/ml", {"url": url})

    def refuses_webhook(self, url: str) -> str | None:
        """Why Label Studio would not send events to this address; nothing is made, as the request asks for an unknown event."""
        return self._refusal("/api/webhooks/", {"url": url, "actions": ["NONE_SUCH"]})

    def serves_local_files(self) -> bool:
        """Whether Label Studio serves files of its own disk at all. One that does says that there is no such file."""
        try:
            self.connection.get("/data/local-files/", {"d": "locara-label/none-such"})
        except FetchFailed as error:
            if error.code in {"fetch.not_found", "label_studio.forbidden"}:
                return error.code == "fetch.not_found"
            raise
        return True

    def _refusal(self, path: str, body: Mapping[str, Any]) -> str | None:
        try:
            self.connection.retry(lambda: self.connection.ask("POST", path, body))
        except FetchFailed as error:
            if error.code == "label_studio.refused":
                return None
            if error.code == "label_studio.forbidden":
                return error.message
            raise
        raise FetchFailed(f"{self.url}{path} accepted an incomplete request", code=_CODE)

    def _stored(self, task: int, model_version: str) -> int | None:
        return next((found.id for found in self.predictions(task) if found.model_version == model_version), None)

    def _tasks(self, project: int, after: int, filters: list[dict[str, Any]]) -> Iterator[Task]:
        for number, row in self._rows(project, after, filters, _COLUMNS):
            with _sound():
                data = values.fields(row.get("data"), f"data of task {number}", _CODE)
                predictions = values.whole(row.get("total_predictions"), "total_predictions", _CODE)
                made = _whole(row, "total_annotations"), _whole(row, "cancelled_annotations")
                task = Task(number, data, predictions, *made)
            yield task

    def _rows(
        self, project: int, after: int, filters: list[dict[str, Any]], include: str
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Rows of the Data Manager by rising id, a page at a time, each page by the last id of the one before."""
        query = {"project": project, "page": 1, "page_size": PAGE, "include": include}
        while True:
            above = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            view = {"filters": {"conjunction": "and", "items": [above, *filters]}, "ordering": ["tasks:id"]}
            found = self.connection.get("/api/tasks", query | {"query": json.dumps(view)})
            with _sound():
                answer = values.fields(found, "the tasks", _CODE)
                listed = values.items(answer.get("tasks"), "tasks", _CODE, PAGE)
                rows = [(_id(row), row) for row in listed]
            if not rows:
                return
            yield from rows
            if rows[-1][0] <= after:
                raise FetchFailed(f"{self.url} gives the tasks of project {project} out of order", code=_CODE)
            after = rows[-1][0]


@contextmanager
def _sound() -> Iterator[None]:
    """An answer that is not what it should be is the server's failure, not the caller's."""
    try:
        yield
    except BadRequest as error:
        raise FetchFailed(f"Label Studio's answer is not understood: {error.message}", code=_CODE) from error


def _id(value: Any) -> int:
    with _sound():
        return values.whole(values.fields(value, "an answer", _CODE).get("id"), "id", _CODE)


def _whole(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    return None if value is None else values.whole(value, name, _CODE)


def _string(found: Mapping[str, Any], name: str, most: int = 1 << 20) -> str:
    return values.optional_text(found.get(name), name, _CODE, most) or ""


def _project(value: Any) -> Project:
    found = values.fields(value, "a project", _CODE)
    tasks = values.whole(found.get("task_number") or 0, "task_number", _CODE)
    return Project(_id(found), _string(found, "title"), _string(found, "label_config"), _string(found, "model_version"), tasks)


def _prediction(value: Any) -> Prediction:
    found = values.fields(value, "a prediction", _CODE)
    regions = [values.fields(item, "a region", _CODE) for item in values.items(found.get("result"), "result", _CODE, _MANY)]
    score = found.get("score")
    task = values.whole(found.get("task"), "task", _CODE)
    return Prediction(
        _id(found), task, _string(found, "model_version"), score if isinstance(score, float) else None, tuple(regions)
    )


def _backend(value: Any) -> Backend:
    found = values.fields(value, "a backend", _CODE)
    url, title, state, error = (_string(found, name) for name in ("url", "title", "readable_state", "error_message"))
    return Backend(_id(found), url, title, state, error, found.get("is_interactive") is True, _string(found, "model_version"))


def _webhook(value: Any) -> Webhook:
    found = values.fields(value, "a webhook", _CODE)
    return Webhook(_string(found, "url"), found.get("is_active") is True)


def _versions(row: Mapping[str, Any]) -> set[str]:
    with _sound():
        return set(_string(row, "predictions_model_versions").split(","))
