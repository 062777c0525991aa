"""Fields of a data set that hold our labels: made, described to the App, and noted down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fomm

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.samples import FRAMES, database

INFO = "locara_label"
"""Key of `dataset.info`: what made each field."""
ERRORS = "_error"
"""What the name of a field with reasons ends with."""
_MANY = 5


def prepare(dataset: fo.Dataset, field: str, kind: type[fo.Label], classes: Sequence[str] = ()) -> None:
    """Makes a field for labels, unless it is there, and lets the App's Annotate tab edit it, if there are samples.

    Args:
        dataset: of images or videos; those of videos get a frame field.
        field: its name, without "frames.".
        kind: of the labels.
        classes: that the App offers, beside those that it offers already.

    Raises:
        BadOption: code `option.field`; the field holds something else.
        RunError: see `samples.database`.
    """
    is_video = dataset.media_type == fomm.VIDEO
    with database():
        schema = (dataset.get_frame_field_schema() if is_video else dataset.get_field_schema()) or {}
        if field not in schema:
            add = dataset.add_frame_field if is_video else dataset.add_sample_field
            add(field, fo.EmbeddedDocumentField, embedded_doc_type=kind)
        found = getattr(schema.get(field), "document_type", kind)
        if found is not kind:
            what = getattr(found, "__name__", type(schema[field]).__name__)
            raise BadOption(f"the field {field!r:.120} holds {what}, not {kind.__name__}", code="option.field")
        if kind is fo.Detections and dataset.media_type is not None:
            make_editable(dataset, FRAMES + field if is_video else field, classes)


def make_editable(dataset: fo.Dataset, path: str, classes: Iterable[str] = ()) -> None:
    """Gives a field of detections the label schema that the App wants before people may edit it, and shows it there.

    Args:
        dataset: with the field.
        path: with "frames." in front for videos.
        classes: that the App offers; those of an earlier call stay.
    """
    before = (dataset.label_schemas or {}).get(path)
    schema = before or dataset.generate_label_schemas(fields=path, scan_samples=False)
    known = list(dict.fromkeys([*schema.get("classes", ()), *sorted(set(classes))]))
    shown = {"classes": known, "component": "radio" if len(known) <= _MANY else "dropdown"} if known else {}
    if before is None or shown.get("classes") != before.get("classes"):
        dataset.update_label_schema(path, {**schema, **shown})
    if path not in (dataset.active_label_schemas or ()):
        dataset.activate_label_schemas(path)


class LateClasses:
    """Labels of a field that show only as they are found; they become classes that the App offers."""

    def __init__(self, path: str) -> None:
        """`path` is that of `make_editable`."""
        self._path = path
        self._offered: set[str] = set()

    def add(self, dataset: fo.Dataset, labels: Iterable[str]) -> None:
        """Writes to the data set only what is new."""
        new = set(labels) - self._offered
        if new:
            self._offered |= new
            make_editable(dataset, self._path, self._offered)


def note(dataset: fo.Dataset, field: str, facts: Mapping[str, Any]) -> None:
    """Notes in the data set what makes a field: its model, threshold and so on, and when."""
    with database():
        notes = dict(dataset.info.get(INFO) or {})
        notes[field] = {**facts, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        dataset.info[INFO] = notes
        dataset.save()


def noted(dataset: fo.Dataset, field: str) -> Mapping[str, Any]:
    """What was noted last about a field; empty where nothing was."""
    notes = dataset.info.get(INFO)
    found = notes.get(field) if isinstance(notes, dict) else None
    return found if isinstance(found, dict) else {}
