"""Sessions on videos of a server, from its client: sent without being held, and nothing that comes back is trusted."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label import remote
from locara_label.engine.tracking import open_video
from locara_label.errors import BadOption, BadPrompt, BadVideo, Cancelled, InferenceFailed, LocaraError, RunError
from locara_label.models.base import Limit
from locara_label.models.classic import Classic
from locara_label.remote import Server, server_address
from locara_label.remote_video import RemoteSession
from locara_label.runtime.session import Stop
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load
from locara_label.types import Box, Mask, Point, Prompt
from tests.answering import answering
from tests.server.running import serving

FRAMES, SIZE = 12, (64, 80)
BOX = Prompt(box=Box(10, 10, 50.25, 50.75))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips"), EVALUATION_SEED, SIZE, FRAMES, Fraction(25))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Service, Server]]:
    found = Service(load(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data"), Models(Classic()))
    with serving(found) as client, talking(client.port) as server:
        yield found, server


@contextmanager
def talking(port: int) -> Iterator[Server]:
    address = server_address(f"http://127.0.0.1:{port}")
    assert address is not None
    server = Server(address, timeout_s=20)
    try:
        yield server
    finally:
        server.close()


def test_a_session_there_is_as_one_here(service: tuple[Service, Server], clip: Path) -> None:
    """Objects may have any numbers, and frames are corrected at any time."""
    _, server = service
    with RemoteSession(server, clip) as there, open_video(clip) as here:
        for one in (there, here):
            one.prompt(3, -7, BOX)
            list(one.propagate("both", stride=2))
            one.prompt(8, 1 << 40, Prompt((Point(30, 30),)))
            one.prompt(8, -7, Prompt((Point(30, 30), Point(2, 2, positive=False))))
            list(one.propagate("forward", 8, 3))
        assert there.tracks.keys() == here.tracks.keys()
        for number, track in here.tracks.items():
            found = there.tracks[number].found
            assert {at: (one.mask, one.present, one.prompted) for at, one in found.items()} == {
                at: (one.mask, one.present, one.prompted) for at, one in track.found.items()
            }
        video = here.video
        assert (there.video.size, there.video.count, there.video.rate) == (video.size, video.count, float(video.rate))
        assert (there.video.duration_s, there.video.damaged) == (video.duration_s, None)


def test_closing_frees_everything_there(service: tuple[Service, Server], clip: Path) -> None:
    found, server = service
    with RemoteSession(server, clip) as session:
        session.prompt(0, 1, BOX)
        run = session.propagate("forward")
        next(run)
        run.close()
        session.prompt(1, 1, BOX)  # nothing is under way any more
        stop = Stop()
        run = session.propagate("forward", limit=Limit(stop))
        next(run)
        stop.set()
        with pytest.raises(Cancelled):
            next(run)
        assert len(list(session.propagate("forward"))) > 0
    assert len(found.video_sessions) == found.video_files.nbytes == 0
    with pytest.raises(BadVideo) as caught:
        session.prompt(0, 1, BOX)
    assert caught.value.code == "video.unknown_session"


@pytest.mark.parametrize(
    ("wrong", "kind", "code"),
    [
        (lambda one: one.prompt(0, 1, Prompt(box=Box(500, 500, 600, 600))), BadPrompt, "prompt.outside"),
        (lambda one: one.prompt(FRAMES, 1, BOX), InferenceFailed, "request.video"),
        (lambda one: one.prompt(0, 1, Prompt(mask=Mask.from_array(np.ones((3, 3), bool)))), BadPrompt, "prompt.mask"),
        (lambda one: list(one.propagate("forward")), BadPrompt, "prompt.empty"),
        (lambda one: list(one.propagate("forward", stride=0)), BadOption, "option.range"),
        (lambda one: one.prompt(0, 1, BOX, Limit(deadline_s=0)), RunError, "run.deadline"),
    ],
)
def test_refusals_are_those_of_the_server(
    service: tuple[Service, Server], clip: Path, wrong: Callable[[RemoteSession], Any], kind: type[LocaraError], code: str
) -> None:
    with RemoteSession(service[1], clip) as session, pytest.raises(kind) as caught:
        wrong(session)
    assert caught.value.code == code


def test_files_that_cannot_be_sent(service: tuple[Service, Server], tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.mp4", "video.missing"), (tmp_path, "video.unreadable")):
        with pytest.raises(BadVideo) as caught:
            RemoteSession(service[1], path)
        assert caught.value.code == code


def test_a_file_that_becomes_shorter(service: tuple[Service, Server], clip: Path, tmp_path: Path) -> None:
    """Between the look at its size and the reading."""
    found, server = service
    path = tmp_path / "shrinking.mp4"
    path.write_bytes(clip.read_bytes() + b"x" * (1 << 20))

    looks = []

    class Shrinking(Stop):
        @property
        def is_set(self) -> bool:
            looks.append(1)
            if len(looks) == 3:
                path.write_bytes(clip.read_bytes())
            return False

    with pytest.raises(BadVideo) as caught:
        RemoteSession(server, path, limit=Limit(Shrinking()))
    assert caught.value.code == "video.changed"
    assert len(found.video_sessions) == 0


def test_a_stop_ends_the_sending(service: tuple[Service, Server], tmp_path: Path) -> None:
    path, looks = tmp_path / "long.mp4", []
    with path.open("wb") as file:
        file.truncate(1 << 30)

    class Later(Stop):
        @property
        def is_set(self) -> bool:
            looks.append(1)
            return len(looks) > 5

    with pytest.raises(Cancelled):
        RemoteSession(service[1], path, limit=Limit(Later()))
    assert len(looks) < 10


def test_no_side_holds_a_whole_video(service: tuple[Service, Server], tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(BadVideo) as caught:
            RemoteSession(service[1], path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == "video.unknown_format"
    assert peak < 30 << 20


def test_a_busy_server_is_asked_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_pause", lambda _: 0.01)
    asked = []

    def busy(path: str, body: bytes) -> tuple[int, str]:
        asked.append((path, body))
        told = {"error": {"code": "run.queue_full", "message": "too many"}}
        return (429, json.dumps(told)) if len(asked) < 3 else (200, json.dumps(MADE))

    with saying(busy) as server:
        RemoteSession(server, clip)
    assert asked[:3] == [("/v1/video/sessions", clip.read_bytes())] * 3


MADE = {"session": "s", "size": list(SIZE), "frames": FRAMES, "rate": 25.0, "duration_s": 0.48, "damage": None}
NONE = Mask.from_array(np.zeros(SIZE, bool)).to_coco()
FOUND = {"object": 1, "segmentation": NONE, "score": 0.5, "present": False, "prompted": True}
FRAME = {"frame": 0, "time_s": 0.0, "objects": [FOUND]}


@contextmanager
def saying(answer: Callable[[str, bytes], tuple[int, str]]) -> Iterator[Server]:
    """A server of no other sense: what it answers to a path and a body."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, content = answer(self.path, body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with answering(Answering) as port, talking(port) as server:
        yield server


def changed(value: dict[str, Any], **more: Any) -> str:
    return json.dumps({**value, **more})


@pytest.mark.parametrize(
    "made",
    [
        *(
            "",
            "[]",
            "{}",
            "\xff",
            "[" * 100_000,
            changed(MADE, session=None),
            changed(MADE, size=[1]),
            changed(MADE, size=[0, 5]),
        ),
        *(changed(MADE, frames="many"), changed(MADE, frames=1e999), changed(MADE, rate=float("nan")), changed(MADE, rate=-1)),
    ],
)
def test_a_session_that_makes_no_sense(clip: Path, made: str) -> None:
    with saying(lambda *_: (200, made)) as server, pytest.raises(RunError) as caught:
        RemoteSession(server, clip)
    assert caught.value.code == "run.server"


@pytest.mark.parametrize(
    "told",
    [
        *(
            "",
            "[]",
            "{}",
            changed(FRAME, frame=FRAMES),
            changed(FRAME, frame=True),
            changed(FRAME, frame=-1),
            changed(FRAME, time_s=[]),
        ),
        *(changed(FRAME, objects={}), changed(FRAME, objects=[]), changed(FRAME, objects=[1])),
        *(
            changed(FRAME, objects=[{**FOUND, **wrong}])
            for wrong in (
                *({"object": 2}, {"object": []}, {"object": None}, {"score": 2}, {"score": "1"}, {"score": float("nan")}),
                *({"segmentation": {"size": [2, 2], "counts": "04"}}, {"pointer": "x"}, {"pointer": [[1]]}, {"pointer": ["x"]}),
            )
        ),
    ],
)
def test_answers_and_events_that_make_no_sense(clip: Path, told: str) -> None:
    def prompted(path: str, _: bytes) -> tuple[int, str]:
        return 200, json.dumps(MADE) if path.endswith("/sessions") else told

    def followed(path: str, _: bytes) -> tuple[int, str]:
        events = f"event: frame\ndata: {told}\n\nevent: done\ndata: {{}}\n\n"
        return 200, {"sessions": json.dumps(MADE), "prompt": json.dumps(FRAME)}.get(path.rpartition("/")[2], events)

    with saying(prompted) as server, pytest.raises(RunError) as caught:
        RemoteSession(server, clip).prompt(0, 1, BOX)
    assert caught.value.code == "run.server"
    with saying(followed) as server:
        session = RemoteSession(server, clip)
        session.prompt(0, 1, BOX)
        with pytest.raises(RunError) as caught:
            list(session.propagate("forward"))
    assert caught.value.code == "run.server"


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ("", "run.server"),
        (": still here\n\n", "run.server"),
        ("event: frame\ndata: {}", "run.server"),
        ("x\n\n", "run.server"),
        ('event: done\ndata: {"state": "cancelled"}\n\n', "run.server"),
        (f"event: frame\ndata: {json.dumps(FRAME)}\n\n" * (3 * FRAMES), "run.server"),
        ('event: error\ndata: {"error": {"code": "video.frame", "message": "bad"}}\n\n', "video.frame"),
        ('event: error\ndata: {"error": [], "frames": 0}\n\n', "run.server"),
    ],
)
def test_runs_that_end_otherwise(clip: Path, events: str, code: str) -> None:
    def answer(path: str, _: bytes) -> tuple[int, str]:
        return 200, {"sessions": json.dumps(MADE), "prompt": json.dumps(FRAME)}.get(path.rpartition("/")[2], events)

    with saying(answer) as server:
        session = RemoteSession(server, clip)
        session.prompt(0, 1, BOX)
        with pytest.raises(LocaraError) as caught:
            list(session.propagate("forward"))
    assert caught.value.code == code
