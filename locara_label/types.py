"""The values that everything else passes around. All are frozen; every coordinate is in pixels of the picture at its own size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import rle
from locara_label.errors import BadMask


@dataclass(frozen=True, slots=True)
class Box:
    """Corners in pixels; (x0, y0) is the top left corner of the first pixel, (x1, y1) the bottom right of the last."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        return self.x0, self.y0, self.x1 - self.x0, self.y1 - self.y0


@dataclass(frozen=True, slots=True)
class Mask:
    """A binary mask, exact to the pixel, held as a compressed COCO RLE. Holes and separate parts are kept.

    Attributes:
        size: height and width in pixels.
        counts: the compressed COCO string.
    """

    size: tuple[int, int]
    counts: bytes

    @classmethod
    def from_array(cls, array: NDArray[np.bool_] | NDArray[np.uint8]) -> Mask:
        """Bool or 0/1 uint8 [H, W]."""
        counts = rle.encode(array)
        return cls((int(array.shape[0]), int(array.shape[1])), counts)

    @classmethod
    def from_coco(cls, segmentation: Any, size: tuple[int, int] | None = None) -> Mask:
        """Compressed RLE, uncompressed RLE, or a list of polygons (which needs `size`), as found in COCO files.

        Raises:
            BadMask: the value is none of these or does not fit its size.
        """
        if isinstance(segmentation, Mapping):
            return cls._from_rle(segmentation)
        if isinstance(segmentation, list) and size is not None:
            return cls(size, rle.from_polygons(segmentation, size))
        raise BadMask(f"a segmentation is an RLE or a list of polygons, got {type(segmentation).__name__}", code="mask.kind")

    @classmethod
    def _from_rle(cls, segmentation: Mapping[str, Any]) -> Mask:
        counts, size = segmentation.get("counts"), _size(segmentation.get("size"))
        if isinstance(counts, list):
            return cls(size, rle.compress(counts, size))
        raw = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        if not isinstance(raw, bytes):
            raise BadMask(f"counts is a string or a list, got {type(counts).__name__}", code="mask.counts")
        rle.check(raw, size)
        return cls(size, raw)

    def to_array(self) -> NDArray[np.bool_]:
        """Bool [H, W], column-major."""
        return rle.decode(self.counts, self.size)

    def to_coco(self) -> dict[str, Any]:
        """`{"size": [H, W], "counts": str}`, ready for JSON."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}

    @property
    def area(self) -> int:
        """Foreground pixels."""
        return rle.area(self.counts, self.size)

    @property
    def box(self) -> Box:
        """Smallest box around the foreground; all zero for an empty mask."""
        x, y, width, height = rle.box_xywh(self.counts, self.size)
        return Box(x, y, x + width, y + height)

    def iou(self, other: Mask) -> float:
        self._same_size(other)
        return rle.iou(self.counts, other.counts, self.size)

    def union(self, *others: Mask) -> Mask:
        return self._merge(others, intersect=False)

    def intersection(self, *others: Mask) -> Mask:
        return self._merge(others, intersect=True)

    def crop(self, box: Box) -> Mask:
        """The part inside a box, rounded outwards to whole pixels and clipped to the picture, as a mask of the box's own size.

        Raises:
            BadMask: no pixel lies inside the box.
        """
        if not np.isfinite([box.x0, box.y0, box.x1, box.y1]).all():
            raise BadMask(f"{box} is not finite", code="mask.crop")
        height, width = self.size
        x0, y0 = max(int(np.floor(box.x0)), 0), max(int(np.floor(box.y0)), 0)
        x1, y1 = min(int(np.ceil(box.x1)), width), min(int(np.ceil(box.y1)), height)
        if x1 <= x0 or y1 <= y0:
            raise BadMask(f"{box} lies outside a picture of {height} x {width}", code="mask.crop")
        return Mask.from_array(self.to_array()[y0:y1, x0:x1])

    def _merge(self, others: tuple[Mask, ...], *, intersect: bool) -> Mask:
        for other in others:
            self._same_size(other)
        return Mask(self.size, rle.merge([self.counts, *(o.counts for o in others)], self.size, intersect=intersect))

    def _same_size(self, other: Mask) -> None:
        if self.size != other.size:
            raise BadMask(f"masks of {self.size} and {other.size} pixels cannot be combined", code="mask.size")


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, int) and 0 <= v <= 1 << 24 for v in value):
        return value[0], value[1]
    raise BadMask(f"an RLE size is [height, width] in whole pixels, got {value!r}", code="mask.size")


@dataclass(frozen=True, slots=True)
class Label:
    """A class of a model: `index` is the model's own number, `is_stuff` tells regions (sky) from countable things (car)."""

    index: int
    name: str
    is_stuff: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """One found region.

    Attributes:
        label: name of the class.
        label_index: the model's own number of the class.
        score: confidence in 0..1.
        mask: at the picture's own size.
        is_stuff: an amorphous region (sky) and not a countable thing (car).
    """

    label: str
    label_index: int
    score: float
    mask: Mask
    is_stuff: bool = False
