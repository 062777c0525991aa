"""Tests with a real FiftyOne. They run where it can be imported; elsewhere `test_fiftyone_environment` runs them in its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.fiftyone import real_fiftyone
from tests.required import missing

HERE = Path(__file__).parent
collect_ignore_glob: list[str] = []

if real_fiftyone.INSIDE:
    real_fiftyone.prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fiftyone
        import fiftyone.zoo

        assert fiftyone.list_datasets() == []
else:
    collect_ignore_glob += ["test_fo_*.py", "test_real_app*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What FiftyOne and its libraries warn of is theirs."""
    for item in items:
        if HERE in item.path.parents:
            for theirs in ("fiftyone", "eta", "mongoengine", "pymongo", "motor"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:::{theirs}.*"))


@pytest.fixture
def dataset() -> Iterator[Any]:
    """An empty data set."""
    found = fiftyone.Dataset()
    yield found
    if found.name in fiftyone.list_datasets():
        found.delete()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    from tests.hosts.fiftyone import fiftyone_app

    path = fiftyone_app.chromium()
    if path is None:
        missing("Chromium is not installed; LOCARA_CHROMIUM may name its program")
    with fiftyone_app.opened_browser(path) as browser:
        yield browser


@pytest.fixture(scope="session")
def shots() -> Path | None:
    """The folder for pictures of the App; None where nobody asked for any."""
    named = os.environ.get("LOCARA_SHOTS")
    return Path(named) if named else None


@contextmanager
def running_app(chromium: Any, shots: Path | None, folder: Path, **variables: str) -> Iterator[Any]:
    """The App with our plugin, as `locara-label fiftyone install` puts it there; weights cannot be fetched."""
    from locara_label.hosts.fiftyone import install
    from locara_label.hosts.fiftyone.install import Folders
    from tests.hosts.fiftyone import fiftyone_app

    install.install(Folders(folder / "plugins", folder / "zoo"))
    settings = {"FIFTYONE_PLUGINS_DIR": str(folder / "plugins"), "LOCARA_ENDPOINT": "http://127.0.0.1:9", **variables}
    with fiftyone_app.serving(folder / "server.log", settings) as server, fiftyone_app.new_page(chromium) as page:
        yield fiftyone_app.App(page, server.url, folder / "plugins", shots)


@pytest.fixture(scope="session")
def app(chromium: Any, shots: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The App, whose models are its own."""
    with running_app(chromium, shots, tmp_path_factory.mktemp("app")) as found:
        yield found


@pytest.fixture(scope="module")
def remote(chromium: Any, shots: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """The App, whose models are those of a running `locara-label serve`, and that server."""
    from tests.cli.served import serve

    with (
        serve(tmp_path_factory.mktemp("serve")) as served,
        running_app(chromium, shots, tmp_path_factory.mktemp("remote"), LOCARA_SERVER=served.url) as found,
    ):
        yield found, served
