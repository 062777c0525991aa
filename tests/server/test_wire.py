"""Every recorded exchange of Label Studio 1.23.2 is sent to the server, and answered so that Label Studio takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Client, serving
from task_files import serving_files

from locara_label import images
from locara_label.engine.loading import load
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.models.classic import Classic
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings

WIRE = Path(__file__).parent.parent / "hosts" / "label_studio" / "wire"


def _whole(exchange: dict[str, Any]) -> dict[str, Any]:
    """The recording of the large batch keeps two tasks and says how many more there were."""
    tasks = (exchange.get("body") or {}).get("tasks") or [{}]
    if isinstance(tasks[-1], str):
        exchange["body"]["tasks"] = [{**tasks[i % 2], "id": tasks[0]["id"] + i} for i in range(300)]
    return exchange


EXCHANGES = {path.stem: _whole(json.loads(path.read_text("utf-8"))) for path in sorted(WIRE.glob("*.json"))}
TO_BACKEND = {name: exchange for name, exchange in EXCHANGES.items() if name < "50"}
CLICKS = [name for name in TO_BACKEND if name.startswith(("20", "21", "22", "23", "24"))]


def test_all_exchanges_are_here() -> None:
    assert len(EXCHANGES) == 41
    assert len(TO_BACKEND) == 34
    assert len(CLICKS) == 5


def _pictures(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _pictures(part)
    elif isinstance(value, list):
        for part in value:
            yield from _pictures(part)
    elif isinstance(value, str) and value.startswith("/data/"):
        yield value


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    """A server with a mini model, and a Label Studio that has every picture of the exchanges, all 640 x 480."""
    rng = np.random.default_rng(0)
    picture = np.full((480, 640, 3), 40, np.uint8)
    picture[120:360, 160:480] = (200, 60, 30)
    picture += rng.integers(0, 20, picture.shape, np.uint8)
    with serving_files() as files:
        content = images.encode_png(picture)
        for exchange in TO_BACKEND.values():
            files.content |= dict.fromkeys(_pictures(exchange.get("body")), content)
        settings = load_settings(
            cache_dir=tmp_path_factory.mktemp("cache"),
            data_dir=tmp_path_factory.mktemp("data"),
            server={"label_studio_url": files.url},
        )
        with serving(Service(settings, Models(Classic(), load("mini")))) as client:
            yield client


def _replay(client: Client, exchange: dict[str, Any]):
    method, path, _ = exchange["request_line"].split(" ")
    headers = {name: value for name, value in exchange["headers"].items() if name.lower() not in {"host", "content-length"}}
    body = exchange.get("body")
    return client.send(method, path, None if method == "GET" else json.dumps(body).encode(), headers)


@pytest.mark.parametrize("name", [name for name, exchange in TO_BACKEND.items() if "/predict" not in exchange["request_line"]])
def test_quick_exchanges_are_answered(client: Client, name: str) -> None:
    reply = _replay(client, TO_BACKEND[name])
    path = TO_BACKEND[name]["request_line"].split(" ")[1]
    if path.startswith("/sub/path/"):
        assert (reply.status, reply.code) == (404, "http.404")  # see test_routes_may_live_below_a_path
        return
    if path == "/setup" and reply.status != 200:
        assert reply.code == "config.unusable"
        return
    assert reply.status == 200
    content = reply.json()
    assert path != "/setup" or isinstance(content["model_version"], str)
    assert path != "/versions" or content["versions"]
    assert path != "/health" or content["status"] == "UP"


@pytest.mark.parametrize("name", [name for name, exchange in TO_BACKEND.items() if "/predict" in exchange["request_line"]])
def test_predictions_are_what_label_studio_takes(client: Client, name: str) -> None:
    exchange = TO_BACKEND[name]
    reply = _replay(client, exchange)
    if reply.status != 200:
        assert reply.status < 500
        assert reply.code in {"config.unusable", "request.to_name", "prompt.text"}
        return
    content = reply.json()
    context = exchange["body"]["params"]["context"]
    assert len(content["results"]) == (1 if context else len(exchange["body"]["tasks"]))
    for entry in content["results"]:
        for prediction in entry if isinstance(entry, list) else [entry]:
            assert prediction["model_version"] == content["model_version"]
            assert isinstance(prediction["score"], float)
            for region in prediction["result"]:
                assert {"id", "from_name", "to_name", "type", "value"} <= region.keys()


@pytest.mark.parametrize("name", CLICKS)
def test_clicks_and_boxes_give_the_mask_under_the_label_asked_for(client: Client, name: str) -> None:
    exchange = TO_BACKEND[name]
    content = _replay(client, exchange).json()
    regions = content["results"][0]["result"]
    asked = exchange["body"]["params"]["context"]["result"][0]
    label = next(value for key, value in asked["value"].items() if key.endswith("labels"))
    (found,) = read_regions(regions).masks
    assert found.mask.size == (480, 640)
    assert found.mask.area > 100
    assert list(found.labels) == label
    point = asked["value"]
    x = int((point["x"] + point.get("width", 0) / 2 * (asked["type"] == "rectanglelabels")) / 100 * 640)
    y = int((point["y"] + point.get("height", 0) / 2) / 100 * 480)
    assert found.mask.to_array()[y, x]


def test_leaving_a_task_is_answered_at_once_with_nothing(client: Client) -> None:
    content = _replay(client, TO_BACKEND["32_video_leave_page_empty_context"]).json()
    assert content["results"][0]["result"] == []


def test_a_text_without_a_model_for_it_is_told_in_the_text_area(client: Client) -> None:
    (region,) = _replay(client, TO_BACKEND["25_text_prompt"]).json()["results"][0]["result"]
    assert region["type"] == "textarea"
    assert "no model that understands text" in region["value"]["text"][0]
