"""What the tests of video tasks in a real Label Studio share: true masks, a server, boxes drawn, masklets read back."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fixtures.scenes import Clip
from locara_label.cli.app import run
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.records import Category
from locara_label.datasets.video_scores import evaluate
from locara_label.datasets.youtube_vis import YoutubeVisSource
from locara_label.hosts.label_studio.masklets import MaskletStore, Place
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.types import Box, Mask
from tests.cli.served import Served
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

if TYPE_CHECKING:
    from tests.hosts.label_studio.video_editor import VideoEditor

SIZE, FRAMES, RATE = (240, 320), 48, Fraction(25)
MARGIN_PX = 2
MIN_SCORE = 0.6


@dataclass(frozen=True)
class Assistant:
    """A server, and the store that it fills."""

    served: Served
    data: Path

    def masks(self, project: int, task: int, region: str) -> list[Mask]:
        """Of all frames, once the run has gone through them."""
        place, patience = Place(project, task, region), time.monotonic() + 60
        with MaskletStore(self.data / "masklets.sqlite3") as store:
            while (record := store.read(place)) is None or record.state == "running":
                assert time.monotonic() < patience
                time.sleep(0.1)
            return [frame.mask for frame in store.frames(place)]


def reaching(label_studio: RealLabelStudio) -> dict[str, str]:
    return {"LOCARA_LABEL_STUDIO_URL": label_studio.url, "LOCARA_LABEL_STUDIO_API_KEY": label_studio.personal_token}


def true_masks(clip: Clip, identity: int) -> list[Mask | None]:
    seen = [[item for item in frame.objects if item.identity == identity] for frame in clip.frames]
    return [Mask.from_array(items[0].mask) if items else None for items in seen]


def around(mask: Mask | None) -> Box:
    assert mask is not None
    box, (height, width) = mask.box, SIZE
    return Box(
        max(box.x0 - MARGIN_PX, 0), max(box.y0 - MARGIN_PX, 0), min(box.x1 + MARGIN_PX, width), min(box.y1 + MARGIN_PX, height)
    )  # fmt: skip


def overlaps(found: list[Mask], true: list[Mask | None]) -> list[float]:
    """IoU by frame; 1 where neither is there."""
    nothing = Mask.from_array(np.zeros(SIZE, bool))
    assert len(found) == len(true)
    pairs = [(one, nothing if other is None else other) for one, other in zip(found, true, strict=True)]
    return [one.iou(other) if one.area or other.area else 1.0 for one, other in pairs]


def show(video: VideoEditor, box: Box, label: str) -> Any:
    """Draws a box, selects it and gives it a label; the answer."""
    asked = video.editor.asked
    video.draw(box.x0, box.y0, box.x1, box.y1)
    video.select((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    assert len(video.selected) == 1
    video.label(label)
    return video.wait_for_answer(asked + 1)[1]["data"]["result"]


def opened(
    label_studio: RealLabelStudio, assistant: Assistant, video: VideoEditor, clip: Path, labels: list[str]
) -> tuple[int, int]:
    """A task of a new project, open in the editor, with Auto-Annotation on."""
    project = label_studio.project(labeling_config("video", labels))
    label_studio.connect(project, assistant.served.url)
    [task] = label_studio.upload(project, {"clip.mp4": clip.read_bytes()})
    video.open_task(project, task)
    assert video.frame_count == FRAMES
    video.editor.auto_annotation()
    return project, task


def check_shown(assistant: Assistant, video: VideoEditor, frame: int, place: tuple[int, int], regions: dict[str, str]) -> None:
    """On a frame the editor shows the boxes of stored masks. `place` is project and task, `regions` go by label."""
    drawn = video.boxes(frame)
    for label, region in regions.items():
        shown, corners = drawn[region]
        mask = assistant.masks(*place, region)[frame - 1]
        assert shown == label
        assert (corners is None) == (mask.area == 0)
        if corners is not None:
            sides = mask.box.x0, mask.box.y0, mask.box.x1, mask.box.y1
            assert max(abs(one - other) for one, other in zip(corners, sides, strict=True)) <= 1.01


def check_export(
    label_studio: RealLabelStudio,
    assistant: Assistant,
    project: int,
    truth: dict[str, list[Mask | None]],
    *,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**reaching(label_studio), "LOCARA_DATA_DIR": str(assistant.data)}.items():
        monkeypatch.setenv(name, value)
    words = ["label-studio", "export", "--project", str(project), "--format", "youtube-vis", "--out", str(out), "--json"]
    assert run(words) == 0
    with YoutubeVisSource(out) as source:
        [found] = source.videos()
    tracks = {masklet.category.name: masklet for masklet in found.masklets}
    assert set(tracks) == set(truth)
    true = MaskletVideo(
        found.name, SIZE[1], SIZE[0], FRAMES, tuple(range(FRAMES)),
        tuple(Masklet(tracks[shape].track_id, Category(1, shape), tuple(masks)) for shape, masks in truth.items()),
    )  # fmt: skip
    score = evaluate(found, true)
    print(
        "J&F", round(score.mean.j_and_f, 3), {shape: round(score.objects[tracks[shape].track_id].j_and_f, 3) for shape in truth}
    )
    assert score.mean.j_and_f >= MIN_SCORE
    assert json.loads(out.read_text("utf-8"))["videos"][0]["length"] == FRAMES
