"""What works between this machine, a Label Studio and a project. Only asks; nothing is made, changed or connected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from locara_label import images
from locara_label.errors import FetchFailed, LocaraError
from locara_label.fetch import Fetcher
from locara_label.findings import Finding
from locara_label.hosts.label_studio import config as configs
from locara_label.hosts.label_studio.check_data import unreadable, video_findings, without_query
from locara_label.hosts.label_studio.client import Backend, LabelStudio, Project, Webhook
from locara_label.hosts.label_studio.requests import Task as TaskData
from locara_label.hosts.label_studio.setup_check import problems

__all__ = ["CONNECTED", "OLDEST", "USUAL_BACKEND", "Finding", "run_checks"]

OLDEST = (1, 20)
USUAL_BACKEND = "http://localhost:9090"
CONNECTED = "Connected"

_SERVE = "start it with `locara-label serve` and see that Label Studio's machine reaches that address"
_RESERVED = "reserved network address"
_ALLOW_ALL = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false; both are needed "
    "(USE_DEFAULT_BANNED_SUBNETS=false does the same alone)"
)
_ALLOW_WEBHOOK = (
    "start Label Studio with SSRF_PROTECTION_ENABLED=false too, then delete the half-made backend and connect it again"
)
_RENEW = "make a personal access token in Label Studio under Account & Settings and give that one"


def run_checks(client: LabelStudio, fetcher: Fetcher, project: int | None = None, backend: str | None = None) -> list[Finding]:
    """Everything that can be found out without changing anything; never raises a `LocaraError`.

    Args:
        client: of the Label Studio.
        fetcher: reads task data as the server will.
        project: its id; None looks at no project.
        backend: the address at which Label Studio is to reach our server; None takes those of the project's backends.
    """
    reached = _guarded("label studio", partial(_version, client), "see that the address is right and Label Studio runs")
    if _is_bad(reached):
        return reached
    known = _guarded("token", partial(_token, client))
    if _is_bad(known):
        return [*reached, *known]
    found = [*reached, *known, *_guarded("local files", partial(_local_files, client))]
    if project is None:
        return [*found, *_guarded("backend address", partial(_address, client, backend or USUAL_BACKEND, certain=bool(backend)))]
    return [*found, *_project_checks(client, fetcher, project, backend)]


def _project_checks(client: LabelStudio, fetcher: Fetcher, number: int, backend: str | None) -> list[Finding]:
    try:
        project = client.project(number)
    except LocaraError as error:
        remedy = "the number in the address of the project's page is its id; see that the token's user may open it"
        return [_failed("project", error, remedy)]
    found = [Finding("project", "ok", f"{project.id} {project.title!r} with {project.tasks} tasks")]
    found += _guarded("labeling config", partial(_config, project))
    found += _guarded("backend", partial(_backends, client, project, backend))
    return [*found, *_guarded("task data", partial(_data, client, fetcher, project))]


def _guarded(name: str, check: Callable[[], Iterator[Finding]], remedy: str = "do as the message says") -> list[Finding]:
    """What a check found until it was done or failed."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except LocaraError as error:
        found.append(_failed(name, error, remedy))
    return found


def _failed(name: str, error: LocaraError, remedy: str) -> Finding:
    return Finding(name, "problem", f"[{error.code}] {error.message}", remedy)


def _is_bad(findings: Sequence[Finding]) -> bool:
    return any(finding.status == "problem" for finding in findings)


def _version(client: LabelStudio) -> Iterator[Finding]:
    version = client.version()
    text = f"{version} at {client.url}"
    numbers = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        yield Finding("label studio", "warning", f"{text} is older than what we know", "upgrade it to 1.23 or later")
    else:
        yield Finding("label studio", "ok", text)


def _token(client: LabelStudio) -> Iterator[Finding]:
    kind = client.connection.kind
    try:
        yield Finding("token", "ok", f"a {kind} access token of {client.whoami()}")
    except FetchFailed as error:
        if error.code != "fetch.unauthorised":
            raise
        yield Finding("token", "problem", _token_text(kind, error.message), _token_remedy(kind, error.message))


def _token_text(kind: str, message: str) -> str:
    if "legacy token authentication has been disabled" in message:
        return "it is a legacy token, and this organisation does not allow legacy tokens, as is the default"
    return f"Label Studio does not accept this {kind} access token: {message}"


def _token_remedy(kind: str, message: str) -> str:
    if "legacy token authentication has been disabled" in message:
        return f"{_RENEW}, or allow legacy tokens in the organisation's access token settings"
    if kind == "personal":
        return "it was revoked, has expired or belongs to another Label Studio; " + _RENEW
    return _RENEW


def _local_files(client: LabelStudio) -> Iterator[Finding]:
    if client.serves_local_files():
        yield Finding("local files", "ok", "Label Studio serves local files to those who may see them")
    else:
        yield Finding("local files", "ok", "Label Studio serves no local files; uploads and addresses work without")


def _address(client: LabelStudio, url: str, *, certain: bool) -> Iterator[Finding]:
    """`certain`: this address is meant, and not just the usual one."""
    status: Literal["problem", "warning"] = "problem" if certain else "warning"
    if refusal := client.refuses_backend(url):
        yield Finding("backend address", status, f"Label Studio refuses {url}: {refusal}", _refusal_remedy(refusal))
    elif refusal := client.refuses_webhook(f"{url.rstrip('/')}/webhook"):
        text = f"Label Studio would take a backend at {url}, then refuse its webhook and answer 403: {refusal}"
        yield Finding("backend address", status, text, _ALLOW_WEBHOOK if _RESERVED in refusal else _refusal_remedy(refusal))
    else:
        yield Finding("backend address", "ok", f"Label Studio allows backends at {url}")


def _refusal_remedy(refusal: str) -> str:
    return _ALLOW_ALL if _RESERVED in refusal else "give an address that Label Studio's machine can resolve and may call"


def _config(project: Project) -> Iterator[Finding]:
    parsed = configs.parse(project.config)
    for picture in parsed.images:
        if (place := parsed.output(picture.name)) is not None:
            labels = (place.names or place.shape).label_names
            text = f"masks of {picture.name!r} go to {place.shape.kind} {place.shape.name!r} with {len(labels)} labels"
            yield Finding("labeling config", "ok", text)
    for video in parsed.videos:
        if (track := parsed.tracks(video.name)) is not None:
            labels = track.names.label_names if track.names is not None else ()
            text = f"objects of {video.name!r} go to {track.shape.kind} {track.shape.name!r} with {len(labels)} labels"
            yield Finding("labeling config", "ok", text)
    for wrong in problems(parsed):
        remedy = f"write, in place of the tag of that name if there is one: {wrong.xml}"
        yield Finding(wrong.code, "problem" if wrong.is_fatal else "warning", wrong.message, remedy)


def _backends(client: LabelStudio, project: Project, wanted: str | None) -> Iterator[Finding]:
    connected = client.backends(project.id)
    if not connected:
        yield from _address(client, wanted or USUAL_BACKEND, certain=wanted is not None)
        remedy = f"connect {wanted or USUAL_BACKEND} in the project's settings under Model; `label-studio prelabel` needs none"
        yield Finding("backend", "warning", "none is connected, so clicks are not answered", remedy)
        return
    for address in dict.fromkeys([*([wanted] if wanted else []), *(backend.url for backend in connected)]):
        yield from _address(client, address, certain=True)
    hooks = client.webhooks(project.id)
    for backend in connected:
        yield from _backend(backend)
        yield from _webhook(backend, hooks)
    yield from _together(project, connected)


def _backend(backend: Backend) -> Iterator[Finding]:
    name = f"backend {backend.id}"
    if backend.state != CONNECTED:
        text = f"{backend.url} is {backend.state or 'in no known state'}: {backend.error[:300] or 'no reason given'}"
        yield Finding(name, "problem", text, _SERVE)
        return
    version = backend.model_version or "no model version"
    yield Finding(name, "ok", f"{backend.url} is connected and says {version}")


def _webhook(backend: Backend, hooks: Sequence[Webhook]) -> Iterator[Finding]:
    address = f"{backend.url.rstrip('/')}/webhook"
    name = f"webhook of backend {backend.id}"
    if any(hook.url == address and hook.active for hook in hooks):
        yield Finding(name, "ok", f"events are sent to {address}")
    else:
        remedy = f"add {address} under Webhooks in the project's settings with all events, or connect the backend again"
        yield Finding(name, "warning", f"no active webhook sends events to {address}", remedy)


def _together(project: Project, connected: Sequence[Backend]) -> Iterator[Finding]:
    if not any(backend.interactive for backend in connected):
        remedy = "switch on `interactive preannotations` for the backend in the project's settings under Model"
        yield Finding("clicks", "warning", "no backend is interactive, so the editor has no Auto-Annotation", remedy)
    if len(connected) > 1:
        remedy = "remove those that are not needed"
        text = f"of {len(connected)} backends Label Studio asks only the first, {connected[0].url}, for predictions"
        yield Finding("backends", "warning", text, remedy)
    first = connected[0]
    if project.model_version in {first.title, first.model_version}:
        yield Finding("predictions", "ok", f"tasks open with those of {project.model_version!r}")
        yield from _scores(project, first)
    else:
        chosen = repr(project.model_version) if project.model_version else "nothing"
        remedy = f"choose {first.title!r} in the project's settings under Annotation, `Use predictions to prelabel tasks`"
        yield Finding("predictions", "warning", f"tasks open with predictions of {chosen}, not of the backend", remedy)


def _scores(project: Project, backend: Backend) -> Iterator[Finding]:
    """Label Studio fills the column only with predictions of the version that the project names, and that is a title."""
    if backend.model_version and project.model_version != backend.model_version:
        text = f"the column `Prediction score` stays empty: the backend is called {backend.title!r}, its predictions are not"
        remedy = f"call the backend {backend.model_version!r} in the project's settings under Model, to order tasks by doubt"
        yield Finding("prediction score", "warning", text, remedy)


def _data(client: LabelStudio, fetcher: Fetcher, project: Project) -> Iterator[Finding]:
    task = next(client.tasks(project.id), None)
    parsed = configs.parse(project.config)
    if task is None:
        yield Finding("task data", "warning", "the project has no tasks", "import some")
        return
    data = TaskData(task.id, task.data)
    for picture in parsed.images:
        for address in data.urls(picture)[:1]:
            yield _picture(fetcher, task.id, address)
    for video in parsed.videos:
        yield from video_findings(fetcher, data, video)


def _picture(fetcher: Fetcher, task: int, address: str) -> Finding:
    """Whether the picture that a task names can be read."""
    try:
        header = images.probe(fetcher.read(address, task_id=task))
    except LocaraError as error:
        return unreadable(task, address, error)
    text = f"task {task} shows {without_query(address)}, a {header.format} of {header.width} x {header.height} pixels"
    return Finding("task data", "ok", text)
