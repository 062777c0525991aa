"""What a person accepts in a panel, saved to a field: regions of a picture, or one object on a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import fiftyone as fo
from bson import ObjectId

from locara_label.errors import BadOption
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.labels import Region, attribute, to_detection
from locara_label.hosts.fiftyone.samples import check_field, database


def add_regions(dataset: fo.Dataset, sample_id: str, field: str, regions: Sequence[Region]) -> int:
    """Adds regions to those that a picture has in a field, which is made where it is not there; gives how many there are.

    Raises:
        BadOption: code `option.field`; no name for a field, or it holds something else. `option.sample`, it is gone.
        RunError: see `samples.database`.
    """
    check_field(field)
    fields.prepare(dataset, field, fo.Detections, sorted({region.label for region in regions}))
    sample = _sample(dataset, sample_id)
    before = sample[field].detections if sample[field] is not None else []
    sample[field] = fo.Detections(detections=[*before, *(to_detection(region) for region in regions)])
    with database():
        sample.save()
    return len(before) + len(regions)


def remove_last(dataset: fo.Dataset, sample_id: str, field: str, count: int = 1) -> int:
    """Takes away the regions of a picture that were added last; gives how many are left. Raises as `add_regions`."""
    sample = _sample(dataset, sample_id)
    kept = list(sample[field].detections)[: -count or None] if sample[field] is not None else []
    sample[field] = fo.Detections(detections=kept)
    with database():
        sample.save()
    return len(kept)


def put_object(dataset: fo.Dataset, sample_id: str, field: str, frame: int, region: Region) -> int:
    """Shows an object on a frame, in place of what the field has of it there, as a keyframe; gives its number.

    Args:
        dataset: of videos.
        sample_id: of the video.
        field: frame field, without "frames.".
        frame: from 1.
        region: with the `index` of an object that is known, or None for a new one, which gets the next number.

    Raises:
        BadOption, RunError: see `add_regions`.
    """
    check_field(field, "video")
    fields.prepare(dataset, field, fo.Detections, [region.label])
    sample = _sample(dataset, sample_id)
    known = objects_of(sample, field)
    number = region.index if region.index is not None else max(known, default=0) + 1
    instance = region.instance or known.get(number) or str(ObjectId())
    shown = replace(region, index=number, instance=instance, attributes={**region.attributes, "keyframe": True})
    value = sample.frames[frame][field] if frame in sample.frames and sample.frames[frame].has_field(field) else None
    others = [one for one in (value.detections if value is not None else ()) if one.index != number]
    with database():
        sample.frames[frame][field] = fo.Detections(detections=[*others, to_detection(shown)])
        sample.save()
    return number


def objects_of(sample: Any, field: str) -> dict[int, str | None]:
    """The numbers of a video's objects in a frame field, with FiftyOne's id of each."""
    found: dict[int, str | None] = {}
    for one in _detections(sample, field):
        if one.index is not None:
            linked = attribute(one, "instance")
            found.setdefault(int(one.index), None if linked is None else str(linked.id))
    return dict(sorted(found.items()))


def _detections(sample: Any, field: str) -> Iterable[Any]:
    for frame in sample.frames.values():
        value = frame[field] if frame.has_field(field) else None
        if isinstance(value, fo.Detections):
            yield from value.detections


def _sample(dataset: fo.Dataset, sample_id: str) -> Any:
    with database():
        try:
            return dataset[sample_id]
        except KeyError as error:
            raise BadOption(f"the sample {sample_id} is not in the data set any more", code="option.sample") from error
