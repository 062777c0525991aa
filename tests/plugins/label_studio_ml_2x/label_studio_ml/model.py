"""One model for each request; what it sets is kept by project."""

from __future__ import annotations

import threading
from typing import Any

_KEPT: dict[tuple[str, str], str] = {}
_LOCK = threading.Lock()


class LabelStudioMLBase:
    INITIAL_MODEL_VERSION = "0.0.1"

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self) -> None:
        pass

    def get(self, key: str) -> str | None:
        with _LOCK:
            return _KEPT.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("Value must be a string")
        with _LOCK:
            _KEPT[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def fit(self, event: str, data: dict[str, Any], **kwargs: Any) -> Any:
        raise NotImplementedError
