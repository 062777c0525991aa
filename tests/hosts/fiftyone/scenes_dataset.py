"""Data sets of generated scenes and clips, with what is true about them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from fixtures.clips import masklets, write_clip
from fixtures.scenes import EVALUATION_SEED, make_clip, make_scene
from locara_label import images
from locara_label.errors import Cancelled
from locara_label.hosts.fiftyone.labels import Region, to_detection, to_region
from locara_label.runtime.session import Stop
from locara_label.types import Mask

SIZE = (192, 256)


def add_scenes(dataset: Any, folder: Path, count: int) -> None:
    """Pictures with the true masks in the field `truth`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        scene = make_scene(EVALUATION_SEED + number, SIZE)
        path = folder / f"scene{number}.png"
        images.write_png(path, scene.image)
        regions = [Region(one.shape, Mask.from_array(one.mask)) for one in scene.objects]
        dataset.add_sample(fo.Sample(filepath=str(path), truth=fo.Detections(detections=[to_detection(one) for one in regions])))


def add_clip(dataset: Any, folder: Path, seed: int = EVALUATION_SEED + 3, frames: int = 8) -> list[dict[str, Any]]:
    """A clip whose first frame has the true boxes in the frame field `boxes`; gives the true masklets."""
    folder.mkdir(parents=True, exist_ok=True)
    path = write_clip(folder, seed, SIZE, frames, Fraction(25))
    truth = masklets(make_clip(seed, frames, SIZE))
    sample = fo.Sample(filepath=str(path))
    dataset.add_sample(sample)
    sample.frames[1]["boxes"] = fo.Detections(detections=[_box(one) for one in truth if one["masks"][0] is not None])
    sample.save()
    return truth


def _box(masklet: dict[str, Any]) -> fo.Detection:
    detection = to_detection(Region(masklet["label"], Mask.from_coco(masklet["masks"][0]), index=masklet["id"] + 1))
    detection.mask = None
    return detection


def masks_of(label: Any, size: tuple[int, int] = SIZE) -> list[Mask]:
    found = [to_region(one, size) for one in label.detections]
    return [region.mask for region in found if region is not None]


def regions(sample: Any, field: str) -> dict[tuple[int, int | None], Region]:
    """Of a video, by frame number and index."""
    found = {}
    for number, frame in sample.frames.items():
        for detection in frame[field].detections if frame[field] is not None else ():
            region = to_region(detection, SIZE)
            assert region is not None
            assert (number, region.index) not in found
            found[number, region.index] = region
    return found


def stop_after(steps: Iterator[Any], stop: Stop, count: int) -> None:
    """Goes through so many steps of work, and sees that it ends when it is stopped then."""
    for _ in range(count):
        next(steps)
    stop.set()
    with pytest.raises(Cancelled):
        next(steps)


def bad_picture(path: Path) -> Path:
    path.write_bytes(b"\xff\xd8\xff no picture at all")
    return path
