"""What the tests of the assist server in a real Label Studio share: scenes, the object to click on, configs, masks read back."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fixtures.scenes import EVALUATION_SEED, SHAPES, Scene, SceneObject, make_scene
from locara_label.hosts.label_studio.regions import RegionMask, read_regions
from locara_label.types import Mask

SIZE = (360, 480)
MIN_DEPTH_PX, MIN_GAP_PX, MARGIN_PX = 28.0, 28.0, 12


@dataclass(frozen=True)
class Target:
    """An object that one click shows: its deepest pixel (x, y), its box (x0, y0, x1, y1) and its true mask."""

    label: str
    point: tuple[float, float]
    box: tuple[int, int, int, int]
    mask: Mask


def scene(number: int) -> Scene:
    return make_scene(EVALUATION_SEED + number, SIZE)


def png(image: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def targets(shown: Scene) -> list[Target]:
    """The objects that are thick, and far from others and the picture's border, the thickest first."""
    found = [(_depth(item.mask).max(), item) for item in shown.objects if _stands_alone(item, shown.objects)]
    return [target(item) for depth, item in sorted(found, key=lambda pair: -pair[0]) if depth >= MIN_DEPTH_PX]


def target(item: SceneObject) -> Target:
    rows, columns = item.mask.nonzero()
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    return Target(item.shape, deepest(item.mask), box, Mask.from_array(item.mask))


def deepest(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The middle of the pixel that is farthest from the border, as x and y."""
    depth = _depth(mask)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column) + 0.5, float(row) + 0.5


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far each pixel of a mask is from the nearest one outside; the border of the picture is outside."""
    return _distance(np.pad(mask, 1))[1:-1, 1:-1]


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance: NDArray[np.float32] = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return distance


def _stands_alone(item: SceneObject, objects: Iterable[SceneObject]) -> bool:
    others = [other.mask for other in objects if other is not item]
    inside = item.mask[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].sum() == item.mask.sum()
    return bool(inside) and (not others or bool(_distance(~np.logical_or.reduce(others))[item.mask].min() >= MIN_GAP_PX))


def config(control: str, *, text: bool = True) -> str:
    """Masks in one control, clicks and boxes, and above them a text area, which asks if `text`; the labels are shapes."""
    labels = "".join(f'<Label value="{name}"/>' for name in SHAPES)
    smart = 'smart="true" smartOnly="true"'
    return (
        f'<View><TextArea name="prompt" toName="image" smart="{str(text).lower()}" editable="true" rows="1"/>'
        '<Image name="image" value="$image" zoom="true"/>'
        f'<{control} name="mask" toName="image" smart="false">{labels}</{control}>'
        f'<KeyPointLabels name="point" toName="image" {smart}>{labels}</KeyPointLabels>'
        f'<RectangleLabels name="box" toName="image" {smart}>{labels}</RectangleLabels>'
        "</View>"
    )


def masks(result: Iterable[Mapping[str, Any]]) -> list[RegionMask]:
    """Masks of a result by what is drawn, not by the copy in `meta`; and the copy has to say the same."""
    regions = [dict(region) for region in result if region["type"] != "textarea"]
    drawn = read_regions([{**region, "meta": {}} for region in regions])
    assert drawn.skipped == ()
    for region, one in zip(regions, drawn.masks, strict=True):
        assert Mask.from_coco(region["meta"]["coco_rle"]) == one.mask
    return list(drawn.masks)


def best_iou(found: Iterable[RegionMask], wanted: Target) -> float:
    return max((one.mask.iou(wanted.mask) for one in found if wanted.label in one.labels), default=0.0)


def grid(step: int = 6) -> list[tuple[float, float]]:
    """Points all over the picture."""
    height, width = SIZE
    return [(x + 0.5, y + 0.5) for y in range(step, height - step, step) for x in range(step, width - step, step)]


def agreement(painted: Iterable[int], points: Iterable[tuple[float, float]], mask: Mask) -> float:
    """Share of points at which something is drawn exactly where the mask is."""
    array = mask.to_array()
    return float(np.mean([(alpha > 0) == array[int(y), int(x)] for alpha, (x, y) in zip(painted, points, strict=True)]))
