"""The operators as Python calls them: the same work, results in the database, failures raised and told."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from locara_label.hosts.fiftyone import install
from locara_label.hosts.fiftyone.install import Folders
from tests.hosts.fiftyone.scenes_dataset import add_clip, add_scenes, masks_of

URI = "@locara/label"


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = fo.config.plugins_dir
    folder = tmp_path_factory.mktemp("plugins")
    fo.config.plugins_dir = str(folder)
    install.install(Folders(folder, tmp_path_factory.mktemp("zoo")), link=True)
    importlib.import_module("fiftyone.plugins.context").build_plugin_contexts()
    yield
    fo.config.plugins_dir = before


@pytest.fixture
def scenes(dataset: Any, tmp_path: Path) -> Any:
    add_scenes(dataset, tmp_path / "pictures", 2)
    return dataset


def form_of(dataset: Any, name: str, **params: Any) -> dict[str, Any]:
    """What is wrong with a form, by field."""
    operator = foo.get_operator(f"{URI}/{name}")
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=operator.uri)
    found = operator.resolve_input(context)
    return {key: prop.error_message for key, prop in found.type.properties.items() if prop.invalid}


def run(dataset: Any, name: str, **params: Any) -> None:
    foo.execute_operator(f"{URI}/{name}", ctx={"dataset": dataset, "params": params})


def test_every_operator_is_there() -> None:
    found = {one.uri for one in foo.list_operators() if one.uri.startswith(URI)}
    names = "prelabel segment_text segment_boxes propagate_masklets export import to_label_studio from_label_studio"
    assert found >= {f"{URI}/{name}" for name in [*names.split(), "model_manager", "compare", "stop", "clicks"]}


def test_what_is_wrong_with_a_form(scenes: Any, tmp_path: Path) -> None:
    assert form_of(scenes, "prelabel") == {}
    wrong = form_of(scenes, "prelabel", label_field="a b", threshold=3, classes="circle, unicorn", model="sam2.1-hiera-tinny")
    assert set(wrong) == {"label_field", "threshold", "model"}
    assert "unicorn" in form_of(scenes, "prelabel", classes="circle, unicorn")["classes"]
    assert "not downloaded" in form_of(scenes, "prelabel", model="segformer-b0-finetuned-ade-512-512")["model"]
    assert "no classes" in form_of(scenes, "segment_text")["prompt"]
    assert "has the prompts" in form_of(scenes, "segment_boxes", prompt_field="truth", label_field="truth")["label_field"]
    assert set(form_of(scenes, "propagate_masklets")) == {"prompt_field"}
    assert set(form_of(scenes, "export")) == {"path"}
    assert "no file" in form_of(scenes, "import", path=str(tmp_path / "none.json"), root=str(tmp_path))["path"]
    assert form_of(scenes, "compare", pre_field="truth", final_field="truth") != {}


def test_the_same_work_from_python(scenes: Any, tmp_path: Path) -> None:
    run(scenes, "prelabel", model="mini", label_field="found")
    run(scenes, "segment_boxes", prompt_field="truth", label_field="boxed", model="sam2-mini")
    run(scenes, "export", label_field="found", path=str(tmp_path / "coco.json"))
    root = str(tmp_path / "pictures")
    run(scenes, "import", label_field="back", path=str(tmp_path / "coco.json"), root=root)
    scenes.reload()
    assert scenes.count("boxed.detections") == scenes.count("truth.detections")
    for sample in scenes:
        assert masks_of(sample["back"]) == masks_of(sample["found"])
    run(scenes, "compare", way="copy", pre_field="found", copy="found_model")
    run(scenes, "compare", pre_field="found_model", final_field="found")
    scenes.reload()
    assert scenes.values("found_model_iou") == [1.0, 1.0]


def test_masklets_from_python(dataset: Any, tmp_path: Path) -> None:
    add_clip(dataset, tmp_path)
    run(dataset, "propagate_masklets", prompt_field="boxes", direction="forward", max_frames=3)
    dataset.reload()
    assert dataset.first().frames[3]["masklets"].detections


def test_failures_are_raised_to_python(scenes: Any, tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="unicorn"):
        run(scenes, "prelabel", model="mini", classes="unicorn, circle", label_field="found2")
    with pytest.raises(ExecutionError):
        run(scenes, "export", label_field="nothing", path=str(tmp_path / "coco.json"))
    assert not (tmp_path / "coco.json").exists()


def test_work_is_stopped_from_elsewhere(scenes: Any) -> None:
    """The generator is gone through as the App does it; another operator stops it, and finished samples stay."""
    operator = foo.get_operator(f"{URI}/prelabel")
    request = {"dataset_name": scenes.name, "params": {"model": "mini"}, "spaces": None}
    context = ExecutionContext(request, executor=Executor(), operator_uri=operator.uri)
    messages = operator.execute(context)
    first = next(messages)
    assert first.body.operator_uri == "set_progress"
    stopping = ExecutionContext({"dataset_name": scenes.name, "params": {}}, executor=Executor())
    assert foo.get_operator(f"{URI}/stop").execute(stopping) == {"stopped": 1}
    told = [message.body.params for message in messages if message.body.operator_uri == "notify"]
    assert [one["variant"] for one in told] == ["warning"]
    scenes.reload()
    assert [label is not None for label in scenes.values("pred")] == [True, False]
