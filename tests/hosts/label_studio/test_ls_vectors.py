"""Vectors are masks where they have an inside."""

from __future__ import annotations

from typing import Any

import pytest

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.hosts.label_studio.shapes import vector

CORNERS = [(10.0, 10.0), (50.0, 10.0), (50.0, 60.0), (10.0, 60.0)]
NAMES = "abcd"


def vertices(order: str = NAMES) -> list[dict[str, Any]]:
    """Of a rectangle, each after the one before it, as they stand in the list in any order."""
    before = dict(zip(NAMES, [None, *NAMES], strict=False))
    corners = dict(zip(NAMES, CORNERS, strict=True))
    return [
        {"id": one, "x": corners[one][0], "y": corners[one][1], "prevPointId": before[one], "isBezier": False} for one in order
    ]


def value(**changed: Any) -> dict[str, Any]:
    return {"vertices": vertices(), "closed": True, "vectorlabels": ["cat"], **changed}


@pytest.mark.parametrize("order", ["abcd", "badc", "dcba"])
def test_corners_follow_each_other(order: str) -> None:
    assert vector(value(vertices=vertices(order)), (100, 200)).tolist() == [[x * 2, y] for x, y in CORNERS]


def test_a_ring_begins_anywhere_and_plain_vertices_are_in_order() -> None:
    ring = vertices()
    ring[0]["prevPointId"] = "d"
    plain = [{"x": x, "y": y} for x, y in CORNERS]
    for given in (ring, plain):
        assert vector(value(vertices=given), (100, 100)).tolist() == [list(corner) for corner in CORNERS]


def test_its_inside_is_a_mask() -> None:
    base = {"id": "v", "from_name": "v", "to_name": "image", "original_width": 100, "original_height": 100}
    (found,) = read_regions([{**base, "type": "vectorlabels", "value": value()}]).masks
    assert found.labels == ("cat",)
    assert found.mask.area == 40 * 50
    assert not found.is_exact


@pytest.mark.parametrize(
    "changed",
    [
        {"closed": False},
        {"closed": "yes"},
        {"vertices": [*vertices("abc"), {**vertices("d")[0], "isBezier": True}]},
        {"vertices": [*vertices("abc"), {**vertices("d")[0], "prevPointId": "a"}]},
        {"vertices": vertices("abd")},
        {"vertices": vertices("ab")},
        {"vertices": [1, 2, 3]},
        {"vertices": None},
        {"vertices": [{"id": [], "x": 1, "y": 1, "prevPointId": {}}] * 3},
    ],
)
def test_others_are_told(changed: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        vector(value(**changed), (100, 100))
    assert caught.value.code == "request.polygon"
