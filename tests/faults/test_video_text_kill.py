"""A server that is killed while it looks for what a person typed: the next one goes on looking, and finds nothing twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, Clip, make_clip
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.types import Mask
from tests.cli.served import serve
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio, serving

pytestmark = pytest.mark.slow

SEED, SIZE, FRAMES = EVALUATION_SEED + 1, (240, 320), 90
CONFIG = labeling_config("video", ["circle", "cross"])
WAIT_TENTHS, SOME = 3000, 10


@pytest.fixture
def label_studio(tmp_path: Path) -> Iterator[FakeLabelStudio]:
    clip = write_clip(tmp_path, SEED, SIZE, FRAMES, Fraction(25))
    fake = FakeLabelStudio(config=CONFIG, files={"clip.mp4": clip.read_bytes()})
    fake.tasks[1] = {"video": "/data/upload/1/clip.mp4"}
    with serving(fake) as found:
        yield found


def typed(text: str) -> dict[str, Any]:
    region = {"id": "t1", "from_name": "prompt", "to_name": "video", "type": "textarea", "value": {"text": [text]}}
    task = {"id": 1, "data": {"video": "/data/upload/1/clip.mp4"}}
    return {"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": {"context": {"result": [region]}}}


def until(told: Callable[[], Any]) -> None:
    for _ in range(WAIT_TENTHS):
        if told():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def true_mask(clip: Clip, shape: str, frame: int) -> Mask:
    return Mask.from_array(next(item.mask for item in clip.frames[frame].objects if item.shape == shape))


def test_words_survive_a_kill(label_studio: FakeLabelStudio, tmp_path: Path) -> None:
    path, clip = tmp_path / "data" / "masklets.sqlite3", make_clip(SEED, FRAMES, SIZE)
    server_settings = {"LABEL_STUDIO_URL": label_studio.url, "API_KEY": LEGACY, "PREDICT_S": "0.5"}
    settings = {f"LOCARA_SERVER__{name}": value for name, value in server_settings.items()}
    settings["LOCARA_DATA_DIR"] = str(tmp_path / "data")
    with serve(tmp_path, **settings) as server:
        status, answer = server.post("/predict", typed("yellow circle. blue cross"))
        assert status == 200, answer
        until(lambda: server.get("/ready")[1]["masklets"][0]["done"] >= SOME)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
    with MaskletStore(path) as store:
        assert len(store.wishes()) == 1
        before = {record.place.region: record.label for record in store.unfinished()}
    assert sorted(before.values()) == ["circle", "cross"]
    with serve(tmp_path, **settings), MaskletStore(path) as store:
        until(lambda: not store.wishes() and not store.unfinished())
        records = store.of_task(1, 1)
        frames = {record.label: store.frames(record.place) for record in records}
        until(lambda: label_studio.predictions and label_studio.predictions[0]["score"] == 1)
    assert {record.place.region: record.label for record in records} == before
    for shape, found in frames.items():
        assert [one.frame for one in found] == list(range(FRAMES))
        assert min(found[frame].mask.iou(true_mask(clip, shape, frame)) for frame in (0, 10, 20, 30)) > 0.7
