"""Where Label Studio is, and what it knows us by, from flags, the environment and the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.fetch import Fetcher
    from locara_label.hosts.label_studio.client import LabelStudio
    from locara_label.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_KEY_HELP = "Access token; better given as LOCARA_LABEL_STUDIO_API_KEY, where no list of processes shows it."


def connection_options(command: Command) -> Command:
    """Adds --url and --api-key; the command receives `url` and `api_key`, None where the settings are meant."""
    url = click.option("--url", envvar="LOCARA_LABEL_STUDIO_URL", help="Address. [default: the setting, http://localhost:8080]")
    key = click.option("--api-key", envvar="LOCARA_LABEL_STUDIO_API_KEY", help=_KEY_HELP)
    return url(key(command))


@dataclass(frozen=True)
class Access:
    """Where Label Studio is, and what it knows us by."""

    url: str
    key: str = field(repr=False)
    settings: Settings

    def connect(self) -> LabelStudio:
        from locara_label.hosts.label_studio.client import LabelStudio

        return LabelStudio(self.url, self.key, trust_env=self.settings.trust_env)

    def fetcher(self) -> Fetcher:
        """Reads what the settings grant, and what Label Studio serves."""
        from locara_label.engine.granted import rules
        from locara_label.fetch import Fetcher

        return Fetcher(rules(self.settings, self.url, self.key))


def access_to(settings: Settings, url: str | None, api_key: str | None) -> Access:
    """What flags say (None: nothing), else the settings.

    Raises:
        BadOption: there is no token, or it or the address cannot be one; codes option.api_key and option.url.
    """
    from locara_label.hosts.label_studio.connection import checked_key, checked_url

    stored = settings.server.api_key
    key = api_key or (stored.get_secret_value() if stored else None)
    if not key:
        raise BadOption("an access token is needed: --api-key or LOCARA_LABEL_STUDIO_API_KEY", code="option.api_key")
    address = url or settings.server.label_studio_url or "http://localhost:8080"
    return Access(checked_url(address), checked_key(key), settings)
