"""Whether the whole loop works, asked of Label Studio: predictions that hold masks, and answers to a click and to a box."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from locara_label.errors import RunError
from locara_label.hosts.label_studio.client import LabelStudio, Prediction
from locara_label.hosts.label_studio.regions import RegionMask, read_regions
from locara_label.hosts.label_studio.video_objects import judge
from locara_label.quickstart.projects import Ready, ask
from locara_label.types import Mask

_CLICKED = "keypointlabels"


@dataclass(frozen=True)
class Checked:
    """What was seen of a project.

    Attributes:
        masks: in the predictions of its tasks.
        empty: tasks without a mask.
        answered: masks in the answer to one prompt.
        shown: a task that opens with masks, None where there is none.
    """

    title: str
    project: int
    tasks: int
    masks: int
    empty: int
    answered: int
    shown: int | None


def check_pictures(client: LabelStudio, ready: Ready) -> Checked:
    """Every task has a prediction, its masks can be read, and a click on one of them is answered with a mask.

    Raises:
        RunError: code quickstart.check; something of this is not so.
    """
    found = {task: _masks(client, ready, task) for task in ready.tasks.values()}
    count = sum(map(len, found.values()))
    if not count:
        raise _wrong(ready, f"the predictions of its {len(found)} tasks hold no mask; does the model know what they show?")
    task, clicked = next((task, masks[0]) for task, masks in found.items() if masks)
    answer = [one for one in ask(client, ready, task, _click(clicked)) if one.get("type") != "textarea"]
    answered = [one for one in read_regions(answer).masks if one.mask.area]
    if not answered:
        raise _wrong(ready, f"a click on task {task} is answered without a mask")
    empty = sum(not masks for masks in found.values())
    return Checked(ready.material.title, ready.project, len(found), count, empty, len(answered), task)


def check_video(client: LabelStudio, ready: Ready) -> Checked:
    """Every keyframe of the predictions has its mask; where there are none, a box is followed.

    Raises:
        RunError: code quickstart.check.
    """
    keyframes = {task: _keyframes(client, ready, task) for task in ready.tasks.values()}
    count, empty = sum(keyframes.values()), sum(not found for found in keyframes.values())
    if ready.material.sought and not count:
        raise _wrong(ready, f"no masklet was found for {', '.join(ready.material.sought)}; does the model know these words?")
    answered = 0 if count else sum(_of_box(client, ready, task) for task in ready.tasks.values())
    if not count and not answered:
        raise _wrong(ready, "a box is answered without a mask")
    shown = next((task for task, found in keyframes.items() if found), None)
    return Checked(ready.material.title, ready.project, len(keyframes), count, empty, answered, shown)


def inner_point(mask: Mask) -> tuple[float, float]:
    """The middle of a pixel of the mask, as x and y: the one in the middle of its longest run of its row with most pixels."""
    array = mask.to_array()
    row = int(array.sum(axis=1).argmax())
    edges = np.flatnonzero(np.diff(np.pad(array[row].astype(np.int8), 1)))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return float(starts[longest] + ends[longest]) / 2, row + 0.5


def _masks(client: LabelStudio, ready: Ready, task: int) -> list[RegionMask]:
    result = _prediction(client, ready, task).result
    read = read_regions([dict(one) for one in result if one.get("type") != "textarea"])
    if read.skipped:
        raise _wrong(ready, f"a region of task {task} cannot be read: {read.skipped[0][1]}")
    return [one for one in read.masks if one.mask.area]


def _prediction(client: LabelStudio, ready: Ready, task: int) -> Prediction:
    found = [one for one in client.predictions(task) if one.model_version == ready.version]
    if len(found) != 1:
        raise _wrong(ready, f"task {task} has {len(found)} predictions of {ready.version}, not one")
    return found[0]


def _keyframes(client: LabelStudio, ready: Ready, task: int) -> int:
    """How many keyframes a task's prediction has."""
    found = [region for one in client.predictions(task) if one.model_version == ready.version for region in one.result]
    return _with_masks(ready, (one for one in found if one.get("type") == "videorectangle"))


def _with_masks(ready: Ready, regions: Iterable[Mapping[str, Any]]) -> int:
    entries = [entry for one in regions for entry in one["value"]["sequence"]]
    states = {judge(entry).state for entry in entries}
    if states - {"valid"}:
        raise _wrong(ready, f"masks of keyframes are {', '.join(sorted(states))}")
    return len(entries)


def _of_box(client: LabelStudio, ready: Ready, task: int) -> int:
    box = {"frame": 1, "enabled": True, "rotation": 0, "x": 25, "y": 25, "width": 50, "height": 50}
    value = {"sequence": [box], "labels": [ready.material.labels[0]]}
    region = {"id": secrets.token_hex(5), "from_name": "box", "to_name": "video", "type": "videorectangle", "value": value}
    return _with_masks(ready, (one for one in ask(client, ready, task, region) if one.get("type") == "videorectangle"))


def _click(on: RegionMask) -> dict[str, Any]:
    """As the editor sends it."""
    (x, y), (height, width) = inner_point(on.mask), on.mask.size
    value = {"x": 100 * x / width, "y": 100 * y / height, "width": 0.3, "labels": [on.labels[0]], _CLICKED: [on.labels[0]]}
    return {
        "id": secrets.token_hex(5), "from_name": "point", "to_name": on.to_name, "type": _CLICKED, "origin": "manual",
        "is_positive": True, "original_width": width, "original_height": height, "image_rotation": 0, "value": value,
    }  # fmt: skip


def _wrong(ready: Ready, text: str) -> RunError:
    return RunError(f"project {ready.project}, {ready.material.title!r}: {text}", code="quickstart.check")
