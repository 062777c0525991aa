"""A person at a video task of the real editor: boxes become masklets, a corrected frame mends others, all of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, make_clip
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_objects import judge
from locara_label.types import Box, Mask
from locara_label.video.opening import open_video_file
from locara_label.video.writing import write_video
from tests.cli.served import serve
from tests.hosts.label_studio.assisted_video import (
    FRAMES,
    RATE,
    SIZE,
    Assistant,
    around,
    check_export,
    check_shown,
    opened,
    overlaps,
    reaching,
    show,
    true_masks,
)  # fmt: skip
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

if TYPE_CHECKING:
    from tests.hosts.label_studio.video_editor import VideoEditor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]


def test_boxes_become_masklets(
    label_studio: RealLabelStudio, video_assistant: Assistant, video: VideoEditor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = EVALUATION_SEED + 1
    clip, path = make_clip(seed, FRAMES, SIZE), write_clip(tmp_path, seed, SIZE, FRAMES, RATE)
    items = clip.frames[0].objects
    truth = {item.shape: true_masks(clip, item.identity) for item in items}
    project, task = opened(label_studio, video_assistant, video, path, sorted(truth))
    regions: dict[str, str] = {}
    for number, item in enumerate(items):
        [found] = show(video, around(truth[item.shape][0]), item.shape)
        regions[item.shape] = found["id"]
        video.editor.screenshot(f"video-{number}-{item.shape}")
    for frame in (12, 24, 40):
        video.go_to(frame)
        video.editor.screenshot(f"video-frame-{frame}")
        check_shown(video_assistant, video, frame, (project, task), regions)
    video.editor.submit()
    [annotation] = label_studio.api(f"/api/tasks/{task}/annotations")
    stored = {region["id"]: region for region in annotation["result"]}
    assert {regions[shape] for shape in truth} == set(stored)
    for shape, region in regions.items():
        sequence = stored[region]["value"]["sequence"]
        assert stored[region]["value"]["labels"] == [shape]
        assert stored[region]["meta"]["masklet"]["model"] == "classic"
        assert {judge(entry).state for entry in sequence} == {"valid"}
        assert [entry["frame"] for entry in sequence if entry["mask"].get("prompted")] == [1]
        print(shape, "keyframes:", len(sequence))
    check_export(label_studio, video_assistant, project, truth, out=tmp_path / "youtube-vis.json", monkeypatch=monkeypatch)


def test_a_corrected_frame_mends_others(
    label_studio: RealLabelStudio, video_assistant: Assistant, video: VideoEditor, tmp_path: Path
) -> None:
    """The first box lies half beside the object; the person puts it right where it is seen to be wrong."""
    seed, corrected = EVALUATION_SEED + 1, 21
    clip, path = make_clip(seed, FRAMES, SIZE), write_clip(tmp_path, seed, SIZE, FRAMES, RATE)
    item = next(one for one in clip.frames[0].objects if one.shape == "circle")
    true = true_masks(clip, item.identity)
    box = around(true[0])
    beside = Box((box.x0 + box.x1) / 2, box.y0, min(1.5 * box.x1 - box.x0 / 2, SIZE[1] - 1), box.y1)
    project, task = opened(label_studio, video_assistant, video, path, ["circle"])
    [region] = show(video, beside, "circle")
    before = overlaps(video_assistant.masks(project, task, region["id"]), true)
    video.go_to(corrected)
    video.editor.screenshot("video-correction-1-wrong")
    drawn = video.boxes(corrected)[region["id"]][1]
    assert drawn is not None
    if not video.selected:
        video.select((drawn[0] + drawn[2]) / 2, (drawn[1] + drawn[3]) / 2)
    wanted = around(true[corrected - 1])
    video.move_side(drawn, (wanted.x0, wanted.y0, wanted.x1, wanted.y1))
    video.editor.screenshot("video-correction-2-box")
    video.label("circle")
    asked, answer = video.wait_for_answer(2)
    assert "labels" not in asked["context"]["result"][0]["value"]
    assert answer["data"]["result"] == []
    video.label("circle")
    asked, answer = video.wait_for_answer(3)
    video.editor.screenshot("video-correction-3-mended")
    [found] = answer["data"]["result"]
    assert found["id"] == region["id"]
    assert sorted(found["meta"]["masklet"]["prompts"]) == ["0", str(corrected - 1)]
    after = overlaps(video_assistant.masks(project, task, region["id"]), true)
    later = slice(corrected, None)
    print(
        "frames after the corrected one:", round(float(np.mean(before[later])), 3), "->", round(float(np.mean(after[later])), 3)
    )
    assert np.mean(after[later]) >= 0.8 > np.mean(before[later]) + 0.3
    video.editor.submit()
    [annotation] = label_studio.api(f"/api/tasks/{task}/annotations")
    [stored] = annotation["result"]
    assert {judge(entry).state for entry in stored["value"]["sequence"]} == {"valid"}


def test_a_long_run_goes_on_when_the_page_is_closed(label_studio: RealLabelStudio, video: VideoEditor, tmp_path: Path) -> None:
    """The answer says so and shows what exists; the rest comes as a prediction, one for the task, however often it is written."""
    seed, frames = EVALUATION_SEED + 1, 150
    clip, path = make_clip(seed, 1, SIZE), write_clip(tmp_path, seed, SIZE, frames, RATE)
    mask = Mask.from_array(next(one for one in clip.frames[0].objects if one.shape == "circle").mask)
    data = tmp_path / "data"
    settings = {"LOCARA_DATA_DIR": str(data), "LOCARA_SERVER__PREDICT_S": "3", **reaching(label_studio)}
    with serve(tmp_path, **settings) as served:
        project = label_studio.project(labeling_config("video", ["circle", "other"]))
        label_studio.connect(project, served.url)
        [task] = label_studio.upload(project, {"clip.mp4": path.read_bytes()})
        video.open_task(project, task)
        video.editor.auto_annotation()
        [region] = show(video, around(mask), "circle")
        video.editor.screenshot("video-long-1-begun")
        if "masklet" in region["meta"]:  # a slow machine has nothing to show yet
            assert region["meta"]["masklet"]["state"] == "running"
            assert region["value"]["sequence"][-1]["enabled"] is False
        assert region["meta"]["text"][0].startswith("locara-label: still being followed, ")
        assert video.page.get_by_text("still being followed").first.is_visible()
        assert video.editor.regions() == [("videorectangleregion", "circle")]
        video.page.goto("about:blank")
        stored = until_done(label_studio, task, video)
        assert [(one["frame"], one["enabled"]) for one in stored["value"]["sequence"]][-1] == (frames, True)
        assert stored["id"] == region["id"]
        before = label_studio.api(f"/api/predictions/?task={task}")
        show_again = {**region, "value": {**region["value"], "sequence": [moved(region["value"]["sequence"][0])]}}
        [config] = [label_studio.api(f"/api/projects/{project}")["label_config"]]
        context = {"params": {"context": {"result": [show_again]}}, "project": f"{project}.1", "label_config": config}
        served.post("/predict", {"tasks": [{"id": task, "data": label_studio.tasks(project)[0]["data"]}], **context})
        until(lambda: served.get("/ready")[1]["masklets"] == [], video)
        [after] = label_studio.api(f"/api/predictions/?task={task}")
        assert (after["id"], after["result"] != before[0]["result"]) == (before[0]["id"], True)
        video.open_task(project, task)
        video.page.wait_for_timeout(1000)
        video.editor.screenshot("video-long-2-opened-again")


def moved(entry: dict[str, Any]) -> dict[str, Any]:
    """The keyframe as a person has changed it."""
    return {**entry, "x": entry["x"] + 1}


def until(told: Callable[[], Any], video: VideoEditor) -> Any:
    for _ in range(1200):
        if found := told():
            return found
        video.page.wait_for_timeout(100)
    raise AssertionError("it did not happen")


def until_done(label_studio: RealLabelStudio, task: int, video: VideoEditor) -> dict[str, Any]:
    """The region of the task's only prediction, once it is whole."""

    def told() -> dict[str, Any] | None:
        predictions = label_studio.api(f"/api/predictions/?task={task}")
        assert len(predictions) <= 1
        regions = [region for prediction in predictions for region in prediction["result"]]
        return next((dict(region) for region in regions if region["meta"]["masklet"]["state"] == "done"), None)

    found: dict[str, Any] = until(told, video)
    return found


CLOCKS = [
    ("25", Fraction(25), False, 0),
    ("24", Fraction(24000, 1001), False, 0),
    ("23.976", Fraction(24000, 1001), False, 0),
    ("29.97", Fraction(30000, 1001), False, 0),
    ("30", Fraction(30), False, 0),
    ("30", Fraction(15), False, 0),
    ("12.5", Fraction(25), False, 0),
    ("25", Fraction(25), True, 0),
    ("25", Fraction(25), False, 7),
]


def counted(path: Path, rate: Fraction, *, variable: bool, start: int) -> Path:
    """A clip whose frames tell their numbers: six squares, black for 0 and white for 1."""
    frames = 40
    pictures = []
    for number in range(frames):
        picture = np.zeros((64, 192, 3), np.uint8)
        for bit in range(6):
            picture[:, 32 * bit : 32 * bit + 32] = 255 * (number >> bit & 1)
        pictures.append(picture)
    steps = [(1, 1, 2, 1, 3)[number % 5] if variable else 1 for number in range(frames)]
    ticks = [start + sum(steps[:number]) for number in range(frames)]
    write_video(path, pictures, rate, ticks=ticks)
    return path


def test_the_editor_shows_the_frames_that_we_think(label_studio: RealLabelStudio, video: VideoEditor, tmp_path: Path) -> None:
    for number, (written, rate, variable, start) in enumerate(CLOCKS):
        path = counted(tmp_path / f"{number}.mp4", rate, variable=variable, start=start)
        config = labeling_config("video", ["it"]).replace('framerate="25"', f'framerate="{written}"')
        project = label_studio.project(config)
        [task] = label_studio.upload(project, {"clip.mp4": path.read_bytes()})
        video.open_task(project, task)
        with open_video_file(path) as opened:
            clock = EditorClock(float(written), opened.timeline)
            # how long the last frame is shown, players and files may see differently
            assert abs(video.frame_count - clock.frame_count) <= (1 if variable or start else 0), (written, rate)
        frames = sorted({1, 2, 3, 5, 8, 9, 13, 20, 21, 34, video.frame_count - 1, video.frame_count})
        seen = {}
        for frame in [one for one in frames if 1 <= one <= video.frame_count]:
            video.go_to(frame)
            row = video.top_row()
            seen[frame] = sum((row[32 * bit + 16][1] > 127) << bit for bit in range(6))
        thought = {frame: clock.file_frame(frame) for frame in seen}
        if not variable:
            assert seen == thought, (written, rate, start)
        else:  # Chromium takes frames for as long as their mean, and may show the one before
            assert all(thought[frame] - 1 <= seen[frame] <= thought[frame] for frame in seen), (written, rate, start)
            assert sum(seen[frame] == thought[frame] for frame in seen) >= 0.5 * len(seen)
