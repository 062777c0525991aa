"""The Python of docs/fiftyone.md runs, block after block, on generated scenes and a clip, with models that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from fixtures.scenes import SHAPES
from locara_label.exchange import to_label_studio
from locara_label.hosts.fiftyone import install
from locara_label.hosts.fiftyone.install import Folders
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.label_studio.ready import labeling_config
from tests.docs.prepared import with_stand_ins
from tests.documented import Block, blocks
from tests.hosts.fiftyone.scenes_dataset import add_clip, add_scenes

PAGE = "docs/fiftyone.md"
CONFIG = labeling_config("bitmask", SHAPES)


@pytest.fixture
def names(dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the page takes for granted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    install.install(Folders(tmp_path / "plugins", tmp_path / "zoo"))
    add_scenes(dataset, tmp_path / "data/pictures", 2)
    for sample in dataset.iter_samples(autosave=True):
        sample["boxes"], sample.tags = sample["truth"], ["new"]
    other = fo.Dataset()
    yield {"dataset": dataset, "other": other, "config_xml": CONFIG}
    other.delete()


def _export_of_label_studio(dataset: Any, folder: Path) -> None:
    summed(to_label_studio(dataset, "truth", folder / "done.json", CONFIG, finished=True))
    tasks = json.loads((folder / "done.json").read_text("utf-8"))
    exported = [{**task, "id": number, "project": 1} for number, task in enumerate(tasks, 1)]
    (folder / "export.json").write_text(json.dumps(exported), "utf-8")


def _run(block: Block, names: dict[str, Any], folder: Path) -> None:
    text = with_stand_ins(block.text, folder).replace("sam2.1-hiera-tiny-video", "classic-video")
    exec(compile("\n" * block.line + text, block.page, "exec"), names)


def test_the_page_runs(names: dict[str, Any], tmp_path: Path) -> None:
    _export_of_label_studio(names["dataset"], tmp_path)
    on_videos = [block for block in blocks(PAGE, "python") if "sample.frames" in block.text]
    for block in (block for block in blocks(PAGE, "python") if block not in on_videos):
        _run(block, names, tmp_path)
    assert names["dataset"].count("masks.detections")
    assert names["dataset"].count("final.detections")
    assert len(names["other"]) == 2
    assert len(on_videos) == 1


def test_its_masklets(dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add_clip(dataset, tmp_path)
    found = {"dataset": dataset, "sample": dataset.first(), "fo": fo}
    [block] = [block for block in blocks(PAGE, "python") if "sample.frames" in block.text]
    _run(block, found, tmp_path)
    assert dataset.count("frames.pred.detections")
