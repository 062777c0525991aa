"""How the click panel looks: the picture with its mask and clicks, and what is below it."""

from __future__ import annotations

from typing import Any

from fiftyone.operators import types
from locara_label.hosts.fiftyone.canvas import layer
from locara_label.hosts.fiftyone.choices import choices, find
from locara_label.hosts.fiftyone.saving import objects_of

from .session import Session

WIDTH_PX, LEAST_PX, MOST_PX = 560, 240, 480
"""A picture is as tall as it is in a panel of that width, and no less and no more than these; the App fits it in."""
PADDED = {"grid": {"sx": {"padding": "8px"}}}
PICTURE, SAID = "picture", "mode_row.said"
"""Where the panel's data has the traces of the picture, and the line of text."""
TICK_MS = 700
GREEN, RED, YELLOW = "#2ecc40", "#ff4136", "#ffdc00"
_AXIS = {"visible": False, "showgrid": False, "zeroline": False, "fixedrange": True}


def drawn(session: Session) -> dict[str, Any]:
    """The panel's data: what changes with each click."""
    return {PICTURE: traces(session), SAID: _said(session)}


def traces(session: Session) -> list[dict[str, Any]]:
    """The mask as a picture, which also gives clicks their places, and marks of clicks, which must not catch any."""
    shown = session.shown
    if shown is None:
        return []
    mask = layer(session.mask, shown.size, session.look)
    points = [(act.xy[:2], GREEN if act.positive else RED) for act in session.acts if act.kind == "point"]
    corner, boxes = session.get("corner"), [act.xy for act in session.acts if act.kind == "box"]
    points += [(tuple(corner), YELLOW)] if corner is not None else []
    places = [(*shown.to_shown(*xy), colour) for xy, colour in points]
    x0, y0, x1, y1 = (*shown.to_shown(*boxes[-1][:2]), *shown.to_shown(*boxes[-1][2:])) if boxes else (None,) * 4
    return [
        {"type": "image", "source": mask, "hoverinfo": "none", "name": "mask"},
        {
            "type": "scatter", "mode": "markers", "hoverinfo": "skip", "name": "clicks",
            "x": [x for x, _, _ in places], "y": [y for _, y, _ in places],
            "marker": {"size": 12, "color": [colour for _, _, colour in places], "line": {"width": 2, "color": "white"}},
        },
        {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip", "name": "box", "line": {"color": YELLOW, "width": 2},
            "x": [x0, x1, x1, x0, x0], "y": [y0, y0, y1, y1, y0],
        },
    ]  # fmt: skip


def draw_panel(panel: Any, session: Session) -> types.Property:
    """The whole panel; `panel` has the handlers."""
    root = types.Object()
    _state(root, panel, session)
    if session.shown is None:
        root.md("There is no sample in this view.", name="empty")
    else:
        _buttons(root, panel, session)
        _answers(root, panel, session)
        _picture(root, panel, session)
        if session.is_video:
            _video(root, panel, session)
        _words(root, panel, session)
        _look(root, panel, session)
    if session.state.kind in ("downloading", "loading") or session.run is not None:
        root.view("tick", types.TimerView(interval=TICK_MS, on_interval=panel.on_tick))
    return types.Property(root, view=types.GridView(orientation="vertical", gap=1, componentsProps=PADDED))


def _state(root: types.Object, panel: Any, session: Session) -> None:
    """Which model answers, and what it is doing."""
    server = session.clicking.server
    if server is not None:
        root.md(f"Masks come from {server.address.shown}", name="state")
        return
    row = root.h_stack("model_row", gap=1, align_y="center")
    view = types.DropdownView()
    for one in choices("clicks"):
        view.add_choice(one.name, label=one.text)
    row.str("model", label="Model", default=session.get("model"), view=view, on_change=panel.on_model)
    state, name = session.state, session.model
    row.md(f"{name}: {str(state).replace('_', ' ')}", name="state")
    if state.kind == "error":
        row.btn("retry", label="Retry", icon="refresh", on_click=panel.on_download)
    if state.kind == "not_downloaded":
        licence = _licence(name)
        if licence:
            row.bool("accept", label=f"I accept {licence}", default=session.get("accept"), on_change=panel.on_setting)
        row.btn("download", label="Download", icon="download", on_click=panel.on_download)


def _licence(name: str) -> str:
    """Terms that have to be agreed to; empty where none are."""
    row = find(name).row
    return row.licence.name if row is not None and row.licence.must_accept else ""


def _picture(root: types.Object, panel: Any, session: Session) -> None:
    shown = session.shown
    assert shown is not None  # noqa: S101 - who calls has looked
    height, width = shown.size
    # The picture is in the layout, which stays as it is; only the mask over it changes with a click.
    under = {
        "source": shown.url, "xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": width, "sizey": height,
        "xanchor": "left", "yanchor": "top", "sizing": "stretch", "layer": "below",
    }  # fmt: skip
    layout = {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "dragmode": False, "showlegend": False, "hovermode": "closest",
        "xaxis": {**_AXIS, "range": [-0.5, width - 0.5], "constrain": "domain"},
        "yaxis": {**_AXIS, "range": [height - 0.5, -0.5], "scaleanchor": "x", "constrain": "domain", "constraintoward": "top"},
        "images": [under],
    }  # fmt: skip
    config = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False}
    tall = min(max(round(WIDTH_PX * height / width), LEAST_PX), MOST_PX)
    style = {"item": {"sx": {"height": f"{tall}px"}}}  # else the App gives a plot all the height of the panel
    # Composite: else the App copies the plot's data into the panel's state, saves it, and draws all its panels anew.
    about = {"height": tall, "componentsProps": style, "composite_view": True}
    root.plot("picture", layout=layout, config=config, on_click=panel.on_click, **about)


def _buttons(root: types.Object, panel: Any, session: Session) -> None:
    row = root.h_stack("mode_row", gap=1, align_y="center")
    view = types.RadioGroup(orientation="horizontal")
    view.add_choice("points", label="Points")
    view.add_choice("box", label="Box")
    row.enum("mode", view.values(), default=session.get("mode"), view=view, on_change=panel.on_mode)
    row.str("said", view=types.MarkdownView())
    row = root.h_stack("buttons", gap=1, align_y="center")
    row.btn("save", label="Save", variant="contained", on_click=panel.on_save)
    row.btn("undo", label="Undo", on_click=panel.on_undo)
    row.btn("clear", label="Clear", on_click=panel.on_clear)
    row.btn("candidate", label="Other mask", on_click=panel.on_candidate)
    if not session.ctx.current_sample:
        row.btn("previous", label="Previous", on_click=panel.on_previous)
        row.btn("next", label="Next", on_click=panel.on_next)


def _said(session: Session) -> str:
    """What is there, in words."""
    if session.shown is None:
        return ""
    found = session.regions
    if session.get("words"):
        return f"{len(found)} found for {session.get('words')!r}"
    if session.get("corner") is not None:
        return "Click on the opposite corner of the box"
    if not found:
        what = "two corners around the object" if session.get("mode") == "box" else "the object; shift-click what is not of it"
        return f"Click on {what}"
    many = session.candidates
    which = f", mask {int(session.get('candidate')) % many + 1} of {many}" if many > 1 else ""
    return f"{found[0].label}: {found[0].mask.area} px, score {found[0].score or 0:.2f}{which}"


def _video(root: types.Object, panel: Any, session: Session) -> None:
    view = types.SliderView(min=1, max=max(session.frame_count, 2), view_multiple_of=1, value_precision=0)
    root.int("frame", label="Frame", default=session.frame, view=view, on_change=panel.on_frame)
    row = root.h_stack("following", gap=1, align_y="center")
    number = session.get("object")
    known = ", ".join(map(str, objects_of(session.sample, session.field))) or "none"
    row.md(f"{'New object' if number is None else f'Object {number}'} (saved: {known})", name="object_said")
    row.btn("new_object", label="New object", icon="add", on_click=panel.on_new_object)
    run = session.run
    if run is not None and not run.ended:
        row.md(f"{run.fraction:.0%}, {run.step or 'starts'}", name="progress")
        row.btn("stop", label="Stop", icon="stop", on_click=panel.on_stop)
        return
    row.btn("backward", label="Propagate backward", icon="arrow_back", on_click=panel.on_backward)
    row.btn("forward", label="Propagate forward", icon="arrow_forward", on_click=panel.on_forward)
    row = root.h_stack("following_how", gap=1, align_y="center")
    if session.clicking.server is None:
        models = types.DropdownView()
        for one in choices("video"):
            models.add_choice(one.name, label=one.text)
        row.str("video_model", label="Follows", default=session.video_model, view=models, on_change=panel.on_setting)
    row.int("frames", label="Frames", default=session.most_frames, on_change=panel.on_setting)


def _answers(root: types.Object, panel: Any, session: Session) -> None:
    row = root.h_stack("answers", gap=1, align_y="center")
    row.str("field", label="Field", default=session.get("field"), on_change=panel.on_setting)
    if not session.labels:
        row.str("label", label="Label", default=session.label, on_change=panel.on_look)
        return
    view = types.AutocompleteView()
    for name in session.labels:
        view.add_choice(name, label=name)
    root.str("label", label="Label", default=session.label, view=view, on_change=panel.on_look)


def _words(root: types.Object, panel: Any, session: Session) -> None:
    row = root.h_stack("words_row", gap=1, align_y="center")
    row.str("text", label="Words to look for", default=session.get("text"), on_change=panel.on_setting)
    row.btn("find", label="Find", on_click=panel.on_find)


def _look(root: types.Object, panel: Any, session: Session) -> None:
    share = types.SliderView(min=0, max=1, view_multiple_of=0.05, value_precision=2)
    pixels = types.SliderView(min=0, max=30, view_multiple_of=1, value_precision=0)
    root.float("opacity", label="Opacity", default=session.get("opacity"), view=share, on_change=panel.on_look)
    root.float("feather", label="Feather", default=session.get("feather"), view=pixels, on_change=panel.on_look)
    root.bool("invert", label="Invert", default=session.get("invert"), view=types.SwitchView(), on_change=panel.on_look)
