"""Label Studio's shapes: percent of the picture's width and height, to pixels and back.

Percents always refer to the picture as stored, upright and at its natural size. Turning the view in the editor only changes
`image_rotation`; the coordinates, and a brush's or bitmask's pixels, stay as they were (Image.js of 1.23.2: the stage is turned,
`stageWidth` stays that of the picture). So `image_rotation` is checked and handed back, and never applied.
Rectangles turn clockwise about (x, y), their top left corner; ellipses about their centre, which is (x, y).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.fields import Fields, fields, items, number
from locara_label.types import Box, Mask

Size = tuple[int, int]
"""Height and width in pixels."""

Points = NDArray[np.float64]
"""[N, 2]: x, y in pixels."""

DECIMALS = 6
"""Of a percent, as written: a ten-thousandth of a pixel in 10,000."""

MAX_CORNERS = 100_000
_FAR = 1000.0
"""Percent. A turned rectangle may well begin outside the picture, but not this far."""


def percent(pixels: float, extent: int) -> float:
    """Pixels to percent of an extent in pixels."""
    return round(100.0 * pixels / extent, DECIMALS)


def pixels(value: float, extent: int) -> float:
    """Percent to pixels of an extent in pixels."""
    return value * extent / 100.0


def point(value: Fields, size: Size) -> tuple[float, float]:
    """A point, x and y in pixels, inside the picture: what lies up to 1 % outside is a click on the border.

    Raises:
        BadRequest: code `request.percent`.
    """
    x, y = (number(value.get(name), name, "request.percent", -1, 101) for name in ("x", "y"))
    return min(max(pixels(x, size[1]), 0.0), size[1]), min(max(pixels(y, size[0]), 0.0), size[0])


def rectangle(value: Fields, size: Size) -> Points:
    """The four corners [4, 2] of a rectangle, turned, unclipped.

    Raises:
        BadRequest: code `request.percent`.
    """
    x, y = (number(value.get(name), name, "request.percent", -_FAR, _FAR) for name in ("x", "y"))
    width, height = (number(value.get(name), name, "request.percent", 0, _FAR) for name in ("width", "height"))
    right, down = pixels(width, size[1]), pixels(height, size[0])
    corners = np.array([(0, 0), (right, 0), (right, down), (0, down)], np.float64)
    corner = np.array([pixels(x, size[1]), pixels(y, size[0])])
    moved: Points = _turned(corners, _rotation(value)) + corner
    return moved


def ellipse(value: Fields, size: Size) -> tuple[Points, tuple[float, float], float]:
    """Centre [2] and radii (x, y) in pixels, and the rotation in degrees.

    Raises:
        BadRequest: code `request.percent`.
    """
    x, y = (number(value.get(name), name, "request.percent", -_FAR, _FAR) for name in ("x", "y"))
    across, down = (number(value.get(name), name, "request.percent", 0, _FAR) for name in ("radiusX", "radiusY"))
    centre: Points = np.array([pixels(x, size[1]), pixels(y, size[0])])
    return centre, (pixels(across, size[1]), pixels(down, size[0])), _rotation(value)


def polygon(value: Fields, size: Size) -> Points:
    """The corners [N, 2] of a polygon, N >= 3.

    Raises:
        BadRequest: code `request.percent` or `request.polygon`.
    """
    corners = items(value.get("points"), "points", "request.polygon", MAX_CORNERS)
    pairs = [items(corner, "a corner", "request.polygon", 2) for corner in corners]
    pairs = [[number(part, "a corner", "request.percent", -_FAR, _FAR) for part in pair] for pair in pairs]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        items(None, "points of at least three corners [x, y]", "request.polygon", 2)
    return np.asarray(pairs, np.float64) * (size[1] / 100.0, size[0] / 100.0)


def vector(value: Fields, size: Size) -> Points:
    """The corners [N, 2] of a closed vector of straight lines, N >= 3; each of its vertices names the one before.

    Raises:
        BadRequest: code `request.percent`; or `request.polygon`, also for one that is open, curved, or branches.
    """
    vertices = [
        fields(one, "a vertex", "request.polygon")
        for one in items(value.get("vertices"), "vertices", "request.polygon", MAX_CORNERS)
    ]
    if value.get("closed") is not True or any(one.get("isBezier") for one in vertices):
        raise BadRequest("a vector has no inside that is known here, unless it is closed and straight", code="request.polygon")
    return polygon({"points": [[one.get("x"), one.get("y")] for one in _in_order(vertices)]}, size)


def _in_order(vertices: list[Fields]) -> list[Fields]:
    after = {str(one["prevPointId"]): one for one in vertices if one.get("prevPointId") is not None}
    if not after:
        return vertices
    ordered = [next((one for one in vertices if one.get("prevPointId") is None), vertices[0])]
    while len(ordered) < len(vertices) and (following := after.get(str(ordered[-1].get("id")))) is not None:
        ordered.append(following)
    if len({id(one) for one in ordered}) < len(vertices):
        raise BadRequest("the vertices of a vector are not one line", code="request.polygon")
    return ordered


def box_around(corners: Points, size: Size) -> Box | None:
    """The smallest box around points, clipped to the picture; None if nothing of it lies inside."""
    x0, y0 = np.maximum(corners.min(axis=0), 0.0)
    x1, y1 = np.minimum(corners.max(axis=0), (size[1], size[0]))
    return Box(float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def box_of_ellipse(centre: Points, radii: tuple[float, float], rotation: float, size: Size) -> Box | None:
    """The smallest box around a turned ellipse, clipped to the picture; None if nothing of it lies inside."""
    angle = np.deg2rad(rotation)
    across = np.hypot(radii[0] * np.cos(angle), radii[1] * np.sin(angle))
    down = np.hypot(radii[0] * np.sin(angle), radii[1] * np.cos(angle))
    reach = np.array([across, down])
    return box_around(np.stack([np.subtract(centre, reach), np.add(centre, reach)]), size)


def fill_polygon(corners: Points, size: Size) -> Mask:
    """The pixels of a polygon, by the rule of the COCO API."""
    return Mask.from_coco([corners.reshape(-1).tolist()], size)


def fill_ellipse(centre: Points, radii: tuple[float, float], rotation: float, size: Size) -> Mask:
    """The pixels whose centre lies inside a turned ellipse."""
    mask = np.zeros(size, bool)
    box = box_of_ellipse(centre, radii, rotation, size)
    if box is not None and min(radii) > 0:
        rows, columns = slice(int(box.y0), int(np.ceil(box.y1))), slice(int(box.x0), int(np.ceil(box.x1)))
        dy = np.arange(rows.start, rows.stop)[:, None] + 0.5 - centre[1]
        dx = np.arange(columns.start, columns.stop)[None, :] + 0.5 - centre[0]
        cos, sin = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
        mask[rows, columns] = ((dx * cos + dy * sin) / radii[0]) ** 2 + ((dy * cos - dx * sin) / radii[1]) ** 2 <= 1
    return Mask.from_array(mask)


def _rotation(value: Fields) -> float:
    rotation = value.get("rotation")
    return 0.0 if rotation is None else number(rotation, "rotation", "request.percent", -3600, 3600)


def _turned(corners: Points, rotation: float) -> Points:
    cos, sin = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    turned: Points = corners @ np.array([(cos, sin), (-sin, cos)])
    return turned
