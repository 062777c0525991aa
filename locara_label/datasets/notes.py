"""What a conversion could not keep or had to change, counted, so that nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXTS: Mapping[str, str] = {
    "category.look": "colours of categories, and whether they are things",
    "category.name": "category names",
    "category.supercategory": "supercategories",
    "dataset.info": "info sections",
    "masklet.absent": "masklets that are absent in every frame",
    "masklet.area": "areas that were not those of the masks and were computed anew",
    "masklet.bbox": "boxes that were not those of the masks and were computed anew",
    "masklet.category": "categories of masklets",
    "masklet.iscrowd": "crowd flags",
    "masklet.meta": "metadata of masklets",
    "masklet.overlap": "frames whose masks overlap, which the format's own tools refuse (written as they are)",
    "masklet.score": "scores of masklets",
    "masklet.scores": "scores of masklets per frame",
    "masklet.stats": "statistics that were not those of the masks and were computed anew",
    "masklet.track_id": "track ids (renumbered)",
    "video.empty": "videos without a mask, whose size the format cannot tell",
    "video.file_names": "file names of pictures",
    "video.frame_count": "lengths of videos",
    "video.frames": "which frames are annotated",
    "video.id": "video numbers",
    "video.meta": "metadata of videos",
    "video.stride": "videos not annotated every 4th frame, as other readers take them to be (ours read the frames exactly)",
    "video.times": "times of frames",
}
"""Codes, stable across releases, and what each counts."""


class Notes:
    """How often each thing happened."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, code: str, times: int = 1) -> None:
        if times:
            self.counts[code] = self.counts.get(code, 0) + times

    def update(self, other: Notes) -> None:
        for code, times in other.counts.items():
            self.add(code, times)

    def to_json(self) -> list[dict[str, Any]]:
        return [{"code": code, "count": count, "what": TEXTS[code]} for code, count in sorted(self.counts.items())]
