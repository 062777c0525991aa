"""What tests of reviews are made of: a labeling config, pre-labels, what an annotator makes of them, and requests."""

from __future__ import annotations

import numpy as np

from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.config import Output, parse
from locara_label.hosts.label_studio.results import Picture, mask_regions
from locara_label.hosts.label_studio.review import Wanted, review_project
from locara_label.hosts.label_studio.review_efforts import efforts
from locara_label.hosts.label_studio.review_store import Answer, Asked
from locara_label.types import Mask
from tests.hosts.label_studio.fake_label_studio import LEGACY

LABELS = "".join(f'<Label value="{name}"/>' for name in ("Cat", "Dog"))


CONFIG = f"""<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image">{LABELS}</BrushLabels>
  <PolygonLabels name="polygon" toName="image">{LABELS}</PolygonLabels>
  <KeyPointLabels name="click" toName="image" smart="true" smartOnly="true">{LABELS}</KeyPointLabels>
  <RectangleLabels name="ask" toName="image" smart="true" smartOnly="true">{LABELS}</RectangleLabels>
</View>"""


SIZE = (30, 40)


def block(x0, y0, x1, y1, size=SIZE):
    array = np.zeros(size, bool)
    array[y0:y1, x0:x1] = True
    return Mask.from_array(array)


def regions(mask, region, label="Cat", *, kind="Brush", version="m-1", score=0.9):
    [place] = [one for one in parse(CONFIG).outputs("image") if one.shape.kind == f"{kind}Labels"]
    where = Output(place.shape, place.names), Picture("image", mask.size)
    return mask_regions(mask, label, *where, model_version=version, region_id=region, score=score)


def edited(region, mask, label=None):
    """As the editor leaves a region that somebody painted over: another value, `meta` as it was."""
    label = label or region["value"]["brushlabels"][0]
    return region | {"value": regions(mask, "x", label)[0]["value"], "origin": "prediction-changed"}


def by_hand(mask, region, label="Cat"):
    [drawn] = regions(mask, region, label)
    return {key: value for key, value in drawn.items() if key not in {"meta", "score"}}


def annotation(number, result, by=5, **more):
    time = f"2026-11-21T10:00:{number:02d}Z"
    return {"id": number, "result": result, "completed_by": by, "was_cancelled": False, "created_at": time} | more


def add(fake, number, prelabels, *annotations, version="m-1", score=0.5):
    fake.tasks[number] = {"image": f"/data/upload/1/{number}.png"}
    fake.annotations[number] = list(annotations)
    if prelabels is not None:
        made = {"id": 100 + len(fake.predictions), "task": number, "model_version": version, "score": score}
        fake.predictions.append(made | {"result": prelabels})


def reviewed(fake, answers=(), **wanted):
    with LabelStudio(fake.url, LEGACY) as client:
        return review_project(client, Wanted(1, **wanted), answers)


def of(review):
    return {one.region: one for one in review.regions}


KEPT = block(0, 0, 8, 8)


GROWN = block(10, 0, 20, 10)


RENAMED = block(0, 12, 8, 20)


GONE = block(22, 0, 30, 8)


def worked(fake):
    """One pre-label is kept, one grown by a fifth, one renamed, one deleted; one object is drawn, one clicked and mended."""
    before = [
        *regions(KEPT, "kept"),
        *regions(GROWN, "grown", score=0.6),
        *regions(RENAMED, "renamed"),
        *regions(GONE, "gone", "Dog"),
    ]
    [clicked] = regions(block(10, 12, 20, 20), "clicked", "Dog", score=0.8)
    after = [
        before[0],
        edited(before[1], block(10, 0, 22, 10)),
        edited(before[2], RENAMED, "Dog"),
        by_hand(block(30, 20, 40, 30), "drawn"),
        edited(clicked, block(10, 12, 20, 22)),
    ]
    add(fake, 1, before, annotation(7, after, parent_prediction=100, lead_time=61.5))


def request(at, *objects, task=1, seconds=0.5, kind="click", model="sam", project=1):
    return Answer(
        project, task, at, seconds, kind, model, tuple(Asked(tuple(prompts), tuple(found)) for prompts, found in objects)
    )


def taken(*answers):
    return [(one.regions, one.clicks, round(one.seconds, 3)) for one in efforts(answers)]
