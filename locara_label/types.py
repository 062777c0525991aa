"""The values that everything else passes around. All are frozen; every coordinate is in pixels of the picture at its own size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import rle
from locara_label.errors import BadMask, BadPrompt

MAX_POINTS = 1000
MAX_PHRASES = 1000
MAX_TEXT = 20_000
"""Characters of a text prompt."""


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


@dataclass(frozen=True, slots=True)
class Point:
    """A click; x and y in pixels of the picture, from its top left corner. `positive` says that the object is there."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What shows one object; any mix of the parts.

    Attributes:
        points: clicks, each on the object or off it.
        box: around the object.
        mask: a rough mask of the object, at the picture's size.
        logits: `Candidate.logits` of an earlier answer, to be refined.
        candidates: 1 for the best mask, 3 for the alternatives of an ambiguous prompt.

    Raises:
        BadPrompt: nothing shows the object, a coordinate is not finite, the box has no area, there are more than
            `MAX_POINTS` points, or `candidates` is neither 1 nor 3.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: Mask | None = None
    logits: NDArray[np.float32] | None = None
    candidates: int = 1

    def __post_init__(self) -> None:
        if not self.points and self.box is None and self.mask is None and self.logits is None:
            raise BadPrompt("a prompt has points, a box or a mask", code="prompt.empty")
        if len(self.points) > MAX_POINTS:
            raise BadPrompt(f"a prompt has at most {MAX_POINTS} points, got {len(self.points)}", code="prompt.points")
        if not np.isfinite([(point.x, point.y) for point in self.points]).all():
            raise BadPrompt("a point is not finite", code="prompt.points")
        if self.box is not None and not _has_area(self.box):
            raise BadPrompt(f"{self.box} is not a box", code="prompt.box")
        if self.candidates not in (1, 3):
            raise BadPrompt(f"candidates is 1 or 3, got {self.candidates!r}", code="prompt.candidates")


def _has_area(box: Box) -> bool:
    return bool(np.isfinite([box.x0, box.y0, box.x1, box.y1]).all()) and box.x0 < box.x1 and box.y0 < box.y1


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """What to look for, in words.

    Attributes:
        phrases: lower case, without the dots that part them in a prompt; no two are equal.
        box_threshold: least score of a box, 0..1; None takes the model's default.
        text_threshold: least score of a word that belongs to a box's phrase, 0..1; None takes the model's default.

    Raises:
        BadPrompt: there is no phrase, an empty one, more than `MAX_PHRASES` or more than `MAX_TEXT` characters, or a threshold
            is not in 0..1.
    """

    phrases: tuple[str, ...]
    box_threshold: float | None = None
    text_threshold: float | None = None

    def __post_init__(self) -> None:
        if not self.phrases or not all(self.phrases):
            raise BadPrompt("a text prompt has at least one word", code="prompt.empty")
        if len(self.phrases) > MAX_PHRASES or sum(map(len, self.phrases)) > MAX_TEXT:
            text = f"a text prompt has at most {MAX_PHRASES} phrases and {MAX_TEXT} characters"
            raise BadPrompt(f"{text}, got {len(self.phrases)} and {sum(map(len, self.phrases))}", code="prompt.too_long")
        for threshold in (self.box_threshold, self.text_threshold):
            if threshold is not None and not 0 <= threshold <= 1:
                raise BadPrompt(f"a threshold lies between 0 and 1, got {threshold!r}", code="prompt.threshold")

    @classmethod
    def of(cls, text: str | Sequence[str], box_threshold: float | None = None, text_threshold: float | None = None) -> TextPrompt:
        """A prompt as it is typed, its phrases parted by dots ("red car . person"), or a list of phrases, such as label names."""
        parts = _PARTING.split(text[: MAX_TEXT + 1]) if isinstance(text, str) else [_PARTING.sub(" ", part) for part in text]
        phrases = (" ".join(part.lower().split()) for part in parts)
        return cls(tuple(dict.fromkeys(phrase for phrase in phrases if phrase)), box_threshold, text_threshold)


_PARTING = re.compile("[.?]")
"""What ends a phrase for Grounding DINO, so no phrase may have it inside."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A box that answers a text prompt.

    Attributes:
        box: in pixels of the picture, within it.
        score: of the word that matches best, 0..1.
        phrase: the words above the text threshold, as the original's rule takes them together; may be empty.
        asked: the phrase of the prompt with the word that matches best.
    """

    box: Box
    score: float
    phrase: str
    asked: str


@dataclass(frozen=True, slots=True)
class Grounded:
    """An object that was found by a text prompt.

    Attributes:
        phrase: of the prompt; what was asked for.
        box: in pixels of the picture.
        box_score: of box and phrase, 0..1.
        mask: at the picture's own size; never empty.
        mask_score: the mask model's own estimate of the mask's IoU with the object, 0..1.
    """

    phrase: str
    box: Box
    box_score: float
    mask: Mask
    mask_score: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An answer to a prompt.

    Attributes:
        mask: at the picture's own size; may be empty.
        score: the model's own estimate of the mask's IoU with the object, 0..1.
        logits: float32 [h, w] at the model's mask resolution, to be given back for refinement; None where the model has none.
    """

    mask: Mask
    score: float
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What a prompt model made of one picture; every later prompt on the picture needs only this.

    Attributes:
        model: identity of the model and its weights; another model refuses the embedding.
        picture: sha256 of the picture's pixels and size, hexadecimal.
        size: height and width of the picture in pixels.
        arrays: the model's own, read only.
    """

    model: str
    picture: str
    size: tuple[int, int]
    arrays: tuple[NDArray[Any], ...]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)
