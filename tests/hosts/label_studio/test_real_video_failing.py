"""A run through a video that fails when nobody waits any more: what the person reads in the real editor, and how it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label.errors import InferenceFailed
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.models.base import NO_LIMIT, Limit
from locara_label.models.classic import Classic
from locara_label.models.classic_video import ClassicVideo, Trace, Traces
from locara_label.models.video_memory import Asked, Course
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings
from locara_label.types import Embedding, Mask
from tests.hosts.label_studio.assisted_video import FRAMES, RATE, SIZE, around, show
from tests.hosts.label_studio.real_label_studio import RealLabelStudio
from tests.server.running import Client, serving

if TYPE_CHECKING:
    from tests.hosts.label_studio.video_editor import VideoEditor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

FAILS_ON, SLOW_S = 30, 0.15


class FailingModel(ClassicVideo):
    """Takes its time with each frame, and fails on one of them as long as it is told to."""

    failing = True

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[Traces]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Trace]:
        if self.failing and frame == FAILS_ON:
            raise InferenceFailed("the device was taken away")
        time.sleep(SLOW_S if self.failing else 0)
        return super().step(embedding, frame, asked, course, limit)


@pytest.fixture
def model() -> FailingModel:
    return FailingModel()


@pytest.fixture
def assistant(
    label_studio: RealLabelStudio, model: FailingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A server whose answers cannot wait for the run's end."""
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    own = {"label_studio_url": label_studio.url, "api_key": label_studio.personal_token, "predict_s": 3}
    with serving(Service(load_settings(server=own), Models(Classic(), load_video=lambda _: model))) as client:
        yield client


def until(told: Callable[[], Any], video: VideoEditor) -> Any:
    for _ in range(600):
        if found := told():
            return found
        video.page.wait_for_timeout(100)
    raise AssertionError("it did not happen")


def test_a_failure_after_the_answer_is_read_beside_the_box(
    label_studio: RealLabelStudio, assistant: Client, model: FailingModel, video: VideoEditor, tmp_path: Path
) -> None:
    seed = EVALUATION_SEED + 1
    clip, path = make_clip(seed, 1, SIZE), write_clip(tmp_path, seed, SIZE, FRAMES, RATE)
    box = around(Mask.from_array(next(one for one in clip.frames[0].objects if one.shape == "circle").mask))
    project = label_studio.project(labeling_config("video", ["circle"]))
    label_studio.connect(project, f"http://127.0.0.1:{assistant.port}")
    [task] = label_studio.upload(project, {"clip.mp4": path.read_bytes()})
    video.open_task(project, task)
    video.editor.auto_annotation()
    [region] = show(video, box, "circle")
    assert "still being followed" in region["meta"]["text"][0]
    video.page.goto("about:blank")

    [prediction] = until(lambda: label_studio.api(f"/api/predictions/?task={task}"), video)
    [failed] = prediction["result"]
    assert (failed["id"], failed["meta"]["masklet"]["state"]) == (region["id"], "failed")
    said = f"[run.failed] the device was taken away; {FAILS_ON} of {FRAMES} frames are done; choose its label again to try again"
    assert failed["meta"]["text"] == [f"locara-label: {said}"]
    assert [entry["frame"] for entry in failed["value"]["sequence"]][-1] == FAILS_ON

    for draft in label_studio.api(f"/api/tasks/{task}/drafts"):
        label_studio.api(f"/api/drafts/{draft['id']}/", method="DELETE")
    video.open_task(project, task)
    video.editor.auto_annotation()
    video.select((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    assert video.selected == [region["id"]]
    video.editor.screenshot("video-failing-1-told")
    assert video.page.get_by_text("the device was taken away").first.is_visible()

    model.failing = False
    before = video.editor.asked
    video.label("circle")
    video.wait_for_answer(before + 1)
    video.label("circle")
    [mended] = video.wait_for_answer(before + 2)[1]["data"]["result"]
    video.editor.screenshot("video-failing-2-mended")
    assert mended["id"] == region["id"]
    until(lambda: assistant.get("/ready").json()["masklets"] == [], video)
    [prediction] = label_studio.api(f"/api/predictions/?task={task}")
    assert prediction["result"][0]["meta"]["masklet"]["state"] == "done"
