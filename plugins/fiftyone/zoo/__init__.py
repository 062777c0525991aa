"""Models of locara-label for FiftyOne's model zoo; all work is done by the package."""

from __future__ import annotations

from locara_label.hosts.fiftyone.zoo import download_model, load_model, parse_parameters, resolve_input

__all__ = ["download_model", "load_model", "parse_parameters", "resolve_input"]
