"""Settings from the environment, prefix `LOCARA_`. Arguments of a call outrank them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.weights.store import Store

DEFAULT_ENDPOINT = "https://huggingface.co"


def _default_cache_dir() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "locara-label"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "locara-label"
    caches = Path("Library", "Caches") if sys.platform == "darwin" else Path(".cache")
    return Path.home() / caches / "locara-label"


class Settings(BaseSettings):
    """What applies to a whole process. Read with `load`, which reports a wrong value as `BadOption`.

    Attributes:
        cache_dir: where weights and other downloads live.
        endpoint: the hub that weights come from.
        mirrors: hubs with the same addresses, tried in order after the endpoint; comma-separated in the environment.
        offline: never connect; HF_HUB_OFFLINE switches it on too.
        token: access token of the hub, sent to the endpoint only; HF_TOKEN is used as well.
        trust_env: obey proxy variables of the environment for downloads.
        threads: threads of a model run; 0 chooses.
        max_image_bytes: size of an encoded picture.
        max_pixels: height times width of a picture.
        deadline_s: seconds that one call may take; None for no limit.
    """

    model_config = SettingsConfigDict(
        env_prefix="LOCARA_", frozen=True, extra="forbid", env_ignore_empty=True, validate_by_name=True, validate_by_alias=True
    )

    cache_dir: Path = Field(default_factory=_default_cache_dir)
    endpoint: str = DEFAULT_ENDPOINT
    mirrors: Annotated[tuple[str, ...], NoDecode] = ()
    offline: bool = Field(default=False, validation_alias=AliasChoices("LOCARA_OFFLINE", "HF_HUB_OFFLINE"))
    token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("LOCARA_TOKEN", "HF_TOKEN"))
    trust_env: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0, le=1024)
    max_image_bytes: int = Field(default=64 << 20, gt=0)
    max_pixels: int = Field(default=89_000_000, gt=0)
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("cache_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("mirrors", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("endpoint", mode="after")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return _base_address(value)

    @field_validator("mirrors", mode="after")
    @classmethod
    def _mirrors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_base_address(mirror) for mirror in value)

    def store(self) -> Store:
        """The store of weights that these settings describe; opens nothing."""
        from locara_label.weights.hub import Hub
        from locara_label.weights.store import Store

        token = self.token.get_secret_value() if self.token else None
        hub = Hub(self.endpoint, self.mirrors, token=token, offline=self.offline, trust_env=self.trust_env)
        return Store(self.cache_dir, hub)


def load(**values: Any) -> Settings:
    """The settings of the environment, with `values` on top.

    Raises:
        BadOption: a value is not allowed; the message names the setting and never shows a token.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        raise BadOption(f"a setting is wrong: {'; '.join(problems)}", code="option.setting") from None


def _base_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be the address of a hub, https://host")
    return value.rstrip("/")
