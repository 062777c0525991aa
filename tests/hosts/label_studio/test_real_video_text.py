"""A person who types at a video task of the real editor: labelled masklets, what is told about the rest, what is exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label.hosts.label_studio.video_objects import judge
from tests.hosts.label_studio.assisted_video import (
    FRAMES,
    RATE,
    SIZE,
    Assistant,
    check_export,
    check_shown,
    opened,
    true_masks,
)
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

if TYPE_CHECKING:
    from tests.hosts.label_studio.video_editor import VideoEditor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SEED = EVALUATION_SEED + 1
FOUND, ABSENT = "yellow circle. blue cross", "white star"


def test_words_become_masklets(
    label_studio: RealLabelStudio,
    video_assistant: Assistant,
    video: VideoEditor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also again, which changes nothing, and with words that find nothing, which is told; and a box that was deleted is back."""
    clip, path = make_clip(SEED, FRAMES, SIZE), write_clip(tmp_path, SEED, SIZE, FRAMES, RATE)
    truth = {item.shape: true_masks(clip, item.identity) for item in clip.frames[0].objects}
    project, task = opened(label_studio, video_assistant, video, path, [*sorted(truth), "star"])
    video.editor.write(f"{FOUND}. {ABSENT}")
    asked, answer = video.wait_for_answer(1)
    video.editor.screenshot("video-text-1-found")
    assert asked["context"]["result"][0]["value"]["text"] == [f"{FOUND}. {ABSENT}"]
    found = [one for one in answer["data"]["result"] if one["type"] == "videorectangle"]
    regions = {one["value"]["labels"][0]: one["id"] for one in found}
    assert set(regions) == set(truth)
    assert video.editor.texts() == [f'locara-label: nothing was found for "{ABSENT}"']
    for frame in (1, 12, 24, 40):
        video.go_to(frame)
        check_shown(video_assistant, video, frame, (project, task), regions)
    video.wait_for_draft(label_studio, regions.values())

    video.editor.write(FOUND)
    answer = video.wait_for_answer(2)[1]
    video.editor.screenshot("video-text-2-again")
    assert [one["type"] for one in answer["data"]["result"]] == ["textarea"]
    assert video.editor.texts() == ['locara-label: followed already: "yellow circle", "blue cross"']
    assert video.sequence(regions["circle"]) != []

    video.delete(regions["circle"])
    video.wait_for_draft(label_studio, [regions["cross"]])
    video.editor.write("yellow circle")
    [back] = video.wait_for_answer(3)[1]["data"]["result"]
    video.editor.screenshot("video-text-3-back")
    assert back["id"] == regions["circle"]
    check_shown(video_assistant, video, 24, (project, task), regions)

    video.editor.submit()
    [annotation] = label_studio.api(f"/api/tasks/{task}/annotations")
    stored = {region["id"]: region for region in annotation["result"] if region["type"] == "videorectangle"}
    assert {stored[region]["value"]["labels"][0] for region in regions.values()} == set(truth)
    assert {judge(entry).state for region in stored.values() for entry in region["value"]["sequence"]} == {"valid"}
    check_export(label_studio, video_assistant, project, truth, out=tmp_path / "youtube-vis.json", monkeypatch=monkeypatch)
