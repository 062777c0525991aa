"""Forms of operators: fields, their checks, and the values that were given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators import types
from locara_label.errors import LocaraError
from locara_label.hosts.fiftyone.choices import Choice, Use, choices, find
from locara_label.hosts.fiftyone.samples import check_field
from locara_label.remote import server_address


class Form:
    """The fields of one operator, in the order in which they are made. What is wrong with a value is said beside it."""

    def __init__(self, ctx: Any, title: str) -> None:
        self.ctx, self.title = ctx, title
        self.inputs = types.Object()

    def get(self, name: str, default: Any = None) -> Any:
        """A value; what was left empty, or not given by a call from Python, is the default."""
        return value(self.ctx, name, default)

    @property
    def is_video(self) -> bool:
        return self.ctx.dataset is not None and self.ctx.dataset.media_type == "video"

    def refuse(self, name: str, reason: str) -> None:
        """Marks a field as wrong, so that the form cannot be sent."""
        found = self.inputs.get_property(name)
        found.invalid, found.error_message = True, reason

    def target(self, action: str) -> None:
        """Data set, view or selected samples."""
        self.inputs.view_target(self.ctx, action_description=action)

    def model(self, use: Use, default: str, name: str = "model", label: str = "Model") -> Choice | None:
        """A model for a kind of work; gives what is chosen, None where a server answers or the choice is wrong."""
        server = server_address()
        view = types.AutocompleteView() if server else types.DropdownView()
        offered = choices(use)
        for one in offered:
            view.add_choice(one.name, label=one.name if server else one.text)
        note = f"of the server {server.shown}; empty for its own" if server else None
        chosen = self.get(name, None if server else default)
        shown = {} if server else {"default": default}
        self.inputs.str(name, label=label, description=note, view=view, **shown)
        if server:
            return None
        return self._checked(name, chosen)

    def _checked(self, name: str, chosen: str) -> Choice | None:
        try:
            found = find(chosen)
        except LocaraError as error:
            self.refuse(name, error.message)
            return None
        if not found.is_ready:
            self.refuse(name, f"{chosen} is {str(found.state).replace('_', ' ')}; the operator 'Models' fetches it")
        return found

    def new_field(self, name: str, default: str, label: str, description: str | None = None) -> None:
        """The name of a field to write, new or there already."""
        self.inputs.str(name, default=default, label=label, description=description)
        try:
            check_field(self.get(name, default), "video" if self.is_video else "image")
        except LocaraError as error:
            self.refuse(name, error.message)

    def label_field(self, name: str, label: str, kinds: Sequence[type], description: str | None = None) -> str | None:
        """One of the fields that hold labels of some kinds; gives what is chosen."""
        names = label_fields(self.ctx.dataset, kinds)
        view = types.DropdownView()
        for one in names:
            view.add_choice(one, label=one)
        chosen: str | None = self.get(name, names[0] if len(names) == 1 else None)
        self.inputs.enum(name, names, default=chosen, label=label, description=description, view=view)
        if not names:
            self.refuse(name, f"the data set has no field with {' or '.join(kind.__name__ for kind in kinds)}")
        elif chosen not in names:
            self.refuse(name, "choose one")
        return chosen

    def choice(self, name: str, values: Iterable[tuple[str, str]], default: str, label: str) -> str:
        """One of a few values with their labels; gives what is chosen."""
        view, names = types.RadioGroup(), []
        for one, text in values:
            view.add_choice(one, label=text)
            names.append(one)
        self.inputs.enum(name, names, default=default, label=label, view=view)
        chosen = self.get(name, default)
        if chosen not in names:
            self.refuse(name, f"one of {', '.join(names)}, not {chosen!r:.40}")
        return str(chosen)

    def words(self, name: str, label: str, description: str) -> list[str]:
        """Several words, with commas between them; gives them."""
        self.inputs.str(name, label=label, description=description)
        return parted(self.get(name, ""))

    def share(self, name: str, label: str, description: str | None = None, default: float | None = None) -> None:
        """A number in 0..1; empty where there is no default."""
        view = types.SliderView(min=0, max=1, step=0.01) if default is not None else types.FieldView()
        self.inputs.float(name, min=0, max=1, label=label, description=description, default=default, view=view)
        found = self.get(name)
        if found is not None and not (isinstance(found, int | float) and 0 <= found <= 1):
            self.refuse(name, f"a number from 0 to 1, not {found!r:.40}")

    def number(self, name: str, label: str, default: int | None, least: int = 1, description: str | None = None) -> None:
        self.inputs.int(name, min=least, label=label, description=description, default=default)
        found = self.get(name)
        if found is not None and not (isinstance(found, int) and found >= least):
            self.refuse(name, f"a whole number from {least} on, not {found!r:.40}")

    def switch(self, name: str, label: str, description: str | None = None, *, default: bool = False) -> None:
        self.inputs.bool(name, label=label, description=description, default=default, view=types.SwitchView())

    def path(self, name: str, label: str, *, folder: bool = False, there: bool = False, description: str | None = None) -> None:
        """A path on the machine where FiftyOne runs; `there` for one that has to exist."""
        self.inputs.str(name, label=label, description=description)
        given = self.get(name)
        if given is None:
            self.refuse(name, "needed")
        elif not Path(given).is_absolute():
            self.refuse(name, f"a whole path, not {given!r:.120}")
        elif there and not (Path(given).is_dir() if folder else Path(given).is_file()):
            self.refuse(name, f"{given:.120} is no {'folder' if folder else 'file'} of the machine where FiftyOne runs")
        elif not there and not Path(given).parent.is_dir():
            self.refuse(name, f"there is no folder {Path(given).parent}")

    def notice(self, name: str, text: str, *, warning: bool = False) -> None:
        self.inputs.view(name, (types.Warning if warning else types.Notice)(label=text))

    def done(self) -> types.Property:
        return types.Property(self.inputs, view=types.View(label=self.title))


def value(ctx: Any, name: str, default: Any = None) -> Any:
    """A value of a form; the default where it was left empty or not given."""
    found = ctx.params.get(name)
    return default if found in (None, "", []) else found


def parted(text: str) -> list[str]:
    """The words between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def label_fields(dataset: Any, kinds: Sequence[type]) -> list[str]:
    """Fields of a data set with labels of some kinds; for videos those of frames, without "frames."."""
    if dataset is None:
        return []
    schema = (dataset.get_frame_field_schema() if dataset.media_type == "video" else dataset.get_field_schema()) or {}
    return [name for name, field in schema.items() if getattr(field, "document_type", None) in kinds]


MASKS = (fo.Detections, fo.Segmentation)
PROMPTS = (fo.Detections, fo.Keypoints)
