"""What all operators share: steps are shown as progress, failures are told, and work can be stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionContext
from locara_label.errors import Cancelled, LocaraError
from locara_label.hosts.fiftyone.progress import Progress, Summary, summed
from locara_label.runtime.session import Stop

from .forms import Form

LOG = logging.getLogger("locara_label.fiftyone")
SHOWN = 50
"""Problems that a result lists; all are in the data set."""
PAUSE_S = 0.3
"""Between two signs of progress: each is a message to the browser, or a write to the database."""


class Running:
    """Work that goes on in this process, by data set, so that another operator can stop it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: dict[Stop, str] = {}

    @contextmanager
    def one(self, dataset: str) -> Iterator[Stop]:
        stop = Stop()
        with self._lock:
            self._stops[stop] = dataset
        try:
            yield stop
        finally:
            with self._lock:
                del self._stops[stop]

    def stop(self, dataset: str) -> int:
        """Stops all work on a data set; gives how much there was."""
        with self._lock:
            found = [stop for stop, name in self._stops.items() if name == dataset]
        for stop in found:
            stop.set()
        return len(found)


RUNNING = Running()


class Work(foo.Operator):  # type: ignore[misc]
    """An operator that goes through samples, each saved when it is done.

    As a generator: FiftyOne shows progress of these only, and shows nothing where one raises, so failures are told by a
    notification before they are raised on to callers from Python and to delegated runs.
    """

    name_: str
    title: str
    about: str
    icon = "auto_fix_high"
    changes = True
    """The data set is another one afterwards."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.name_,
            label=self.title,
            description=self.about,
            icon=self.icon,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            default_choice_to_delegated=False,
        )

    def form(self, form: Form) -> None:
        """Adds the fields."""
        raise NotImplementedError

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        """Does the work; what is wrong with the form's values is raised before the first step."""
        raise NotImplementedError

    def found(self, ctx: Any, summary: Summary) -> dict[str, Any]:  # noqa: ARG002 - for those that override it
        """What came of it, for `resolve_output`."""
        problems = [f"{one.filepath}: {one.problem}" for one in (*summary.failed, *summary.noted)]
        return {"message": str(summary), "count": summary.samples, "regions": summary.regions, "problems": problems[:SHOWN]}

    def shown(self, ctx: Any) -> list[str]:  # noqa: ARG002 - for those that override it
        """Fields that the App draws afterwards."""
        return []

    def resolve_input(self, ctx: Any) -> types.Property:
        form = Form(ctx, self.title)
        try:
            self.form(form)
        except LocaraError as error:
            form.notice("trouble", error.message, warning=True)
        return form.done()

    def execute(self, ctx: Any) -> Iterator[Any]:
        with RUNNING.one(ctx.dataset.name) as stop:
            steps: list[Progress] = []
            try:
                yield from _signs(ctx, self.steps(ctx, stop), steps)
            except Cancelled as error:
                yield ctx.ops.notify(error.message, variant="warning")
                yield from self._end(ctx, steps, error.message)
            except Exception as error:
                if not isinstance(error, LocaraError):
                    LOG.exception("%s failed in a way that nobody thought of", self.name_)
                yield from _told(ctx, self.title, error)
                yield from self._end(ctx, steps, _reason(error))
                if ctx.delegated or not from_app(ctx):
                    raise
            else:
                yield from self._end(ctx, steps)

    def _end(self, ctx: Any, steps: list[Progress], ended: str = "") -> Iterator[Any]:
        result = self.found(ctx, summed(steps))
        if not ctx.delegated:
            if self.changes:
                yield from _refreshed(ctx, self.shown(ctx))
            yield from _output(self, ctx, {**result, "error": ended} if ended else result)

    def resolve_output(self, ctx: Any) -> types.Property:
        out = types.Object()
        if ctx.results.get("error"):
            out.str("error", label="Stopped", view=types.Error(label=ctx.results["error"]))
        out.str("message", label="Result")
        for name, label in self.more(ctx):
            out.str(name, label=label)
        if ctx.results.get("problems"):
            out.list("problems", types.String(), label="Samples with a problem")
        return types.Property(out, view=types.View(label=self.title))

    def more(self, ctx: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - for those that override it
        """Names and labels of other texts of the result."""
        return []


class StopWork(foo.Operator):  # type: ignore[misc]
    """Stops the immediate work on the data set that is open; finished samples stay."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="stop", label="Stop labeling", description="Ends running work of locara-label on this data set", icon="stop"
        )

    def execute(self, ctx: Any) -> dict[str, Any]:
        count = RUNNING.stop(ctx.dataset.name)
        ctx.ops.notify(f"{count} stopped" if count else "nothing is running here", variant="info")
        return {"stopped": count}


def from_app(ctx: Any) -> bool:
    """Whether the App asked; it sends what it shows along, which a call from Python does not."""
    return "spaces" in ctx.request_params or "workspace_name" in ctx.request_params or ctx.prompt_id is not None


def _signs(ctx: Any, work: Iterator[Progress], steps: list[Progress]) -> Iterator[Any]:
    """Signs of progress, not too many; fills in the steps of finished samples."""
    shown = -PAUSE_S
    for step in work:
        if step.frames is None:
            steps.append(step)
        if time.monotonic() - shown >= PAUSE_S or step.fraction >= 1:
            shown = time.monotonic()
            yield from _sign(ctx, step)


def _sign(ctx: Any, step: Progress) -> Iterator[Any]:
    if ctx.delegated:
        ctx.set_progress(progress=step.fraction, label=str(step))
    else:
        yield ctx.ops.set_progress(progress=step.fraction, label=str(step))


def _output(work: Work, ctx: Any, result: dict[str, Any]) -> Iterator[Any]:
    """What a generator gives at its end reaches nobody, so the App is told to show it."""
    shown = ExecutionContext({**ctx.request_params, "results": result})
    yield ctx.ops.show_output(work.resolve_output(shown).to_json(), result)


def _told(ctx: Any, title: str, error: Exception) -> Iterator[Any]:
    yield ctx.ops.notify(f"{title}: {_reason(error)}", variant="error")


def _reason(error: Exception) -> str:
    return f"{error.message} [{error.code}]" if isinstance(error, LocaraError) else f"failed: {type(error).__name__}: {error}"


def _refreshed(ctx: Any, fields: list[str]) -> Iterator[Any]:
    """The App reads the data set again, and draws the fields."""
    yield ctx.ops.reload_dataset()
    active = ctx.request_params.get("active_fields")
    if fields and active is not None:
        yield ctx.ops.set_active_fields([*active, *(name for name in fields if name not in active)])
