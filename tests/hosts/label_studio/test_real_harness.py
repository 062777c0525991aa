"""The harness itself: a click in the real editor arrives at a backend, and its answer is drawn and stored."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.hosts.label_studio.real_label_studio import RealLabelStudio
from tests.hosts.label_studio.recording_backend import RecordingBackend

if TYPE_CHECKING:
    from tests.hosts.label_studio.browser import Editor

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BitmaskLabels name="mask" toName="image" smart="false"><Label value="Object"/></BitmaskLabels>
  <KeyPointLabels name="point" toName="image" smart="true" smartOnly="true"><Label value="Object"/></KeyPointLabels>
</View>"""
WIDTH, HEIGHT = 320, 240


def _png(array: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def _left_half(body: dict[str, Any]) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    mask[:, : WIDTH // 2] = 255
    picture = "data:image/png;base64," + base64.b64encode(_png(mask)).decode()
    region = {"id": "half", "from_name": "mask", "to_name": "image", "type": "bitmasklabels", "image_rotation": 0,
              "original_width": WIDTH, "original_height": HEIGHT,
              "value": {"imageDataURL": picture, "bitmasklabels": ["Object"]}}  # fmt: skip
    context = (body["params"] or {}).get("context")
    return {"results": [{"result": [region] if context else [], "score": 0.5, "model_version": "recorder-1"}]}


def test_a_click_arrives_and_its_answer_is_stored(
    label_studio: RealLabelStudio, backend: RecordingBackend, editor: Editor
) -> None:
    backend.answer = _left_half
    project = label_studio.project(CONFIG)
    label_studio.connect(project, backend.url)
    [task] = label_studio.upload(project, {"grey.png": _png(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))})
    editor.open_task(project, task)
    editor.auto_annotation()
    editor.auto_accept(on=False)
    editor.smart_tool("key-point-tool")
    editor.label("point", "Object")
    editor.click(80, 60)
    editor.wait_for_answer(1)
    editor.wait_for_suggestion()

    clicks = [body for body in backend.bodies("/predict") if body["params"]["context"]]
    [point] = clicks[-1]["params"]["context"]["result"]
    assert (point["original_width"], point["original_height"], point["is_positive"]) == (WIDTH, HEIGHT, True)
    assert (point["value"]["x"], point["value"]["y"]) == pytest.approx((25, 25), abs=0.5)
    assert editor.painted(80, 120) > 0
    assert editor.painted(240, 120) == 0

    editor.accept()
    stored = editor.submit()
    assert [region["type"] for region in stored["result"]] == ["bitmasklabels"]
