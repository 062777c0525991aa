"""What became of an export, so that nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from locara_label.datasets.notes import Notes
from locara_label.errors import LocaraError

EXAMPLES = 1000
"""Problems that are named; the others are counted."""

LEFT_OUT: Mapping[str, str] = {
    "annotation.cancelled": "annotations of skipped tasks (--cancelled takes them)",
    "annotation.completed_by": "annotations of other annotators",
    "annotation.draft": "drafts",
    "annotation.not_picked": "annotations beside the one that --pick takes",
    "picture.empty": "pictures without a mask",
    "region.empty": "masks without a pixel",
    "region.label": "masks of other labels",
    "region.no_mask": "results that are no masks, such as choices, texts and key points",
    "region.other_kind": "regions on other things than the format holds",
    "region.prompt": "prompts that were left in an annotation",
    "task.unannotated": "tasks without such an annotation",
}
"""Codes of what is left out as asked, and what each counts."""

CHANGED: Mapping[str, str] = {
    "frame.recomputed": "frames of videos whose masks were computed from the box that a person drew",
    "frame.tracked": "frames of videos between keyframes whose masks were tracked anew",
    "picture.hidden": "masks of which other masks hide everything, in a format without overlaps",
    "picture.overlap_px": "pixels that two masks claim, in a format without overlaps: the one drawn later has them",
    "region.filled": "masks that are the inside of a drawn polygon, rectangle or ellipse",
    "region.labels": "masks with several labels, written once for each",
    "region.parts_left_out": "parts of masks that were too many for polygons when they were drawn",
    "region.score": "scores outside 0..1, written as 1",
    "video.editor_frames": "videos that were not read and are not stored: frames are as the editor counts them",
}
"""Codes of what was written otherwise than drawn, and what each counts."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Something that should be in the data set and is not; `place` is like `task 12 annotation 3 region abc`."""

    place: str
    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {"where": self.place, "code": self.code, "message": self.message}


@dataclass
class Report:
    """Counts of an export.

    Attributes:
        tasks: that were read; `annotations` of them that were taken.
        pictures: pictures or videos written, `masks` in them; a masklet counts a mask for each frame that it is in.
        left_out: by the codes of `LEFT_OUT`.
        changed: by the codes of `CHANGED`.
        lost: what could not be exported, by code, and the first of them.
        notes: what the format could not keep of masklets.
    """

    tasks: int = 0
    annotations: int = 0
    pictures: int = 0
    masks: int = 0
    masklets: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    examples: list[Lost] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    @property
    def is_complete(self) -> bool:
        return not self.lost

    def lose(self, place: str, error: LocaraError) -> None:
        self.lose_for(place, error.code, error.message)

    def lose_for(self, place: str, code: str, message: str) -> None:
        self.lost[code] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Lost(place, code, message[:500]))

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks,
            "annotations": self.annotations,
            "pictures": self.pictures,
            "masklets": self.masklets,
            "masks": self.masks,
            "left_out": dict(sorted((+self.left_out).items())),
            "changed": dict(sorted((+self.changed).items())),
            "skipped": dict(sorted(self.lost.items())),
            "problems": [one.to_json() for one in self.examples],
            "notes": self.notes.to_json(),
        }
