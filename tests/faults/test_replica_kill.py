"""A server that is killed while it goes through a task's video, beside another one that has the same store: that one goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from locara_label.engine.tracking import open_video
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.types import Box, Prompt
from tests.cli.served import serve
from tests.faults import test_video_kill as killing
from tests.faults.test_video_kill import FRAMES, PLACE, request, until
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

label_studio = killing.label_studio
SOME = 30
GONE_ON = "its masklets are gone on with"


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_another_server_takes_over_what_a_killed_one_has_begun(
    label_studio: FakeLabelStudio, tmp_path: Path, kind: str, request_store: str
) -> None:
    settings = {
        "LOCARA_SERVER__LABEL_STUDIO_URL": label_studio.url,
        "LOCARA_SERVER__API_KEY": LEGACY,
        "LOCARA_SERVER__PREDICT_S": "0.5",
        "LOCARA_SERVER__STORE": request_store,
    }
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with serve(folders[0], **settings) as first, serve(folders[1], **settings) as second:
        status, answer = first.post("/predict", request())
        assert status == 200, answer
        until(lambda: first.get("/ready")[1]["masklets"][0]["done"] >= SOME)
        assert second.get("/ready")[1]["masklets"] == []
        assert GONE_ON not in second.said()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        killed_s = time.monotonic()
        until(lambda: GONE_ON in second.said())
        waited_s = time.monotonic() - killed_s
        with MaskletStore(request_store if kind == "postgresql" else Path(request_store)) as store:
            kept = {one.frame: one.mask for one in store.frames(PLACE)}
            until(lambda: not store.unfinished())
            found = {one.frame: one.mask for one in store.frames(PLACE)}
            [record] = store.of_task(1, 1)
        until(lambda: label_studio.predictions)
    assert record.state == "done"
    with open_video(next(tmp_path.glob("clip_*.mp4"))) as session:
        masks = {0: session.prompt(0, 1, Prompt(box=Box(*record.prompts[0]["box"]))).mask}
        masks |= {step.frame: step.objects[1].mask for step in session.propagate(max_frames=FRAMES)}
    assert found == masks
    assert kept == {frame: masks[frame] for frame in kept}
    assert len(label_studio.predictions) == 1
    print(f"{len(kept)} of {FRAMES} frames were stored when it was killed; the other took over after {waited_s:.1f} s")


@pytest.fixture
def request_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What both servers are told."""
    if kind == "sqlite":
        return str(tmp_path / "shared" / "masklets.sqlite3")
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()
