"""The App's own AI tool in Chromium, with the files that `locara-label serve` has for it; see `test_real_app`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import fiftyone as fo
import numpy as np
import pytest

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.engine.browser_sam2 import DECODER, ENCODER, FOLDER
from locara_label.engine.loading import load_prompt_model
from locara_label.types import Mask, Point, Prompt
from tests.cli.served import serve
from tests.hosts.fiftyone.annotate_tab import AiTool, page_without_webgpu
from tests.hosts.fiftyone.fiftyone_app import App, serving
from tests.hosts.fiftyone.random_sam2 import write_weights
from tests.hosts.fiftyone.scenes_dataset import masks_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAME = "sam2.1-hiera-tiny"
SIZE = (480, 640)
ON = Point(520, 110)
BAR = 0.95
"""IoU of the mask of the App and of ours. The App shrinks and enlarges in its own way."""
PATIENCE_S = 600.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / NAME)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Any]:
    """One picture, and a field that the App's Annotate tab may write."""
    path, dataset = tmp_path / "scene.png", fo.Dataset(persistent=True)
    images.write_png(path, make_scene(EVALUATION_SEED, SIZE).image)
    dataset.add_sample(fo.Sample(filepath=str(path)))
    dataset.add_sample_field("found", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    dataset.update_label_schema("found", dataset.generate_label_schemas(fields="found"))
    dataset.activate_label_schemas("found")
    yield dataset
    dataset.delete()


@pytest.fixture
def tool(weights: Path, chromium: Any, shots: Path | None, tmp_path: Path) -> Iterator[AiTool]:
    """The tool in an App of its own, beside a server whose password the browser does not know."""
    words = ["--model", NAME, "--weights", str(weights), "--basic-auth", "user:password"]
    with serve(tmp_path, *words) as server:
        base = server.url + FOLDER
        settings = {"FIFTYONE_MODEL_WEIGHTS_BASE_SAM2": base}
        with serving(tmp_path / "app.log", settings) as app, page_without_webgpu(chromium) as page:
            yield AiTool(App(page, app.url, tmp_path, shots), SIZE, f"{base}/")


def saved(tool: AiTool, dataset: Any, wanted: Callable[[Mask], bool]) -> Mask:
    """The one mask in the data set, once it is the wanted one."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        dataset.reload()
        label = dataset.first()["found"]
        masks = masks_of(label, SIZE) if label is not None else []
        if len(masks) == 1 and wanted(masks[0]):
            return masks[0]
        tool.app.wait(300)  # in which the page's requests are answered
    raise AssertionError(f"the App saved no such mask: {tool.fetched} {tool.told}")


def deepest(mask: Mask) -> tuple[int, int]:
    """x and y of the pixel that is farthest from its border."""
    within = np.pad(mask.to_array(), 1).astype(np.uint8)
    depth = cv2.distanceTransform(within, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def test_the_tool_runs_our_files(tool: AiTool, weights: Path, scene: Any) -> None:
    model = load_prompt_model(NAME, weights)
    embedding = model.encode(make_scene(EVALUATION_SEED, SIZE).image)
    first = model.decode(embedding, Prompt((ON,), candidates=3))[0].mask
    off = Point(*deepest(first), positive=False)
    second = model.decode(embedding, Prompt((ON, off), candidates=3))[0].mask
    assert 0.1 < first.area / (SIZE[0] * SIZE[1]) < 0.9
    assert first.iou(second) < 0.85, "the second click has to change the mask"
    tool.open(scene.name)
    tool.click(ON.x, ON.y)
    there = saved(tool, scene, lambda _: True)
    tool.app.shot("ai-tool-first-click")
    assert there.iou(first) >= BAR
    tool.click(off.x, off.y)
    there = saved(tool, scene, lambda mask: mask != there)
    tool.app.shot("ai-tool-second-click")
    assert there.iou(second) >= BAR
    assert tool.fetched == [(ENCODER, 200), (DECODER, 200)]
    assert sum(bool(re.search("session (encoder|decoder) ep=wasm", line)) for line in tool.told) == 2
