"""Labels that are written past FiftyOne's objects are those that FiftyOne would have written."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId

from locara_label.errors import BadMask
from locara_label.hosts.fiftyone import documents
from locara_label.hosts.fiftyone.documents import detections_document, is_known, write
from locara_label.hosts.fiftyone.labels import Region, to_detections
from locara_label.types import Mask
from tests.hosts.fiftyone import random_masks
from tests.hosts.fiftyone.scenes_dataset import masks_of

SIZE = (48, 64)


def test_fiftyone_reads_them_as_its_own(dataset: Any) -> None:
    assert is_known()
    chance = np.random.default_rng(5)
    kinds = (random_masks.ring, random_masks.parts, random_masks.pixel, random_masks.borders, random_masks.noise)
    masks = [Mask.from_array(kind(chance, SIZE)) for kind in kinds for _ in range(8)]
    more = {"index": 3, "tags": ("a",), "attributes": {"stability": 0.5, "is_stuff": True}}
    regions = [Region(f"label {i}", mask, i / 40, None, **(more if i % 2 else {})) for i, mask in enumerate(masks)]
    regions.append(Region("linked", masks[0], instance=str(ObjectId())))
    regions.append(Region("pointed", masks[0], attributes={"embedding": np.arange(3.0)}))
    samples = [fo.Sample(filepath=f"/{name}.png", metadata=fo.ImageMetadata(width=64, height=48)) for name in "ab"]
    dataset.add_samples(samples)
    dataset.add_sample_field("found", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    samples[0]["found"] = to_detections(regions)
    samples[0].save()
    assert write(dataset, samples[1].id, {"found": detections_document(regions)})
    theirs, ours = (sample["found"].detections for sample in samples)
    assert [shown(one) for one in ours] == [shown(one) for one in theirs]
    assert masks_of(samples[1]["found"], SIZE) == [region.mask for region in regions]
    assert samples[1].last_modified_at > samples[1].created_at


def shown(detection: Any) -> dict[str, Any]:
    found = {name: detection[name] for name in detection.field_names if name not in ("id", "mask", "instance", "embedding")}
    linked = detection["instance"].id if "instance" in detection else None
    return {**found, "mask": detection.mask.tolist(), "linked": str(linked)}


def test_a_fiftyone_that_keeps_them_in_another_way(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own objects make the documents."""
    region = Region("one", Mask.from_array(np.eye(4, dtype=bool)))
    made = documents._made
    monkeypatch.setattr(documents, "_made", lambda one: {**made(one), "new": 1})
    is_known.cache_clear()
    try:
        assert not is_known()
        assert detections_document([region])["detections"][0]["new"] == 1
    finally:
        is_known.cache_clear()


def test_samples_that_are_gone_and_masks_that_are_empty(dataset: Any) -> None:
    assert not write(dataset, str(ObjectId()), {"found": None})
    with pytest.raises(BadMask, match="empty"):
        detections_document([Region("one", Mask.from_array(np.zeros((4, 4), bool)))])
