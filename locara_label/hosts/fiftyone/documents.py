"""Labels in the shape in which FiftyOne's database keeps them, written without FiftyOne's objects.

Making those objects costs more than finding the regions of a small picture does. Whether the shape is right is asked once in a
process, of FiftyOne itself; where it is not, its objects make the documents.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import fiftyone as fo
import fiftyone.core.sample as fos
import numpy as np
from bson import Binary, ObjectId
from numpy.typing import NDArray

from locara_label.hosts.fiftyone.labels import Region, cropped_mask, to_detection
from locara_label.hosts.fiftyone.samples import database
from locara_label.types import Mask

_PLAIN = (bool, int, float, str)


def packed(mask: NDArray[np.bool_]) -> bytes:
    """As FiftyOne keeps an array. Masks are runs: compressing only these takes a fifth of the time, and an eighth more bytes."""
    runs = zlib.compressobj(strategy=zlib.Z_RLE)
    with io.BytesIO() as file:
        np.save(file, mask)
        return runs.compress(file.getbuffer()) + runs.flush()


def detections_document(regions: Sequence[Region]) -> dict[str, Any]:
    """What `to_detections` becomes in the database.

    Raises:
        BadMask: see `to_detection`.
    """
    detection = _document if is_known() else _made
    return {"_cls": "Detections", "detections": [detection(region) for region in regions]}


@lru_cache(maxsize=1)
def is_known() -> bool:
    """Whether the FiftyOne that is installed keeps a detection in the shape that is written here."""
    square = Mask.from_array(np.eye(3, 4, dtype=bool))
    regions = [Region("one", square), Region("two", square, 0.5, 0.25, 3, tags=("tag",), attributes={"is_stuff": True})]
    return all(_told(_document(region)) == _told(_made(region)) for region in regions)


def _told(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a document says: another one of the same has another id, and may be compressed in another way."""
    plain = {**document, "_id": type(document["_id"]), "mask": zlib.decompress(document["mask"])}
    return [(key, plain[key]) for key in document]


def _made(region: Region) -> dict[str, Any]:
    """By FiftyOne."""
    return dict(to_detection(region).to_dict())


def _document(region: Region) -> dict[str, Any]:
    if region.instance is not None or not all(isinstance(value, _PLAIN) for value in region.attributes.values()):
        return _made(region)
    box, cropped = cropped_mask(region)
    known = {"confidence": region.score, "index": region.index, "predicted_iou": region.predicted_iou}
    return {
        "_id": ObjectId(),
        "_cls": "Detection",
        "attributes": {},
        "tags": list(region.tags),
        "label": region.label,
        "bounding_box": box,
        "mask": Binary(packed(cropped)),
        **{name: value for name, value in known.items() if value is not None},
        **region.attributes,
    }


def write(dataset: fo.Dataset, sample_id: str, values: Mapping[str, Any]) -> bool:
    """Sets fields of a sample to documents, also of samples that someone holds; says whether the sample is still there.

    Args:
        dataset: of the sample; its schema has the fields.
        sample_id: of the sample.
        values: by field; None clears it.

    Raises:
        RunError: see `samples.database`.
    """
    fresh = {**values, "last_modified_at": datetime.now(UTC).replace(tzinfo=None)}
    with database():
        found = dataset._sample_collection.update_one({"_id": ObjectId(sample_id)}, {"$set": fresh})  # noqa: SLF001 - no public way
        fos.Sample._reload_docs(dataset._sample_collection_name, sample_ids=[sample_id])  # noqa: SLF001 - as FiftyOne's own
    return bool(found.matched_count)
