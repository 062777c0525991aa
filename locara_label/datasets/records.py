"""Pictures and categories as COCO files name them, and what can be wrong with a file."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from locara_label.datasets.fields import MAX_WHOLE, Fields, fields, flag, text, whole
from locara_label.errors import BadDataset, InputError
from locara_label.rle import Size

MAX_PIXELS = (1 << 31) - 1
"""More pixels than this do not fit the 32-bit runs of the COCO API."""


@dataclass(frozen=True, slots=True)
class Category:
    """A class of a data set.

    Attributes:
        id: the number in the file, from 1 up.
        is_thing: countable (car); false for an amorphous region (sky). Written to panoptic files only.
        color: RGB for people who look at panoptic pictures; None takes one made from the id.
    """

    id: int
    name: str
    supercategory: str = ""
    is_thing: bool = True
    color: tuple[int, int, int] | None = None

    def to_coco(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "supercategory": self.supercategory}

    def to_panoptic(self) -> dict[str, Any]:
        return {**self.to_coco(), "isthing": int(self.is_thing), "color": list(self.color or _color(self.id))}

    @classmethod
    def from_coco(cls, value: Any) -> Category:
        """One entry of `categories`.

        Raises:
            BadDataset: with code `category.field`.
        """
        code = "category.field"
        row = fields(value, code)
        supercategory = row.get("supercategory") or ""
        if not isinstance(supercategory, str):
            raise BadDataset(f"supercategory is not a text: {supercategory!r:.80}", code=code)
        return cls(
            whole(row, "id", code),
            text(row, "name", code),
            supercategory,
            flag(row, "isthing", code, default=True),
            _rgb(row, code),
        )


@dataclass(frozen=True, slots=True)
class CocoImage:
    """A picture of a data set: its name as written in the file, and its size in pixels.

    Attributes:
        id: the number in the file. None lets a writer number the pictures 1, 2, 3 ...; a reader always gives it.
    """

    file_name: str
    width: int
    height: int
    id: int | None = None

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.height, self.width

    def to_coco(self) -> dict[str, Any]:
        return {"id": self.id, "file_name": self.file_name, "width": self.width, "height": self.height}

    def check(self) -> None:
        """Refuses an unnamed or empty picture, or one too big for COCO.

        Raises:
            BadDataset: with code `image.size` or `image.field`.
        """
        if not self.file_name:
            raise BadDataset("file_name is empty", code="image.field")
        if min(self.size) < 1 or self.width * self.height > MAX_PIXELS:
            raise BadDataset(f"a picture of {self.width} x {self.height} pixels cannot be", code="image.size")

    @classmethod
    def from_coco(cls, value: Any) -> CocoImage:
        """One entry of `images`.

        Raises:
            BadDataset: with code `image.field` or `image.size`.
        """
        code = "image.field"
        row = fields(value, code)
        image = cls(text(row, "file_name", code), whole(row, "width", code), whole(row, "height", code), whole(row, "id", code))
        image.check()
        return image


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        where: `annotation 12`, `image 3`, `image 3 segment 7`, `category 4`, `images[5]` when the entry has no id, or `file`.
        code: what kind of thing, stable across releases.
        message: for people; names the value.
    """

    where: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.code}]"

    @classmethod
    def of(cls, error: InputError, where: str) -> Problem:
        return cls(where, error.code, error.message)

    def to_json(self) -> dict[str, str]:
        return {"where": self.where, "code": self.code, "message": self.message}


def located(error: InputError, where: str) -> InputError:
    """The same error, with the place in front of its message."""
    return type(error)(f"{where}: {error.message}", code=error.code)


def where(kind: str, value: Any, index: int | None) -> str:
    """`annotation 12`, or `annotations[7]` for an entry without a usable id."""
    number = value.get("id") if isinstance(value, dict) else None
    return f"{kind} {number}" if type(number) is int and abs(number) <= MAX_WHOLE else f"{_PLURAL[kind]}[{index}]"


_PLURAL = {
    "image": "images",
    "annotation": "annotations",
    "category": "categories",
    "video": "videos",
    "track": "tracks",
}


def by_name(categories: Iterable[Category]) -> Mapping[str, Category]:
    """Categories by their names, in the order given.

    Raises:
        BadDataset: an id below 1, an empty name, or an id or name that occurs twice.
    """
    found: dict[str, Category] = {}
    ids: set[int] = set()
    for category in categories:
        if category.id < 1 or not category.name:
            raise BadDataset(f"a category has an id from 1 up and a name, got {category}", code="category.field")
        if category.id in ids or category.name in found:
            raise BadDataset(f"category {category.id} {category.name!r} occurs twice", code="category.id_twice")
        ids.add(category.id)
        found[category.name] = category
    return found


def _rgb(row: Fields, code: str) -> tuple[int, int, int] | None:
    color = row.get("color")
    if color is None:
        return None
    if not isinstance(color, list) or len(color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in color):
        raise BadDataset(f"color is not three numbers in 0..255: {color!r:.80}", code=code)
    return color[0], color[1], color[2]


def _color(number: int) -> tuple[int, int, int]:
    """Neighbouring numbers get hues that lie far apart (steps of the golden ratio)."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.6180339887 % 1.0, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
