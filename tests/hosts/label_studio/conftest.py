"""A running Label Studio and a browser for the tests marked `label_studio`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.served import serve
from tests.hosts.label_studio.assisted_video import Assistant, reaching
from tests.hosts.label_studio.real_label_studio import OPEN_TO_LOCAL, RealLabelStudio, executable, running
from tests.hosts.label_studio.recording_backend import RecordingBackend, recording
from tests.required import missing

if TYPE_CHECKING:
    from tests.hosts.label_studio.browser import Editor
    from tests.hosts.label_studio.video_editor import VideoEditor


def _program() -> Path:
    return executable() or missing(
        "Label Studio is not installed: `make label-studio` installs it, or LOCARA_LABEL_STUDIO names its program"
    )


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLabelStudio]:
    """A Label Studio that may connect to backends on this machine."""
    with running(_program(), tmp_path_factory.mktemp("label-studio"), OPEN_TO_LOCAL) as found:
        yield found


@pytest.fixture(scope="session")
def guarded_label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLabelStudio]:
    """A Label Studio as it is by default: it refuses backends on this machine."""
    with running(_program(), tmp_path_factory.mktemp("label-studio-guarded"), {}) as found:
        yield found


@pytest.fixture
def backend() -> Iterator[RecordingBackend]:
    with recording() as found:
        yield found


@pytest.fixture
def editor(label_studio: RealLabelStudio) -> Iterator[object]:
    """A person who is logged in."""
    try:
        from tests.hosts.label_studio.browser import Editor, chromium, page_of
    except ImportError as error:
        missing(f"Playwright is not installed: {error}")
    path = chromium()
    if path is None:
        missing("Chromium is not installed: `apt install chromium`, or LOCARA_CHROMIUM names its program")
    with page_of(path) as page:
        editor = Editor(page, label_studio)
        editor.log_in()
        yield editor


@pytest.fixture
def video(editor: Editor) -> VideoEditor:
    """The same person, at video tasks."""
    from tests.hosts.label_studio.video_editor import VideoEditor

    return VideoEditor(editor)


@pytest.fixture(scope="session")
def video_assistant(label_studio: RealLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    """A server as it is without any weights."""
    folder = tmp_path_factory.mktemp("videos")
    with serve(folder, LOCARA_DATA_DIR=str(folder / "data"), **reaching(label_studio)) as found:
        yield Assistant(found, folder / "data")
