"""What the routes do, without HTTP: a body's fields in, JSON values out. Safe to call from many threads."""

from __future__ import annotations

from typing import Any

from locara_label.hosts.label_studio.fields import Fields
from locara_label.server import v1
from locara_label.server.annotating import Annotating
from locara_label.server.core import Core
from locara_label.server.models import Models
from locara_label.settings import Settings


class Service(Core):
    """A server's answers."""

    def __init__(self, settings: Settings, models: Models) -> None:
        super().__init__(settings, models)
        self._annotating = Annotating(self)

    def start(self) -> None:
        """Called once the server listens."""
        super().start()
        self._annotating.start()

    def close(self) -> None:
        """Finishes what runs, gives up what waits."""
        self._annotating.close()
        super().close()

    def state(self) -> dict[str, Any]:
        """See `Core.state`; and which videos of tasks are gone through, and which wait."""
        return super().state() | {"masklets": self._annotating.videos.jobs.state()}

    def setup(self, fields: Fields) -> dict[str, Any]:
        """Label Studio's POST /setup."""
        return self._annotating.setup(fields)

    def predict(self, fields: Fields) -> dict[str, Any]:
        """Label Studio's POST /predict, of a batch or of a click."""
        return self._annotating.predict(fields)

    def webhook(self, fields: Fields) -> dict[str, Any]:
        """Label Studio's POST /webhook: counted, never trusted, it comes without credentials."""
        return self._annotating.webhook(fields)

    def segment(self, fields: Fields) -> dict[str, Any]:
        """POST /v1/segment."""
        return v1.segment(self, fields)

    def mask_from_prompt(self, fields: Fields) -> dict[str, Any]:
        """POST /v1/mask_from_prompt."""
        return v1.mask_from_prompt(self, fields)
