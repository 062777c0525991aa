"""Semantic label maps as single-channel PNGs (a pixel is the index of its class), and the names of the classes beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import images
from locara_label.atomic import atomic_file
from locara_label.datasets.fields import fields, flag, text, whole
from locara_label.datasets.json_stream import scan
from locara_label.datasets.pictures import read_png
from locara_label.errors import BadDataset, BadImage, BadMask
from locara_label.rle import Size
from locara_label.types import Instance, Label

LabelMap = NDArray[np.uint8] | NDArray[np.uint16]

UNLABELED_8, UNLABELED_16 = 255, 65535
"""The pixels of no class, in 8 bit and in 16 bit pictures."""


def unlabeled(label_count: int) -> int:
    """The value of pixels of no class, for indices below `label_count`: 255 (8 bit) as long as they fit, else 65535 (16 bit).

    Raises:
        BadDataset: more classes than 16 bits hold.
    """
    if label_count > UNLABELED_16:
        raise BadDataset(f"{label_count} classes do not fit 16 bits", code="labels.count")
    return UNLABELED_8 if label_count <= UNLABELED_8 else UNLABELED_16


def paint(instances: Sequence[Instance], size: Size, label_count: int) -> LabelMap:
    """Label map [H, W] of instances by their `label_index`; where they overlap, the first keeps the pixels.

    uint8 as long as the classes fit, else uint16; pixels of none are `unlabeled(label_count)`.

    Raises:
        BadDataset: `labels.index`, an index that is not below `label_count`.
        BadMask: `mask.size`.
    """
    none = unlabeled(label_count)
    labels = np.full(size, none, np.uint8 if none == UNLABELED_8 else np.uint16)
    for instance in reversed(instances):
        if not 0 <= instance.label_index < label_count:
            raise BadDataset(f"label index {instance.label_index} is not in 0..{label_count - 1}", code="labels.index")
        if instance.mask.size != size:
            raise BadMask(f"a mask of {instance.mask.size} on a picture of {size}", code="mask.size")
        labels[instance.mask.to_array()] = instance.label_index
    return labels


def write_semantic_png(path: Path | str, label_map: LabelMap) -> None:
    """Writes a label map [H, W]: uint8 as an 8 bit PNG (255 is unlabeled), uint16 as a 16 bit PNG (65535 is unlabeled).

    Raises:
        BadDataset: an array of another kind, or an empty one.
    """
    if label_map.ndim != 2 or not label_map.size or label_map.dtype not in (np.uint8, np.uint16):
        raise BadDataset(f"a label map is uint8 or uint16 [H, W], got {label_map.dtype} {label_map.shape}", code="labels.kind")
    images.write_png(path, label_map)


def read_semantic_png(path: Path | str, size: Size | None = None) -> LabelMap:
    """The label map [H, W] of a PNG, uint8 or uint16.

    Raises:
        BadImage: the file cannot be read, is not a grey PNG, or is of another size than the one given.
    """
    pixels = read_png(Path(path), size)
    if pixels.ndim != 2:
        raise BadImage(f"{Path(path).name} is in color; a label map has one channel", code="image.kind")
    return pixels


def write_labels(path: Path | str, labels: Sequence[Label]) -> None:
    """Writes `labels.json`: `{"unlabeled": 255, "labels": [{"index": 0, "name": "wall", "is_stuff": true}, ...]}`.

    Raises:
        BadDataset: an index below 0, too large or used twice, or a class without a name.
    """
    _check(labels)
    rows = [{"index": label.index, "name": label.name, "is_stuff": label.is_stuff} for label in labels]
    none = unlabeled(1 + max((label.index for label in labels), default=0))
    with atomic_file(Path(path)) as file:
        file.write(json.dumps({"unlabeled": none, "labels": rows}, indent=1).encode("ascii") + b"\n")


def read_labels(path: Path | str) -> list[Label]:
    """The classes that `write_labels` wrote.

    Raises:
        BadDataset: the file cannot be read or is not one.
    """
    found = [_label(entry.value) for entry in scan(Path(path)) if entry.section == "labels" and entry.index != -1]
    _check(found)
    return found


def _label(value: Any) -> Label:
    code = "labels.field"
    row = fields(value, code)
    return Label(whole(row, "index", code), text(row, "name", code), flag(row, "is_stuff", code, default=False))


def _check(labels: Sequence[Label]) -> None:
    indices = [label.index for label in labels]
    if len(set(indices)) != len(indices) or not all(0 <= index < UNLABELED_16 for index in indices):
        raise BadDataset(f"label indices are in 0..{UNLABELED_16 - 1} and unlike each other", code="labels.index")
    if not all(label.name for label in labels):
        raise BadDataset("a label has no name", code="labels.field")
