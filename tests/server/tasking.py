"""Requests of video tasks as the editor sends them, a Label Studio that has their videos, and what the store has afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from walking_model import SIZE, WalkingModel, clip

from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record
from locara_label.types import Box, Mask
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio, serving

CONFIG = (
    '<View><Video name="video" value="$video" framerate="25"/>'
    '<Labels name="label" toName="video" allowEmpty="true"><Label value="Car"/><Label value="Man"/></Labels>'
    '<VideoRectangle name="box" toName="video" smart="true"/>'
    '<TextArea name="prompt" toName="video" smart="true" editable="true" rows="1"/></View>'
)
FRAMES = 40
WAIT_S = 90.0
BOX = Box(10, 10, 30, 40)


@pytest.fixture
def label_studio(tmp_path: Path) -> Iterator[FakeLabelStudio]:
    """Task n shows a video of n * 40 frames."""
    fake = FakeLabelStudio(config=CONFIG)
    for number in (1, 2, 3):
        fake.files[f"{number}.mp4"] = clip(tmp_path / f"{number}.mp4", FRAMES * number)
        fake.tasks[number] = {"video": f"/data/upload/1/{number}.mp4"}
    with serving(fake) as found:
        yield found


@pytest.fixture
def server(start: Callable[..., Any], label_studio: FakeLabelStudio) -> Callable[..., Any]:
    def started(model: WalkingModel | None = None, **settings: Any) -> Any:
        values = {"label_studio_url": label_studio.url, "api_key": LEGACY, **settings}
        return start(prelabel=False, load_video=lambda _: model or WalkingModel(), **values)

    return started


def drawn(frame: int = 1, box: Box = BOX, **more: Any) -> dict[str, Any]:
    """A keyframe as the editor makes it, its box in pixels."""
    height, width = SIZE
    x, y, across, down = box.xywh
    sides = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * across / width, "height": 100 * down / height}
    return {"frame": frame, "enabled": True, "rotation": 0, **sides, "time": frame / 25, **more}


def shape(*sequence: dict[str, Any], region: str = "r1", label: str | None = "Car", frames: int = FRAMES) -> dict[str, Any]:
    labels = {"labels": [label]} if label else {}
    value = {"framesCount": frames, "duration": frames / 25, "sequence": list(sequence), **labels}
    return {"id": region, "from_name": "box", "to_name": "video", "type": "videorectangle", "value": value, "origin": "manual"}


def body(*regions: dict[str, Any], task: int = 1, config: str = CONFIG, there: Iterable[str] = ()) -> dict[str, Any]:
    """A request; `there` are regions that a draft of the task has."""
    draft = {"id": 1, "result": [{"id": region} for region in there]}
    return {
        "tasks": [{"id": task, "data": {"video": f"/data/upload/1/{task}.mp4"}, "drafts": [draft], "annotations": []}],
        "project": "1.1795225136",
        "label_config": config,
        "params": {"context": {"result": list(regions)}},
    }


def asked(client: Any, *regions: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    reply = client.post("/predict", body(*regions, **more))
    assert reply.status == 200, reply.body
    [entry] = reply.json()["results"]
    return list(entry["result"])


def one(regions: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = regions
    return found


def masks(region: dict[str, Any]) -> dict[int, Mask]:
    return {entry["frame"]: Mask.from_coco(entry["mask"]) for entry in region["value"]["sequence"]}


def until(happened: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + WAIT_S
    while not (found := happened()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return found


def stored(tmp_path: Path, region: str = "r1", task: int = 1) -> dict[int, Mask]:
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        return {frame.frame: frame.mask for frame in store.frames(Place(1, task, region)) if frame.present}


def state(tmp_path: Path, region: str = "r1", task: int = 1) -> str | None:
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        record = store.read(Place(1, task, region))
        return None if record is None else record.state


def told(region: dict[str, Any]) -> str:
    """The message beside a region."""
    [text] = region["meta"]["text"]
    return str(text)


def words(*texts: str) -> dict[str, Any]:
    return {"id": "t1", "from_name": "prompt", "to_name": "video", "type": "textarea", "value": {"text": list(texts)}}


def message(region: dict[str, Any]) -> str:
    """What a TextArea says."""
    assert region["type"] == "textarea"
    [text] = region["value"]["text"]
    return str(text).removeprefix("locara-label: ")


def records(tmp_path: Path, task: int = 1) -> dict[str, Record]:
    """By region."""
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        return {record.place.region: record for record in store.of_task(1, task)}


def wishes(tmp_path: Path) -> list[Any]:
    """What is asked in words and kept, as it is stored."""
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        return [wish.content for wish in store.wishes()]
