"""Where a task's picture is found, and which regions it has already."""

from typing import Any

import pytest

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.config import ObjectTag
from locara_label.hosts.label_studio.requests import Task, parse_predict


@pytest.mark.parametrize(
    ("shown", "data", "urls"),
    [
        (ObjectTag("i", "image", "$image"), {"image": "/data/a.png"}, ("/data/a.png",)),
        (ObjectTag("i", "image", "$a.b"), {"a": {"b": "x"}}, ("x",)),
        (ObjectTag("i", "image", "$a[1]"), {"a": ["x", "y"]}, ("y",)),
        (ObjectTag("i", "image", "https://host/$name.png"), {"name.png": "b.png"}, ("https://host/b.png",)),
        (ObjectTag("i", "image", None, "$pages"), {"pages": ["x", "y"]}, ("x", "y")),
    ],
)
def test_urls_of_a_task(shown: ObjectTag, data: dict[str, Any], urls: tuple[str, ...]) -> None:
    assert Task(1, data).urls(shown) == urls


@pytest.mark.parametrize("data", [{}, {"image": None}, {"image": 5}, {"image": ["x"]}, {"image": ""}])
def test_a_task_without_its_picture_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        Task(7, data).urls(ObjectTag("i", "image", "$image"))
    assert caught.value.code == "task.data"
    assert "image" in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "regions"),
    [
        ({}, set()),
        ({"annotations": [{"result": [{"id": "a"}, {"id": "b"}]}], "drafts": [{"result": [{"id": "c"}]}]}, {"a", "b", "c"}),
        ({"annotations": None, "drafts": [{"result": None}, 5, {"result": [7, {"id": None}, {"id": "c"}]}]}, {"c"}),
        ({"annotations": {"result": []}, "drafts": "x"}, set()),
    ],
)
def test_regions_of_a_task(kept: dict[str, Any], regions: set[str]) -> None:
    body = {"tasks": [{"id": 1, "data": {}, **kept}], "label_config": "<View/>", "params": {"context": {"result": []}}}
    assert parse_predict(body).tasks[0].regions == regions
