"""What happens after the answer: pictures that will be clicked on soon, tasks that did not fit into a request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from itertools import islice

from locara_label.batch.worker import Control
from locara_label.engine.lanes import Lane
from locara_label.errors import LocaraError, QueueFull
from locara_label.hosts.label_studio.batch import prelabel_project
from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.config import ObjectTag
from locara_label.hosts.label_studio.requests import Task
from locara_label.server.core import Core
from locara_label.server.prelabels import QueuedModel, options

log = logging.getLogger("locara_label.server")

_MAX_JOBS = 64


class Background:
    """Work for one thread. Losing it loses nothing: what is not done is asked for again."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lane = Lane("background", 1, _MAX_JOBS)
        self._control = Control()
        self._ahead: tuple[int | None, int | None] = (None, None)
        self._waiting: set[int] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends the job under way after its tasks in work."""
        self._control.stop.set()
        self._lane.close()

    def warm(self, project: int | None, task: Task, shown: ObjectTag) -> None:
        """Has a task's first picture encoded when nothing else is to do."""
        try:
            for url in task.urls(shown)[:1]:
                self._core.engine.warm(self._core.picture(url, task_id=task.id, project_id=project))
        except LocaraError as error:
            log.info("task %s is not encoded ahead: [%s] %s", task.id, error.code, error.message)

    def encode_ahead(self, project: int | None, task: Task, shown: ObjectTag) -> None:
        """Has the pictures of the project's next tasks encoded, as many as the settings say."""
        count = self._core.settings.server.encode_ahead
        if not count or not self._has_api() or project is None or task.id is None or self._ahead == (project, task.id):
            return
        self._ahead = project, task.id
        after = task.id
        try:
            self._lane.submit(lambda: self._encode(project, after, shown, count))
        except QueueFull as error:
            log.info("nothing is encoded ahead: %s", error)

    def prelabel(self, project: int | None, config: str, tasks: Iterable[Task]) -> None:
        """Writes the predictions of tasks of a project, which has this labeling config, through Label Studio's API."""
        late = {task.id for task in tasks if task.id is not None}
        if not self._has_api() or project is None:
            text = "%d tasks of project %s did not fit into the request; retrieve predictions again, or name --api-key"
            log.warning(text, len(late), project)
            return
        with self._lock:
            fresh = late - self._waiting
            self._waiting |= fresh
        self._gauge()
        if fresh:
            try:
                self._lane.submit(lambda: self._prelabel(project, config, fresh))
            except QueueFull:
                self._done(fresh)
                raise

    def _has_api(self) -> bool:
        server = self._core.settings.server
        return server.label_studio_url is not None and server.api_key is not None

    def _client(self) -> LabelStudio:
        server = self._core.settings.server
        if server.label_studio_url is None or server.api_key is None:
            raise AssertionError("only called where there is an API")
        return LabelStudio(server.label_studio_url, server.api_key.get_secret_value())

    def _encode(self, project: int, after: int, shown: ObjectTag, count: int) -> None:
        try:
            with self._client() as client:
                for task in islice(client.tasks(project, after=after), count):
                    self.warm(project, Task(task.id, task.data), shown)
        except LocaraError as error:
            log.warning("nothing is encoded ahead: [%s] %s", error.code, error.message, extra={"code": error.code})

    def _prelabel(self, project: int, config: str, tasks: set[int]) -> None:
        core = self._core
        log.info("%d tasks of project %s are pre-labeled in the background", len(tasks), project)
        try:
            with self._client() as client:
                wanted = options(core, project, frozenset(tasks))
                model = QueuedModel(core, config)
                summary = prelabel_project(client, model, wanted, fetcher=core.fetcher, control=self._control)
            for failed in summary.failed:
                log.warning("task %s: [%s] %s", failed.task, failed.error.code, failed.error.message)
            log.info("project %s: %d predictions written, %d failed", project, summary.written, len(summary.failed))
        except LocaraError as error:
            core.metrics.errors.labels(error.code).inc()
            log.error("project %s: [%s] %s", project, error.code, error.message, extra={"code": error.code})  # noqa: TRY400
        finally:
            self._done(tasks)

    def _done(self, tasks: set[int]) -> None:
        with self._lock:
            self._waiting -= tasks
        self._gauge()

    def _gauge(self) -> None:
        self._core.metrics.jobs.set(len(self._waiting))
