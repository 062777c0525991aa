"""Runs that wait for `fiftyone delegated launch`, in a process of its own that is killed in the middle."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest

from locara_label.hosts.fiftyone import install
from locara_label.hosts.fiftyone.install import Folders
from tests.hosts.fiftyone.delegated_service import launched, operation, operations, until
from tests.hosts.fiftyone.scenes_dataset import add_scenes, bad_picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
COUNT = 40


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    """The plugin, where this process and others find it."""
    before, folder = fo.config.plugins_dir, tmp_path / "plugins"
    fo.config.plugins_dir = str(folder)
    install.install(Folders(folder, tmp_path / "zoo"), link=True)
    importlib.import_module("fiftyone.plugins.context").build_plugin_contexts()
    yield folder
    fo.config.plugins_dir = before


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Any]:
    """Many pictures, the second of them broken."""
    dataset = fo.Dataset(persistent=True)
    add_scenes(dataset, tmp_path / "first", 1)
    dataset.add_sample(fo.Sample(filepath=str(bad_picture(tmp_path / "bad.jpg"))))
    paths = [tmp_path / f"{number}.png" for number in range(COUNT - 2)]
    content = Path(dataset.first().filepath).read_bytes()
    for path in paths:
        path.write_bytes(content)
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths])
    yield dataset
    dataset.delete()


def queue(dataset: Any, **params: Any) -> Any:
    """Queues pre-labeling; gives the operation's id."""
    context = {"dataset": dataset, "params": {"model": "mini", "label_field": "found", **params}}
    foo.execute_operator("@locara/label/prelabel", ctx=context, request_delegation=True)
    return operations(dataset)[-1].id


def labels(dataset: Any) -> dict[str, list[str]]:
    """Ids of the detections that samples have."""
    if not dataset.has_field("found"):
        return {}
    dataset.reload()
    values = zip(dataset.values("id"), dataset.values("found.detections.id"), strict=True)
    return {number: one for number, one in values if one is not None}


def test_a_killed_run_keeps_what_it_did_and_another_goes_on(scenes: Any, plugins: Path, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    first = queue(scenes)
    with launched(plugins, log) as service:
        until(lambda: bool(scenes.reload() or len(labels(scenes)) >= 3), log)
        service.kill()
        service.wait(30)
    kept = labels(scenes)
    assert 3 <= len(kept) < COUNT - 1
    assert operation(first).run_state == "running"
    assert 0 < operation(first).status.progress < 1
    assert "image." in scenes.values("found_error")[1]
    second, wrong = queue(scenes, only_new=True), queue(scenes, classes="unicorn")
    with launched(plugins, log):
        until(lambda: {operation(one).run_state for one in (second, wrong)} == {"completed", "failed"}, log)
    assert "unicorn" in operation(wrong).result.error
    after = labels(scenes)
    assert len(after) == COUNT - 1
    assert {number: after[number] for number in kept} == kept
