"""Operators and the click panel of locara-label for the FiftyOne App; all work is done by `locara_label.hosts.fiftyone`."""

from __future__ import annotations

from typing import Any

from .exchanging import Export, FromLabelStudio, Import, ToLabelStudio
from .labeling import Prelabel, PropagateMasklets, SegmentBoxes, SegmentText
from .panel import ClickPanel
from .reviewing import Compare
from .running import StopWork
from .weights import ModelManager

OPERATORS = (
    Prelabel,
    SegmentText,
    SegmentBoxes,
    PropagateMasklets,
    Export,
    Import,
    ToLabelStudio,
    FromLabelStudio,
    ModelManager,
    Compare,
    StopWork,
)


def register(plugin: Any) -> None:
    """Called by FiftyOne when it loads the plugin."""
    for one in OPERATORS:
        plugin.register(one)
    plugin.register(ClickPanel)
