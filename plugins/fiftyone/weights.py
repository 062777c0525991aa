"""The operator that shows the models on this machine and fetches them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from locara_label.errors import LocaraError
from locara_label.hosts.fiftyone.choices import Choice, choices, find
from locara_label.settings import load as load_settings
from locara_label.weights.store import Progress

from .forms import Form, value
from .running import LOG, from_app

DOWNLOAD, VERIFY, REMOVE = "download", "verify", "remove"
_LOOK_S = 0.5


class ModelManager(foo.Operator):  # type: ignore[misc]
    """States of all models; fetches, checks or removes one."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="model_manager",
            label="Models",
            description="What each model is doing; fetch one with progress, accept its licence, check or remove it",
            icon="dns",
            dynamic=True,
            execute_as_generator=True,
            allow_delegated_execution=True,
            view_target=False,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        form = Form(ctx, "Models")
        view = types.DropdownView()
        offered = choices("downloads")
        for one in offered:
            view.add_choice(one.name, label=one.text if not one.is_ready else f"{one.name} - ready")
        form.inputs.enum("model", [one.name for one in offered], label="Model", view=view)
        chosen = form.get("model")
        if chosen is None:
            form.refuse("model", "choose one")
        else:
            self._about(form, find(chosen))
        return form.done()

    def _about(self, form: Form, chosen: Choice) -> None:
        ways = ((DOWNLOAD, "Fetch"), (VERIFY, "Check its files"), (REMOVE, "Remove"))
        way = form.choice("action", ways, DOWNLOAD, "What to do")
        form.notice("state", f"{chosen.name} is {str(chosen.state).replace('_', ' ')}", warning=chosen.state.kind == "error")
        if way == DOWNLOAD and chosen.row is not None and not chosen.is_ready:
            licence = chosen.row.licence
            form.notice("licence", f"Licence: {licence.name}, {licence.url}")
            if licence.must_accept:
                form.switch("accept", f"I accept the terms of {licence.name}")
                if not form.get("accept"):
                    form.refuse("accept", "needed for this model")

    def execute(self, ctx: Any) -> Iterator[Any]:
        name, way = value(ctx, "model", ""), value(ctx, "action", DOWNLOAD)
        try:
            if way == DOWNLOAD:
                yield from _fetched(ctx, name)
            yield {"message": _done(name, way), "model": name}
        except Exception as error:
            if not isinstance(error, LocaraError):
                LOG.exception("the operator for models failed in a way that nobody thought of")
            text = error.message if isinstance(error, LocaraError) else f"{type(error).__name__}: {error}"
            yield ctx.ops.notify(f"{name}: {text}", variant="error")
            yield {"message": text, "model": name, "error": text}
            if ctx.delegated or not from_app(ctx):
                raise

    def resolve_output(self, ctx: Any) -> types.Property:
        out = types.Object()
        out.str("message", label=ctx.results.get("model") or "Model")
        return types.Property(out, view=types.View(label="Models"))


def _done(name: str, way: str) -> str:
    """Checks or removes; gives what there is to say."""
    store, row = load_settings().store(), find(name).row
    if row is None:
        return "needs no weights"
    if way == REMOVE:
        return f"removed, {store.remove(row) / 1e6:.0f} MB are free again"
    if way == VERIFY:
        report = store.verify(row)
        return f"{report.files} files, all as downloaded" if report.is_sound else "; ".join(report.problems)
    return f"ready, licence: {row.licence.name}"


def _fetched(ctx: Any, name: str) -> Iterator[Any]:
    """Fetches in a thread, so that progress can be shown meanwhile; a fetch that is left goes on."""
    row = find(name).row
    if row is None:
        return
    told: queue.Queue[Progress | Exception | None] = queue.Queue()

    def work() -> None:
        try:
            load_settings().store().pull(row, accept_licence=ctx.params.get("accept") is True, progress=told.put)
            told.put(None)
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            told.put(error)

    threading.Thread(target=work, name=f"fetch {name}", daemon=True).start()
    while True:
        found = _latest(told)
        if found is None:
            return
        if isinstance(found, Exception):
            raise found
        share, text = found.done / max(found.total or found.done, 1), f"{found.done / 1e6:.0f} MB"
        if ctx.delegated:
            ctx.set_progress(progress=share, label=text)
        else:
            yield ctx.ops.set_progress(progress=share, label=text)


def _latest(told: queue.Queue[Progress | Exception | None]) -> Progress | Exception | None:
    """Waits for the next word, and passes over what is old by now."""
    found = told.get()
    while isinstance(found, Progress):
        try:
            found = told.get(timeout=_LOOK_S)
        except queue.Empty:
            break
    return found
