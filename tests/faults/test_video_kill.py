"""A server that is killed while it goes through a task's video: the next one goes on, and nothing of the store is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label.engine.tracking import open_video
from locara_label.hosts.label_studio.masklets import MaskletStore, Place
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.types import Box, Mask, Prompt
from tests.cli.served import serve
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio, serving

pytestmark = pytest.mark.slow

SIZE, FRAMES, RATE = (120, 160), 150, Fraction(25)
PLACE = Place(1, 1, "r1")
WAIT_S, SOME = 240.0, 40


@pytest.fixture
def label_studio(tmp_path: Path) -> Iterator[FakeLabelStudio]:
    clip = write_clip(tmp_path, EVALUATION_SEED + 1, SIZE, FRAMES, RATE)
    fake = FakeLabelStudio(config=labeling_config("video"), files={"clip.mp4": clip.read_bytes()})
    fake.tasks[1] = {"video": "/data/upload/1/clip.mp4"}
    with serving(fake) as found:
        yield found


def shown() -> Box:
    item = max(make_clip(EVALUATION_SEED + 1, 1, SIZE).frames[0].objects, key=lambda one: int(one.mask.sum()))
    box = Mask.from_array(item.mask).box
    return Box(box.x0 - 2, box.y0 - 2, box.x1 + 2, box.y1 + 2)


def request() -> dict[str, Any]:
    x, y, width, height = (100 * side / SIZE[at % 2 == 0] for at, side in enumerate(shown().xywh))
    key = {"frame": 1, "enabled": True, "rotation": 0, "x": x, "y": y, "width": width, "height": height, "time": 1 / 25}
    value = {"framesCount": FRAMES, "duration": FRAMES / 25, "sequence": [key], "labels": ["Object"]}
    region = {"id": PLACE.region, "from_name": "box", "to_name": "video", "type": "videorectangle", "value": value}
    return {
        "tasks": [{"id": 1, "data": {"video": "/data/upload/1/clip.mp4"}}],
        "project": "1.1",
        "label_config": labeling_config("video"),
        "params": {"context": {"result": [region]}},
    }


def until(told: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + WAIT_S
    while not (found := told()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return found


def test_a_killed_server_goes_on_when_it_starts_again(label_studio: FakeLabelStudio, tmp_path: Path) -> None:
    path = tmp_path / "data" / "masklets.sqlite3"
    settings = {
        "LOCARA_SERVER__LABEL_STUDIO_URL": label_studio.url,
        "LOCARA_SERVER__API_KEY": LEGACY,
        "LOCARA_SERVER__PREDICT_S": "0.5",
        "LOCARA_DATA_DIR": str(tmp_path / "data"),
    }
    with serve(tmp_path, **settings) as server:
        status, answer = server.post("/predict", request())
        assert status == 200, answer
        assert "still being followed" in answer["results"][0]["result"][0]["meta"]["text"][0]
        until(lambda: server.get("/ready")[1]["masklets"][0]["done"] >= SOME)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
    with MaskletStore(path) as store:
        [record] = store.unfinished()
        kept = {one.frame: one.mask for one in store.frames(PLACE)}
    assert SOME - 32 <= len(kept) < FRAMES
    assert (record.place, record.state) == (PLACE, "running")
    with serve(tmp_path, **settings) as server:
        until(lambda: "its masklets are gone on with" in server.said())
        with MaskletStore(path) as store:
            until(lambda: not store.unfinished())
            found = {one.frame: one.mask for one in store.frames(PLACE)}
            state = store.read(PLACE)
        until(lambda: label_studio.predictions)
    assert state is not None
    assert state.state == "done"
    [prediction] = label_studio.predictions
    assert prediction["result"][0]["id"] == PLACE.region
    with open_video(tmp_path / f"clip_{EVALUATION_SEED + 1}.mp4") as session:
        box = Box(*record.prompts[0]["box"])
        masks = {0: session.prompt(0, 1, Prompt(box=box)).mask}
        masks |= {step.frame: step.objects[1].mask for step in session.propagate(max_frames=FRAMES)}
    assert found == masks
    assert kept == {frame: masks[frame] for frame in kept}
    print(f"{len(kept)} of {FRAMES} frames were stored when it was killed")
