"""Labeling configs that behave, ready to be pasted into a project. Labels are examples, to be replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from xml.sax.saxutils import quoteattr

from locara_label.errors import BadOption

DESCRIPTIONS = {
    "bitmask": "masks as pictures, exact and light: the one to take if in doubt",
    "bitmask-text": "the same, with a text box that asks",
    "brush": "masks as brush strokes: exact, and every exporter of Label Studio knows them",
    "brush-text": "the same, with a text box that asks",
    "pages": "several pictures in one task",
    "polygon": "outlines: few points, no holes",
    "polygon-text": "the same, with a text box that asks",
    "prelabel": "classes of a model that become labels of other names",
    "video": "boxes that follow objects",
}
_LABELS = re.compile(r"(<Label value=[^>]*/>\s*)+")


def kinds() -> list[str]:
    """Names of the configs: "bitmask", "brush", "video" ..."""
    folder = files("locara_label.hosts.label_studio").joinpath("configs")
    return sorted(entry.name.removesuffix(".xml") for entry in folder.iterdir() if entry.name.endswith(".xml"))


def labeling_config(kind: str, labels: Sequence[str] = ()) -> str:
    """The XML of one.

    Args:
        kind: one of `kinds`.
        labels: to write in place of the examples.

    Raises:
        BadOption: code `option.kind`, there is none of this name; code `option.label`, a label is empty, or written twice.
    """
    known = kinds()
    if kind not in known:
        raise BadOption(f"there is no labeling config {kind!r}, only {', '.join(known)}", code="option.kind")
    if len(set(labels)) != len(labels) or not all(label.strip() and label.isprintable() for label in labels):
        raise BadOption(f"labels are texts, each once, got {', '.join(map(repr, labels))}", code="option.label")
    config = files("locara_label.hosts.label_studio").joinpath("configs", f"{kind}.xml").read_text("utf-8")
    written = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    return _LABELS.sub(lambda _: written, config) if labels else config
