"""Projects of the quickstart's Label Studio: made once, found again, connected, filled.

Whatever is asked for is looked for first, so that a start which was cut off anywhere is gone on with by the next one.
"""

from __future__ import annotations

import mimetypes
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from locara_label.errors import BadOption, FetchFailed, RunError
from locara_label.hosts.label_studio import fields as values
from locara_label.hosts.label_studio.client import Backend, LabelStudio
from locara_label.hosts.label_studio.connection import Unanswered
from locara_label.quickstart.material import Material

_TITLE = "locara-label"
"""Of a backend whose model version is not known yet."""
_CODE = "label_studio.answer"
_LOOK_S = 1.0
_MASKLETS = "masklet"


@dataclass(frozen=True)
class Ready:
    """A project with its tasks, by the name of the file that each shows, and its backend."""

    material: Material
    project: int
    tasks: Mapping[str, int]
    backend: Backend

    @property
    def version(self) -> str:
        """Of the predictions that the backend makes now."""
        return self.backend.model_version


def find_project(client: LabelStudio, material: Material, last: int | None) -> int:
    """The project of a material, made where there is none.

    Args:
        client: of the Label Studio.
        material: what it shows.
        last: its id at the last start, None for the first one.
    """
    if last is not None and _is_there(client, last):
        return last
    for project in client.projects():
        if project.title == material.title:
            return project.id
    body = {"title": material.title, "label_config": material.config, "description": "made by locara-label quickstart"}
    return _number(client.connection.ask("POST", "/api/projects/", body), "id")


def add_tasks(client: LabelStudio, project: int, material: Material) -> dict[str, int]:
    """Ids of the tasks, by the name of the file that each shows; what the project has is not added again."""
    known = _tasks(client, project)
    for path in material.files:
        if path.name not in known:
            address = _upload(client, project, path)
            body = [{"data": {material.kind: address, "file": path.name}}]
            client.connection.ask("POST", f"/api/projects/{project}/import", body)
    found = _tasks(client, project)
    return {path.name: found[path.name] for path in material.files if path.name in found}


def connect(client: LabelStudio, project: int, url: str) -> Backend:
    """The backend of a project, at this address and under its model version; one of an earlier start is replaced.

    Raises:
        RunError: code quickstart.backend; Label Studio does not reach it.
    """
    found = client.backends(project)
    kept = next((one for one in found if one.url.rstrip("/") == url), None)
    for other in found:
        if other is not kept and other.title in {_TITLE, other.model_version}:
            _disconnect(client, project, other)
    backend = kept or client.connect_backend(project, url, _TITLE)
    if backend.state != "Connected" or not backend.model_version:
        text = f"Label Studio does not reach the assist server at {url}: {backend.state}, {backend.error or 'no reason given'}"
        raise RunError(text, code="quickstart.backend")
    return _titled(client, project, backend)


def _titled(client: LabelStudio, project: int, backend: Backend) -> Backend:
    """Under its model version: projects name the title of their backend, and Label Studio renames both together.

    It fills the column of prediction scores only where what the project names is the version of its predictions.
    """
    if backend.title != backend.model_version:
        body = {"title": backend.model_version, "url": backend.url, "project": project}
        client.connection.ask("PATCH", f"/api/ml/{backend.id}", body)
    return replace(backend, title=backend.model_version)


def prelabel_pictures(client: LabelStudio, ready: Ready, patience_s: float) -> int:
    """Has Label Studio ask the backend for all predictions that are missing; gives how many still are after that time."""
    give_up = time.monotonic() + patience_s
    asked = 0
    while missing := _missing(client, ready):
        if not asked:
            _retrieve(client, ready.project)
        asked = (asked + 1) % 30  # what is not there after a while was dropped
        if time.monotonic() > give_up:
            break
        time.sleep(_LOOK_S)
    return missing


def prelabel_video(client: LabelStudio, ready: Ready, patience_s: float) -> int:
    """Looks for what the labels name, as a person who types them; the masklets become predictions. Gives how many are missing."""
    done = client.tasks_with(ready.project, ready.version)
    for task in ready.tasks.values():
        if task not in done:
            _follow(client, ready, task, patience_s)
    return _missing(client, ready)


def ask(client: LabelStudio, ready: Ready, task: int, region: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the backend answers to a prompt that a person would give in the editor: regions, messages among them.

    Raises:
        FetchFailed: code quickstart.answer; it does not answer.
    """
    body = {"task": task, "context": {"result": [dict(region)]}}
    answer = client.connection.ask("POST", f"/api/ml/{ready.backend.id}/interactive-annotating", body)
    found = values.fields(answer, "the answer", _CODE)
    if found.get("errors"):
        raise FetchFailed(f"the assist server does not answer: {str(found['errors'])[:500]}", code="quickstart.answer")
    data = values.fields(found.get("data"), "data", _CODE)
    return [dict(one) for one in values.items(data.get("result"), "result", _CODE, 100_000)]


def _follow(client: LabelStudio, ready: Ready, task: int, patience_s: float) -> None:
    text = {"text": [". ".join(ready.material.sought)]}
    region = {"id": secrets.token_hex(5), "from_name": "prompt", "to_name": "video", "type": "textarea", "value": text}
    found = [one for one in ask(client, ready, task, region) if one.get("type") == "videorectangle"]
    if not all(_is_done(one) for one in found):
        _wait_for_rest(client, task, patience_s)  # the server goes on, and writes the prediction itself
    elif found:
        scores = [one["score"] for one in found if isinstance(one.get("score"), float)]
        client.create_prediction(task, found, sum(scores) / max(len(scores), 1), ready.version)


def _wait_for_rest(client: LabelStudio, task: int, patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        found = client.predictions(task)
        if found and all(_is_done(region) for one in found for region in one.result if region.get("type") == "videorectangle"):
            return
        time.sleep(_LOOK_S)


def _is_done(region: Mapping[str, Any]) -> bool:
    meta = region.get("meta")
    told = meta.get(_MASKLETS) if isinstance(meta, dict) else None
    return not isinstance(told, dict) or told.get("state") != "running"


def _missing(client: LabelStudio, ready: Ready) -> int:
    return len(set(ready.tasks.values()) - client.tasks_with(ready.project, ready.version))


def _retrieve(client: LabelStudio, project: int) -> None:
    """What the Data Manager's "Retrieve predictions" does."""
    body = {"selectedItems": {"all": True, "excluded": []}}
    try:
        client.connection.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", body)
    except Unanswered as error:
        if error.code != "fetch.timeout":  # it goes on with it
            raise


def _is_there(client: LabelStudio, number: int) -> bool:
    try:
        client.project(number)
    except FetchFailed as error:
        if error.code != "fetch.not_found":
            raise
        return False
    return True


def _tasks(client: LabelStudio, project: int) -> dict[str, int]:
    named = ((task.data.get("file"), task.id) for task in client.tasks(project))
    return {name: number for name, number in named if isinstance(name, str)}


def _upload(client: LabelStudio, project: int, path: Path) -> str:
    """Hands a file over; gives its address."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror or error}", code="option.images") from error
    mark = secrets.token_hex(16)
    body = _form(mark, _plain(path.name), mimetypes.guess_type(path.name)[0] or "application/octet-stream", content)
    target = f"/api/projects/{project}/import?commit_to_project=false"
    answer = values.fields(client.connection.post(target, body, f"multipart/form-data; boundary={mark}"), "an upload", _CODE)
    number = _only(answer.get("file_upload_ids"))
    stored = values.fields(client.connection.get(f"/api/import/file-upload/{number}"), "an upload", _CODE)
    return f"/data/{values.text(stored.get('file'), 'file', _CODE, 1000)}"


def _plain(name: str) -> str:
    """As a file of an upload may be called; exports show it."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[-100:]


def _form(mark: str, name: str, kind: str, content: bytes) -> bytes:
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + content + f"\r\n--{mark}--\r\n".encode()


def _disconnect(client: LabelStudio, project: int, backend: Backend) -> None:
    """Removes a backend, and its webhook, which Label Studio leaves behind."""
    client.connection.ask("DELETE", f"/api/ml/{backend.id}")
    address = f"{backend.url.rstrip('/')}/webhook"
    hooks = values.items(client.connection.get("/api/webhooks/", {"project": project}), "the webhooks", _CODE, 10_000)
    for hook in hooks:
        if isinstance(hook, dict) and hook.get("url") == address:
            client.connection.ask("DELETE", f"/api/webhooks/{_number(hook, 'id')}/")


def _number(found: Any, name: str) -> int:
    return values.whole(values.fields(found, "an answer", _CODE).get(name), name, _CODE)


def _only(found: Any) -> int:
    listed = [values.whole(one, "an id", _CODE) for one in values.items(found, "file_upload_ids", _CODE, 10)]
    if len(listed) != 1:
        raise FetchFailed(f"Label Studio made {len(listed)} files of one upload", code=_CODE)
    return listed[0]
