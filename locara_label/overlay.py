"""Masks drawn for people: over their picture, cut out of it, and many pictures on one sheet."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadMask, BadOption
from locara_label.geometry import resize_bilinear
from locara_label.types import Instance, Mask

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

Picture = NDArray[np.uint8]
Alpha = NDArray[np.float32]
Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the last two exclusive."""

_NIGHT = (18, 20, 26)
_PAPER = (250, 250, 250)
_INK = (24, 26, 30)


def colour(label: str) -> tuple[int, int, int]:
    """The RGB colour of a label, 0..255: vivid, and the same in every picture, process and release."""
    number = zlib.crc32(label.encode())
    hue, shade = (number * 0.618033988749895) % 1, number >> 8
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.62, 0.78, 0.9)[shade % 3], (1.0, 0.92, 0.82)[shade // 3 % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    image: Picture,
    instances: Sequence[Instance],
    opacity: float = 0.5,
    *,
    feather_px: float = 0,
    invert: bool = False,
    outlines: bool = True,
    names: bool = True,
) -> Picture:
    """RGB uint8 [H, W, 3] with its masks coloured, as a new array of the same shape. Smaller masks lie on larger ones.

    Args:
        image: RGB uint8 [H, W, 3].
        instances: masks of the picture's own size.
        opacity: 0 leaves the picture as it is, 1 hides it under the colours.
        feather_px: width in pixels of the soft edge of the colouring.
        invert: leave the masks alone and darken everything else.
        outlines: draw the masks' borders, those of holes too.
        names: write labels and scores below 1, where they fit.

    Raises:
        BadMask: a mask is not of the picture's size.
        BadOption: opacity is not in 0..1, feather_px is negative, or the image is not RGB uint8.
    """
    _check_picture(image)
    _check_options(opacity, feather_px)
    for instance in instances:
        _check_size(image, instance.mask.size)
    drawn = np.array(image, order="C")
    layers = [_Layer.of(instance) for instance in instances if instance.mask.area]
    layers.sort(key=lambda layer: -layer.instance.mask.area)
    if invert:
        _darken_rest(drawn, layers, opacity, feather_px)
    for layer in layers:
        if not invert:
            _tint(drawn, layer, opacity, feather_px)
        if outlines:
            _outline(drawn, layer)
    return _write_names(drawn, layers) if names and layers else drawn


@dataclass(frozen=True, eq=False)
class _Layer:
    """One mask to draw: bool [H, W], its box, its colour."""

    instance: Instance
    inside: NDArray[np.bool_]
    box: Rectangle
    colour: tuple[int, int, int]

    @classmethod
    def of(cls, instance: Instance) -> _Layer:
        box = instance.mask.box
        corners = int(box.x0), int(box.y0), int(box.x1), int(box.y1)
        return cls(instance, np.ascontiguousarray(instance.mask.to_array()), corners, colour(instance.label))


def _check_picture(image: Picture) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise BadOption(f"a picture is RGB uint8 [H, W, 3], got {image.dtype} {image.shape}", code="option.array")


def _check_options(opacity: float, feather_px: float) -> None:
    if not 0 <= opacity <= 1:
        raise BadOption(f"opacity lies in 0..1, got {opacity}", code="option.range")
    if not 0 <= feather_px <= 1000:
        raise BadOption(f"feather_px lies in 0..1000, got {feather_px}", code="option.range")


def _check_size(image: Picture, size: tuple[int, ...]) -> None:
    if image.shape[:2] != size:
        raise BadMask(f"a mask of {size} does not fit a picture of {image.shape[:2]}", code="mask.size")


def _soft(inside: NDArray[np.bool_], feather_px: float) -> Alpha:
    """Bool [H, W] to alpha 0..1; the edge of the mask stays at one half, the border of the picture is no edge."""
    alpha = inside.astype(np.float32)
    if feather_px <= 0:
        return alpha
    sigma = feather_px / 2
    blurred: Alpha = cv2.GaussianBlur(alpha, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _around(box: Rectangle, margin: int, size: tuple[int, ...]) -> tuple[slice, slice]:
    x0, y0, x1, y1 = box
    rows = slice(max(y0 - margin, 0), min(y1 + margin, size[0]))
    return rows, slice(max(x0 - margin, 0), min(x1 + margin, size[1]))


def _blend(target: Picture, paint: tuple[int, int, int], alpha: Alpha) -> None:
    mixed = target + alpha[:, :, None] * (np.array(paint, np.float32) - target)
    target[:] = np.rint(mixed).astype(np.uint8)


def _tint(drawn: Picture, layer: _Layer, opacity: float, feather_px: float) -> None:
    if feather_px <= 0:
        part = _around(layer.box, 0, drawn.shape)
        tinted = cv2.LUT(drawn[part], _table(layer.colour, opacity))
        np.copyto(drawn[part], tinted, where=layer.inside[part][:, :, None])
        return
    part = _around(layer.box, int(np.ceil(2 * feather_px)), drawn.shape)
    _blend(drawn[part], layer.colour, opacity * _soft(layer.inside[part], feather_px))


def _table(paint: tuple[int, int, int], opacity: float) -> Picture:
    """What each value of each channel becomes under a colour, uint8 [1, 256, 3]."""
    value = np.arange(256, dtype=np.float32)[:, None]
    return np.rint(value + opacity * (np.array(paint, np.float32) - value)).astype(np.uint8)[None]


def _darken_rest(drawn: Picture, layers: list[_Layer], opacity: float, feather_px: float) -> None:
    kept = np.zeros(drawn.shape[:2], bool)
    for layer in layers:
        kept |= layer.inside
    _blend(drawn, _NIGHT, opacity * (1 - _soft(kept, feather_px)))


def _line_px(size: tuple[int, ...]) -> int:
    return max(1, round(min(size[:2]) / 400))


def _outline(drawn: Picture, layer: _Layer) -> None:
    rows, columns = _around(layer.box, 1, drawn.shape)
    inside = np.ascontiguousarray(layer.inside[rows, columns]).view(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(columns.start, rows.start))
    cv2.drawContours(drawn, borders, -1, layer.colour, _line_px(drawn.shape), cv2.LINE_AA)


def _font_px(size: tuple[int, ...]) -> int:
    return max(11, round(float(np.sqrt(size[0] * size[1])) / 48))


def _font(size_px: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size_px)


def _write_names(drawn: Picture, layers: list[_Layer]) -> Picture:
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(drawn)
    pen, font = ImageDraw.Draw(canvas), _font(_font_px(drawn.shape))
    taken: list[Rectangle] = []
    for layer in reversed(layers):
        text = _caption(layer.instance)
        tag = _tag_size(pen, text, font)
        place = _free_place(_anchor(layer, tag), tag, taken, drawn.shape)
        if place is not None:
            taken.append(place)
            _write_tag(pen, place, text, font, layer.colour)
    return np.array(canvas)


def _caption(instance: Instance) -> str:
    return f"{instance.label} {instance.score:.0%}" if instance.score < 1 else instance.label


def _tag_size(pen: Any, text: str, font: Any) -> tuple[int, int]:
    """Width and height in pixels of a name with its margin."""
    pad = max(2, int(font.size) // 4)
    return int(np.ceil(pen.textlength(text, font))) + 2 * pad, int(font.size * 1.2) + pad


def _anchor(layer: _Layer, tag: tuple[int, int]) -> tuple[int, int]:
    """Where the tag would like its top left corner: on top of a thing, deep inside a region."""
    x0, y0, _, _ = layer.box
    if not layer.instance.is_stuff:
        return x0, y0 - tag[1]
    part = _around(layer.box, 0, layer.inside.shape)
    framed = np.pad(layer.inside[part].view(np.uint8), 1)
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(framed, cv2.DIST_L2, 3))
    return x0 + x - 1 - tag[0] // 2, y0 + y - 1 - tag[1] // 2


def _free_place(anchor: tuple[int, int], tag: tuple[int, int], taken: list[Rectangle], size: tuple[int, ...]) -> Rectangle | None:
    """The anchored rectangle, moved into the picture and down past other tags; none when it would hide too much of it."""
    width, height = tag
    if width > size[1] or 8 * width * height > size[0] * size[1]:
        return None
    x, y = min(max(anchor[0], 0), size[1] - width), min(max(anchor[1], 0), size[0] - height)
    while y + height <= size[0]:
        place = x, y, x + width, y + height
        below = [other[3] for other in taken if _overlap(place, other)]
        if not below:
            return place
        y = max(below)
    return None


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write_tag(pen: Any, place: Rectangle, text: str, font: Any, paint: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = place
    bright = 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2] > 140
    pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=(y1 - y0) // 5, fill=paint)
    pen.text(((x0 + x1) / 2, (y0 + y1) / 2), text, fill=_INK if bright else _PAPER, font=font, anchor="mm")


def cutout(image: Picture, mask: Mask | NDArray[Any], feather_px: float = 0, invert: bool = False) -> Picture:
    """RGBA uint8 [H, W, 4]: the masked part of a picture on nothing. Colours are kept under full transparency.

    Args:
        image: RGB uint8 [H, W, 3].
        mask: a Mask, bool [H, W], or alpha [H, W] as float in 0..1 or uint8 in 0..255.
        feather_px: width in pixels of the soft edge.
        invert: cut the mask away and keep the rest.

    Raises:
        BadMask: the mask is not of the picture's size, or of another kind.
        BadOption: feather_px is negative, or the image is not RGB uint8.
    """
    _check_picture(image)
    _check_options(1, feather_px)
    alpha = _alpha(mask.to_array() if isinstance(mask, Mask) else mask)
    _check_size(image, alpha.shape)
    if feather_px > 0:
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather_px / 2, borderType=cv2.BORDER_REPLICATE)
    opaque = np.rint(255 * (1 - alpha if invert else alpha)).astype(np.uint8)
    return np.dstack([image, opaque])


def _alpha(mask: NDArray[Any]) -> Alpha:
    if mask.dtype == np.bool_:
        return np.ascontiguousarray(mask, np.float32)
    if mask.dtype == np.uint8:
        return np.ascontiguousarray(mask, np.float32) / np.float32(255)
    if np.issubdtype(mask.dtype, np.floating) and np.isfinite(mask).all():
        return np.ascontiguousarray(np.clip(mask, 0, 1), np.float32)
    raise BadMask(f"an alpha is bool, uint8 or finite floats [H, W], got {mask.dtype} {mask.shape}", code="mask.kind")


def contact_sheet(pictures: Sequence[tuple[Picture, str]], columns: int = 4, tile_px: int = 320) -> Picture:
    """Pictures with captions on one sheet, RGB uint8, row by row; each fits a square of `tile_px` and keeps its proportions.

    Raises:
        BadOption: there is no picture, or columns or tile_px is less than 1 or 16.
    """
    if not pictures or columns < 1 or tile_px < 16:
        raise BadOption(
            f"a sheet needs pictures, columns and tiles, got {len(pictures)}, {columns}, {tile_px}", code="option.range"
        )
    for picture, _ in pictures:
        _check_picture(picture)
    across, gap, line = min(columns, len(pictures)), max(4, tile_px // 24), max(11, tile_px // 20)
    tiles = [_fitted(picture, tile_px) for picture, _ in pictures]
    rows = [tiles[first : first + across] for first in range(0, len(tiles), across)]
    tall = [max(len(tile) for tile in row) for row in rows]
    tops = gap + np.concatenate(([0], np.cumsum(np.array(tall) + round(1.8 * line) + gap)))
    sheet = np.full((int(tops[-1]), across * (tile_px + gap) + gap, 3), _PAPER, np.uint8)
    places = []
    for number, tile in enumerate(tiles):
        row, x, y = number // across, gap + number % across * (tile_px + gap), int(tops[number // across])
        _paste(sheet, tile, (x + (tile_px - tile.shape[1]) // 2, y + (tall[row] - len(tile)) // 2))
        places.append((x, y + tall[row]))
    return _write_captions(sheet, [caption for _, caption in pictures], places, (tile_px, line))


def _fitted(picture: Picture, tile_px: int) -> Picture:
    scale = tile_px / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return resize_bilinear(picture, (height, width))


def _paste(sheet: Picture, tile: Picture, corner: tuple[int, int]) -> None:
    sheet[corner[1] : corner[1] + tile.shape[0], corner[0] : corner[0] + tile.shape[1]] = tile


def _write_captions(sheet: Picture, captions: list[str], corners: list[tuple[int, int]], sizes_px: tuple[int, int]) -> Picture:
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(canvas), _font(sizes_px[1])
    for caption, (x, y) in zip(captions, corners, strict=True):
        text = _shortened(" ".join(caption.split()), lambda value: pen.textlength(value, font) <= sizes_px[0])
        pen.text((x + sizes_px[0] / 2, y + sizes_px[1]), text, fill=_INK, font=font, anchor="mm")
    return np.array(canvas)


def _shortened(text: str, fits: Any) -> str:
    if fits(text):
        return text
    kept = len(text)
    while kept and not fits(text[:kept].rstrip() + "..."):
        kept -= 1
    return text[:kept].rstrip() + "..." if kept else ""
