"""A port that somebody else takes between the choice and the start."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from locara_label.errors import RunError
from locara_label.quickstart.folder import Folder
from locara_label.quickstart.start import Wanted, _Start
from locara_label.settings import load
from tests.answering import answering


class Healthy(BaseHTTPRequestHandler):
    """Answers as another assist server would."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def taken() -> Iterator[int]:
    with answering(Healthy) as port:
        yield port


@pytest.mark.slow
def test_the_server_of_somebody_else_is_not_taken_for_ours(tmp_path: Path, taken: int) -> None:
    folder = Folder(tmp_path / "folder")
    with folder.claimed(0) as lock:
        kept = folder.read().with_port("assist", taken).with_port("label-studio", taken)
        start = _Start(folder, Wanted(()), load(), print, kept, Path("nothing"), lock)
        with pytest.raises(RunError) as caught, start.assist():
            pass
    assert caught.value.code == "quickstart.ended"
    assert "already in use" in caught.value.message
