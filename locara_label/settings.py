"""Settings: arguments of a call, then the environment (prefix `LOCARA_`), then `locara.toml`, then what is written here.

The file is the one that `LOCARA_CONFIG` names, else `locara.toml` in the working folder, if there is one.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

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


def _default_data_dir() -> Path:
    if base := os.environ.get("XDG_DATA_HOME"):
        return Path(base) / "locara-label"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "locara-label" / "data"
    kept = Path("Library", "Application Support") if sys.platform == "darwin" else Path(".local", "share")
    return Path.home() / kept / "locara-label"


class Capabilities(BaseModel):
    """The only grants there are; in the file the table `[capabilities]`. Everything else is refused with a coded error.

    Attributes:
        folders: that task data may be read from, with everything below them.
        hosts: that task data may be fetched from beside Label Studio: `host` (with the scheme's own port), `host:port`,
            `host:*` or `*.suffix`.
        private: hosts and networks (10.1.0.0/16) that may be private, if they are granted; Label Studio itself always may.
        models: names that requests may have loaded; "*" for every model whose weights are here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @field_validator("folders", mode="after")
    @classmethod
    def _absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(folder.expanduser().absolute() for folder in value)


class Server(BaseModel):
    """What `locara-label serve` does; in the file the table `[server]`.

    Attributes:
        host, port: where it listens. Beyond this machine it needs `basic_auth`.
        path: below which the routes are, such as /assist behind a proxy.
        names: host names that requests may carry; empty for those of this machine and `host`.
        basic_auth: "user:password" that Label Studio has to send.
        model: that answers clicks; None takes the default.
        prelabel_model: that fills new tasks; None for none. "grounded-sam2" looks for the labels of each project with
            `text_model` and `model`, "TEXT+MASKS" with two other models.
        text_model: that understands text prompts; None takes that of a `prelabel_model` which has one, else the mini text model
            where it is shipped; "none" for none.
        video_model: that follows objects through video; None takes the default. Loaded with the first video.
        isolate: ONNX Runtime runs in a process of its own, which is started again when it dies; not on Windows.
        label_studio_url: of the Label Studio whose tasks are served.
        api_key: a personal access token of Label Studio, or a legacy token; only ever sent to that address.
        local_files_root: the document root of Label Studio's local files, to read them directly.
        ca_file: certificates (PEM) to trust beside the system's.
        waiting: requests that may wait in each queue.
        click_s, text_s, predict_s: seconds that a click, a text prompt and a batch request may take.
        embedding_bytes, embedding_age_s: what the cache of embeddings may hold and how long after the last use.
        embedding_dir: a folder for embeddings that several servers of the same `basic_auth` share.
        encode_ahead: how many of a project's next tasks are encoded after an answer.
        candidates: 3 offers the alternatives of an ambiguous click.
        threshold: least score of a pre-label; None takes the model's default.
        box_threshold, text_threshold: least score of a box that a text prompt finds, and of a word that belongs to it; None
            takes the model's defaults.
        min_area: least area of a pre-label in pixels.
        max_regions: pre-labels of one task, and masks of one text prompt, at most, the best ones.
        polygon_tolerance: distance in pixels that a polygon may lie off its mask.
        keyframe_tolerance: distance in pixels that a side of a box between two keyframes of a video may lie off its mask.
        despeckle: specks and holes of masks that answer clicks and texts below this many pixels go.
        video_sessions, video_session_bytes: sessions on videos that are kept in memory, and their bytes together; what is evicted
            is built again when it is needed.
        video_idle_s, video_age_s: a session that is unused so long, or so old, is closed.
        video_bytes, video_frames: size and length of a video.
        video_disk_bytes: of all videos that sessions keep on disk.
        store: of masklets, recorded requests and open video sessions, that several servers share: a PostgreSQL database,
            postgresql://user:password@host/name, or a file of this machine; None keeps masklets and requests in `data_dir`, and
            sessions in memory.
        record: keep when requests of annotators were answered, for `label-studio review`; no picture and no address.
        video_fetch_s, video_run_s: seconds that fetching a video may take, and a run through it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)
    path: str = Field(default="", pattern=r"^(/[\w.~-]+)*$")
    names: tuple[str, ...] = ()
    basic_auth: SecretStr | None = None
    model: str | None = None
    prelabel_model: str | None = None
    text_model: str | None = None
    video_model: str | None = None
    isolate: bool = True
    label_studio_url: str | None = None
    api_key: SecretStr | None = None
    local_files_root: Path | None = None
    ca_file: Path | None = None
    waiting: int = Field(default=32, ge=1, le=10_000)
    click_s: float = Field(default=30, gt=0, le=3600)
    text_s: float = Field(default=60, gt=0, le=3600)
    predict_s: float = Field(default=90, gt=0, le=3600)
    embedding_bytes: int = Field(default=2 << 30, ge=0)
    embedding_age_s: float = Field(default=600, gt=0)
    embedding_dir: Path | None = None
    encode_ahead: int = Field(default=0, ge=0, le=32)
    candidates: Literal[1, 3] = 1
    threshold: float | None = Field(default=None, ge=0, le=1)
    box_threshold: float | None = Field(default=None, ge=0, le=1)
    text_threshold: float | None = Field(default=None, ge=0, le=1)
    min_area: int = Field(default=0, ge=0)
    max_regions: int = Field(default=100, ge=1, le=10_000)
    polygon_tolerance: float = Field(default=1, ge=0, le=1000)
    keyframe_tolerance: float = Field(default=1, ge=0, le=1000)
    despeckle: int = Field(default=0, ge=0)
    video_sessions: int = Field(default=8, ge=1, le=1000)
    video_session_bytes: int = Field(default=2 << 30, gt=0)
    video_idle_s: float = Field(default=7200, gt=0)
    video_age_s: float = Field(default=86400, gt=0)
    video_bytes: int = Field(default=2 << 30, gt=0)
    video_frames: int = Field(default=20_000, gt=0)
    video_disk_bytes: int = Field(default=16 << 30, gt=0)
    video_fetch_s: float = Field(default=600, gt=0, le=86400)
    video_run_s: float = Field(default=3600, gt=0, le=86400)
    store: SecretStr | None = None
    record: bool = True

    @field_validator("candidates", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value) if value in {"1", "3"} else value  # the environment has texts only

    @field_validator("label_studio_url", mode="after")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else _base_address(value)

    @field_validator("basic_auth", mode="after")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(value.get_secret_value().partition(":")[::2]):
            raise ValueError("must be user:password")
        return value


class Settings(BaseSettings):
    """What applies to a whole process. Read with `load`, which reports a wrong value as `BadOption`.

    Attributes:
        cache_dir: where weights and other downloads live.
        data_dir: where work is kept that cannot be downloaded again, such as masklets.
        endpoint: the hub that weights come from.
        mirrors: hubs with the same addresses, tried in order after the endpoint; comma-separated in the environment.
        offline: never connect; HF_HUB_OFFLINE switches it on too.
        token: access token of the hub, sent to the endpoint only; HF_TOKEN is used as well.
        trust_env: obey proxy variables of the environment for downloads.
        threads: threads of a model run; 0 chooses.
        max_image_bytes: size of an encoded picture.
        max_pixels: height times width of a picture.
        deadline_s: seconds that one call may take; None for no limit.
        server: see `Server`; in the environment LOCARA_SERVER__PORT and so on.
        capabilities: see `Capabilities`; in the environment LOCARA_CAPABILITIES__FOLDERS='["/data"]' and so on.
    """

    model_config = SettingsConfigDict(
        env_prefix="LOCARA_", env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True,
        validate_by_name=True, validate_by_alias=True,
    )  # fmt: skip

    cache_dir: Path = Field(default_factory=_default_cache_dir)
    data_dir: Path = Field(default_factory=_default_data_dir)
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
    server: Server = Server()
    capabilities: Capabilities = Capabilities()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are no .env files and no folders of secrets
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file. LOCARA_SERVER may also be an address, which is no setting; see `remote`."""
        if isinstance(env_settings, EnvSettingsSource):
            given = env_settings.env_vars.get("locara_server") or ""
            if not given.lstrip().startswith("{"):
                env_settings.env_vars = {key: value for key, value in env_settings.env_vars.items() if key != "locara_server"}
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @field_validator("cache_dir", "data_dir", mode="after")
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

    @property
    def masklets(self) -> Path | str:
        """The file of the store of masklets, or the address of its database, with the password."""
        shared = self.server.store.get_secret_value() if self.server.store else None
        if shared is None:
            return self.data_dir / "masklets.sqlite3"
        return shared if "://" in shared else Path(shared).expanduser().absolute()

    def store(self) -> Store:
        """The store of weights that these settings describe; opens nothing."""
        from locara_label.weights.hub import Hub
        from locara_label.weights.store import Store

        token = self.token.get_secret_value() if self.token else None
        hub = Hub(self.endpoint, self.mirrors, token=token, offline=self.offline, trust_env=self.trust_env)
        return Store(self.cache_dir, hub)


def config_file() -> Path:
    """Where the file of settings would be."""
    return Path(os.environ.get("LOCARA_CONFIG") or "locara.toml")


def load(**values: Any) -> Settings:
    """The settings of the environment and the file, with `values` on top; a part of a table replaces only that part.

    Raises:
        BadOption: a value is not allowed; the message names the setting and never shows a token.
    """
    if os.environ.get("LOCARA_CONFIG") and not config_file().is_file():
        raise BadOption(f"LOCARA_CONFIG names {config_file()}, which is not there", code="option.setting")
    try:
        return Settings(**values)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadOption(f"{config_file()} cannot be read: {error}", code="option.setting") from None
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        raise BadOption(f"a setting is wrong: {'; '.join(problems)}", code="option.setting") from None


def _base_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an address, https://host, without credentials")
    return value.rstrip("/")
