"""400 awkward masks through data sets on disk: not a pixel may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from locara_label.exchange import from_label_studio, to_label_studio
from locara_label.hosts.fiftyone.exports import export_coco, export_panoptic, export_semantic
from locara_label.hosts.fiftyone.imports import import_coco, import_panoptic, import_semantic
from locara_label.hosts.fiftyone.labels import Region, mask_targets, to_detection, to_region, to_segmentation
from locara_label.hosts.fiftyone.progress import summed
from locara_label.types import Label, Mask
from tests.hosts.fiftyone.random_masks import grouped, write_picture

MASKS = 400


def region_of(mask: Mask, number: int) -> Region:
    """One with all that a region can have."""
    return Region(
        f"class {number % 7}",
        mask,
        None if number % 3 == 0 else 1 / (number + 1),
        number / 1000 if number % 2 else None,
        number if number % 5 else None,
        f"{number:024x}" if number % 4 else None,
        ("seen", "a,b") if number % 6 == 0 else (),
        {"note": "hand made", "weight": 0.1 * number, "iscrowd": True, "track_id": "their own"} if number % 9 == 0 else {},
    )


@pytest.fixture
def labeled(dataset: Any, tmp_path: Path) -> tuple[Any, dict[str, list[Region]]]:
    """A data set of 40 pictures with 10 masks each, some in a folder below, and what is true."""
    truth = {}
    for picture, found in enumerate(grouped(MASKS)):
        path = tmp_path / "pictures" / ("more" if picture % 2 else "") / f"{picture}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, found[0].size, picture)
        regions = [region_of(mask, 10 * picture + number) for number, mask in enumerate(found)]
        truth[str(path)] = regions
        detections = [to_detection(region) for region in regions]
        dataset.add_sample(fo.Sample(filepath=str(path), truth=fo.Detections(detections=detections)))
    return dataset, truth


def regions(sample: Any, field: str) -> list[Region]:
    header = sample.metadata or fo.ImageMetadata.build_for(sample.filepath)
    found = [to_region(one, (header.height, header.width)) for one in sample[field].detections]
    assert None not in found
    return [region for region in found if region is not None]


def changed(one: list[Region], other: list[Region]) -> int:
    """Pixels that differ."""
    assert len(one) == len(other)
    return sum(int((a.mask.to_array() ^ b.mask.to_array()).sum()) for a, b in zip(one, other, strict=True))


def same(one: list[Region], other: list[Region]) -> bool:
    names = ("label", "mask", "score", "predicted_iou", "index", "instance", "tags", "attributes")
    pairs = zip(one, other, strict=True)
    return all(getattr(a, name) == getattr(b, name) for a, b in pairs for name in names)


def test_the_database_keeps_every_pixel(labeled: tuple[Any, dict[str, list[Region]]]) -> None:
    dataset, truth = labeled
    assert sum(changed(regions(sample, "truth"), truth[sample.filepath]) for sample in dataset) == 0
    assert all(same(regions(sample, "truth"), truth[sample.filepath]) for sample in dataset)


def test_coco_and_back(labeled: tuple[Any, dict[str, list[Region]]], tmp_path: Path) -> None:
    dataset, truth = labeled
    written = summed(export_coco(dataset, "truth", tmp_path / "coco.json"))
    assert (written.samples, written.regions, written.failed, written.noted) == (40, MASKS, (), ())
    content = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    assert {row["iscrowd"] for row in content["annotations"]} == {0}
    assert any(row["file_name"].startswith("more/") for row in content["images"])
    read = summed(import_coco(dataset, tmp_path / "coco.json", "back", root=tmp_path / "pictures"))
    assert (read.samples, read.regions, read.failed) == (40, MASKS, ())
    assert sum(changed(regions(sample, "back"), truth[sample.filepath]) for sample in dataset) == 0
    assert all(same(regions(sample, "back"), truth[sample.filepath]) for sample in dataset)


def test_coco_into_an_empty_data_set(labeled: tuple[Any, dict[str, list[Region]]], tmp_path: Path) -> None:
    dataset, truth = labeled
    summed(export_coco(dataset, "truth", tmp_path / "coco.json"))
    fresh = fo.Dataset()
    try:
        summed(import_coco(fresh, tmp_path / "coco.json", "back", root=tmp_path / "pictures"))
        assert set(fresh.values("filepath")) == set(truth)
        assert sum(changed(regions(sample, "back"), truth[sample.filepath]) for sample in fresh) == 0
    finally:
        fresh.delete()


def test_fiftyones_own_exporter_and_importer(labeled: tuple[Any, dict[str, list[Region]]], tmp_path: Path) -> None:
    """It writes RLE for crowds only, and fails on instances."""
    dataset, truth = labeled
    for sample in dataset:
        for detection in sample.truth.detections:
            detection["iscrowd"] = 1
        sample.save()
    export = {"dataset_type": fo.types.COCODetectionDataset, "label_field": "truth", "extra_attrs": ["iscrowd"]}
    dataset.export(labels_path=str(tmp_path / "theirs.json"), progress=False, **export)
    content = json.loads((tmp_path / "theirs.json").read_text("utf-8"))
    files = {row["id"]: row["file_name"] for row in content["images"]}
    found: dict[str, list[Region]] = {}
    for row in content["annotations"]:
        mask = Mask.from_coco(row["segmentation"])
        found.setdefault(Path(files[row["image_id"]]).name, []).append(Region("", mask))
    assert sum(changed(found[Path(path).name], listed) for path, listed in truth.items()) == 0


@pytest.mark.parametrize("control", ["BrushLabels", "BitmaskLabels", "PolygonLabels"])
def test_label_studio_and_back(labeled: tuple[Any, dict[str, list[Region]]], tmp_path: Path, control: str) -> None:
    """As Label Studio would export it: with ids, and the predictions accepted as annotations."""
    dataset, truth = labeled
    names = "".join(f'<Label value="class {number}"/>' for number in range(7))
    config = f'<View><Image name="image" value="$image"/><{control} name="mask" toName="image">{names}</{control}></View>'
    written = summed(to_label_studio(dataset, "truth", tmp_path / "tasks.json", config, finished=True))
    assert (written.regions, written.failed, written.noted) == (MASKS, (), ())
    tasks = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    exported = [{**task, "id": number, "project": 1} for number, task in enumerate(tasks, 1)]
    for task in exported[::2]:
        del task["data"]["fiftyone"]  # the file's name has to do
    (tmp_path / "exported.json").write_text(json.dumps(exported), "utf-8")
    read = summed(from_label_studio(dataset, tmp_path / "exported.json", "back", root=tmp_path / "pictures"))
    assert (read.samples, read.regions, read.failed, read.noted) == (40, MASKS, (), ())
    assert sum(changed(regions(sample, "back"), truth[sample.filepath]) for sample in dataset) == 0
    assert all(same(regions(sample, "back"), truth[sample.filepath]) for sample in dataset)


def test_disjoint_masks_as_panoptic_and_back(dataset: Any, tmp_path: Path) -> None:
    truth = {}
    for picture, found in enumerate(grouped(MASKS)):
        path = write_picture(tmp_path / f"{picture}.png", found[0].size, picture)
        free, listed = np.ones(found[0].size, bool), []
        for number, mask in enumerate(found):
            left = mask.to_array() & free
            free &= ~left
            if left.any():
                stuff = number == 0
                attributes = {"is_stuff": True} if stuff else {}
                listed.append(Region("sky" if stuff else "thing", Mask.from_array(left), 0.5, attributes=attributes))
        truth[str(path)] = listed
        detections = fo.Detections(detections=[to_detection(region) for region in listed])
        dataset.add_sample(fo.Sample(filepath=str(path), truth=detections))
    written = summed(export_panoptic(dataset, "truth", tmp_path / "panoptic.json"))
    assert not written.failed
    assert not written.noted
    assert not summed(import_panoptic(dataset, tmp_path / "panoptic.json", "back", root=tmp_path)).failed
    assert sum(changed(regions(sample, "back"), truth[sample.filepath]) for sample in dataset) == 0
    assert all(same(regions(sample, "back"), truth[sample.filepath]) for sample in dataset)


def test_overlaps_are_told_by_the_panoptic_export(labeled: tuple[Any, dict[str, list[Region]]], tmp_path: Path) -> None:
    dataset, _ = labeled
    assert summed(export_panoptic(dataset, "truth", tmp_path / "panoptic.json")).noted


@pytest.mark.parametrize("classes", [3, 254, 255, 256, 400])
def test_label_maps_as_pngs_and_back(dataset: Any, tmp_path: Path, classes: int) -> None:
    labels = [Label(number, f"class {number}", is_stuff=True) for number in range(classes)]
    targets = mask_targets(labels)
    truth = {}
    for picture, found in enumerate(grouped(60)):
        path = write_picture(tmp_path / f"{picture}.png", found[0].size, picture)
        listed = [Region(labels[-1 - number % classes].name, mask) for number, mask in enumerate(found)]
        truth[str(path)] = to_segmentation(listed, found[0].size, targets)
        dataset.add_sample(fo.Sample(filepath=str(path), truth=truth[str(path)]))
    dataset.mask_targets["truth"] = targets
    dataset.save()
    assert not summed(export_semantic(dataset, "truth", tmp_path / "maps")).failed
    assert not summed(import_semantic(dataset, tmp_path / "maps", "back", root=tmp_path)).failed
    dataset.reload()
    assert dataset.mask_targets["back"] == targets
    for sample in dataset:
        assert (sample.back.mask == truth[sample.filepath].mask).all()
