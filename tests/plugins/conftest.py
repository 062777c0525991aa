"""The real Label Studio is that of its own tests."""

from __future__ import annotations

from tests.hosts.label_studio.conftest import label_studio

__all__ = ["label_studio"]
