"""The panel for clicks: masks of one object on the sample that is open, or on the first of the view.

An exception in a handler would replace the whole panel by a traceback, so every handler is guarded: it tells and goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import fiftyone.operators as foo
from fiftyone.operators import types
from locara_label.engine.tracking import Direction
from locara_label.errors import LocaraError
from locara_label.hosts.fiftyone.background import RUNS
from locara_label.hosts.fiftyone.clicks import Act
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.propagate import propagate
from locara_label.hosts.fiftyone.saving import add_regions, put_object, remove_last
from locara_label.runtime.session import Stop

from .layout import draw_panel, drawn
from .running import LOG
from .session import CLICKED, DEFAULTS, Session

Method = TypeVar("Method", bound=Callable[..., Any])


def guarded(method: Method) -> Method:
    """A handler that raises nothing: what goes wrong is told by a notification, and the panel stays."""

    @wraps(method)
    def handler(self: Any, ctx: Any) -> Any:
        try:
            return method(self, ctx)
        except LocaraError as error:
            ctx.ops.notify(f"{error.message} [{error.code}]", variant="error")
        except Exception as error:  # noqa: BLE001 - the panel must live
            LOG.exception("the click panel failed in a way that nobody thought of")
            ctx.ops.notify(f"the panel failed: {type(error).__name__}: {error}", variant="error")
        return None

    return handler  # type: ignore[return-value]


INPUTS = frozenset({"on_look", "on_setting", "on_mode", "on_model", "on_frame"})
"""Handlers of inputs, which give their value."""
LAYOUT = "layout"
"""Where the panel's state says which layout the browser has."""


def keep(ctx: Any) -> bool:
    """Keeps the value of an input under its own name; says whether it is another than before."""
    name, value = str(ctx.params.get("path") or "").rpartition(".")[2], ctx.params.get("value")
    return name in DEFAULTS and name not in CLICKED and value is not None and Session(ctx).apply(name, value)


class ClickPanel(foo.Panel):  # type: ignore[misc]
    """Left click on the object, shift-click off it; two clicks for a box in box mode."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name="clicks",
            label="Masks by clicks",
            icon="ads_click",
            surfaces="grid modal",
            allow_multiple=False,
            help_markdown="Click on the object; shift-click what is not of it. Then save.",
        )

    @guarded
    def on_load(self, ctx: Any) -> None:
        missing = [name for name in DEFAULTS if name not in CLICKED and ctx.panel.get_state(name) is None]
        ctx.panel.state.set({name: DEFAULTS[name] for name in missing})
        self._open(ctx)

    @guarded
    def on_change_current_sample(self, ctx: Any) -> None:
        self._open(ctx)

    @guarded
    def on_change_dataset(self, ctx: Any) -> None:
        self._open(ctx)

    @guarded
    def on_change_selected(self, ctx: Any) -> None:
        self._open(ctx)

    @guarded
    def on_next(self, ctx: Any) -> None:
        self._move(ctx, 1)

    @guarded
    def on_previous(self, ctx: Any) -> None:
        self._move(ctx, -1)

    def _move(self, ctx: Any, by: int) -> None:
        Session(ctx).move(by)
        self._open(ctx)

    def _open(self, ctx: Any) -> None:
        """Nothing was clicked yet on another picture. The App sends such events without a change, too."""
        session = Session(ctx)
        session.choose()
        session.begin()
        self._draw(ctx, session)

    def _draw(self, ctx: Any, session: Session | None = None) -> None:
        ctx.panel.set_data(drawn(session or Session(ctx)))

    def execute(self, ctx: Any) -> Any:
        """As every panel, but what is laid out is sent only where it is another than before.

        Most clicks change the mask and a line of text, which are data; the App draws the whole panel anew for a layout. An input
        that has its old value does nothing: the App sends all of them when they appear.
        """
        method = ctx.params.get("__method__")
        if method in (None, "on_startup"):
            return self.on_startup(ctx)
        if method in INPUTS and not keep(ctx):
            return None
        if str(method).startswith("on_") and hasattr(self, method):
            getattr(self, method)(ctx)
        self._lay_out(ctx, always=method == "on_load")
        return None

    def _lay_out(self, ctx: Any, *, always: bool) -> None:
        found = self.render(ctx)
        digest = hashlib.sha256(json.dumps(found.to_json(), sort_keys=True).encode()).hexdigest()
        if always or digest != ctx.panel.get_state(LAYOUT):
            ctx.panel.set_state(LAYOUT, digest)
            ctx.ops.show_panel_output(found)

    # what is clicked

    @guarded
    def on_click(self, ctx: Any) -> None:
        session = Session(ctx)
        place = ctx.params.get("idx")
        shown = session.shown
        if shown is None or not (isinstance(place, list) and len(place) == 2):
            return
        x, y = shown.to_full(float(place[0]), float(place[1]))
        before = session.acts
        if session.get("mode") == "box":
            self._corner(session, x, y)
        else:
            session.act(Act("point", (x, y), not ctx.params.get("shift_pressed")))
        try:
            self._draw(ctx, session)
        except LocaraError:
            session.set(acts=before)  # a click that gives nothing is no part of the prompt
            self._draw(ctx, session)
            raise

    def _corner(self, session: Session, x: float, y: float) -> None:
        first = session.get("corner")
        if first is None:
            session.set(corner=[x, y])
        else:
            session.set(corner=None)
            session.act(Act("box", (float(first[0]), float(first[1]), x, y)))

    @guarded
    def on_undo(self, ctx: Any) -> None:
        session = Session(ctx)
        if session.get("corner") is not None:
            session.set(corner=None)
        elif session.get("words"):
            session.set(words="")
        elif session.acts:
            session.set(acts=session.acts[:-1], candidate=0)
        elif session.get("saved") and not session.is_video:
            left = remove_last(ctx.dataset, session.sample_id, session.field, int(session.get("saved")))
            session.set(saved=0)
            ctx.ops.reload_samples()
            ctx.ops.notify(f"taken back; {left} are in {session.field}", variant="info")
        self._draw(ctx, session)

    @guarded
    def on_clear(self, ctx: Any) -> None:
        session = Session(ctx)
        session.set(acts=[], corner=None, candidate=0, words="")
        self._draw(ctx, session)

    @guarded
    def on_candidate(self, ctx: Any) -> None:
        session = Session(ctx)
        many = session.candidates
        if many < 2:
            ctx.ops.notify("there is no other mask for these clicks", variant="info")
            return
        session.set(candidate=(int(session.get("candidate")) + 1) % many)
        self._draw(ctx, session)

    @guarded
    def on_find(self, ctx: Any) -> None:
        session = Session(ctx)
        text = str(session.get("text") or "").strip()
        if not text:
            ctx.ops.notify("write what to look for, with dots between: red car . person", variant="warning")
            return
        session.set(words=text, acts=[], corner=None, candidate=0)
        try:
            self._draw(ctx, session)
        except LocaraError:
            session.set(words="")
            raise
        ctx.ops.notify(f"{len(session.regions)} found", variant="info")

    # how it is done and how it looks

    @guarded
    def on_look(self, ctx: Any) -> None:
        self._draw(ctx)

    @guarded
    def on_setting(self, ctx: Any) -> None:
        """Nothing but the value changes."""

    @guarded
    def on_mode(self, ctx: Any) -> None:
        session = Session(ctx)
        session.set(corner=None)
        self._draw(ctx, session)

    @guarded
    def on_model(self, ctx: Any) -> None:
        session = Session(ctx)
        session.set(acts=[], candidate=0, accept=False)
        session.begin()
        self._draw(ctx, session)

    @guarded
    def on_frame(self, ctx: Any) -> None:
        session = Session(ctx)
        session.set(acts=[], corner=None, candidate=0, words="")
        self._draw(ctx, session)

    @guarded
    def on_download(self, ctx: Any) -> None:
        Session(ctx).begin(download=True)

    # what is kept

    @guarded
    def on_save(self, ctx: Any) -> None:
        session = Session(ctx)
        regions = session.regions
        if not regions:
            ctx.ops.notify("there is no mask yet: click on the picture first", variant="warning")
            return
        if session.is_video:
            number = [put_object(ctx.dataset, session.sample_id, session.field, session.frame, one) for one in regions][-1]
            session.set(object=number, acts=[], corner=None, candidate=0, words="")
            text = f"object {number} is on frame {session.frame} of {session.field}"
        else:
            count = add_regions(ctx.dataset, session.sample_id, session.field, regions)
            session.set(acts=[], corner=None, candidate=0, words="", saved=len(regions))
            text = f"saved; {count} in {session.field}"
        self._draw(ctx, session)
        ctx.ops.reload_dataset()
        ctx.ops.notify(text, variant="success")

    @guarded
    def on_new_object(self, ctx: Any) -> None:
        session = Session(ctx)
        session.set(object=None, acts=[], corner=None, candidate=0, words="")
        self._draw(ctx, session)

    @guarded
    def on_forward(self, ctx: Any) -> None:
        self._follow(ctx, "forward")

    @guarded
    def on_backward(self, ctx: Any) -> None:
        self._follow(ctx, "backward")

    def _follow(self, ctx: Any, direction: Direction) -> None:
        session = Session(ctx)
        view, field, start = ctx.dataset.select(session.sample_id), session.field, session.frame
        model, most = session.follow, session.most_frames

        def steps(stop: Stop) -> Iterator[Progress]:
            return propagate(view, field, field, model=model, direction=direction, max_frames=most, start=start, stop=stop)

        RUNS.start(session.key, steps)

    @guarded
    def on_stop(self, ctx: Any) -> None:
        run = RUNS.get(Session(ctx).key)
        if run is not None:
            run.stop.set()

    @guarded
    def on_tick(self, ctx: Any) -> None:
        """Called again and again while something is going on, so that it is shown."""
        session = Session(ctx)
        run = RUNS.take_ended(session.key)
        if run is not None:
            ctx.ops.notify(run.ended, variant="error" if run.failed else "success")
            ctx.ops.reload_dataset()
            self._draw(ctx, session)

    def render(self, ctx: Any) -> types.Property:
        try:
            return draw_panel(self, Session(ctx))
        except Exception as error:  # noqa: BLE001 - as in `guarded`
            LOG.exception("the click panel could not be drawn")
            panel = types.Object()
            panel.md(f"**The panel could not be drawn**: {error}", name="trouble")
            return types.Property(panel)
