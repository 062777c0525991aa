"""What a video or a list of categories has that a format may have no place for, by the codes of `notes.TEXTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.notes import Notes
from locara_label.datasets.records import Category

OBJECT = Category(1, "object")
"""The category of masklets that a format without classes brings."""

STRIDE = 4
"""SA-V is annotated every 4th frame."""


def _counted(test: Callable[[Masklet], bool]) -> Callable[[MaskletVideo], int]:
    return lambda video: sum(map(test, video.masklets))


def overlaps(video: MaskletVideo) -> int:
    """How many frames have masks with pixels in common."""
    columns = zip(*(masklet.masks for masklet in video.masklets), strict=True)
    present = ([mask for mask in column if mask is not None] for column in columns)
    return sum(any(one.intersection(two).area for one, two in combinations(masks, 2)) for masks in present)


OF_VIDEO: Mapping[str, Callable[[MaskletVideo], int]] = {
    "masklet.absent": _counted(lambda masklet: not masklet.present),
    "masklet.category": _counted(lambda masklet: masklet.category.name != OBJECT.name),
    "masklet.iscrowd": _counted(lambda masklet: masklet.iscrowd),
    "masklet.meta": _counted(lambda masklet: bool(masklet.meta)),
    "masklet.overlap": overlaps,
    "masklet.score": _counted(lambda masklet: masklet.score is not None),
    "masklet.scores": _counted(lambda masklet: masklet.scores is not None),
    "video.empty": lambda video: not any(masklet.present for masklet in video.masklets),
    "video.file_names": lambda video: video.file_names is not None,
    "video.frames": lambda video: video.frames != tuple(range(video.frame_count)),
    "video.id": lambda video: video.id is not None,
    "video.meta": lambda video: bool(video.meta),
    "video.stride": lambda video: video.frames != tuple(range(0, video.frame_count, STRIDE)),
    "video.times": lambda video: video.times_s is not None,
}

OF_CATEGORY: Mapping[str, Callable[[Category], bool]] = {
    "category.look": lambda category: not category.is_thing or category.color is not None,
    "category.supercategory": lambda category: bool(category.supercategory),
}


def of_video(video: MaskletVideo, cannot: Iterable[str]) -> Notes:
    """How often a video needs each of the things that a format cannot keep."""
    notes = Notes()
    for code in cannot:
        if code in OF_VIDEO:
            notes.add(code, OF_VIDEO[code](video))
    return notes


def of_categories(categories: Sequence[Category], cannot: Iterable[str]) -> Notes:
    """As `of_video`, for categories."""
    notes = Notes()
    for code in cannot:
        if code in OF_CATEGORY:
            notes.add(code, sum(map(OF_CATEGORY[code], categories)))
    return notes
