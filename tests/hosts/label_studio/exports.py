"""What tests of exports are made of: a labeling config, annotations of it, and what was written."""

from __future__ import annotations

import numpy as np

from locara_label.datasets import coco
from locara_label.hosts.label_studio.config import Output, parse
from locara_label.hosts.label_studio.results import Picture, mask_regions
from locara_label.types import Mask

LABELS = "".join(f'<Label value="{name}"/>' for name in ("Cat", "Dog", "Bird"))
CONFIG = f"""<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image">{LABELS}</BrushLabels>
  <BitmaskLabels name="bitmask" toName="image">{LABELS}</BitmaskLabels>
  <PolygonLabels name="polygon" toName="image">{LABELS}</PolygonLabels>
  <RectangleLabels name="box" toName="image">{LABELS}</RectangleLabels>
  <EllipseLabels name="ellipse" toName="image">{LABELS}</EllipseLabels>
  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">{LABELS}</KeyPointLabels>
  <RectangleLabels name="ask" toName="image" smart="true" smartOnly="true">{LABELS}</RectangleLabels>
  <Choices name="weather" toName="image"><Choice value="sun"/></Choices>
</View>"""
KINDS = ["Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse"]
SIZE = (30, 40)


def regions(mask, kind="Brush", label="Cat", **more):
    [place] = [one for one in parse(CONFIG).outputs("image") if one.shape.kind == f"{kind}Labels"]
    return mask_regions(mask, label, Output(place.shape, place.names), Picture("image", mask.size), model_version="v", **more)


def noise(seed, size=SIZE):
    return Mask.from_array(np.random.default_rng(seed).random(size) < 0.4)


def block(x0, y0, x1, y1, size=SIZE):
    array = np.zeros(size, bool)
    array[y0:y1, x0:x1] = True
    return Mask.from_array(array)


def annotation(result, number=1, **more):
    time = f"2026-11-21T10:00:{number % 60:02d}.000000Z"
    return {"id": number, "result": result, "was_cancelled": False, "ground_truth": False, "created_at": time} | more


def task(number, *annotations, **more):
    data = {"image": f"/data/upload/1/abcd1234-{number}.png"}
    return {"id": number, "project": 1, "data": data, "annotations": list(annotations), "drafts": [], "predictions": []} | more


def never(url, of):
    raise AssertionError(f"{url} was read")


def found(path):
    data = coco.read(path)
    return [(one.image_id, data.categories[one.category_id].name, one.mask) for one in data.annotations()]


def codes(report):
    return [(one.place, one.code) for one in report.examples]
