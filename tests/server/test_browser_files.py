"""The files for FiftyOne's App over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
from running import Client

from locara_label.engine import browser_sam2
from locara_label.engine.browser_sam2 import DECODER, ENCODER, PATHS
from locara_label.engine.loading import load_prompt_model

ORIGIN = "http://127.0.0.1:5151"
"""Of a page of the App."""


@pytest.fixture(scope="module")
def sam2() -> Any:
    return load_prompt_model("sam2-mini")


def test_what_is_not_for_the_app_is_told(start: Callable[..., Client], sam2: Any) -> None:
    client = start(prelabel=False, prompt_model=sam2)
    refused = client.get(PATHS[0], origin=ORIGIN)
    assert (refused.status, refused.code) == (422, "option.model")
    assert "1024 pixels" in refused.json()["error"]["message"]
    assert client.get("/fiftyone/sam2/model.bin").code == "fetch.not_found"
    assert start(prelabel=False).get(PATHS[1]).code == "option.model"


def test_a_page_of_another_origin_may_fetch_it(start: Callable[..., Client], sam2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mini model, as if the App could run it; a password guards everything else."""
    monkeypatch.setattr(browser_sam2, "SIDE_PX", 256)
    client = start(prelabel=False, prompt_model=sam2, basic_auth="me:secret")
    for path, name in zip(PATHS, (ENCODER, DECODER), strict=True):
        found = client.get(path, origin=ORIGIN)
        assert found.status == 200
        assert found.headers["access-control-allow-origin"] == "*"
        assert int(found.headers["content-length"]) == len(found.body)
        session = onnxruntime.InferenceSession(found.body, providers=["CPUExecutionProvider"])
        assert {one.name for one in session.get_outputs()} <= {*browser_sam2.NAMES[name].values(), "masks"}
    assert client.get("/v1/models").status == 401
